# SPDX-License-Identifier: Apache-2.0

"""From a person's day to three policies at work: is a planner with a skill and corrections better than one policy for all?

    python benchmarks/deployment.py --work outputs/deployment --json deployment.json      # 40 episodes, 3 trainings, 40 trials
    python benchmarks/deployment.py --work outputs/try --episodes 2 --steps 20 --trials 1 # does it run?
    python benchmarks/deployment.py --bags outputs/scenarios/failed_grasp/bags # of scenarios.py --keep outputs/scenarios

Records episodes of a played person (`record.launch.py operator:=joystick`): half of them straight, half with a grasp that
fails and is corrected; or takes the recordings of `scenarios.py --keep` by `--bags`. Converts them to the three training sets, trains a small ACT on each, and tries them in closed loop
on held-out seeds: the planner hands over to the skill at its stop signal; in half of the trials the part is put elsewhere
as the skill begins, so that the grasp fails and the correction policy has to help. The end-to-end policy gets the same
seeds with the part in its place, since it has no skill whose begin could be waited for. Everything runs in
lockstep. What is in the work folder already is not made again.

The JSON holds ``scene``, ``episodes``, ``steps``, ``frames`` (of each training set), ``seconds`` (wall time of each stage) and
``rows``: ``policy``, ``displaced`` (whether the part was), ``n``, ``successes``, ``low`` and ``high`` (95 % Wilson interval) and
``ends`` (how often which text ended a trial).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from vla_core.statistics import wilson_interval

ROBOT = "sim_ur5e_tiny"
SCENARIOS = ("success", "failed_grasp")
TARGETS = ("e2e", "planner", "correction")
DEMONSTRATION_SEED, HELD_OUT_SEED = 10_000, 0
PLANNER_S, END_TO_END_S = 120.0, 90.0
STOP_FRAMES = 25
STD_FLOOR = 0.1  # the gripper never moves in an approach
RECIPES = {
    "planner": ("--state-noise", "0.5"),
    # a correction opens, goes over, closes and lifts: a chunk that ends before the next stretch begins stands still for ever
    "correction": ("--state-noise", "0.15", "--", "--policy.chunk_size=32", "--policy.n_action_steps=32"),
    "e2e": ("--state-noise", "0.15", "--", "--policy.chunk_size=32", "--policy.n_action_steps=32"),
}


@dataclass
class Work:
    """The folder, its stages, and how long they took."""

    folder: Path
    options: argparse.Namespace
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, command: list[str], done: Path) -> Path:
        """Run one stage unless `done` is there; its output goes to logs/.

        Raises:
            SystemExit: it failed, or did not make `done`.
        """
        if done.exists():
            return done
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with log.open("wb") as output:
            code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        self.seconds[name] = round(time.monotonic() - begin, 1)
        if code or not done.exists():
            raise SystemExit(
                f"{name}: exit code {code}, and {done} {'exists' if done.exists() else 'is missing'}; see {log}"
            )
        return done

    def launch(self, name: str, file: str, done: Path, *arguments: str) -> Path:
        """Run one launch file in the simulated cell."""
        scene = ["sim:=true", f"robot:={ROBOT}", f"scene:={self.options.scene}", f"result_file:={done}"]
        return self.run(name, ["ros2", "launch", "vla_bringup", file, *scene, *arguments], done)


def demonstrate(work: Work) -> None:
    """Record the episodes, each scenario into a folder of its own, unless there are recordings."""
    if work.options.bags:
        return
    for number, scenario in enumerate(SCENARIOS):
        count = work.options.episodes // len(SCENARIOS)
        work.launch(
            f"record_{scenario}",
            "record.launch.py",
            work.folder / f"record_{scenario}.json",
            "operator:=joystick",
            f"joy_player:={scenario}",
            f"episodes:={count}",
            f"seed:={DEMONSTRATION_SEED + number * count}",
            f"output_dir:={work.folder / 'bags' / scenario}",
        )


def convert(work: Work) -> dict[str, int]:
    """Make the three training sets; returns their frames."""
    root = work.folder / "datasets"
    command = ["ros2", "run", "vla_recorder", "convert", "--target", "all", "--output", str(root)]
    stop = ["--stop-frames", str(STOP_FRAMES), "--stop-state", "measured"]
    bags = str(work.options.bags or work.folder / "bags")
    work.run("convert", [*command, *stop, "--bags", bags], dataset(work, "planner"))
    infos = {target: json.loads((dataset(work, target) / "meta" / "info.json").read_text()) for target in TARGETS}
    return {target: int(info["total_frames"]) for target, info in infos.items()}


def dataset(work: Work, target: str) -> Path:
    """Folder of a training set."""
    return work.folder / "datasets" / target


def train(work: Work, target: str) -> Path:
    """Train one policy; returns the folder of its run."""
    output = work.folder / "train" / target
    command = ["ros2", "run", "vla_policy", "train", "--policy", "act", "--dataset", str(dataset(work, target))]
    options = ["--output", str(output), "--steps", str(work.options.steps), "--threads", str(work.options.threads)]
    options += ["--std-floor", str(STD_FLOOR), *RECIPES[target]]
    work.run(f"train_{target}", [*command, *options], output / "checkpoints" / "last")
    return output


def trials(work: Work, name: str, *arguments: str) -> list[dict[str, Any]]:
    """Closed-loop trials; returns what became of each."""
    done = work.folder / f"{name}.json"
    count, displaced = work.options.trials, work.options.trials // 2
    more = work.folder / "trials.yaml"
    names = ("stop_distance", "stop_steps", "correction_stop_steps", "stop_gripper")
    stop = {name: getattr(work.options, name) for name in names}
    more.write_text(
        f"/**/trial:\n  ros__parameters: {{displaced_trials: {displaced}}}\n"
        f"/**/policy:\n  ros__parameters: {{{', '.join(f'{name}: {value}' for name, value in stop.items())}}}\n",
        encoding="utf-8",
    )
    common = [f"episodes:={count}", f"seed:={HELD_OUT_SEED}", f"params_file:={more}"]
    common.append(f"strategy:={work.options.strategy}")
    work.launch(name, "infer.launch.py", done, *common, *arguments)
    found: list[dict[str, Any]] = json.loads(done.read_text())["trials"]
    return found


def rows_of(policy: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Success of a policy with and without a displaced part."""
    rows = []
    for displaced in (False, True):
        part = [trial for trial in found if bool(trial["displaced"]) is displaced]
        good = sum(bool(trial["success"]) for trial in part)
        low, high = wilson_interval(good, len(part)) if part else (0.0, 1.0)
        ends = Counter(re.sub(r"[-+]?\d[\d.]*", "…", trial["error_msg"])[:80] or "time limit" for trial in part)
        row = {
            "policy": policy,
            "displaced": displaced,
            "n": len(part),
            "successes": good,
            "low": round(low, 3),
            "high": round(high, 3),
        }
        rows.append({**row, "ends": dict(ends)})
    return [row for row in rows if row["n"]]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python benchmarks/deployment.py",
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/deployment"), help="folder (default: %(default)s)")
    parser.add_argument("--scene", default="extract_cpu", choices=("extract_cpu", "extract_ram"), help="task")
    parser.add_argument(
        "--skill", default="cpu", help="skill of the table config/skills/sim.yaml (default: %(default)s)"
    )
    parser.add_argument("--episodes", type=int, default=40, help="demonstrations, half of each scenario (default: 40)")
    parser.add_argument("--bags", type=Path, help="folder of recordings, or of such folders; without it they are made")
    stop = {"stop_distance": 0.02, "stop_steps": 3, "correction_stop_steps": 12, "stop_gripper": 0.5}
    for name, value in stop.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(value),
            default=value,
            help="parameter of the policy node (default: %(default)s)",
        )
    parser.add_argument("--strategy", default="sync", help="how chunk follows chunk (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of each training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of each training (default: %(default)s)")
    parser.add_argument(
        "--trials", type=int, default=20, help="of each policy, half with a displaced part (default: 20)"
    )
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser.parse_args(argv)


