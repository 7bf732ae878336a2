# SPDX-License-Identifier: Apache-2.0

"""The command ``export_registration``: the lines by which a training program learns of a dataset.

For OpenVLA and OpenVLA-OFT of RLDS datasets of the schema ``seed``, for OpenPI of a LeRobot dataset v2.1. See
`vla_policy.registration` for what the lines do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vla_core.errors import VlaError, listing

from vla_policy.registration.openpi import MODELS, NORM_STATS, openpi, openpi_dataset
from vla_policy.registration.openvla import GRIPPERS, HEADS, oft, openvla
from vla_policy.registration.rlds import seed_datasets
from vla_policy.registration.sections import Section, printed, write_into

EXIT_OK, EXIT_USAGE = 0, 2
_EXAMPLE = """\
examples:
  ros2 run vla_policy export_registration --target openvla ~/tensorflow_datasets
  ros2 run vla_policy export_registration --target oft ~/tensorflow_datasets/ur5e_vla_planner --into ~/openvla-oft
  ros2 run vla_policy export_registration --target openpi outputs/openpi --model pi0_fast
"""


class _Target(NamedTuple):
    """A training program: the options it has, and what makes its lines."""

    options: tuple[str, ...]
    make: Callable[[argparse.Namespace], list[Section]]


def _openvla(arguments: argparse.Namespace) -> list[Section]:
    return openvla(
        seed_datasets(arguments.dataset),
        gripper=arguments.gripper or GRIPPERS[0],
        gpus=arguments.gpus,
        gpu_gb=arguments.gpu_gb,
    )


def _oft(arguments: argparse.Namespace) -> list[Section]:
    return oft(
        seed_datasets(arguments.dataset),
        gripper=arguments.gripper or GRIPPERS[0],
        gpus=arguments.gpus,
        head=arguments.head or HEADS[0],
    )


def _openpi(arguments: argparse.Namespace) -> list[Section]:
    model = arguments.model or MODELS[0]
    return openpi(
        openpi_dataset(arguments.dataset),
        model=model,
        norm_stats=arguments.norm_stats or ("compute" if model == "pi05" else NORM_STATS[0]),
        gpus=arguments.gpus,
        gpu_gb=arguments.gpu_gb,
        repo_id=arguments.repo_id or "",
    )


TARGETS = {
    "openvla": _Target(("gripper", "gpu_gb"), _openvla),
    "oft": _Target(("gripper", "head"), _oft),
    "openpi": _Target(("gpu_gb", "model", "norm_stats", "repo_id"), _openpi),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="ros2 run vla_policy export_registration",
        description="Print the lines by which a training program learns of a dataset of six joints and one gripper.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "dataset", type=Path, help="folder of RLDS datasets (openvla, oft), or a LeRobot dataset (openpi)"
    )
    result.add_argument("--target", choices=TARGETS, required=True, help="training program")
    result.add_argument(
        "--into",
        type=Path,
        metavar="CHECKOUT",
        help="append the lines to the files of this checkout; again: replace them",
    )
    result.add_argument("--gpus", type=int, default=1, help="GPUs that train (default %(default)s)")
    result.add_argument("--gpu-gb", type=int, help="memory of each GPU [GB], for the batch size (openvla, openpi)")
    result.add_argument(
        "--gripper",
        choices=GRIPPERS,
        help="gripper command: measured at the same step (state, the default), or of the next step (openvla, oft)",
    )
    result.add_argument("--head", choices=HEADS, help="of the action, default l1 (oft)")
    result.add_argument("--model", choices=MODELS, help="that the commands train and serve, default pi0 (openpi)")
    result.add_argument(
        "--norm-stats",
        choices=NORM_STATS,
        help="reuse the base model's statistics of the UR5e (default for pi0 and pi0_fast) or compute them (openpi)",
    )
    result.add_argument("--repo-id", help="name below LeRobot's home, default local/<folder> (openpi)")
    return result


def _refuse_foreign_options(arguments: argparse.Namespace) -> None:
    every = {option for target in TARGETS.values() for option in target.options}
    foreign = sorted(
        option for option in every - set(TARGETS[arguments.target].options) if getattr(arguments, option) is not None
    )
    if foreign:
        named = listing(f"--{option.replace('_', '-')}" for option in foreign)
        raise VlaError(f"--target {arguments.target} has no {named}; leave it away")
    if arguments.gpus < 1:
        raise VlaError(f"--gpus {arguments.gpus}: must be 1 or more")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if there is no such dataset, or the checkout is another program's.
    """
    arguments = parser().parse_args(args)
    try:
        _refuse_foreign_options(arguments)
        sections = TARGETS[arguments.target].make(arguments)
        if arguments.into is None:
            sys.stdout.write(printed(sections))
            return EXIT_OK
        for path in write_into(arguments.into, sections):
            sys.stdout.write(f"wrote {path}\n")
        sys.stdout.write(printed([section for section in sections if not section.path]))
    except (VlaError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
