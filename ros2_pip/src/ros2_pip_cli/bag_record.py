# SPDX-License-Identifier: Apache-2.0

"""``ros2 bag record``: topics into a bag, with QoS that fits their publishers."""

import argparse
import contextlib
import datetime
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbag2_py import ConverterOptions, SequentialWriter, StorageOptions, TopicMetadata
from rosbag2_py._storage import QoS
from rosidl_runtime_py.utilities import get_message

from ros2_pip_cli.arguments import SubVerb, non_negative_int, positive_int
from ros2_pip_cli.bag_arguments import add_qos_overrides_argument, add_storage_argument
from ros2_pip_cli.errors import CliError, Terminated
from ros2_pip_cli.graph import CliNode, cli_node, full_name, is_hidden
from ros2_pip_cli.keyboard import PAUSE, Keyboard, keyboard, require_keys
from ros2_pip_cli.qos import adapted_qos

#: Messages of one topic that may wait while the disk or the machine is busy.
_DEPTH = 100
_CACHE_BYTES = 100 * 1024 * 1024
_POLL_MS = 100


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("positional_topics", nargs="*", metavar="topics", help="Topics to record")
    parser.add_argument("--topics", nargs="+", default=[], help="Topics to record")
    parser.add_argument("-a", "--all", "--all-topics", dest="all", action="store_true", help="Record all topics")
    parser.add_argument("-e", "--regex", default="", help="Record topics whose name contains this expression")
    parser.add_argument("--topic-types", nargs="+", default=[], help="Record topics of these types")
    parser.add_argument("--exclude-topics", nargs="+", default=[], help="Topics not to record")
    parser.add_argument("--exclude-topic-types", nargs="+", default=[], help="Types of topics not to record")
    parser.add_argument("--exclude-regex", default="", help="Do not record topics whose name contains this expression")
    parser.add_argument("--include-hidden-topics", action="store_true", help="Discover hidden topics, too")
    parser.add_argument("--include-unpublished-topics", action="store_true", help="Discover topics without publisher")
    parser.add_argument("--no-discovery", action="store_true", help="Only look for topics at the start")
    parser.add_argument("-o", "--output", help="Folder of the bag; the default is rosbag2_<date and time>")
    add_storage_argument(parser)
    parser.add_argument(
        "-p",
        "--polling-interval",
        type=positive_int,
        metavar="MS",
        default=_POLL_MS,
        help="Time in ms between looks for new topics (default: %(default)s)",
    )
    add_qos_overrides_argument(parser)
    parser.add_argument("-b", "--max-bag-size", type=non_negative_int, default=0, help="Begin a new file at N bytes")
    parser.add_argument("-d", "--max-bag-duration", type=non_negative_int, default=0, help="Begin a new file at N s")
    parser.add_argument(
        "--max-cache-size",
        type=non_negative_int,
        default=_CACHE_BYTES,
        help="Bytes that may wait to be written; 0: write at once (default: %(default)s)",
    )
    parser.add_argument("--storage-preset-profile", default="", help="none, fastwrite, zstd_fast or zstd_small")
    parser.add_argument("--storage-config-file", default="", help="YAML file with options of the storage")
    parser.add_argument("--custom-data", nargs="+", type=_key_value, default=[], help="key=value for the metadata")
    parser.add_argument("--use-sim-time", action="store_true", help="Stamp messages with the time of /clock")
    parser.add_argument("--node-name", default="rosbag2_recorder", help="Name of the recorder node")
    parser.add_argument("--start-paused", action="store_true", help="Start without recording; SPACE begins")
    parser.add_argument("--disable-keyboard-controls", action="store_true", help="Do not react to keys")


def _key_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        msg = f"expected key=value, got '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return key, value


def _main(args: argparse.Namespace) -> int:
    if args.start_paused:
        require_keys("--start-paused", enabled=not args.disable_keyboard_controls)
    wanted = _wanted(args)
    output = Path(args.output or f"rosbag2_{datetime.datetime.now():%Y_%m_%d-%H_%M_%S}")
    if output.exists():
        msg = f"[ERROR] [ros2bag]: Output folder '{output}' already exists."
        raise CliError(msg)
    writer = SequentialWriter()
    try:
        writer.open(_storage_options(args, output), ConverterOptions("cdr", "cdr"))
    except RuntimeError as error:
        raise CliError(str(error)) from None
    with (
        contextlib.suppress(KeyboardInterrupt, Terminated),
        _closing(writer),
        cli_node(args, args.node_name) as cli,
        keyboard(enabled=not args.disable_keyboard_controls) as keys,
    ):
        _Recording(cli, args, writer, wanted).run(keys)
    return 0


@contextlib.contextmanager
def _closing(writer: SequentialWriter) -> Iterator[None]:
    """Close the bag at the end, undisturbed by further signals: without its end a file is hard to read."""
    try:
        yield
    finally:
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            writer.close()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _storage_options(args: argparse.Namespace, output: Path) -> StorageOptions:
    return StorageOptions(
        uri=str(output),
        storage_id=args.storage,
        max_bagfile_size=args.max_bag_size,
        max_bagfile_duration=args.max_bag_duration,
        max_cache_size=args.max_cache_size,
        storage_preset_profile=args.storage_preset_profile,
        storage_config_uri=args.storage_config_file,
        custom_data=dict(args.custom_data),
    )


