# SPDX-License-Identifier: Apache-2.0

"""Whole episodes with a played joystick in the simulated cell: is every phase, outcome and grasp recorded as it happened?

    python benchmarks/scenarios.py --episodes 20 --json scenarios.json
    python benchmarks/scenarios.py --episodes 2 --scenarios failed_grasp --keep outputs/scenarios

Each scenario is one `record.launch.py operator:=joystick joy_player:=<scenario>` in lockstep, so the machine's load changes
nothing. The bags are compared with the simulator's own log (who had the arm, when it moved, what the gripper held, whether
the part is in its place) and with what the played person did; then they are converted to the three training sets, whose
lengths are compared with an own count of the frames, three stop frames per episode included.

The JSON holds ``scene``, ``robot`` and ``rows``, each with ``scenario``, ``n`` (episodes), ``phases``, ``outcome`` and
``grasp`` (how many were right), ``placed`` (how many parts were in their place at the end), ``datasets`` (target to
``rows``, ``expected`` and ``episodes``), ``duration_s`` (median of the episodes), ``wrong`` (in words) and ``seconds`` of
wall time. The exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from vla_core.episode import ARMED, CORRECTION, IDLE, PHASES, SKILL, SKILL_RESUME, TELEOP
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, find_episodes, open_episode

STREAMING = "forward_position_controller"
TRAJECTORY = "scaled_joint_trajectory_controller"
DRIVEN = frozenset({TELEOP, SKILL, CORRECTION, SKILL_RESUME})
BY_HAND, BY_SKILL = frozenset({TELEOP, CORRECTION}), frozenset({SKILL, SKILL_RESUME})
TARGETS = {"e2e": (DRIVEN, 0), "planner": (frozenset({TELEOP}), 3), "correction": (frozenset({CORRECTION}), 3)}
NOOP = 1e-4
LAG_S = 0.25  # from the motion that the simulator sees to the phase that the recorder writes
HELD_S = 0.3  # so long a part is held that counts as grasped
EPISODE_WALL_S = 600.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a scenario must lead to."""

    phases: tuple[int, ...]
    skill_outcome: str
    outcome: str
    grasp: str | None = None  # "true", "false"; None: depends on when the person interrupted, or there is none


STRAIGHT = (ARMED, TELEOP, SKILL, IDLE)
SCENARIOS = {
    "success": Expected(STRAIGHT, "completed", "success", "true"),
    "failed_grasp": Expected(
        (ARMED, TELEOP, SKILL, ARMED, CORRECTION, SKILL_RESUME, IDLE), "completed_after_correction", "success", "false"
    ),
    "interrupt": Expected(
        (ARMED, TELEOP, SKILL, CORRECTION, SKILL_RESUME, IDLE), "completed_after_correction", "success"
    ),
    "abort": Expected((ARMED, TELEOP, IDLE), "no_skill", "unknown"),
    "unplug": Expected(STRAIGHT, "completed", "success", "true"),
}


@dataclass(slots=True)
class Recorded:
    """One bag: when which phase began, its metadata, and how many frames each training set takes from it."""

    bag: EpisodeBag
    phases: list[tuple[float, int]]
    rows: dict[str, int] = field(default_factory=dict)

    def at(self, t: float) -> int:
        """The phase at a time [s, node clock]."""
        return next((phase for begin, phase in reversed(self.phases) if begin <= t), IDLE)

    def spans(self, phases: frozenset[int]) -> list[tuple[float, float]]:
        """Begin and end of the stretches in some phases."""
        ends = [begin for begin, _ in self.phases[1:]]
        return [(begin, end) for (begin, phase), end in zip(self.phases, ends, strict=False) if phase in phases]


