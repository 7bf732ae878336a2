# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder merge``: one LeRobot v3 dataset of several."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_core.errors import VlaError

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_source import DatasetSource
from vla_recorder.tools.edit import check_alike, write_selection
from vla_recorder.tools.staged import staged

EXIT_OK, EXIT_FAILURE = 0, 1
_EXAMPLE = """example:
  ros2 run vla_recorder merge outputs/monday outputs/tuesday --output outputs/both
"""


def merge(roots: Sequence[Path], output: Path, *, overwrite: bool = False) -> int:
    """Write all episodes of some datasets, in the order given, into a new one; return their number.

    Videos are copied packet by packet. The output appears whole or not at all.

    Raises:
        VlaError: A dataset is incomplete, they do not fit together, or the output exists.
    """
    if len({root.resolve() for root in roots}) != len(roots):
        raise DatasetError("a dataset is named twice, so its episodes would be twice in the result")
    sources = [DatasetSource(root) for root in roots]
    check_alike(sources)
    selection = [(source, index) for source in sources for index in range(len(source.episodes))]
    with staged(output, overwrite=overwrite) as root:
        write_selection(root, selection, {"tool": "merge"})
    return len(selection)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="merge",
        description="Make one LeRobot v3 dataset of several of the same robot, features and encoder settings. Nothing is "
        "encoded again, and the statistics are exact over all frames.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "datasets", type=Path, nargs="+", metavar="DATASET", help="datasets, in the order of the result"
    )
    result.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the new dataset")
    result.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    given = parser().parse_args(arguments)
    try:
        count = merge(given.datasets, given.output, overwrite=given.overwrite)
    except VlaError as error:
        print(f"merge: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    print(f"{given.output}: {count} episodes of {len(given.datasets)} datasets")


if __name__ == "__main__":
    main()
