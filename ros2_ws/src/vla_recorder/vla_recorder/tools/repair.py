# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder repair``: finish episodes of a killed recorder and save what is left of damaged ones."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_core.errors import BagError

from vla_recorder.bags.recover import Repaired, find_broken, repair

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
_BAD = ("failed", "nothing left")
HEADER = f"{'folder':<48} {'action':<12} {'messages':>9} {'seconds':>9} {'bytes lost':>11}"
_EXAMPLE = """example:
  ros2 run vla_recorder repair recordings --dry-run
  ros2 run vla_recorder repair recordings

The damaged folder stays as <name>.broken until you delete it.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="repair",
        description="Finish episodes whose recorder was killed (folders ending in .open), and save every whole message of "
        "closed bags that are cut off or damaged.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("folder", type=Path, help="folder of the recorder, one episode, or one bag file")
    result.add_argument("--dry-run", action="store_true", help="only say what would be done")
    result.add_argument(
        "--delete-original", action="store_true", help="keep no <name>.broken beside the repaired episode"
    )
    result.add_argument(
        "--verify", action="store_true", help="read closed episodes to the end, which finds damage in the middle; slow"
    )
    return result


def table_line(row: Repaired) -> str:
    """Return one episode as a line of the table."""
    line = f"{row.folder.name[:48]:<48} {row.action:<12} {row.messages:>9} {row.seconds:>9.3f} {row.lost:>11}"
    return f"{line}\n    {row.detail}" if row.detail else line


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an episode could not be repaired; 2 if there is no such folder.
    """
    arguments = parser().parse_args(args)
    try:
        folders = find_broken(arguments.folder)
    except BagError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(HEADER)
    counts: dict[str, int] = {}
    for folder in folders:
        row = repair(
            folder,
            dry_run=arguments.dry_run,
            delete_original=arguments.delete_original,
            verify=arguments.verify,
        )
        counts[row.action] = counts.get(row.action, 0) + 1
        print(table_line(row), flush=True)
    print(", ".join(f"{count} {action}" for action, count in counts.items()) or "no episode found")
    return EXIT_FAILURE if any(action in counts for action in _BAD) else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