def read_bag(folder: Path) -> Recorded:
    """Phases of a bag and the rows that its frames make in each training set, counted here anew."""
    bag = open_episode(folder)
    profile = parse_profile(bag.get("profile"), str(folder))
    events = [r.message for r in bag.messages({"/episode/event"})]
    phases = [(e.stamp.sec + e.stamp.nanosec * 1e-9, int(e.phase)) for e in events if not e.paused]
    source = BagFrames(bag, profile, profile.fps)
    frames = [(source.phase_at(frame.t_ns), frame.state64) for frame in _light(source)]
    rows = {name: _count(frames, wanted) for name, (wanted, _) in TARGETS.items()}
    return Recorded(bag, phases, {name: n + TARGETS[name][1] * (n > 0) for name, n in rows.items()})


def _light(source: BagFrames) -> Iterator[Frame]:
    for frame in source:
        if isinstance(frame, Frame):
            frame.images.clear()
            yield frame


def _count(frames: Sequence[tuple[int, np.ndarray]], wanted: frozenset[int]) -> int:
    kept, last = 0, None
    for phase, state in frames:
        if phase in wanted and (last is None or np.abs(state - last).max() > NOOP):
            kept, last = kept + 1, state
    return kept


class Log:
    """The simulator's own log of one launch."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]

    def between(self, begin: float, end: float, *names: str) -> list[dict[str, Any]]:
        """Events of some kinds in a stretch of time."""
        return [e for e in self.events if begin <= e["t"] <= end and e["event"] in names]

    def last(self, t: float, *names: str) -> dict[str, Any] | None:
        """The newest event of some kinds at a time."""
        found = [e for e in self.events if e["t"] <= t and e["event"] in names]
        return found[-1] if found else None

    def held(self, begin: float, end: float) -> bool:
        """Whether the part was held for a while in a stretch of time."""
        changes = [(e["t"], e["event"] == "grasped") for e in self.between(begin, end, "grasped", "lost")]
        edges = [*changes, (end, False)]
        return any(on and after - t >= HELD_S for (t, on), (after, _) in pairwise(edges))


def check_phases(recorded: Recorded, expected: Expected, log: Log) -> list[str]:
    """What of the phases is not as the simulator saw it."""
    phases = tuple(phase for _, phase in recorded.phases)
    if phases != expected.phases:
        return [f"phases {_names(phases)} instead of {_names(expected.phases)}"]
    wrong = []
    begin, end = recorded.phases[0][0], recorded.phases[-1][0]
    for event in log.between(begin, end, "arm_moves"):
        wanted = BY_HAND if event["controller"] == STREAMING else BY_SKILL
        near = {recorded.at(event["t"]), recorded.at(event["t"] + LAG_S)}
        if not near & wanted:
            wrong.append(f"{event['controller']} moves the arm at {event['t']:.2f} s in {_names(tuple(near))}")
    for since, phase in recorded.phases:
        if phase in BY_HAND and recorded.at(since - 1e-3) == ARMED:
            wrong += _first_motion(log, since)
        if phase in DRIVEN:
            owner = log.last(since + LAG_S, "controller")
            wanted = STREAMING if phase in BY_HAND else TRAJECTORY
            if owner is None or owner["active"] != wanted:
                wrong.append(f"{PHASES[phase]} begins at {since:.2f} s, but {owner and owner['active']!r} has the arm")
    return wrong


def _first_motion(log: Log, since: float) -> list[str]:
    caused = log.between(since - LAG_S, since + LAG_S, "arm_moves", "gripper_goal")
    return [] if caused else [f"a phase by hand begins at {since:.2f} s, but nothing moved within {LAG_S:g} s of that"]


def check_outcome(recorded: Recorded, expected: Expected, log: Log) -> list[str]:
    """What of the outcome is not as expected, or not as the simulator saw it."""
    bag = recorded.bag
    wrong = []
    for key, wanted in (("skill_outcome", expected.skill_outcome), ("outcome", expected.outcome)):
        if bag.get(key) != wanted:
            wrong.append(f"{key} '{bag.get(key)}' instead of '{wanted}'")
    end = recorded.phases[-1][0]
    state = log.last(end, "placed", "unplaced", "reset")
    placed = state is not None and state["event"] == "placed"
    if placed != expected.skill_outcome.startswith("completed"):
        wrong.append(f"'{bag.get('skill_outcome')}', but the part is {'' if placed else 'not '}in its place")
    return wrong


def check_grasp(recorded: Recorded, expected: Expected, log: Log) -> list[str]:
    """What of the grasp's values is not as the simulator saw it."""
    bag = recorded.bag
    verified = bag.get("grasp_verified")
    if not verified:
        return [] if expected.grasp is None else ["no grasp values were recorded"]
    actual, threshold = float(bag.get("grasp_actual")), float(bag.get("grasp_threshold"))
    wrong = []
    if (actual < threshold) != (verified == "true"):
        wrong.append(f"grasp_verified {verified} with {actual:g} and threshold {threshold:g}")
    if expected.grasp is not None and verified != expected.grasp:
        wrong.append(f"grasp_verified {verified} instead of {expected.grasp}")
    held = any(
        log.held(begin, end) for begin, end in recorded.spans(BY_SKILL if verified == "true" else frozenset({SKILL}))
    )
    if held != (verified == "true"):
        wrong.append(f"grasp_verified {verified}, but the gripper held {'the part' if held else 'nothing'}")
    if not float(bag.get("grasp_commanded")) > 0.0:
        wrong.append(f"grasp_commanded {bag.get('grasp_commanded')}")
    return wrong


