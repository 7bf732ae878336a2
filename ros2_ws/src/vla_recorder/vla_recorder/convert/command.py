# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder convert``: recorded episodes to a LeRobot v3.0 dataset. Needs no running ROS."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_core.errors import VlaError

from vla_recorder.convert.run import Options, Plan, convert, make_plan
from vla_recorder.media.video import CODECS, PIXEL_FORMATS, VideoSettings

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    default = VideoSettings()
    result = argparse.ArgumentParser(
        prog="convert",
        description="Convert recorded episodes to a LeRobot v3.0 dataset.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("--bags", type=Path, required=True, help="folder of the recorder, or one episode folder")
    result.add_argument("--output", type=Path, required=True, help="folder of the dataset; must not exist")
    result.add_argument("--repo-id", default="local/dataset", help="name of the dataset, shown in the report")
    result.add_argument("--fps", type=float, help="rows per second; default: the profile's")
    result.add_argument("--profile", type=Path, help="robot profile to read the bags with; default: each bag's own")
    result.add_argument("--task", help="instruction of all episodes; default: the one recorded with each")
    result.add_argument("--workers", type=int, default=available_cores(), help="episodes converted at the same time")
    result.add_argument("--vcodec", choices=tuple(CODECS), default=default.vcodec, help="video codec")
    result.add_argument(
        "--pix-fmt",
        choices=PIXEL_FORMATS,
        default=default.pix_fmt,
        help="pixel format; auto keeps the full colour resolution of small images",
    )
    result.add_argument("--crf", type=int, default=default.crf, help="video quality; lower is better and larger")
    result.add_argument("--gop", type=int, default=default.gop, help="frames per key frame; few read quickly")
    result.add_argument(
        "--include-failures", action="store_true", help="also take episodes marked as failed or left incomplete"
    )
    result.add_argument("--skip-bad", action="store_true", help="leave unreadable episodes out instead of stopping")
    result.add_argument("--force", action="store_true", help="replace an existing output")
    result.add_argument("--dry-run", action="store_true", help="print what would be converted and stop")
    return result


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def options(arguments: argparse.Namespace) -> Options:
    """Return the options of a conversion.

    Raises:
        VlaError: A number is out of range.
    """
    return Options(
        bags=arguments.bags,
        output=arguments.output,
        repo_id=arguments.repo_id,
        fps=arguments.fps,
        profile=arguments.profile,
        task=arguments.task,
        workers=arguments.workers,
        video=VideoSettings(vcodec=arguments.vcodec, pix_fmt=arguments.pix_fmt, crf=arguments.crf, gop=arguments.gop),
        include_failures=arguments.include_failures,
        skip_bad=arguments.skip_bad,
        force=arguments.force,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if an episode could not be converted; 2 if nothing was begun; 130 after ctrl-c.
    """
    arguments = parser().parse_args(args)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints a page per file otherwise
    # A launcher or CI ends a program with SIGTERM; it must clean up then as after ctrl-c.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen = options(arguments)
        plan = make_plan(chosen)
        _print_plan(plan)
        if arguments.dry_run:
            return EXIT_OK
    except VlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        report = convert(plan, chosen)
    except VlaError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        print("interrupted; nothing was left behind", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(report.text())
    return EXIT_FAILURE if report.failed else EXIT_OK


def _print_plan(plan: Plan) -> None:
    print(
        f"{len(plan.jobs)} episodes of {plan.profile.robot} at {plan.fps} fps, cameras: "
        f"{', '.join(plan.profile.camera_names) or 'none'}",
        file=sys.stderr,
    )
    for name, reason in plan.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
