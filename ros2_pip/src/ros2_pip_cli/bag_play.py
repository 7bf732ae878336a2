# SPDX-License-Identifier: Apache-2.0

"""``ros2 bag play``: the messages of a bag again, at their times."""

import argparse
import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbag2_py import (
    ConverterOptions,
    SequentialReader,
    StorageFilter,
    StorageOptions,
    TopicMetadata,
    convert_rclcpp_qos_to_rclpy_qos,
)
from rosgraph_msgs.msg import Clock as ClockMessage
from rosidl_runtime_py.utilities import get_message

from ros2_pip_cli.arguments import SubVerb, positive_float, positive_int
from ros2_pip_cli.bag_arguments import add_qos_overrides_argument, add_storage_argument, bag_path
from ros2_pip_cli.errors import CliError, Terminated
from ros2_pip_cli.graph import CliNode, cli_node, full_name
from ros2_pip_cli.keyboard import NEXT, PAUSE, Keyboard, keyboard, require_keys

_READ_AHEAD = 1000
_CLOCK_HZ = 40.0
_NS = 10**9
#: How long, in seconds, the end of playing waits for reliable subscribers to have the last messages.
_ACKED_S = 1.0
#: Depth of a publisher whose history is not known from the bag.
_DEPTH = 10


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag_path", type=bag_path, help="Bag to play")
    add_storage_argument(parser)
    parser.add_argument(
        "--read-ahead-queue-size",
        type=positive_int,
        default=_READ_AHEAD,
        help="Number of messages that are read before they are due (default: %(default)s)",
    )
    parser.add_argument("-r", "--rate", type=positive_float, default=1.0, help="Rate at which to play (default: 1.0)")
    parser.add_argument("--topics", nargs="+", default=[], help="Only play these topics")
    parser.add_argument("--exclude-topics", nargs="+", default=[], help="Topics not to play")
    parser.add_argument("-e", "--regex", default="", help="Only play topics whose whole name matches this expression")
    parser.add_argument("-x", "--exclude-regex", default="", help="Do not play topics whose whole name matches this")
    add_qos_overrides_argument(parser)
    parser.add_argument("-l", "--loop", action="store_true", help="Begin again at the end")
    parser.add_argument("-m", "--remap", nargs="+", default=[], help="Play topics under other names: old:=new …")
    parser.add_argument(
        "--clock",
        nargs="?",
        type=positive_float,
        const=_CLOCK_HZ,
        metavar="HZ",
        help="Publish /clock at this rate (default without a number: 40 Hz)",
    )
    parser.add_argument("-d", "--delay", type=_non_negative_float, default=0.0, help="Sleep N s before playing")
    parser.add_argument("--start-offset", type=_non_negative_float, default=0.0, help="Begin N s into the bag")
    parser.add_argument("--playback-duration", type=positive_float, help="Play N s of the bag")
    parser.add_argument("-p", "--start-paused", action="store_true", help="Start paused; SPACE resumes")
    parser.add_argument("--disable-keyboard-controls", action="store_true", help="Do not react to keys")


def _non_negative_float(text: str) -> float:
    return 0.0 if text.strip() in {"0", "0.0"} else positive_float(text)


def _main(args: argparse.Namespace) -> int:
    if args.start_paused:
        require_keys("--start-paused", enabled=not args.disable_keyboard_controls)
    with contextlib.suppress(KeyboardInterrupt, Terminated), _open(args) as reader:
        remaps = _remap_rules(args.remap)
        with cli_node(args, "rosbag2_player", cli_args=remaps) as cli:
            player = _Player(cli, args, reader)
            with keyboard(enabled=not args.disable_keyboard_controls) as keys:
                player.play(keys)
    return 0


@contextlib.contextmanager
def _open(args: argparse.Namespace) -> Iterator[SequentialReader]:
    reader = SequentialReader()
    try:
        reader.open(StorageOptions(args.bag_path, args.storage), ConverterOptions("cdr", "cdr"))
        reader.set_filter(
            StorageFilter(
                topics=[full_name(name) for name in args.topics],
                exclude_topics=[full_name(name) for name in args.exclude_topics],
                regex=args.regex,
                regex_to_exclude=args.exclude_regex,
            )
        )
    except RuntimeError as error:
        raise CliError(str(error)) from None
    yield reader


def _remap_rules(rules: list[str]) -> list[str]:
    """Return node arguments for rules such as ``/old:=/new``."""
    for rule in rules:
        if ":=" not in rule:
            msg = f"--remap: expected old:=new, got '{rule}'"
            raise CliError(msg)
    return ["--ros-args", *(part for rule in rules for part in ("-r", rule))] if rules else []


