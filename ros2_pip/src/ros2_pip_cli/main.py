# SPDX-License-Identifier: Apache-2.0

"""Entry point of ``ros2``: finds the verb, imports its module, runs it, turns its outcome into an exit code.

A verb is a module with ``NAME``, ``add_arguments(parser)`` and ``main(args) -> int``.
"""

import argparse
import importlib
import io
import signal
import sys
from collections.abc import Sequence

from ros2_pip_cli.errors import CliError, Terminated

#: Verb to the line shown by ``ros2 --help``; the module of a verb has its name.
VERBS = {
    "action": "Various action related sub-commands",
    "bag": "Various rosbag related sub-commands",
    "daemon": "Various daemon related sub-commands",
    "interface": "Show information about ROS interfaces",
    "launch": "Run a launch file",
    "node": "Various node related sub-commands",
    "param": "Various param related sub-commands",
    "pkg": "Various package related sub-commands",
    "run": "Run a package specific executable",
    "service": "Various service related sub-commands",
    "topic": "Various topic related sub-commands",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ros2`` with these arguments (default: those of the process) and return its exit code.

    0 is success, 1 an error whose message went to stderr, 2 wrong usage or Ctrl-C, 15 SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return int(signal.SIGINT)
    except Terminated:
        return int(signal.SIGTERM)
    except BrokenPipeError:
        # the reader (head, grep -q) has gone: a normal end; keep the interpreter from flushing into it again
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except CliError as error:
        print(error, file=sys.stderr)
        return 1


def _run(arguments: Sequence[str]) -> int:
    parser, verb_parser = _build_parser(arguments)
    args, unknown = parser.parse_known_args(arguments)
    if args.verb is None:
        parser.print_help()
        return 0
    if unknown:
        getattr(args, "sub_parser", verb_parser or parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    _line_buffered(sys.stdout)
    return int(importlib.import_module(f"{__package__}.{args.verb}").main(args))


def _build_parser(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    parser = argparse.ArgumentParser(
        prog="ros2", description="ros2 is an extensible command-line tool for ROS 2.", usage="ros2 [-h] <command> ..."
    )
    verbs = parser.add_subparsers(
        title="Commands", dest="verb", prog="ros2", metavar="Call `ros2 <command> -h` for more detailed usage."
    )
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    verb_parser = None
    for name, text in VERBS.items():
        sub_parser = verbs.add_parser(name, help=text, description=text)
        if name == chosen:
            # only the called verb is imported: rclpy and message packages cost more than the rest of the command
            importlib.import_module(f"{__package__}.{name}").add_arguments(sub_parser)
            verb_parser = sub_parser
    return parser, verb_parser


def _line_buffered(stream: object) -> None:
    """Show each line at once, also when the output is a file or a pipe."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(line_buffering=True)