def skill_table() -> str:
    """The skill table of the simulated cell."""
    found = subprocess.run(
        ["ros2", "pkg", "prefix", "--share", "vla_teleop"], capture_output=True, text=True, check=True
    )
    return str(Path(found.stdout.strip()) / "config" / "skills" / "sim.yaml")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see the module's text."""
    options = parse(argv)
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    work = Work(folder=options.work.resolve(), options=options)
    work.folder.mkdir(parents=True, exist_ok=True)
    stages = tqdm(total=7, unit="stage", file=sys.stderr)
    demonstrate(work)
    stages.update()
    frames = convert(work)
    stages.update()
    runs = {}
    for target in TARGETS:
        runs[target] = train(work, target)
        stages.update()
    planner = [
        f"checkpoint:={runs['planner']}",
        "mode:=planner",
        f"skill:={options.skill}",
        f"max_duration:={PLANNER_S:g}",
    ]
    planner += [f"skill_table:={skill_table()}", f"correction_checkpoint:={runs['correction']}"]
    rows = rows_of("planner, skill, correction", trials(work, "planner", *planner))
    stages.update()
    rows += rows_of("end to end", trials(work, "e2e", f"checkpoint:={runs['e2e']}", f"max_duration:={END_TO_END_S:g}"))
    stages.close()
    report = {"scene": options.scene, "episodes": options.episodes, "steps": options.steps, "frames": frames}
    report |= {"seconds": work.seconds, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("| policy | part displaced | success | 95 % interval |\n|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['policy']} | {row['displaced']} | {row['successes']}/{row['n']} | {row['low']} to {row['high']} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
