# SPDX-License-Identifier: Apache-2.0

"""``ros2 node``: nodes of the graph."""

import argparse
import sys
from collections.abc import Callable, Iterable

from rclpy.action import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, add_sub_verbs, run_sub_verb
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node, is_hidden

NAME = "node"

_NamesAndTypes = Iterable[tuple[str, list[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="info", text="Output information about a node", add_arguments=_info_arguments, main=_info),
            SubVerb(name="list", text="Output a list of available nodes", add_arguments=_list_arguments, main=_list),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def find_node(cli: CliNode, name: str, timeout_s: float, *, hidden: bool = True) -> str:
    """Wait for a node and return its full name, with a leading slash.

    Raises:
        CliError: no such node; the text begins with 'Node not found' and lists those there are.
    """
    full = name if name.startswith("/") else f"/{name}"
    if not cli.wait_for(lambda: full in cli.nodes(hidden=hidden), timeout_s):
        known = ", ".join(cli.nodes(hidden=hidden)) or "none"
        msg = f"Node not found: '{full}' (the graph has: {known})"
        raise CliError(msg)
    return full


def split_name(full: str) -> tuple[str, str]:
    """Split a node's full name into name and namespace."""
    namespace, _, name = full.rpartition("/")
    return name, namespace or "/"


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("-a", "--all", action="store_true", help="Display all nodes, even hidden ones")
    parser.add_argument("-c", "--count-nodes", action="store_true", help="Only display the number of nodes")


def _list(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        names = cli.nodes(hidden=args.all)
    if args.count_nodes:
        print(len(names))
        return 0
    if len(set(names)) < len(names):
        print(
            "WARNING: Be aware that there are nodes in the graph that share an exact name, "
            "which can have unintended side effects.",
            file=sys.stderr,
        )
    for name in names:
        print(name)
    return 0


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("node_name", help="Node name to request information")
    parser.add_argument(
        "--include-hidden", action="store_true", help="Display hidden topics, services and actions as well"
    )


def _info(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        try:
            full = find_node(cli, args.node_name, FIND_S)
        except CliError as error:
            msg = f"Unable to find node '{args.node_name}'. {error}"
            raise CliError(msg) from None
        cli.settle(args.spin_time)
        name, namespace = split_name(full)
        node = cli.node
        sections: tuple[tuple[str, Callable[[], _NamesAndTypes]], ...] = (
            ("Subscribers", lambda: node.get_subscriber_names_and_types_by_node(name, namespace)),
            ("Publishers", lambda: node.get_publisher_names_and_types_by_node(name, namespace)),
            ("Service Servers", lambda: node.get_service_names_and_types_by_node(name, namespace)),
            ("Service Clients", lambda: node.get_client_names_and_types_by_node(name, namespace)),
            ("Action Servers", lambda: get_action_server_names_and_types_by_node(node, name, namespace)),
            ("Action Clients", lambda: get_action_client_names_and_types_by_node(node, name, namespace)),
        )
        print(full)
        for title, query in sections:
            print(f"  {title}:")
            entries = sorted((n, t) for n, t in query() if args.include_hidden or not is_hidden(n))
            print("\n".join(f"    {entry}: {', '.join(types)}" for entry, types in entries))
    return 0
