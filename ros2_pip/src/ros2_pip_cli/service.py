# SPDX-License-Identifier: Apache-2.0

"""``ros2 service``: services of the graph, and calls to them."""

import argparse
import time
from typing import Any

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, add_sub_verbs, positive_float, run_sub_verb
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node, full_name, is_hidden
from ros2_pip_cli.values import fill, load_type, read_values

NAME = "service"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="call", text="Call a service", add_arguments=_call_arguments, main=_call),
            SubVerb(
                name="find",
                text="Output a list of available services of a given type",
                add_arguments=_find_arguments,
                main=_find,
            ),
            SubVerb(name="list", text="Output a list of available services", add_arguments=_list_arguments, main=_list),
            SubVerb(name="type", text="Output a service's type", add_arguments=_type_arguments, main=_type),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _services(cli: CliNode, *, hidden: bool) -> list[tuple[str, list[str]]]:
    found = cli.node.get_service_names_and_types()
    return sorted((name, types) for name, types in found if hidden or not is_hidden(name))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the service type")
    parser.add_argument("-c", "--count-services", action="store_true", help="Only display the number of services")
    parser.add_argument("--include-hidden-services", action="store_true", help="Consider hidden services as well")


def _list(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        services = _services(cli, hidden=args.include_hidden_services)
    if args.count_services:
        print(len(services))
        return 0
    for name, types in services:
        print(f"{name} [{', '.join(types)}]" if args.show_types else name)
    return 0


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("service_type", help="Name of the ROS service type to filter for")
    parser.add_argument("-c", "--count-services", action="store_true", help="Only display the number of services")
    parser.add_argument("--include-hidden-services", action="store_true", help="Consider hidden services as well")


def _find(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        services = _services(cli, hidden=args.include_hidden_services)
    names = [name for name, types in services if args.service_type in types]
    if args.count_services:
        print(len(names))
        return 0
    for name in names:
        print(name)
    return 0


def _type_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("service_name", help="Name of the ROS service to get type (e.g. '/talker/list_parameters')")


def _type(args: argparse.Namespace) -> int:
    service = full_name(args.service_name)
    with cli_node(args) as cli:
        types = cli.wait_for(
            lambda: dict(cli.node.get_service_names_and_types()).get(service), max(args.spin_time, FIND_S)
        )
    for name in types or ():
        print(name)
    return 0 if types else 1


def _call_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("service_name", help="Name of the ROS service to call to (e.g. '/add_two_ints')")
    parser.add_argument("service_type", help="Type of the ROS service (e.g. 'std_srvs/srv/Empty')")
    values = parser.add_mutually_exclusive_group()
    values.add_argument("values", nargs="?", default="{}", help="Values of the request in YAML (e.g. '{a: 1, b: 2}')")
    values.add_argument("--stdin", action="store_true", help="Read values from standard input")
    parser.add_argument("-r", "--rate", metavar="N", type=positive_float, help="Repeat the call at this rate in Hz")


def _call(args: argparse.Namespace) -> int:
    service = full_name(args.service_name)
    service_class = load_type("service", args.service_type)
    request = service_class.Request()
    stamps = fill(request, read_values(args.values, from_stdin=args.stdin))
    with cli_node(args) as cli:
        client = cli.node.create_client(service_class, service)
        if not client.service_is_ready():
            print("waiting for service to become available...")
            _wait_for_service(cli, client, service, args.service_type)
        while True:
            start = time.monotonic()
            for set_stamp in stamps:
                set_stamp(cli.node.get_clock().now().to_msg())
            print(f"requester: making request: {request!r}\n")
            future: Any = client.call_async(request)
            cli.spin_until(future.done)
            if future.exception() is not None:
                msg = f"Exception while calling service: {future.exception()!r}"
                raise CliError(msg)
            print(f"response:\n{future.result()!r}\n")
            if args.rate is None:
                return 0
            cli.spin_until(lambda: False, max(0.0, start + 1.0 / args.rate - time.monotonic()))


def _wait_for_service(cli: CliNode, client: Any, service: str, type_name: str) -> None:
    """Wait for ever, as the original does, but not for a service that is there under another type."""
    wanted = type_name if type_name.count("/") == 2 else type_name.replace("/", "/srv/")
    while not cli.spin_until(client.service_is_ready, 0.5):
        offered = dict(cli.node.get_service_names_and_types()).get(service, [])
        others = [name for name in offered if name != wanted]
        if others and wanted not in others and cli.node.count_services(service):
            msg = f"Service '{service}' has the type {', '.join(others)}, not {wanted}"
            raise CliError(msg)
