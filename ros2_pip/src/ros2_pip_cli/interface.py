# SPDX-License-Identifier: Apache-2.0

"""``ros2 interface``: definitions of messages, services and actions."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ament_index_python import PackageNotFoundError
from rosidl_runtime_py.get_interfaces import (
    get_action_interfaces,
    get_interface_packages,
    get_interface_path,
    get_interfaces,
    get_message_interfaces,
    get_service_interfaces,
)

from ros2_pip_cli.arguments import SubVerb, add_sub_verbs, run_sub_verb
from ros2_pip_cli.errors import CliError

NAME = "interface"

_KINDS: dict[str, tuple[str, Callable[..., dict[str, list[str]]]]] = {
    "msgs": ("Messages", get_message_interfaces),
    "srvs": ("Services", get_service_interfaces),
    "actions": ("Actions", get_action_interfaces),
}
_PRIMITIVES = frozenset(
    [
        "bool",
        "byte",
        "char",
        "float32",
        "float64",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "string",
        "wstring",
    ]
)
#: A definition line without its comment: type, with bounds and array suffix, then the rest.
_FIELD = re.compile(r"^(?P<type>[A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+\S")
_QUOTED_OR_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?P<comment>#.*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="list", text="List all interface types available", add_arguments=_kind_arguments, main=_list),
            SubVerb(
                name="package",
                text="Output a list of available interface types within one package",
                add_arguments=_package_arguments,
                main=_package,
            ),
            SubVerb(
                name="packages",
                text="Output a list of packages that provide interfaces",
                add_arguments=_kind_arguments,
                main=_packages,
            ),
            SubVerb(name="show", text="Output the interface definition", add_arguments=_show_arguments, main=_show),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _kind_arguments(parser: argparse.ArgumentParser) -> None:
    for kind, what in (("msgs", "message"), ("srvs", "service"), ("actions", "action")):
        parser.add_argument(
            f"-{kind[0]}", f"--only-{kind}", action="store_true", help=f"Print out only the {what} types"
        )


def _chosen(args: argparse.Namespace) -> list[str]:
    """Return the kinds that were asked for; without any, all."""
    return [kind for kind in _KINDS if getattr(args, f"only_{kind}")] or list(_KINDS)


def _list(args: argparse.Namespace) -> int:
    for kind in _chosen(args):
        title, query = _KINDS[kind]
        print(f"{title}:")
        for package, names in query().items():
            for name in names:
                print(f"    {package}/{name}")
    return 0


def _packages(args: argparse.Namespace) -> int:
    packages = sorted({package for kind in _chosen(args) for package in _KINDS[kind][1]()})
    for package in packages:
        print(package)
    return 0


def _package_arguments(parser: argparse.ArgumentParser) -> None:
    _kind_arguments(parser)
    parser.add_argument("package_name", help="Name of the package (e.g. 'example_interfaces')")


def _package(args: argparse.Namespace) -> int:
    if args.package_name not in get_interface_packages():
        msg = f"Unknown package '{args.package_name}', or it holds no interfaces"
        raise CliError(msg)
    for kind in _chosen(args):
        for name in _KINDS[kind][1]([args.package_name]).get(args.package_name, ()):
            print(f"{args.package_name}/{name}")
    return 0


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    comments = parser.add_mutually_exclusive_group()
    comments.add_argument(
        "--all-comments", action="store_true", help="Show all comments, also those of nested definitions"
    )
    comments.add_argument("--no-comments", action="store_true", help="Show no comments or empty lines")
    parser.add_argument("type", help="Interface to show (e.g. 'std_msgs/msg/String'); '-' reads it from standard input")


def _show(args: argparse.Namespace) -> int:
    name = sys.stdin.readline().strip() if args.type == "-" else args.type
    if not name:
        msg = "The passed value is empty: expected the name of an interface on standard input"
        raise CliError(msg)
    depth = 0 if args.no_comments else 1
    for line in definition_lines(name, comment_depth=sys.maxsize if args.all_comments else depth):
        print(line)
    return 0


def definition_lines(name: str, *, comment_depth: int, depth: int = 0) -> Iterator[str]:
    """Give the lines of a definition, each nested one expanded below its field and indented by a tab.

    Comments and empty lines are kept in the outer ``comment_depth`` levels.

    Raises:
        CliError: the interface is unknown.
    """
    package = name.split("/", maxsplit=1)[0]
    indent = "\t" * depth
    for raw in _path(name).read_text(encoding="utf-8").splitlines():
        code = _without_comment(raw)
        if depth < comment_depth:
            yield f"{indent}{raw.rstrip()}" if raw.strip() else ""
        elif code.strip():
            yield f"{indent}{code.rstrip()}"
        match = _FIELD.match(code)
        if match and match["type"] not in _PRIMITIVES:
            nested = match["type"] if "/" in match["type"] else f"{package}/msg/{match['type']}"
            parts = nested.split("/")
            yield from definition_lines(f"{parts[0]}/msg/{parts[-1]}", comment_depth=comment_depth, depth=depth + 1)


def _without_comment(line: str) -> str:
    """Return the line without its comment; a ``#`` inside quotes is no comment."""
    for match in _QUOTED_OR_COMMENT.finditer(line):
        if match["comment"] is not None:
            return line[: match.start()]
    return line


def _path(name: str) -> Path:
    full = name
    if name.count("/") == 1:
        package, short = name.split("/")
        listed = get_interfaces([package]).get(package, []) if package in get_interface_packages() else []
        full = next((f"{package}/{entry}" for entry in listed if entry.endswith(f"/{short}")), f"{package}/msg/{short}")
    try:
        return Path(get_interface_path(full))
    except PackageNotFoundError:
        msg = f"Unknown package '{full.split('/', maxsplit=1)[0]}'"
    except (LookupError, ValueError) as error:
        msg = str(error)
    raise CliError(msg)