class _Timeline:
    """Maps times of the bag (ns) to the monotonic clock (ns), with a rate and pauses."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._bag_ns = 0
        self._real_ns = 0
        self.paused = False

    def jump(self, bag_ns: int) -> None:
        """Make ``bag_ns`` the present."""
        self._bag_ns, self._real_ns = bag_ns, time.monotonic_ns()

    def now(self) -> int:
        """Return the present time of the bag."""
        if self.paused:
            return self._bag_ns
        return self._bag_ns + int((time.monotonic_ns() - self._real_ns) * self._rate)

    def pause(self, paused: bool) -> None:
        """Stop or go on."""
        self.jump(self.now())
        self.paused = paused

    def wait_s(self, bag_ns: int) -> float:
        """Return the real time in seconds until ``bag_ns``; negative: it is past."""
        return (bag_ns - self.now()) / self._rate / _NS


class _Player:
    """Publishers of the topics of a bag, and the loop that serves them."""

    def __init__(self, cli: CliNode, args: argparse.Namespace, reader: SequentialReader) -> None:
        self._cli = cli
        self._args = args
        self._reader = reader
        self._log = cli.node.get_logger()
        self._timeline = _Timeline(args.rate)
        self._publishers = {}
        for topic in reader.get_all_topics_and_types():
            publisher = self._publisher(topic)
            if publisher is not None:
                self._publishers[topic.name] = publisher
        self._clock = cli.node.create_publisher(ClockMessage, "/clock", 10) if args.clock else None
        self._next_clock_ns = 0
        self._start_ns = reader.get_metadata().starting_time_ns + int(args.start_offset * _NS)

    def play(self, keys: Keyboard) -> None:
        """Play the bag, once or for ever."""
        if self._reader.get_metadata().message_count == 0:
            self._log.warning("The bag holds no messages")
            return
        if self._args.delay:
            keys.key(self._args.delay)
        if self._args.start_paused:
            self._timeline.jump(self._start_ns)
            self._timeline.pause(True)
            self._log.info("Paused. Press SPACE to resume")
        while True:
            self._play_once(keys)
            if not self._args.loop:
                break
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=_ACKED_S))

    def _play_once(self, keys: Keyboard) -> None:
        self._reader.seek(self._start_ns)
        self._timeline.jump(self._start_ns)
        self._next_clock_ns = self._start_ns
        end_ns = None if self._args.playback_duration is None else self._start_ns + self._args.playback_duration * _NS
        ahead = _ReadAhead(self._reader, self._args.read_ahead_queue_size)
        try:
            for topic, data, time_ns in ahead:
                if end_ns is not None and time_ns > end_ns:
                    break
                if topic in self._publishers:
                    self._wait(time_ns, keys)
                    self._publishers[topic].publish(data)
        finally:
            ahead.stop()

    def _wait(self, time_ns: int, keys: Keyboard) -> None:
        """Serve clock and keyboard until ``time_ns`` of the bag."""
        while True:
            self._tick()
            left = self._timeline.wait_s(time_ns)
            if left <= 0 and not self._timeline.paused:
                return
            until_tick = self._timeline.wait_s(self._next_clock_ns) if self._clock is not None else left
            key = keys.key(0.05 if self._timeline.paused else max(0.0, min(left, until_tick, 0.1)))
            if key == PAUSE:
                self._timeline.pause(not self._timeline.paused)
                self._log.info("Pausing play." if self._timeline.paused else "Resuming play.")
            elif key == NEXT and self._timeline.paused:
                self._timeline.jump(time_ns)
                return

    def _tick(self) -> None:
        """Publish /clock if it is due; a late loop skips ticks instead of sending them in a burst."""
        if self._clock is None or self._timeline.paused:
            return
        now = self._timeline.now()
        if now < self._next_clock_ns:
            return
        message = ClockMessage()
        message.clock.sec, message.clock.nanosec = divmod(now, _NS)
        self._clock.publish(message)
        period = int(_NS / self._args.clock * self._args.rate)
        self._next_clock_ns += (1 + (now - self._next_clock_ns) // period) * period

    def _publisher(self, topic: TopicMetadata) -> Any:
        try:
            message_class = get_message(topic.type)
        except (AttributeError, ModuleNotFoundError, ValueError) as error:
            self._log.warning(f"Topic '{topic.name}' has unknown type '{topic.type}': {error}. It is not played")
            return None
        if topic.name == "/clock" and self._args.clock:
            self._log.warning("The recorded /clock is not played because --clock publishes the topic")
            return None
        profile = self._args.qos_overrides.get(topic.name) or self._recorded_qos(topic)
        return self._cli.node.create_publisher(message_class, topic.name, profile)

    def _recorded_qos(self, topic: TopicMetadata) -> QoSProfile:
        """Return an offer like the recorded ones; of several different ones, the strongest, which satisfies all."""
        offers = [convert_rclcpp_qos_to_rclpy_qos(qos) for qos in topic.offered_qos_profiles]
        profile = QoSProfile(depth=_DEPTH, history=HistoryPolicy.KEEP_LAST)
        if not offers:
            return profile
        reliable = any(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = any(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        profile.depth = max(_DEPTH, *(offer.depth for offer in offers))
        profile.reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return profile


class _ReadAhead:
    """Reads messages in a thread, so that decompression does not delay playing."""

    def __init__(self, reader: SequentialReader, size: int) -> None:
        self._reader = reader
        self._queue: queue.Queue[tuple[str, bytes, int] | Exception | None] = queue.Queue(maxsize=size)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read_ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[str, bytes, int]]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                msg = f"Reading the bag failed: {item}"
                raise CliError(msg) from item
            yield item

    def stop(self) -> None:
        """End the thread; messages that were read ahead are dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.02)

    def _read(self) -> None:
        last: Exception | None = None
        try:
            while not self._stopped.is_set() and self._reader.has_next():
                self._queue.put(self._reader.read_next())
        except RuntimeError as error:  # handed to the playing thread, which reports it
            last = error
        self._queue.put(last)


SUB_VERB = SubVerb(name="play", text="Play back ROS data from a bag", add_arguments=_add_arguments, main=_main)
