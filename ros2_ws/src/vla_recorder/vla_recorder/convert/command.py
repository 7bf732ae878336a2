# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder convert``: recorded episodes to datasets. Needs no running ROS."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vla_core.errors import VlaError
from vla_core.profile import CODECS
from vla_core.specs import ROTATIONS

from vla_recorder.convert.job import ACTIONS
from vla_recorder.convert.run import Options, Plan, convert, make_plan
from vla_recorder.convert.staging import OutputError, partial_of
from vla_recorder.convert.targets import NOOP_RULES, NOOP_THRESHOLD, STOP_FRAMES, STOP_STATES, TARGETS
from vla_recorder.formats import DEFAULT_FORMAT, FORMATS, FormatError, make_format
from vla_recorder.media.hardware import encoder_settings
from vla_recorder.media.settings import add_encoder_arguments

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_EPILOG = """\
examples:
  ros2 run vla_recorder convert --bags bags --output dataset
  ros2 run vla_recorder convert --bags bags --output sets --target all --action next_state --fps 10 --workers 4
  ros2 run vla_recorder convert --bags bags --output dataset --resume

exit codes:
  0    every episode that was chosen is in the dataset, whole
  1    an episode could not be converted, or only up to where its bag is damaged; the others are in the dataset, unless
       --strict was given or there is none
  2    nothing was begun: an option or the input does not fit
  130  interrupted; finished episodes are kept, --resume goes on
"""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help, line breaks of the examples kept."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="convert",
        description="Convert recorded episodes to datasets for training.",
        epilog=_EPILOG,
        formatter_class=_Help,
    )
    result.add_argument("--bags", type=Path, required=True, help="folder of the recorder, or one episode folder")
    result.add_argument(
        "--output",
        required=True,
        help="folder of the dataset, or a URL to copy it to when it is whole: s3://bucket/name, hf://user/name, or another "
        "that fsspec knows",
    )
    result.add_argument(
        "--work-dir",
        type=Path,
        help="folder in which a dataset for a URL is made; default: one below ~/.cache, named after the URL",
    )
    result.add_argument("--repo-id", default="local/dataset", help="name of the dataset, shown in the report")
    _add_rows(result.add_argument_group("rows"))
    _add_content(result.add_argument_group("content"))
    add_encoder_arguments(result)
    _add_run(result.add_argument_group("run"))
    return result


def _add_rows(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--target",
        choices=(*TARGETS, "all"),
        default="recorded",
        help="training set: recorded (every frame in which somebody drives), e2e (the same without standstill), planner "
        "(teleop only, with stop frames), correction (corrections only, with stop frames), all (the last three in one "
        "pass, each in a folder of its own below --output)",
    )
    group.add_argument("--keep-noops", action="store_true", help="keep the rows in which the robot stands still")
    group.add_argument(
        "--noop-rule",
        choices=NOOP_RULES,
        default="all",
        help="what standing still means: no joint and no gripper moves (all), or no joint of an arm (joints)",
    )
    group.add_argument(
        "--noop-threshold",
        type=float,
        default=NOOP_THRESHOLD,
        help="a row is kept if a value differs by more than this from the last row kept [rad or m; gripper: dataset units]",
    )
    group.add_argument(
        "--gripper-closed",
        type=float,
        help="joint position of the closed gripper, for stop frames; default: the upper end of its scale in the profile",
    )
    group.add_argument(
        "--stop-frames",
        type=int,
        default=STOP_FRAMES,
        help="rows added at the end of planner and correction episodes, which say that the policy is done",
    )
    group.add_argument(
        "--stop-state",
        choices=STOP_STATES,
        default=STOP_STATES[0],
        help="the gripper in the observed state of a stop frame: closed, as its action says, or as it was measured, which is "
        "what a policy will see there",
    )
    group.add_argument("--fps", type=float, help="rows per second, a whole number; default: the profile's")
    group.add_argument("--task", help="instruction of all episodes; default: the one recorded with each")
    group.add_argument(
        "--include-failures", action="store_true", help="also take episodes marked as failed or left incomplete"
    )