def _names(phases: Sequence[int]) -> str:
    return " ".join(PHASES[phase] for phase in phases)


def environment() -> dict[str, str]:
    """A DDS domain of its own unless the caller chose one, loopback only, one thread."""
    env = dict(os.environ)
    env.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    env.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", OMP_NUM_THREADS="1", LP_NUM_THREADS="1")
    return env


def play(args: argparse.Namespace, scenario: str, folder: Path) -> None:
    """Record the episodes of one scenario into `folder`: bags/, log.jsonl, played.json, launch.log."""
    if folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(
            f"{folder}: not empty; what an earlier run left is judged with --judge-only, or choose another --keep"
        )
    folder.mkdir(parents=True, exist_ok=True)
    parameters = folder / "cell.yaml"
    parameters.write_text(f"/**/cell:\n  ros__parameters:\n    log_file: {folder / 'log.jsonl'}\n", encoding="utf-8")
    command = [
        "ros2", "launch", "vla_bringup", "record.launch.py", "sim:=true", f"robot:={args.robot}", "operator:=joystick",
        f"scene:={args.scene}", f"joy_player:={scenario}", f"episodes:={args.episodes}", f"seed:={args.first_seed}",
        f"output_dir:={folder / 'bags'}", f"result_file:={folder / 'played.json'}", f"params_file:={parameters}",
    ]  # fmt: skip
    with (folder / "launch.log").open("w", encoding="utf-8") as file:
        subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment(), check=False,
            timeout=args.episodes * EPISODE_WALL_S,
        )  # fmt: skip
    if not (folder / "played.json").is_file():
        tail = "\n".join((folder / "launch.log").read_text(encoding="utf-8").splitlines()[-12:])
        raise SystemExit(f"{scenario}: the launch left no result:\n{tail}")


