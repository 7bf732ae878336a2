# SPDX-License-Identifier: Apache-2.0

"""When does a policy say that it is done? Over recorded episodes, for many settings of the stop signal at a time.

    stop_signal --checkpoint outputs/runs/planner --dataset sets/planner
    stop_signal --checkpoint outputs/runs/correction --dataset sets/correction --stop-steps 3,8,12 --episodes 0:10

Every frame of the episodes is shown to the policy, and each chunk is asked as the policy node asks it in mode:=planner. An
episode's end is its first stop frame (column `synthetic`). Good settings find every end and nothing before it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile

from vla_policy.evaluation.evaluate import numbers
from vla_policy.evaluation.texts import text_table
from vla_policy.execution.stop_detection import PRESETS, StopDetector, StopRule

STEPS = (3, 8, 12)
DISTANCES = (0.005, 0.01, 0.02, 0.03)
EARLY_S = 1.0
HEAD = ("actions in a row", "distance", "ends found", "too early", "median of the first [s]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """One chunk of the policy.

    Attributes:
        episode: Of which episode.
        step: Frame that it was computed from.
        chunk: What the policy answered.
        frame: What it saw.
    """

    episode: int
    step: int
    chunk: ActionChunk
    frame: Frame


def judge(said: Sequence[Said], ends: Mapping[int, int], profile: Profile, rule: StopRule) -> dict[str, Any]:
    """How a rule would have worked.

    Args:
        said: The chunks, episode by episode in the order of time.
        ends: Episode to its first stop frame.
        profile: What the numbers mean.
        rule: The stop signal.

    Returns:
        ``steps``, ``distance``, ``gripper``; ``episodes``; ``found``: those in which a chunk from before the end or at it says
        stop; ``early``: those in which the stop would come more than `EARLY_S` before the end; ``first_s``: median time of
        the first stop after the end [s], negative before it, None where there is none.
    """
    detector = StopDetector(profile, rule)
    first: dict[int, int] = {}
    for one in said:
        detector.reset()
        found = detector.find(one.chunk, one.frame)
        if found is not None and one.step <= ends[one.episode]:
            due = one.step + found - ends[one.episode]
            first[one.episode] = min(due, first.get(one.episode, due))
    times = [due / profile.fps for due in first.values()]
    return {
        "steps": rule.steps,
        "distance": rule.distance,
        "gripper": rule.gripper,
        "episodes": len(ends),
        "found": len(first),
        "early": sum(time < -EARLY_S for time in times),
        "first_s": statistics.median(times) if times else None,
    }


def grid(
    said: Sequence[Said],
    ends: Mapping[int, int],
    profile: Profile,
    *,
    steps: Iterable[int],
    distances: Iterable[float],
    gripper: float,
) -> list[dict[str, Any]]:
    """`judge` for every combination."""
    base = replace(PRESETS["default"], gripper=gripper)
    return [
        judge(said, ends, profile, replace(base, steps=count, distance=distance))
        for count in steps
        for distance in distances
    ]


def best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The settings that find most ends and stop too early least, the strictest of equals; None: they find nothing."""
    found = [row for row in rows if row["found"]]
    return max(
        found,
        key=lambda row: (row["found"] - row["early"], -row["early"], row["steps"], -row["distance"]),
        default=None,
    )


def collect(options: argparse.Namespace) -> tuple[list[Said], dict[int, int], Profile]:
    """Ask the policy at every frame.

    Raises:
        VlaError: anything that the user can put right.
    """
    # torch and LeRobot, which take seconds to load: --help does without them
    from vla_policy.evaluation.checks import check_fit  # noqa: PLC0415
    from vla_policy.evaluation.dataset import RecordedWindows  # noqa: PLC0415
    from vla_policy.evaluation.offline_command import shown  # noqa: PLC0415
    from vla_policy.policies.checkpoint import choose_profile, find_checkpoint  # noqa: PLC0415
    from vla_policy.policies.lerobot_runner import LeRobotRunner  # noqa: PLC0415
    from vla_policy.policies.runner import LoadRequest  # noqa: PLC0415
    from vla_policy.training.dataset_checks import check_dataset  # noqa: PLC0415

    checkpoint = find_checkpoint(options.checkpoint)
    profile = choose_profile(checkpoint, None)
    info = check_dataset(options.dataset)
    check_fit(options.dataset, info, profile, f"the checkpoint {checkpoint.path}")
    runner = LeRobotRunner(
        checkpoint, profile, LoadRequest(device=options.device, torch_threads=options.threads, seed=options.seed)
    )
    known = [number for number in options.episodes if number < info["total_episodes"]]
    if not known:
        raise VlaError(
            f"{options.dataset}: has {info['total_episodes']} episodes (0 to {info['total_episodes'] - 1}), none of those "
            f"asked for; give others with --episodes"
        )
    windows = RecordedWindows(
        options.dataset, profile, episodes=known, steps=runner.chunk_size, stride=1, history=runner.history
    )
    ends = windows.stop_frames()
    if set(ends) != set(known):
        lacking = ", ".join(str(number) for number in sorted(set(known) - set(ends))[:5])
        raise VlaError(
            f"{options.dataset}: episodes {lacking} have no stop frames (column 'synthetic'), so a policy learns no stop "
            f"signal from them. Convert with --target planner or correction"
        )
    said, last = [], None
    for window in shown(windows):
        if window.episode != last:
            runner.reset()
            last = window.episode
        for frame in window.history:
            runner.observe(frame)
        chunk = runner.infer(window.frame, window.task)
        said.append(Said(episode=window.episode, step=window.step, chunk=chunk, frame=window.frame))
    return said, ends, profile


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table, and what to do with it."""
    table = text_table(
        HEAD,
        [
            (str(row["steps"]), row["distance"], f"{row['found']}/{row['episodes']}", str(row["early"]), row["first_s"])
            for row in rows
        ],
    )
    chosen = best(rows)
    if chosen is None:
        return (
            f"{table}\n\nNo setting finds an end: the policy never says that it is done. Convert with more stop frames as "
            "measured (--stop-frames 40 --stop-state measured) and train again, or train longer."
        )
    return (
        f"{table}\n\nBest of these, for the policy node:\n"
        f"  stop_steps: {chosen['steps']}\n  stop_distance: {chosen['distance']:g}\n  stop_gripper: {chosen['gripper']:g}"
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="stop_signal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="run, step or pretrained_model folder")
    parser.add_argument(
        "--dataset", type=Path, required=True, help="LeRobot v3 data set of target planner or correction"
    )
    parser.add_argument("--episodes", type=numbers, default=numbers("0:10"), help="which, e.g. 0:5 (default: 0:10)")
    parser.add_argument("--stop-steps", type=numbers, default=list(STEPS), help="actions in a row (default: 3,8,12)")
    parser.add_argument(
        "--stop-distance",
        type=lambda text: [float(part) for part in text.split(",")],
        default=list(DISTANCES),
        help="distances in the numbers of the action, rad for joints (default: 0.005,0.01,0.02,0.03)",
    )
    parser.add_argument("--stop-gripper", type=float, default=0.5, help="closing that counts (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="compute threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the rows")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 0 if a setting finds every end and none too early, 1 if not, 2 for wrong input."""
    options = build_parser().parse_args(argv)
    try:
        said, ends, profile = collect(options)
        rows = grid(
            said,
            ends,
            profile,
            steps=options.stop_steps,
            distances=options.stop_distance,
            gripper=options.stop_gripper,
        )
    except VlaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(as_text(rows) + "\n")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    return int(not any(row["found"] == row["episodes"] and not row["early"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
