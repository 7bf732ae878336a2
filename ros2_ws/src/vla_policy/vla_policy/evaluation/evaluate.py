# SPDX-License-Identifier: Apache-2.0

"""Is a policy any good? On recorded episodes (--dataset) or in the simulated cell (--sim).

    evaluate --checkpoint outputs/runs/lift --dataset outputs/lift
    evaluate --mock-model --dataset outputs/lift
    evaluate --checkpoint outputs/runs/lift --sim --scene lift --seeds 0:50
    evaluate --checkpoint outputs/runs/a --sim --scene lift --seeds 0:50 --against outputs/runs/b

Offline, each predicted chunk is compared with what was recorded: on the episodes that the training left out, where the
run's run.json names some, else on all. Results go to <run>/evaluations/NAME.json and <run>/evaluations/NAME/report.html.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError

# What belongs to one way of evaluating, with its defaults.
OFFLINE: dict[str, Any] = {
    "episodes": None, "stride": 5, "horizon": None, "mock_noise": 0.01, "draw": 3, "threads": 1
}  # fmt: skip
SIM: dict[str, Any] = {
    "scene": "lift", "seeds": list(range(20)), "against": None, "task": None, "strategy": "crossfade",
    "latency_ms": 100.0, "max_duration": 10.0, "launch": (), "fresh": False,
}  # fmt: skip


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value


def numbers(text: str) -> list[int]:
    """Read `0:5` (0 to 4), `3`, or several of both with commas.

    Raises:
        argparse.ArgumentTypeError: it is written otherwise, or names nothing.
    """
    found: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if not first.isdigit() or (colon and not last.isdigit()):
            raise argparse.ArgumentTypeError(
                f"'{part}' in '{text}' is neither a number nor a range; write 0:5 or 0,3,7"
            )
        found += range(int(first), int(last)) if colon else [int(first)]
    if not found:
        raise argparse.ArgumentTypeError(
            f"'{text}' names nothing: the end of a range is not in it; write 0:5 for 0 to 4"
        )
    return sorted(set(found))


def build_parser() -> argparse.ArgumentParser:
    """The command line. What belongs to one way of evaluating only has no default here, so that it is seen when given."""
    parser = argparse.ArgumentParser(
        prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", type=Path, help="run folder, step folder or pretrained_model folder")
    what.add_argument(
        "--mock-model",
        nargs="?",
        const="noisy",
        choices=("noisy", "hold_last"),
        help="no checkpoint: the recorded actions with noise (noisy, the default), or the last action held (hold_last)",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--dataset", type=Path, help="offline: LeRobot v3 dataset folder")
    how.add_argument("--sim", action="store_true", help="closed loop: run the policy in the simulated cell")
    parser.add_argument("--name", help="name of the evaluation (default: made of what is evaluated on what)")
    parser.add_argument("--output", type=Path, help="folder of the results (default: <run>/evaluations)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise, offline (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device of the policy (default %(default)s)")
    _add_offline(parser.add_argument_group("offline, with --dataset"))
    _add_sim(parser.add_argument_group("closed loop, with --sim"))
    return parser


def _add_offline(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--episodes", type=numbers, metavar="0:5,9", help="episodes (default: those the training left out)"
    )
    group.add_argument(
        "--stride", type=positive, help=f"frames from one window to the next (default {OFFLINE['stride']})"
    )
    group.add_argument("--horizon", type=positive, metavar="STEPS", help="compare only the first steps of each chunk")
    group.add_argument("--mock-noise", type=float, help=f"of --mock-model noisy (default {OFFLINE['mock_noise']})")
    group.add_argument("--draw", type=int, metavar="N", help=f"episodes that are drawn (default {OFFLINE['draw']})")
    group.add_argument("--threads", type=positive, help=f"compute threads (default {OFFLINE['threads']})")


def _add_sim(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--scene", help=f"scene:= of infer.launch.py; pick means pick_place (default {SIM['scene']})")
    group.add_argument("--seeds", type=numbers, metavar="0:50", help="seeds of the scene (default 0:20)")
    group.add_argument("--against", type=Path, metavar="DIR", help="second checkpoint, compared on the same seeds")
    group.add_argument("--task", help="instruction (default: the profile's)")
    group.add_argument("--strategy", help=f"how chunk follows chunk (default {SIM['strategy']})")
    group.add_argument("--latency-ms", type=float, help=f"simulated inference time (default {SIM['latency_ms']:g})")
    group.add_argument(
        "--max-duration", type=float, help=f"limit of a trial, simulated s (default {SIM['max_duration']:g})"
    )
    group.add_argument(
        "--launch", action="append", metavar="KEY:=VALUE", help="further argument of infer.launch.py, e.g. bin:=moving"
    )
    group.add_argument("--fresh", action="store_const", const=True, help="forget trials that an earlier call has kept")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line with all defaults; ends the program where options do not go together."""
    parser = build_parser()
    options = parser.parse_args(argv)
    mine, others, flag = (SIM, OFFLINE, "--dataset") if options.sim else (OFFLINE, SIM, "--sim")
    for name in others:
        if getattr(options, name) is not None:
            parser.error(f"--{name.replace('_', '-')} goes with {flag}")
    if options.sim and options.mock_model:
        parser.error(
            "--mock-model needs no robot: it goes with --dataset; for a policy without weights see policy:=scripted"
        )
    if options.mock_noise is not None and options.mock_model != "noisy":
        parser.error("--mock-noise goes with --mock-model noisy")
    if options.mock_noise is not None and options.mock_noise < 0.0:
        parser.error(f"--mock-noise {options.mock_noise}: must be at least 0")
    for pair in options.launch or ():
        if ":=" not in pair:
            parser.error(f"--launch {pair}: is not of the form key:=value")
    for name, value in mine.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `evaluate`; exit code 0, or 2 with a message."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = parse(given)
    command = shlex.join(["evaluate", *given])
    try:
        # Torch, LeRobot and matplotlib take seconds to load; --help and a wrong command line need none of them.
        if options.sim:
            from vla_policy.evaluation.sim_command import run_sim  # noqa: PLC0415

            run_sim(options, command)
        else:
            from vla_policy.evaluation.offline_command import run_offline  # noqa: PLC0415

            run_offline(options, command)
    except VlaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