def convert(folder: Path) -> dict[str, Row]:
    """Convert the bags of one scenario; target -> rows and episodes."""
    command = [
        "ros2", "run", "vla_recorder", "convert", "--bags", str(folder / "bags"), "--output", str(folder / "datasets"),
        "--target", "all", "--include-failures", "--report", str(folder / "convert.json"), "--overwrite",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if not (folder / "convert.json").is_file():
        raise SystemExit(
            f"convert failed with exit code {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    targets = json.loads((folder / "convert.json").read_text(encoding="utf-8"))["targets"]
    return {name: {"rows": data["frames"], "episodes": data["episodes"]} for name, data in targets.items()}


def judge(scenario: str, folder: Path, *, datasets: bool = True) -> Row:
    """Compare what was recorded with what happened; one row of the table."""
    expected, log = SCENARIOS[scenario], Log(folder / "log.jsonl")
    played = json.loads((folder / "played.json").read_text(encoding="utf-8"))
    bags = [read_bag(path) for path in find_episodes(folder / "bags")]
    bags.sort(key=lambda recorded: recorded.phases[0][0])
    row: Row = {"scenario": scenario, "n": len(played["episodes"]), "phases": 0, "outcome": 0, "grasp": 0}
    wrong = [f"episode {i}: {e['error']}" for i, e in enumerate(played["episodes"]) if e["error"]]
    if len(bags) != row["n"]:
        wrong.append(f"{len(bags)} bags of {row['n']} episodes")
    for index, recorded in enumerate(bags):
        for name, check in (("phases", check_phases), ("outcome", check_outcome), ("grasp", check_grasp)):
            found = check(recorded, expected, log)
            row[name] += not found
            wrong += [f"episode {index}: {text}" for text in found]
    row["placed"] = sum(episode["success"] for episode in played["episodes"])
    row["duration_s"] = round(statistics.median(e["duration_s"] for e in played["episodes"]), 1)
    row["datasets"] = {}
    if datasets:
        made = convert(folder)
        for name in TARGETS:
            count = sum(recorded.rows[name] for recorded in bags)
            row["datasets"][name] = {**made.get(name, {"rows": 0, "episodes": 0}), "expected": count}
            if row["datasets"][name]["rows"] != count:
                wrong.append(f"data set {name}: {row['datasets'][name]['rows']} rows instead of {count}")
    return {**row, "wrong": wrong}


def table(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    lines = [
        "| scenario | episodes | phases right | outcome right | grasp right | in its place | rows e2e / planner / correction "
        "(expected) | median length |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = [f"{100 * row[key] / max(row['n'], 1):.0f} %" for key in ("phases", "outcome", "grasp")]
        sets = [row["datasets"][name] for name in TARGETS if name in row["datasets"]]
        made, wanted = (" / ".join(str(data[key]) for data in sets) for key in ("rows", "expected"))
        lines.append(
            f"| {row['scenario']} | {row['n']} | {' | '.join(share)} | {row['placed']} | {made} ({wanted}) | "
            f"{row['duration_s']:.1f} s |"
        )
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/scenarios.py"
    )
    parser.add_argument("--episodes", type=int, default=20, help="per scenario, default 20")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first episode, default 0")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS, help="default: all")
    parser.add_argument(
        "--scene", default="extract_cpu", choices=("extract_cpu", "extract_ram"), help="default extract_cpu"
    )
    parser.add_argument(
        "--robot", default="sim_ur5e_tiny", help="robot profile, default sim_ur5e_tiny (small pictures)"
    )
    parser.add_argument("--keep", type=Path, help="folder that keeps bags, logs and data sets; default: none are kept")
    parser.add_argument("--judge-only", action="store_true", help="play nothing; judge what --keep holds")
    parser.add_argument("--json", type=Path, help="file for the result")
    args = parser.parse_args(argv)
    if args.judge_only and not args.keep:
        parser.error("--judge-only needs --keep, the folder of an earlier run")
    return args


def main(argv: list[str] | None = None) -> int:
    """Play and judge all scenarios; exit code 1 if anything was not recorded as it happened."""
    args = parse(argv)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = (args.keep or Path(temporary)).resolve()
        for scenario in tqdm(args.scenarios, disable=None):
            began = time.monotonic()
            if not args.judge_only:
                play(args, scenario, root / scenario)
            rows.append({**judge(scenario, root / scenario), "seconds": round(time.monotonic() - began, 1)})
    print(table(rows))
    for row in rows:
        for text in row["wrong"]:
            print(f"{row['scenario']}: {text}")
    if args.json:
        result = {"scene": args.scene, "robot": args.robot, "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
