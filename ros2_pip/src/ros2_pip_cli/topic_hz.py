# SPDX-License-Identifier: Apache-2.0

"""``ros2 topic hz``: the rate at which messages arrive."""

import argparse
import functools
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, positive_int
from ros2_pip_cli.graph import CliNode, cli_node, full_name
from ros2_pip_cli.topic_echo import message_filter
from ros2_pip_cli.values import load_type

_WINDOW = 10000
_REPORT_S = 1.0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_name", nargs="+", help="Names of the ROS topics to listen to (e.g. '/chatter')")
    parser.add_argument(
        "-w",
        "--window",
        dest="window_size",
        metavar="WINDOW",
        type=positive_int,
        default=_WINDOW,
        help="window size, in number of messages, for calculating the rate (default: %(default)s)",
    )
    parser.add_argument(
        "--filter",
        dest="filter_expr",
        metavar="EXPR",
        type=message_filter,
        help="only measure messages m for which this Python expression is true",
    )
    parser.add_argument("--wall-time", action="store_true", help="use wall time although --use-sim-time is given")


class RateMeter:
    """Arrival times in a sliding window."""

    def __init__(self, window: int) -> None:
        self._times_ns: deque[int] = deque(maxlen=window + 1)
        self._reported_ns = 0

    def add(self, now_ns: int) -> None:
        """Note an arrival; a clock that went back empties the window."""
        if self._times_ns and now_ns < self._times_ns[-1]:
            print("time has reset, resetting counters")
            self._times_ns.clear()
        self._times_ns.append(now_ns)

    def report(self) -> str | None:
        """Return rate, extremes and spread; None with fewer than two arrivals or none since the last report."""
        if len(self._times_ns) < 2 or self._times_ns[-1] == self._reported_ns:
            return None
        self._reported_ns = self._times_ns[-1]
        times = list(self._times_ns)
        gaps = [(later - earlier) * 1e-9 for earlier, later in itertools.pairwise(times)]
        mean = sum(gaps) / len(gaps)
        spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
        rate = 1.0 / mean if mean else 0.0
        return (
            f"average rate: {rate:.3f}\n"
            f"\tmin: {min(gaps):.3f}s max: {max(gaps):.3f}s std dev: {spread:.5f}s window: {len(gaps)}"
        )


def _main(args: argparse.Namespace) -> int:
    topics = [full_name(name) for name in args.topic_name]
    with cli_node(args) as cli:
        meters: dict[str, RateMeter] = {}
        waiting = [topic for topic in topics if not _subscribe(cli, topic, args, meters)]
        for topic in waiting:
            print(f"WARNING: topic [{topic}] does not appear to be published yet", file=sys.stderr)
        while True:
            deadline = time.monotonic() + _REPORT_S
            cli.spin_until(functools.partial(_is_past, deadline))
            waiting = [topic for topic in waiting if not _subscribe(cli, topic, args, meters)]
            for topic, meter in meters.items():
                report = meter.report()
                if report is not None:
                    print(f"{topic}: {report}" if len(topics) > 1 else report)


def _is_past(deadline: float) -> bool:
    return time.monotonic() >= deadline


def _subscribe(cli: CliNode, topic: str, args: argparse.Namespace, meters: dict[str, RateMeter]) -> bool:
    """Begin to measure a topic; False: its type is not known yet."""
    types = cli.topic_types(topic) if meters else cli.wait_for(lambda: cli.topic_types(topic), args.spin_time)
    if not types:
        return False
    message_class = load_type("message", types[0])
    meter = meters.setdefault(topic, RateMeter(args.window_size))
    clock = cli.node.get_clock()
    use_ros_time = args.use_sim_time and not args.wall_time
    now_ns: Callable[[], int] = (lambda: clock.now().nanoseconds) if use_ros_time else time.monotonic_ns

    def arrived(data: bytes) -> None:
        if args.filter_expr is None or args.filter_expr(deserialize_message(data, message_class)):
            meter.add(now_ns())

    received: Any = arrived
    cli.node.create_subscription(message_class, topic, received, qos_profile_sensor_data, raw=True)
    return True


SUB_VERB = SubVerb(
    name="hz", text="Print the average receiving rate to screen", add_arguments=_add_arguments, main=_main
)