def _add_content(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--format", choices=tuple(FORMATS), default=DEFAULT_FORMAT, help="format of the dataset")
    group.add_argument(
        "--format-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the format; may be repeated",
    )
    group.add_argument("--profile", type=Path, help="robot profile to read the bags with; default: each bag's own")
    group.add_argument(
        "--action",
        choices=ACTIONS,
        default="commanded",
        help="what a row's action is: the target in force (commanded), the measured joints of the next row (next_state), "
        "or their difference to this row's (delta; grippers stay absolute)",
    )
    group.add_argument(
        "--codec", choices=tuple(CODECS), help="what state and action say of the arm; default: what the profile says"
    )
    group.add_argument(
        "--rotation", choices=ROTATIONS, help="how the eepose codecs write orientations; default: the rotation vector"
    )
    group.add_argument("--image-size", type=int, metavar="N", help="resize every camera to N x N pixels")
    group.add_argument(
        "--age-columns",
        action="store_true",
        help="store with every row how old each stream's message was, and the skew",
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=int, help="episodes converted at the same time; default: one for every core")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="convert on a Ray cluster instead of --workers: auto, HOST:PORT, ray://HOST:PORT or local. Bags and output "
        "must lie on a file system that all nodes share",
    )
    group.add_argument("--strict", action="store_true", help="stop at the first episode that cannot be converted")
    group.add_argument(
        "--overwrite", action="store_true", help="replace an existing output, or an unfinished conversion"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with an unfinished conversion, or add the new episodes to a finished dataset",
    )
    group.add_argument("--report", type=Path, metavar="FILE", help="also write the report of the run to this JSON file")
    group.add_argument("--dry-run", action="store_true", help="print what would be converted and stop")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def options(arguments: argparse.Namespace) -> Options:
    """Return the options of a conversion.

    Raises:
        VlaError: A number is out of range, or the format has no such option.
    """
    url = arguments.output if "://" in arguments.output else None
    if arguments.work_dir is not None and url is None:
        raise OutputError(f"--work-dir is for an --output that is a URL; {arguments.output} is a folder")
    return Options(
        bags=arguments.bags,
        output=Path(arguments.output) if url is None else _work_folder(url, arguments.work_dir),
        url=url,
        repo_id=arguments.repo_id,
        format=make_format(arguments.format, _pairs(arguments.format_option)),
        target=arguments.target,
        keep_noops=arguments.keep_noops,
        noop_rule=arguments.noop_rule,
        noop_threshold=arguments.noop_threshold,
        gripper_closed=arguments.gripper_closed,
        stop_frames=arguments.stop_frames,
        stop_state=arguments.stop_state,
        action=arguments.action,
        codec=arguments.codec,
        rotation=arguments.rotation,
        image_size=arguments.image_size,
        age_columns=arguments.age_columns,
        fps=arguments.fps,
        profile=arguments.profile,
        task=arguments.task,
        video=encoder_settings(arguments),
        include_failures=arguments.include_failures,
        strict=arguments.strict,
        overwrite=arguments.overwrite,
        resume=arguments.resume,
        ray=arguments.ray,
        workers=available_cores() if arguments.workers is None else arguments.workers,
        report=arguments.report,
    )


def _work_folder(url: str, work_dir: Path | None) -> Path:
    """Return where a dataset for a URL is made: the same folder for the same URL, so that a run can be resumed."""
    name = PurePosixPath(url).name or "dataset"
    if work_dir is not None:
        return work_dir / name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vla_recorder" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise FormatError(f"--format-option {text}: give it as KEY=VALUE")
        found[key] = value
    return found


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
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except VlaError as error:
        print(f"error: {error}; {_kept(chosen)}", file=sys.stderr)
        return EXIT_FAILURE
    except OSError as error:
        where = error.filename or chosen.output
        print(f"error: {where}: {error.strerror or error}. Is there room on the disk? {_kept(chosen)}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        print(f"interrupted; {_kept(chosen)}", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(report.text())
    return EXIT_OK if report.complete else EXIT_FAILURE


def _kept(chosen: Options) -> str:
    """Say what an interrupted run leaves."""
    partial = partial_of(chosen.output.absolute())
    if not partial.exists():
        return "no episode was finished, nothing was left behind"
    return f"finished episodes are kept in {partial}; the same command with --resume goes on"


def _print_plan(plan: Plan) -> None:
    print(
        f"{len(plan.jobs)} episodes of {plan.profile.robot} at {plan.fps} fps, cameras: "
        f"{', '.join(plan.profile.camera_names) or 'none'}",
        file=sys.stderr,
    )
    for folder in plan.present:
        print(f"{folder.name}: is in the dataset already", file=sys.stderr)
    for name, reason in plan.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
