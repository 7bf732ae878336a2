# SPDX-License-Identifier: Apache-2.0

"""``ros2 param``: parameters of nodes."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rclpy.parameter import get_parameter_value, parameter_dict_from_yaml_file, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, add_sub_verbs, positive_float, run_sub_verb
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node
from ros2_pip_cli.node import find_node

NAME = "param"

#: How long, in seconds, a node's parameter services may take to answer.
_ANSWER_S = 5.0
#: Parameter type to its name, and to what ``get`` prints before the value.
_TYPES = {
    ParameterType.PARAMETER_NOT_SET: ("not set", "Parameter not set."),
    ParameterType.PARAMETER_BOOL: ("boolean", "Boolean value is:"),
    ParameterType.PARAMETER_INTEGER: ("integer", "Integer value is:"),
    ParameterType.PARAMETER_DOUBLE: ("double", "Double value is:"),
    ParameterType.PARAMETER_STRING: ("string", "String value is:"),
    ParameterType.PARAMETER_BYTE_ARRAY: ("byte array", "Byte values are:"),
    ParameterType.PARAMETER_BOOL_ARRAY: ("boolean array", "Boolean values are:"),
    ParameterType.PARAMETER_INTEGER_ARRAY: ("integer array", "Integer values are:"),
    ParameterType.PARAMETER_DOUBLE_ARRAY: ("double array", "Double values are:"),
    ParameterType.PARAMETER_STRING_ARRAY: ("string array", "String values are:"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="delete", text="Delete parameter", add_arguments=_delete_arguments, main=_delete),
            SubVerb(
                name="describe",
                text="Show descriptive information about declared parameters",
                add_arguments=_describe_arguments,
                main=_describe,
            ),
            SubVerb(
                name="dump",
                text="Show all of the parameters of a node in a YAML file format",
                add_arguments=_node_arguments,
                main=_dump,
            ),
            SubVerb(name="get", text="Get parameter", add_arguments=_get_arguments, main=_get),
            SubVerb(
                name="list", text="Output a list of available parameters", add_arguments=_list_arguments, main=_list
            ),
            SubVerb(name="load", text="Load parameter file for a node", add_arguments=_load_arguments, main=_load),
            SubVerb(name="set", text="Set parameter", add_arguments=_set_arguments, main=_set),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


class _Client:
    """The parameter services of one node."""

    def __init__(self, cli: CliNode, node_name: str) -> None:
        self._cli = cli
        self._node_name = node_name
        self._client = AsyncParameterClient(cli.node, node_name)
        if not cli.wait_for(self._client.services_are_ready, _ANSWER_S):
            msg = f"Wait for service timed out waiting for parameter services for node {node_name}"
            raise CliError(msg)

    def names(self, prefixes: list[str] | None = None) -> list[str]:
        """Return the sorted names of all parameters."""
        return sorted(self._answer(self._client.list_parameters(prefixes or [], 0)).result.names)

    def values(self, names: list[str]) -> list[Any]:
        """Return a ParameterValue for each name."""
        return list(self._answer(self._client.get_parameters(names)).values)

    def describe(self, names: list[str]) -> list[Any]:
        """Return a ParameterDescriptor for each name."""
        return list(self._answer(self._client.describe_parameters(names)).descriptors)

    def set(self, parameters: list[Any]) -> list[Any]:
        """Return a SetParametersResult for each parameter."""
        return list(self._answer(self._client.set_parameters(parameters)).results)

    def _answer(self, future: Any) -> Any:
        if not self._cli.spin_until(future.done, _ANSWER_S) or future.result() is None:
            msg = f"Exception while calling service of node '{self._node_name}': {future.exception() or 'no answer'}"
            raise CliError(msg)
        return future.result()


def _node_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("node_name", help="Name of the ROS node")
    parser.add_argument("--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well")
    parser.add_argument(
        "--timeout",
        metavar="N",
        type=positive_float,
        default=FIND_S,
        help="Wait for N seconds until the node becomes available (default: %(default)s)",
    )


def _connect(cli: CliNode, args: argparse.Namespace) -> tuple[str, _Client]:
    name = find_node(cli, args.node_name, args.timeout, hidden=args.include_hidden_nodes)
    return name, _Client(cli, name)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")
    parser.add_argument("--hide-type", action="store_true", help="Hide the type information")


def _get(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        _name, client = _connect(cli, args)
        values = client.values([args.parameter_name])
    if not values:
        msg = f"Parameter not set: node '{args.node_name}' has no parameter '{args.parameter_name}'"
        raise CliError(msg)
    label = _TYPES[values[0].type][1]
    value = _to_python(values[0])
    if args.hide_type:
        print(value)
    elif value is None:
        print(label)
    else:
        print(label, value)
    return 0


def _to_python(value: Any) -> Any:
    """Return the plain value; arrays as lists."""
    plain = parameter_value_to_python(value)
    return list(plain) if not isinstance(plain, str | bytes) and hasattr(plain, "__iter__") else plain


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")
    parser.add_argument("value", help="Value of the parameter, in YAML")


def _set(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        _name, client = _connect(cli, args)
        parameter = Parameter(name=args.parameter_name, value=get_parameter_value(args.value))
        result = client.set([parameter])[0]
    return _report(result, "Set parameter successful", "Setting parameter failed")


def _report(result: Any, success: str, failure: str) -> int:
    """Print the outcome, a refusal on stderr; the exit code is 0 for both, as it is in the original."""
    text = success if result.successful else failure
    print(f"{text}: {result.reason}" if result.reason else text, file=sys.stdout if result.successful else sys.stderr)
    return 0


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_name", help="Name of the parameter")


def _delete(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        _name, client = _connect(cli, args)
        unset = ParameterValue(type=ParameterType.PARAMETER_NOT_SET)
        result = client.set([Parameter(name=args.parameter_name, value=unset)])[0]
    return _report(result, "Deleted parameter successfully", "Deleting parameter failed")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("node_name", nargs="?", help="Name of the ROS node; without it, all nodes")
    parser.add_argument("--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well")
    parser.add_argument("--filter", metavar="REGEX", type=re.compile, help="Only show parameters that match")
    parser.add_argument("--param-prefixes", nargs="+", default=[], help="Only list parameters with these prefixes")
    parser.add_argument("--param-type", action="store_true", help="Print parameter types with parameter names")


def _list(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        if args.node_name:
            nodes = [find_node(cli, args.node_name, FIND_S, hidden=args.include_hidden_nodes)]
        else:
            cli.settle(args.spin_time)
            services = dict(cli.node.get_service_names_and_types())
            # a node that was started without parameter services is no error here
            nodes = [
                node for node in cli.nodes(hidden=args.include_hidden_nodes) if f"{node}/list_parameters" in services
            ]
        for node in nodes:
            client = _Client(cli, node)
            names = client.names(args.param_prefixes)
            if args.filter is not None:
                names = [name for name in names if args.filter.search(name)]
            types = [descriptor.type for descriptor in client.describe(names)] if args.param_type else None
            if not args.node_name:
                print(f"{node}:")
            for index, name in enumerate(names):
                print(f"  {name} (type: {_TYPES[types[index]][0]})" if types else f"  {name}")
    return 0


def _describe_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_names", nargs="+", help="Names of the parameters")


def _describe(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        name, client = _connect(cli, args)
        descriptors = client.describe(args.parameter_names)
    if len(descriptors) != len(args.parameter_names):
        msg = f"Failed to describe parameters: not all of {', '.join(args.parameter_names)} are declared by {name}"
        raise CliError(msg)
    for descriptor in descriptors:
        print("Parameter name:", descriptor.name)
        print("  Type:", _TYPES[descriptor.type][0])
        if descriptor.description:
            print("  Description:", descriptor.description)
        constraints = _constraints(descriptor)
        if constraints:
            print("  Constraints:")
            print("\n".join(f"    {line}" for line in constraints))
    return 0


def _constraints(descriptor: Any) -> list[str]:
    lines = ["Read only: true"] if descriptor.read_only else []
    for limits in (*descriptor.floating_point_range, *descriptor.integer_range):
        lines += [f"Min value: {limits.from_value}", f"Max value: {limits.to_value}"]
        lines += [f"Step: {limits.step}"] if limits.step else []
    if descriptor.additional_constraints:
        lines.append(f"Additional constraints: {descriptor.additional_constraints}")
    return lines


def _dump(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        node, client = _connect(cli, args)
        names = client.names()
        values = client.values(names)
    tree: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *branches, leaf = name.split(".")
        branch = tree
        for part in branches:
            branch = branch.setdefault(part, {})
        branch[leaf] = _to_python(value)
    print(yaml.safe_dump({node: {"ros__parameters": tree}}, default_flow_style=False))
    return 0


def _load_arguments(parser: argparse.ArgumentParser) -> None:
    _node_arguments(parser)
    parser.add_argument("parameter_file", help="Parameter file")
    parser.add_argument("--no-use-wildcard", action="store_true", help="Do not load parameters under '/**'")


def _load(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        node, client = _connect(cli, args)
        parameters = _read_file(args.parameter_file, node, use_wildcard=not args.no_use_wildcard)
        results = client.set(parameters)
    for parameter, result in zip(parameters, results, strict=True):
        _report(result, f"Set parameter {parameter.name} successful", f"Set parameter {parameter.name} failed")
    return 0


def _read_file(path: str, node: str, *, use_wildcard: bool) -> list[Any]:
    if not Path(path).is_file():
        msg = f"Parameter file '{path}' does not exist"
        raise CliError(msg)
    try:
        parameters = parameter_dict_from_yaml_file(path, use_wildcard, target_nodes=[node])
    except (RuntimeError, AttributeError, TypeError, yaml.YAMLError) as error:
        msg = f"Cannot load '{path}': {error}. Expected '{node}:' (or '/**:') above 'ros__parameters:'"
        raise CliError(msg) from None
    return list(parameters.values())