def _wanted(args: argparse.Namespace) -> Callable[[str, str], bool]:
    """Return the test for name and type of a topic that the options describe."""
    names = {full_name(name) for name in (*args.positional_topics, *args.topics)}
    if not (args.all or names or args.regex or args.topic_types):
        msg = "[ERROR] [ros2bag]: Nothing to record: name topics, or give --all, --regex or --topic-types."
        raise CliError(msg)
    excluded = {full_name(name) for name in args.exclude_topics}
    try:
        include = re.compile(args.regex) if args.regex else None
        exclude = re.compile(args.exclude_regex) if args.exclude_regex else None
    except re.error as error:
        msg = f"[ERROR] [ros2bag]: '{error.pattern!r}' is not a regular expression: {error}"
        raise CliError(msg) from None

    def test(name: str, type_name: str) -> bool:
        if name in excluded or type_name in args.exclude_topic_types or (exclude and exclude.search(name)):
            return False
        listed = name in names or type_name in args.topic_types or bool(include and include.search(name))
        return bool(args.all) or listed

    return test


class _Recording:
    """Subscriptions whose messages go into the bag as they come."""

    def __init__(
        self, cli: CliNode, args: argparse.Namespace, writer: SequentialWriter, wanted: Callable[[str, str], bool]
    ) -> None:
        self._cli = cli
        self._args = args
        self._writer = writer
        self._wanted = wanted
        self._log = cli.node.get_logger()
        self._requested: dict[str, QoSProfile] = {}
        self._ignored: set[str] = set()
        self._warned: set[bytes] = set()
        self._paused: bool = args.start_paused
        self._clock = cli.node.get_clock()

    def run(self, keys: Keyboard) -> None:
        """Record until a signal raises."""
        self._log.info("Listening for topics...")
        next_look = time.monotonic()
        if self._args.no_discovery:
            self._cli.settle(0.5)
            self._discover()
        self._log.info("Waiting for recording: Press SPACE to start..." if self._paused else "Recording...")
        while True:
            if not self._args.no_discovery and time.monotonic() >= next_look:
                self._discover()
                next_look = time.monotonic() + self._args.polling_interval / 1000
            self._cli.executor.spin_once(timeout_sec=min(0.1, self._args.polling_interval / 1000))
            if keys.key() == PAUSE:
                self._paused = not self._paused
                self._log.info("Pausing recording." if self._paused else "Resuming recording.")

    def _discover(self) -> None:
        node = self._cli.node
        for topic, types in node.get_topic_names_and_types():
            if topic in self._requested:
                self._check_new_publishers(topic)
            elif topic not in self._ignored and self._wanted(topic, types[0]) and self._visible(topic):
                if len(types) > 1:
                    self._ignore(
                        topic, f"Topic '{topic}' has several types associated: only topics with one are recorded"
                    )
                else:
                    self._subscribe(topic, types[0])

    def _visible(self, topic: str) -> bool:
        if is_hidden(topic) and not self._args.include_hidden_topics:
            return False
        return self._args.include_unpublished_topics or self._cli.node.count_publishers(topic) > 0

    def _ignore(self, topic: str, why: str) -> None:
        self._ignored.add(topic)
        self._log.warning(why)

    def _subscribe(self, topic: str, type_name: str) -> None:
        try:
            message_class = get_message(type_name)
        except (AttributeError, ModuleNotFoundError, ValueError) as error:
            self._ignore(topic, f"Topic '{topic}' has unknown type '{type_name}': {error}. It is not recorded")
            return
        offered = [info.qos_profile for info in self._cli.node.get_publishers_info_by_topic(topic)]
        profile = self._args.qos_overrides.get(topic)
        if profile is None:
            profile = adapted_qos(QoSProfile(depth=_DEPTH, history=HistoryPolicy.KEEP_LAST), offered)
        self._writer.create_topic(TopicMetadata(0, topic, type_name, "cdr", [stored_qos(offer) for offer in offered]))
        self._requested[topic] = profile
        received: Any = lambda data, info: self._write(topic, data, info)  # noqa: E731
        self._cli.node.create_subscription(message_class, topic, received, profile, raw=True)
        self._log.info(f"Subscribed to topic '{topic}'")

    def _write(self, topic: str, data: bytes, info: dict[str, int]) -> None:
        if self._paused:
            return
        if self._args.use_sim_time:
            received = sent = self._clock.now().nanoseconds
        else:
            received = info["received_timestamp"] or time.time_ns()
            sent = info["source_timestamp"] or received
        self._writer.write(topic, data, received, sent)

    def _check_new_publishers(self, topic: str) -> None:
        """Warn of publishers that came later and whose offer the subscription does not match."""
        requested = self._requested[topic]
        for info in self._cli.node.get_publishers_info_by_topic(topic):
            gid = bytes(info.endpoint_gid)
            if gid in self._warned:
                continue
            weak = []
            if requested.reliability == ReliabilityPolicy.RELIABLE != info.qos_profile.reliability:
                weak.append("reliability")
            if requested.durability == DurabilityPolicy.TRANSIENT_LOCAL != info.qos_profile.durability:
                weak.append("durability")
            if weak:
                self._warned.add(gid)
                self._log.warning(
                    f"A new publisher of '{topic}' offers a weaker {' and '.join(weak)} than the subscription of this "
                    "recording asks for. Messages from this new publisher will not be recorded."
                )


def stored_qos(profile: QoSProfile) -> QoS:
    """Return the profile as a bag stores it; what discovery does not tell (history, depth) keeps its default."""
    stored = QoS(profile.depth or 10)
    stored = stored.keep_all() if profile.history == HistoryPolicy.KEEP_ALL else stored
    stored = stored.best_effort() if profile.reliability == ReliabilityPolicy.BEST_EFFORT else stored.reliable()
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return stored.transient_local() if latched else stored.durability_volatile()


SUB_VERB = SubVerb(name="record", text="Record ROS data to a bag", add_arguments=_add_arguments, main=_main)
