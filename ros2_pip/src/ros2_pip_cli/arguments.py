# SPDX-License-Identifier: Apache-2.0

"""Pieces of argument parsers that several verbs share."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Least time, in seconds, that a command without a daemon listens before it believes the graph.
DEFAULT_SPIN_TIME_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SubVerb:
    """One sub-command, such as ``list`` of ``ros2 topic``."""

    name: str
    text: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[argparse.Namespace], int]


def add_sub_verbs(parser: argparse.ArgumentParser, sub_verbs: Sequence[SubVerb]) -> None:
    """Add the sub-commands to the parser of a verb; :func:`run_sub_verb` runs the chosen one."""
    parser.set_defaults(sub_main=None, verb_parser=parser)
    group = parser.add_subparsers(
        title="Commands", prog=parser.prog, metavar=f"Call `{parser.prog} <command> -h` for more detailed usage."
    )
    parser.usage = f"{parser.prog} [-h] <command> ..."
    for sub_verb in sub_verbs:
        sub_parser = group.add_parser(sub_verb.name, help=sub_verb.text, description=sub_verb.text)
        sub_verb.add_arguments(sub_parser)
        sub_parser.set_defaults(sub_main=sub_verb.main, sub_parser=sub_parser)


def run_sub_verb(args: argparse.Namespace) -> int:
    """Run the sub-command that was parsed; without one, print the help of the verb."""
    if args.sub_main is None:
        args.verb_parser.print_help()
        return 0
    sub_main: Callable[[argparse.Namespace], int] = args.sub_main
    return sub_main(args)


def add_node_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that join the ROS graph."""
    parser.add_argument(
        "--spin-time",
        type=positive_float,
        default=DEFAULT_SPIN_TIME_S,
        metavar="S",
        help="listen at least this many seconds for other nodes (default: %(default)s)",
    )
    parser.add_argument("--no-daemon", action="store_true", help="accepted for compatibility: there is no daemon here")
    parser.add_argument("-s", "--use-sim-time", action="store_true", help="take the time from /clock")


def positive_float(text: str) -> float:
    """Parse a number above zero."""
    value = _number(text, float)
    if not value > 0:
        msg = f"must be above zero, got '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return value


def positive_int(text: str) -> int:
    """Parse a whole number above zero."""
    value = int(_number(text, int))
    if value <= 0:
        msg = f"must be a whole number above zero, got '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return value


def non_negative_int(text: str) -> int:
    """Parse a whole number, zero or above."""
    value = int(_number(text, int))
    if value < 0:
        msg = f"must be zero or a whole number above, got '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return value


def _number(text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        name = "whole number" if kind is int else "number"
        msg = f"must be a {name}, got '{text}'"
        raise argparse.ArgumentTypeError(msg) from None
