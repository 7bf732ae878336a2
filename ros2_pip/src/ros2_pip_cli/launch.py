# SPDX-License-Identifier: Apache-2.0

"""``ros2 launch``: runs a launch file, or shows its arguments or its entities."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ament_index_python import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchIntrospector, LaunchService
from launch.actions import IncludeLaunchDescription, OpaqueFunction, SetLaunchConfiguration
from launch.actions.declare_launch_argument import DECLARED
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import (
    AnyLaunchDescriptionSource,
    InvalidLaunchFileError,
    get_launch_description_from_any_launch_file,
)
from launch.logging import get_logger

from ros2_pip_cli.errors import CliError

NAME = "launch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add launch file, its arguments and the ways to run or show it."""
    parser.add_argument(
        "-n",
        "--noninteractive",
        action="store_true",
        default=not sys.stdin.isatty(),
        help="Run the launch system non-interactively, with no terminal associated",
    )
    parser.add_argument("-d", "--debug", action="store_true", help="Provide more verbose output, with tracebacks")
    show = parser.add_mutually_exclusive_group()
    show.add_argument(
        "-p",
        "--print",
        "--print-description",
        dest="print_description",
        action="store_true",
        help="Print the launch description to the console without launching it",
    )
    show.add_argument(
        "-s",
        "--show-args",
        "--show-arguments",
        dest="show_args",
        action="store_true",
        help="Show arguments that may be given to the launch file",
    )
    parser.add_argument(
        "-a",
        "--show-all-subprocesses-output",
        action="store_true",
        help="Show all output of the processes, whatever their output configuration",
    )
    parser.add_argument("--launch-prefix", help="Command to put before all executables")
    parser.add_argument(
        "--launch-prefix-filter", help="Regular expression of the executable names that --launch-prefix is for"
    )
    parser.add_argument("package_name", help="Name of the ROS package with the launch file, or path of a launch file")
    parser.add_argument("launch_file_name", nargs="?", help="Name of the launch file")
    parser.add_argument(
        "launch_arguments", nargs="*", help="Arguments to the launch file; '<name>:=<value>' (the last one wins)"
    )


def main(args: argparse.Namespace) -> int:
    """Run the launch file; return 0, or 1 if it could not be read or an entity of it raised.

    The exit codes of the processes do not matter.
    """
    path, texts = _find_file(args)
    if args.show_args or args.print_description:
        try:
            description = get_launch_description_from_any_launch_file(path)
        except (InvalidLaunchFileError, OSError) as error:
            raise CliError(str(error)) from error
        if args.show_args:
            _print_arguments(description)
        else:
            print(LaunchIntrospector().format_launch_description(description))
        return 0
    return _launch(args, path, _parse_arguments(texts))


def _find_file(args: argparse.Namespace) -> tuple[str, Sequence[str]]:
    """Return the path of the launch file, and the texts of its arguments."""
    if Path(args.package_name).is_file():
        # one file, then arguments: the parser took the first of them for the name of the file
        first = [] if args.launch_file_name is None else [args.launch_file_name]
        return args.package_name, [*first, *args.launch_arguments]
    if os.sep in args.package_name or args.package_name.endswith(".py"):
        raise CliError(f"file '{args.package_name}' was not found")
    try:
        share = get_package_share_directory(args.package_name)
    except (PackageNotFoundError, ValueError) as error:
        raise CliError(f"Package '{args.package_name}' not found: {error}") from None
    known = sorted(path for path in Path(share).rglob("*") if path.name.endswith("launch.py"))
    matching = [path for path in known if path.name == args.launch_file_name]
    if not matching:
        names = ", ".join(path.name for path in known) or "none"
        raise CliError(
            f"file '{args.launch_file_name}' was not found in the share directory of package '{args.package_name}' "
            f"which is at '{share}' (it has: {names})"
        )
    if len(matching) > 1:
        paths = ", ".join(map(str, matching))
        raise CliError(
            f"file '{args.launch_file_name}' was found more than once in package '{args.package_name}': {paths}"
        )
    return str(matching[0]), args.launch_arguments


def _parse_arguments(texts: Sequence[str]) -> dict[str, str]:
    parsed: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition(":=")
        if not separator or not name:
            raise CliError(f"malformed launch argument '{text}', expected format '<name>:=<value>'")
        parsed[name] = value
    return parsed


def _print_arguments(description: LaunchDescription) -> None:
    print("Arguments (pass arguments as '<name>:=<value>'):")
    arguments = description.get_launch_arguments(conditional_inclusion=True)
    if not arguments:
        print("\n  No arguments.")
    for argument in arguments:
        print(f"\n    '{argument.name}':\n        {argument.description}")
        if argument.default_value is not None:
            print(f"        (default: {' + '.join(sub.describe() for sub in argument.default_value)})")


def _launch(args: argparse.Namespace, path: str, arguments: dict[str, str]) -> int:
    service = LaunchService(argv=list(args.launch_arguments), noninteractive=args.noninteractive, debug=args.debug)
    if args.show_all_subprocesses_output:
        os.environ["OVERRIDE_LAUNCH_PROCESS_OUTPUT"] = "both"
    settings = {"launch-prefix": args.launch_prefix, "launch-prefix-filter": args.launch_prefix_filter}
    entities: list[LaunchDescriptionEntity] = [
        *(SetLaunchConfiguration(name, value) for name, value in settings.items() if value is not None),
        IncludeLaunchDescription(AnyLaunchDescriptionSource(path), launch_arguments=arguments.items()),
        OpaqueFunction(function=_warn_unknown, args=[list(arguments)]),
    ]
    service.include_launch_description(LaunchDescription(entities))
    return service.run()


def _warn_unknown(context: LaunchContext, names: Sequence[str]) -> None:
    known = sorted(context.get_locals_as_dict().get(DECLARED, ()))
    for name in names:
        if name not in known:
            get_logger("launch").warning(
                "launch argument '%s' is not declared by any launch file of this launch (declared: %s)",
                name,
                ", ".join(known) or "none",
            )
