# SPDX-License-Identifier: Apache-2.0

"""``ros2 topic pub``: one message, or a stream of it."""

import argparse
import itertools
import time
from collections.abc import Callable

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, non_negative_int, positive_float
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import CliNode, cli_node, full_name
from ros2_pip_cli.qos import add_qos_arguments, given_qos
from ros2_pip_cli.values import fill, load_type, read_values


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to publish to (e.g. '/chatter')")
    parser.add_argument("message_type", help="Type of the ROS message (e.g. 'std_msgs/String')")
    values = parser.add_mutually_exclusive_group()
    values.add_argument("values", nargs="?", default="{}", help="Values of the message in YAML (e.g. 'data: Hello')")
    values.add_argument("--stdin", action="store_true", help="Read values from standard input")
    parser.add_argument(
        "-r", "--rate", metavar="N", type=positive_float, default=1.0, help="Publishing rate in Hz (default: 1)"
    )
    parser.add_argument(
        "-p",
        "--print",
        metavar="N",
        dest="print_every",
        type=non_negative_int,
        default=1,
        help="Only print every N-th published message; 0: none (default: 1)",
    )
    times = parser.add_mutually_exclusive_group()
    times.add_argument("-1", "--once", action="store_true", help="Publish one message and exit")
    times.add_argument(
        "-t", "--times", metavar="N", type=non_negative_int, default=0, help="Publish this many times and then exit"
    )
    parser.add_argument(
        "-w",
        "--wait-matching-subscriptions",
        metavar="N",
        type=non_negative_int,
        help="Wait for this many matching subscriptions (default: 1 with --once or --times, else 0)",
    )
    parser.add_argument(
        "--max-wait-time-secs", metavar="S", type=positive_float, help="Wait no longer than this for subscriptions"
    )
    parser.add_argument(
        "--keep-alive",
        metavar="N",
        type=positive_float,
        default=0.1,
        help="Keep the node alive for N seconds after the last message (default: %(default)s)",
    )
    parser.add_argument("-n", "--node-name", help="Name of the created publishing node")
    add_qos_arguments(parser, "publish", "default")


def _main(args: argparse.Namespace) -> int:
    topic = full_name(args.topic_name)
    message = load_type("message", args.message_type)()
    stamps = fill(message, read_values(args.values, from_stdin=args.stdin))
    count = 1 if args.once else args.times
    wanted = args.wait_matching_subscriptions
    if wanted is None:
        wanted = 1 if count else 0
    if args.max_wait_time_secs is not None and not wanted:
        msg = "--max-wait-time-secs option is only effective with --wait-matching-subscriptions, --once or --times"
        raise CliError(msg)
    with cli_node(args, args.node_name) as cli:
        publisher = cli.node.create_publisher(type(message), topic, given_qos(args))
        _wait_for_subscriptions(cli, publisher.get_subscription_count, wanted, args.max_wait_time_secs)
        print("publisher: beginning loop")
        start = time.monotonic()
        for number in itertools.count(1):
            for set_stamp in stamps:
                set_stamp(cli.node.get_clock().now().to_msg())
            if args.print_every and number % args.print_every == 0:
                print(f"publishing #{number}: {message!r}\n")
            publisher.publish(message)
            if number == count:
                break
            # on a grid, so that late wake-ups do not lower the rate
            due = start + number / args.rate
            cli.spin_until(lambda due=due: time.monotonic() >= due, max(0.0, due - time.monotonic()))  # type: ignore[misc]
        cli.spin_until(lambda: False, args.keep_alive)
    return 0


def _wait_for_subscriptions(cli: CliNode, matched: Callable[[], int], wanted: int, limit_s: float | None) -> None:
    start = time.monotonic()
    told = start - 1.0
    while matched() < wanted:
        now = time.monotonic()
        if limit_s is not None and now - start > limit_s:
            msg = f"Timed out waiting for subscribers: Expected {wanted} subscribers but only got {matched()}"
            raise CliError(msg)
        if now - told >= 1.0:
            print(f"Waiting for at least {wanted} matching subscription(s)...")
            told = now
        cli.spin_until(lambda: False, 0.05)


SUB_VERB = SubVerb(name="pub", text="Publish a message to a topic", add_arguments=_add_arguments, main=_main)
