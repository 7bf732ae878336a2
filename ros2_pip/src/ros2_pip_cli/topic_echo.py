# SPDX-License-Identifier: Apache-2.0

"""``ros2 topic echo``: messages of a topic as YAML or comma separated values."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import yaml
from rclpy.serialization import deserialize_message
from rosidl_runtime_py import message_to_csv, message_to_yaml

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, non_negative_int, positive_float
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node, full_name
from ros2_pip_cli.qos import add_qos_arguments, subscription_qos
from ros2_pip_cli.values import load_type

_TRUNCATE_LENGTH = 128


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to listen to (e.g. '/chatter')")
    parser.add_argument("message_type", nargs="?", help="Type of the ROS message (e.g. 'std_msgs/msg/String')")
    add_qos_arguments(parser, "subscribe", "sensor_data")
    parser.add_argument("--csv", action="store_true", help="Output all recursive fields separated by commas")
    parser.add_argument("--field", help="Echo a selected field of a message, e.g. pose.pose.position or name.[0]")
    parser.add_argument("-f", "--full-length", action="store_true", help="Do not truncate arrays, bytes and strings")
    parser.add_argument(
        "-l",
        "--truncate-length",
        type=non_negative_int,
        default=_TRUNCATE_LENGTH,
        help="The length to truncate arrays, bytes and strings to (default: %(default)s)",
    )
    parser.add_argument("--no-arr", action="store_true", help="Don't print array fields of messages")
    parser.add_argument("--no-str", action="store_true", help="Don't print string fields of messages")
    parser.add_argument("--flow-style", action="store_true", help="Print each array in one line, in brackets")
    parser.add_argument("--raw", action="store_true", help="Echo the raw binary representation")
    parser.add_argument("--once", action="store_true", help="Print the first message received and then exit")
    parser.add_argument("--timeout", metavar="N", type=positive_float, help="Stop after this many seconds")
    parser.add_argument(
        "--filter",
        dest="filter_expr",
        metavar="EXPR",
        type=message_filter,
        help="Python expression; only messages m for which it is true are printed",
    )
    parser.add_argument("-i", "--include-message-info", action="store_true", help="Show the associated message info")


def message_filter(expression: str) -> Callable[[Any], bool]:
    """Compile a Python expression over ``m``, the message, which the person at the terminal wrote."""
    try:
        code = compile(expression, "<filter>", "eval")
    except SyntaxError as error:
        msg = f"'{expression}' is not a Python expression: {error.msg}"
        raise argparse.ArgumentTypeError(msg) from None
    return lambda message: bool(eval(code, {"m": message}))


def _known_type(cli: CliNode, topic: str) -> str:
    """Return the type of the topic, once it is discovered.

    Raises:
        CliError: it is unknown, or publishers and subscribers use several types.
    """
    types: list[str] = cli.wait_for(lambda: cli.topic_types(topic), FIND_S)
    if not types:
        msg = f"WARNING: topic [{topic}] does not appear to be published yet\n"
        msg += "Could not determine the type for the passed topic"
        raise CliError(msg)
    if len(types) > 1:
        msg = f"Cannot echo topic '{topic}', as it contains more than one type: [{', '.join(types)}]"
        raise CliError(msg)
    return types[0]


def _main(args: argparse.Namespace) -> int:
    topic = full_name(args.topic_name)
    with cli_node(args) as cli:
        message_class = load_type("message", args.message_type or _known_type(cli, topic))
        if args.message_type is None:
            # the offers of several publishers arrive one after the other
            cli.settle(args.spin_time)
        else:
            cli.wait_for(lambda: cli.node.get_publishers_info_by_topic(topic), args.spin_time)
        printer = _Printer(args, message_class)
        profile = subscription_qos(cli.node, topic, args)
        cli.node.create_subscription(message_class, topic, printer, profile, raw=True)
        cli.spin_until(lambda: args.once and printer.count > 0, args.timeout)
    return 0


class _Printer:
    """Subscription callback that prints what the options ask for."""

    def __init__(self, args: argparse.Namespace, message_class: Any) -> None:
        self.count = 0
        self._args = args
        self._class = message_class
        limit = None if args.full_length else args.truncate_length
        to_text = functools.partial(message_to_yaml, flow_style=args.flow_style)
        self._to_text: Callable[..., str] = functools.partial(
            message_to_csv if args.csv else to_text, truncate_length=limit, no_arr=args.no_arr, no_str=args.no_str
        )

    def __call__(self, data: bytes, info: dict[str, Any] | None = None) -> None:
        if self._args.once and self.count:
            return
        message = deserialize_message(data, self._class)
        if self._args.filter_expr is not None and not self._args.filter_expr(message):
            return
        self.count += 1
        if self._args.include_message_info and info is not None:
            self._print_info(info)
        shown = data if self._args.raw else select_field(message, self._args.field)
        text = self._text(shown)
        print(text if self._args.csv else f"{text}\n---")

    def _print_info(self, info: dict[str, Any]) -> None:
        if self._args.csv:
            print(",".join(str(value) for value in info.values()), end=",")
        else:
            print(yaml.dump(info), end="---\n")

    def _text(self, shown: Any) -> str:
        if hasattr(shown, "get_fields_and_field_types"):
            return self._to_text(shown).rstrip("\n")
        plain = shown.tolist() if hasattr(shown, "tolist") else shown
        if isinstance(plain, bytes | str | bool | int | float):
            return str(plain)
        items = list(plain)
        if items and hasattr(items[0], "get_fields_and_field_types"):
            return "\n".join(self._to_text(item).rstrip("\n") for item in items)
        if self._args.csv:
            return ",".join(str(item) for item in items)
        return str(yaml.safe_dump(items, default_flow_style=self._args.flow_style)).rstrip("\n")


def select_field(message: Any, path: str | None) -> Any:
    """Return the part of a message at a dotted path, in which ``[n]`` picks an element; the message without a path.

    Raises:
        CliError: the path does not lead anywhere; the text names the part.
    """
    value = message
    for part in (path or "").replace("[", ".[").split("."):
        if not part:
            continue
        try:
            value = value[int(part[1:-1])] if part.startswith("[") and part.endswith("]") else getattr(value, part)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            msg = f"Invalid field '{path}': {error}"
            raise CliError(msg) from None
    return value


SUB_VERB = SubVerb(name="echo", text="Output messages from a topic", add_arguments=_add_arguments, main=_main)
