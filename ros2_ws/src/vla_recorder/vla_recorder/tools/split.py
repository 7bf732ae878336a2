# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder split``: several LeRobot v3 datasets of one, whole episodes each."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from vla_core.errors import VlaError

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_source import DatasetSource
from vla_recorder.tools.edit import write_selection
from vla_recorder.tools.staged import check_output, staged

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
_SUM_TOLERANCE = 1e-6
_EXAMPLE = """example:
  ros2 run vla_recorder split outputs/demo/dataset --output outputs/parts --fractions train=0.9,eval=0.1 --seed 7
"""


def fractions(text: str) -> dict[str, float]:
    """Return part -> fraction of ``train=0.9,eval=0.1``.

    Raises:
        ValueError: A part has no name or no number above 0, a name is no folder name or comes twice, or the sum exceeds 1.
    """
    result: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if not name or "/" in name or name.startswith(".") or name in result:
            raise ValueError(f"{part!r}: give NAME=FRACTION with names that are different and usable as folder names")
        try:
            result[name] = float(number)
        except ValueError:
            raise ValueError(f"{part!r}: {number!r} is no number; give NAME=FRACTION, for example train=0.9") from None
        if not result[name] > 0:
            raise ValueError(f"{part!r}: a fraction must be above 0")
    if sum(result.values()) > 1 + _SUM_TOLERANCE:
        raise ValueError(f"the fractions add up to {sum(result.values()):g}, which is more than 1")
    return result


def assign(episodes: int, parts: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Return part -> its episodes, in order.

    The episodes are shuffled by `seed` and dealt out at the rounded cumulative fractions, so that the same seed always
    gives the same parts and every episode is in one part at most.

    Raises:
        DatasetError: A part would be empty.
    """
    order = np.random.default_rng(seed).permutation(episodes)
    result: dict[str, list[int]] = {}
    start, cumulative = 0, 0.0
    for name, fraction in parts.items():
        cumulative += fraction
        end = round(min(cumulative, 1.0) * episodes)
        result[name] = sorted(int(index) for index in order[start:end])
        if not result[name]:
            raise DatasetError(
                f"{name}={fraction:g} of {episodes} episodes is none; record more, or give it a larger share"
            )
        start = end
    return result


def split(
    dataset: Path, output: Path, parts: Mapping[str, float], *, seed: int = 0, overwrite: bool = False
) -> dict[str, list[int]]:
    """Write every part to ``output/<part>``; return part -> episodes of the dataset.

    Videos are copied packet by packet; statistics are those of each part. Every part appears whole or not at all.

    Raises:
        VlaError: The dataset is incomplete, a part would be empty, or an output exists.
    """
    source = DatasetSource(dataset)
    chosen = assign(len(source.episodes), parts, seed)
    for name in chosen:
        check_output((output / name).absolute(), overwrite=overwrite)
    for name, episodes in chosen.items():
        with staged(output / name, overwrite=overwrite) as root:
            about = {"tool": "split", "part": name, "fractions": dict(parts), "seed": seed}
            write_selection(root, [(source, index) for index in episodes], about)
    return chosen


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="split",
        description="Take a LeRobot v3 dataset apart, whole episodes, chosen by a seed. Nothing is encoded again, and "
        "every part has its own exact statistics.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("dataset", type=Path, metavar="DATASET", help="dataset to take apart; stays as it is")
    result.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder; every part is a folder in it"
    )
    result.add_argument(
        "--fractions", default="train=0.9,eval=0.1", metavar="NAME=F,...", help="parts and their share of the episodes"
    )
    result.add_argument("--seed", type=int, default=0, help="chooses which episodes go where (default 0)")
    result.add_argument("--overwrite", action="store_true", help="replace parts that exist")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    command = parser()
    given = command.parse_args(arguments)
    try:
        parts = fractions(given.fractions)
    except ValueError as error:
        command.error(f"--fractions {error}")
    try:
        chosen = split(given.dataset, given.output, parts, seed=given.seed, overwrite=given.overwrite)
    except VlaError as error:
        print(f"split: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    for name, episodes in chosen.items():
        print(f"{given.output / name}: {len(episodes)} episodes")


if __name__ == "__main__":
    main()
