# SPDX-License-Identifier: Apache-2.0

"""The command line of `train`."""

import argparse
from pathlib import Path

from vla_policy.training.train_settings import PHASES, POLICIES, PRECISIONS, TRACKERS

RUNS = Path("outputs") / "runs"
EXAMPLES = """\
examples:
  ros2 run vla_policy train --policy act --dataset outputs/lift --run lift_act
  ros2 run vla_policy train --policy smolvla --dataset outputs/monday,outputs/tuesday --run both --held-out 0.1
  ros2 run vla_policy train --policy pi05 --phase finetune --base ~/models/pi05_base --dataset outputs/lift --run lift_pi05 \\
      --device cuda --lora 16
  ros2 run vla_policy train --resume --run lift_act --steps 2000
  ros2 run vla_policy train --policy act --dataset outputs/lift --run try --dry-run -- --policy.dim_model=256

Without ROS: python -m vla_policy.training.train with the same options. Options after -- go to lerobot-train unchanged.
"""


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value


def not_negative(text: str) -> int:
    """A whole number of at least zero, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be below 0, got {value}")
    return value


def part(text: str) -> float:
    """A number of [0, 1), for argparse."""
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def length(text: str) -> float:
    """A finite number of at least zero, for argparse."""
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must not be below 0, got {text}")
    return value


def folders(text: str) -> list[Path]:
    """Folders between commas, for argparse."""
    found = [Path(name).expanduser() for name in text.split(",") if name]
    if not found:
        raise argparse.ArgumentTypeError("names no folder")
    return found


def build_parser() -> argparse.ArgumentParser:
    """The command line; options after `--` go to lerobot-train unchanged."""
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy train",
        description="Train a policy with lerobot-train, offline, and keep beside it what it was trained on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_what(parser)
    _add_how(parser)
    _add_machine(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is trained")
    group.add_argument(
        "--policy", metavar="NAME", help=f"{', '.join(POLICIES)}, or another LeRobot policy together with --settings"
    )
    group.add_argument(
        "--dataset", type=folders, metavar="DIR[,DIR…]", help="LeRobot v3.0 dataset folders; several are merged first"
    )
    place = group.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--run", metavar="NAME", help=f"name of the run; its folder is {RUNS}/NAME, which must not exist"
    )
    place.add_argument("--output", type=Path, metavar="DIR", help="run folder; must not exist")
    group.add_argument("--resume", action="store_true", help="go on with a run from its last checkpoint")
    group.add_argument("--base", type=Path, metavar="DIR", help="checkpoint to go on from (default: new weights)")
    group.add_argument(
        "--lora", type=positive, metavar="RANK", help="train low-rank adapters on --base (pi0, pi05, smolvla)"
    )
    group.add_argument("--vlm", type=Path, help="SmolVLA backbone folder (default: a small new one beside the run)")
    group.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="tokenizer folder for pi0 and pi05 (default: the base's)"
    )
    group.add_argument("--profile", type=Path, help="robot profile (default: the one that travels with the dataset)")


def _add_how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is trained")
    group.add_argument("--phase", choices=PHASES, help="the package's settings (default: demo, else finetune)")
    group.add_argument("--settings", type=Path, metavar="FILE", help="settings file of your own instead of a phase")
    group.add_argument("--steps", type=positive, help="optimiser steps in all (default: from the settings)")
    group.add_argument("--batch-size", type=positive, help="frames per step and process (default: from the settings)")
    group.add_argument("--save-every", type=not_negative, help="steps between checkpoints; 0: only the last")
    group.add_argument("--seed", type=int, default=1000, help="weights and sample order (default %(default)s)")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the computation (default: from the settings)"
    )
    group.add_argument(
        "--held-out",
        type=part,
        default=0.0,
        metavar="PART",
        help="part of the episodes to keep for evaluation (default 0)",
    )
    group.add_argument(
        "--std-floor",
        type=length,
        default=0.0,
        metavar="VALUE",
        help="normalise by at least this; for values that never move",
    )
    group.add_argument(
        "--state-noise",
        type=length,
        metavar="VALUE",
        help="noise on the joints of the normalised state (0.5, say), so that the policy looks at its images; grippers keep theirs",
    )
    group.add_argument(
        "--augment",
        metavar="NAME",
        help="change images at random: light, strong, or a YAML file (default: as recorded)",
    )
    group.add_argument("--skip-validate", action="store_true", help="do not run vla_recorder validate on the datasets")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it is trained")
    group.add_argument("--device", default="cpu", help="torch device, cpu, cuda, mps (default %(default)s)")
    group.add_argument("--processes", type=positive, default=1, help="training processes, one per GPU (default 1)")
    group.add_argument("--threads", type=positive, default=1, help="compute threads (default %(default)s)")
    group.add_argument("--workers", type=not_negative, help="video decoding processes (default: from the settings)")
    group.add_argument(
        "--frame-cache",
        type=not_negative,
        default=2048,
        metavar="MB",
        help="memory for decoded frames (default %(default)s)",
    )
    group.add_argument("--tracker", choices=TRACKERS, default="off", help="Weights & Biases (default %(default)s)")
    group.add_argument("--project", default="ros2_vla", help="its project (default %(default)s)")
    group.add_argument("--dry-run", action="store_true", help="check the datasets, print the command and stop")
