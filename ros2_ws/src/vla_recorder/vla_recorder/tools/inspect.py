# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder inspect``: look at recorded episodes or at a dataset, in the terminal and as a page."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from vla_core.episode import PHASES
from vla_core.errors import BagError, VlaError
from vla_core.profile import load_profile

from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.tools.episode_view import EpisodeView, bag_view, dataset_length, dataset_views, is_dataset
from vla_recorder.tools.inspect_page import page

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
_EXAMPLE = """example:
  ros2 run vla_recorder inspect outputs/demo/dataset --html dataset.html
  ros2 run vla_recorder inspect recordings --last 3
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="inspect",
        description="Show episodes of a LeRobot v3 dataset or of a folder of bags: a table, and a page with pictures, "
        "phases and curves.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("path", type=Path, help="a dataset, a folder of the recorder, or one episode folder")
    result.add_argument("--html", type=Path, metavar="FILE", help="also write a page; one file that needs nothing else")
    result.add_argument("--episode", type=int, metavar="N", help="only this episode (counted from 0)")
    result.add_argument("--last", type=int, metavar="N", help="only the last N episodes")
    result.add_argument("--profile", type=Path, help="robot profile for bags that carry none")
    return result


def table_line(view: EpisodeView) -> str:
    """Return one episode as a line of the table."""
    counts = Counter(PHASES[int(phase)].lower() for phase in view.phases)
    phases = " ".join(f"{name}:{count}" for name, count in counts.items())
    return (
        f"{view.name[:44]:<44} {view.outcome or '-':<8} {view.rows:>6} {view.duration_s:>8.1f} {len(view.gaps):>5} "
        f"{sum(view.dropped.values()):>8}  {phases}  {view.task[:40]}"
    )


HEADER = f"{'episode':<44} {'outcome':<8} {'rows':>6} {'seconds':>8} {'gaps':>5} {'dropped':>8}  phases  task"


def _views(arguments: argparse.Namespace) -> Iterator[EpisodeView | VlaError]:
    """Yield what was asked for; a bag that cannot be read comes as its error, and the others go on."""
    if is_dataset(arguments.path):
        yield from dataset_views(arguments.path, _chosen(arguments, dataset_length(arguments.path)))
        return
    text = load_profile(arguments.profile).text if arguments.profile else None
    folders = find_episodes(arguments.path)
    for index in _chosen(arguments, len(folders)):
        try:
            yield bag_view(open_episode(folders[index]), text)
        except BagError as error:
            yield error


def _chosen(arguments: argparse.Namespace, total: int) -> range:
    if arguments.episode is not None:
        if not 0 <= arguments.episode < total:
            raise VlaError(f"--episode {arguments.episode}: {arguments.path} has the episodes 0 to {total - 1}")
        return range(arguments.episode, arguments.episode + 1)
    if arguments.last is not None:
        if arguments.last < 1:
            raise VlaError(f"--last {arguments.last}: at least one episode is needed")
        return range(max(0, total - arguments.last), total)
    return range(total)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an episode cannot be shown; 2 if nothing can.
    """
    arguments = parser().parse_args(args)
    views: list[EpisodeView] = []
    failed = 0
    try:
        print(HEADER)
        for view in _views(arguments):
            if isinstance(view, VlaError):
                failed += 1
                print(f"error: {view}", file=sys.stderr)
                continue
            print(table_line(view))
            for warning in view.warnings:
                print(f"    {warning}")
            if arguments.html:
                views.append(view)
        if arguments.html:
            arguments.html.write_text(page(str(arguments.path), views), encoding="utf-8")
            print(f"{arguments.html}: {len(views)} episodes")
    except VlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {arguments.html}: cannot be written ({error.strerror})", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_FAILURE if failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
