# SPDX-License-Identifier: Apache-2.0

"""Subscriptions of the recorder: raw bytes in, time stamps read from the bytes, nothing deserialized."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rosidl_runtime_py.utilities import get_message
from vla_common.qos import LATCHED, SENSOR, SENSOR_BEST_EFFORT, adapt
from vla_core.errors import BagError

from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import TopicInfo
from vla_recorder.capture.topic_plan import TF, TopicPlan

_LATCHED_TRANSFORMS = 64  # every node that knows static transforms sends its own
_LONGEST_JUMP = 100_000  # messages; a larger step of the sequence is another publisher
_NS = 1_000_000_000
_HISTORY_S = 2.0  # of messages that may wait in the middleware while the executor stands still
_DEPTH_LARGE, _DEPTH_SMALL = 60, 1000  # of two seconds at 30 Hz and at 500 Hz, where the rate is not known
_LARGE = ("Image", "Video", "Packet", "PointCloud", "PointCloud2")
_QOS = {"default": SENSOR, "sensor": SENSOR_BEST_EFFORT, "latched": LATCHED}
_HISTORY_NAMES = {0: "system_default", 1: "keep_last", 2: "keep_all", 3: "unknown"}
_RELIABILITY_NAMES = {0: "system_default", 1: "reliable", 2: "best_effort", 3: "unknown"}
_DURABILITY_NAMES = {0: "system_default", 1: "transient_local", 2: "volatile", 3: "unknown"}
_LIVELINESS_NAMES = {0: "system_default", 1: "automatic", 3: "manual_by_topic", 4: "unknown"}

Listener = Callable[["Tap", bytes, int, int], None]
"""Called with the tap, the message, its header stamp (0: none) and when the middleware received it (system time)."""


def header_stamp_ns(data: bytes) -> int:
    """Return the stamp of a serialized message whose first field is a header or a time, in nanoseconds."""
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


class Waiting(NamedTuple):
    """A message that was received while nothing was written: log time, publish time, bytes."""

    log_ns: int
    publish_ns: int
    data: bytes


@dataclass(slots=True)
class Tap:
    """One topic that is listened to.

    Attributes:
        stamped: Whether the message begins with a stamp on the node clock.
        latched: The last messages of a transient-local topic, written again at the start of every episode.
        latched_kept: How many of them: what its publishers hold together.
        publishers: How many there are.
        last_ns: Node clock of the last message; 0 before the first.
        messages: Received since the start.
        received_bytes: Received since the start [B].
        lost: Published but not received, by the publisher's sequence numbers.
        waiting: Messages of the last moments while nothing is written; `TopicPlan.max_age_s` long at most.
    """

    plan: TopicPlan
    name: str
    kind: type[Any]
    definition: str
    stamped: bool
    qos: QoSProfile | None = None
    subscription: Subscription | None = None
    latch: Subscription | None = None
    latched: list[bytes] = field(default_factory=list)
    latched_kept: int = 1
    publishers: int = 0
    last_ns: int = 0
    messages: int = 0
    received_bytes: int = 0
    lost: int = 0
    waiting: deque[Waiting] = field(default_factory=deque)
    _sequence: int = 0

    def keep_latched(self, data: bytes) -> None:
        """Remember a latched message once, however often it is sent."""
        if data in self.latched:
            self.latched.remove(data)
        self.latched.append(data)
        del self.latched[: -self.latched_kept]

    def count(self, size: int, sequence: int | None) -> None:
        """Count a message; `sequence` is the publisher's number of it, if the middleware tells."""
        self.messages += 1
        self.received_bytes += size
        if sequence is not None:
            # The numbers are per publisher, and a subscriber cannot tell whose they are.
            step = sequence - self._sequence
            if self.publishers == 1 and self._sequence and 1 < step < _LONGEST_JUMP:
                self.lost += step - 1
            self._sequence = sequence

    def hold(self, message: Waiting, window_ns: int) -> None:
        """Remember a message that is not written, and forget those that are older than the window."""
        waiting = self.waiting
        if waiting and message.log_ns < waiting[-1].log_ns:  # the clock went back
            waiting.clear()
        waiting.append(message)
        oldest = message.log_ns - window_ns
        while waiting[0].log_ns < oldest:
            waiting.popleft()


class Taps:
    """All subscriptions of the recorder; `refresh` follows publishers that come later or offer another QoS."""

    def __init__(self, node: Node, plans: Iterable[TopicPlan], listener: Listener) -> None:
        """Subscribe.

        Raises:
            BagError: A message type of the profile is not installed.
        """
        self._node = node
        self._listener = listener
        self._unusable: set[str] = set()
        self.taps: dict[str, Tap] = {}
        self.received_bytes_before = 0
        for plan in plans:
            self.add(plan)

    def __iter__(self) -> Iterator[Tap]:
        """Iterate over the taps; topics may come and go meanwhile."""
        return iter(list(self.taps.values()))

    @property
    def received_bytes(self) -> int:
        """Payload of all topics since the start [B]."""
        return self.received_bytes_before + sum(tap.received_bytes for tap in self)

    def add(self, plan: TopicPlan) -> Tap:
        """Subscribe to a topic; the tap that is there already for a name that is known.

        Raises:
            BagError: Its message type is not installed.
        """
        name = self._node.resolve_topic_name(plan.topic)
        if name not in self.taps:
            self.taps[name] = self._make(plan, name)
            self._follow(self.taps[name])
        return self.taps[name]

    def remove(self, name: str) -> None:
        """Stop listening to a topic."""
        tap = self.taps.pop(name)
        self.received_bytes_before += tap.received_bytes
        for subscription in (tap.subscription, tap.latch):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def refresh(self) -> None:
        """Subscribe anew to every topic whose publishers ask for another QoS than the subscription has."""
        for tap in self:
            self._follow(tap)

    def discover(self, wanted: Callable[[str], bool], plan: Callable[[str, str], TopicPlan]) -> list[Tap]:
        """Subscribe to every topic of the network that is wanted and not known yet; returns the new taps.

        A topic whose type is not installed, or that has several types, is named once in the log and left out.

        Args:
            wanted: Says whether a topic, by its full name, is recorded.
            plan: Topic and type -> its plan.
        """
        found = []
        for name, types in self._node.get_topic_names_and_types():
            if name in self.taps or name in self._unusable or not wanted(name):
                continue
            if self._node.count_publishers(name) == 0:
                continue
            try:
                if len(types) > 1:
                    raise BagError(f"{name}: published with several types ({', '.join(types)})")
                found.append(self.add(plan(name, types[0])))
            except BagError as error:
                self._unusable.add(name)
                self._node.get_logger().warning(f"not recorded: {error}")
        return found

    def conflicts(self) -> Mapping[str, str]:
        """Return, for each topic that is published with another type than the profile says, what is wrong."""
        published = dict(self._node.get_topic_names_and_types())
        wrong = {}
        for tap in self:
            others = [kind for kind in published.get(tap.name, ()) if kind != tap.plan.type]
            if others and tap.last_ns == 0:
                wrong[tap.name] = (
                    f"{tap.name} is published as {', '.join(others)}, but the profile says {tap.plan.type}"
                )
        return wrong

    def _follow(self, tap: Tap) -> None:
        offered = [info.qos_profile for info in self._node.get_publishers_info_by_topic(tap.name)]
        tap.publishers = len(offered)
        tap.latched_kept = _LATCHED_TRANSFORMS if tap.plan.type == TF else max(1, len(offered))
        latched = [qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered]
        # Of mixed publishers, the volatile subscription gets no message from before; a second one fetches those.
        mixed = any(latched) and not all(latched)
        if mixed and tap.latch is None:
            tap.latch = self._subscribe(tap, _deep(LATCHED, tap.plan), lambda data, _: tap.keep_latched(data))
        elif not mixed and tap.latch is not None:
            self._node.destroy_subscription(tap.latch)
            tap.latch = None
        fitting = adapt(self._node, tap.name, _deep(_QOS[tap.plan.qos], tap.plan))
        if tap.qos is not None and _same(tap.qos, fitting):
            return
        if tap.subscription is not None:
            self._node.destroy_subscription(tap.subscription)
        tap.qos = fitting
        tap.subscription = self._subscribe(tap, fitting, self._callback(tap))

    def _subscribe(self, tap: Tap, qos: QoSProfile, callback: Callable[..., None]) -> Subscription:
        # The QoS follows the publishers, so nobody needs to be warned; each event handler costs time per message.
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        return self._node.create_subscription(tap.kind, tap.name, callback, qos, raw=True, event_callbacks=quiet)

    def info(self, tap: Tap) -> TopicInfo:
        """Describe the topic for a bag, with what its publishers offer now."""
        publishers = self._node.get_publishers_info_by_topic(tap.name)
        hashes = {str(publisher.topic_type_hash) for publisher in publishers}
        return TopicInfo(
            name=tap.name,
            type=tap.plan.type,
            definition=tap.definition,
            qos=tuple(qos_metadata(publisher.qos_profile) for publisher in publishers),
            type_hash=hashes.pop() if len(hashes) == 1 else "",
        )

    def _make(self, plan: TopicPlan, name: str) -> Tap:
        try:
            kind = get_message(plan.type)
            definition = full_definition(plan.type)
        except (ModuleNotFoundError, AttributeError, ValueError) as error:
            raise BagError(
                f"{plan.topic}: the message type {plan.type!r} is not installed ({error}), so the topic cannot be "
                "recorded. Install its package, or take the topic out of the profile"
            ) from error
        first = next(iter(kind.get_fields_and_field_types().values()), "")
        stamped = plan.stamped and first in ("std_msgs/Header", "builtin_interfaces/Time")
        return Tap(plan=plan, name=name, kind=kind, definition=definition, stamped=stamped)

    def _callback(self, tap: Tap) -> Callable[[bytes, Mapping[str, Any]], None]:
        def receive(data: bytes, info: Mapping[str, Any]) -> None:
            tap.count(len(data), info.get("publication_sequence_number"))
            if tap.qos is not None and tap.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                tap.keep_latched(data)
            self._listener(tap, data, header_stamp_ns(data) if tap.stamped else 0, info.get("received_timestamp") or 0)

        return receive


def history_depth(plan: TopicPlan) -> int:
    """Return how many messages of a topic the middleware keeps for the recorder: two seconds."""
    usual = _DEPTH_LARGE if plan.type.endswith(_LARGE) else _DEPTH_SMALL
    return max(usual, int(_HISTORY_S * (plan.rate_hz or 0.0)))


def _deep(qos: QoSProfile, plan: TopicPlan) -> QoSProfile:
    return QoSProfile(
        history=qos.history, depth=history_depth(plan), reliability=qos.reliability, durability=qos.durability
    )


def _same(left: QoSProfile, right: QoSProfile) -> bool:
    return (left.reliability, left.durability) == (right.reliability, right.durability)


def qos_metadata(qos: QoSProfile) -> dict[str, Any]:
    """Return a QoS profile in the layout of rosbag2's metadata, version 9."""

    def span(duration: Any) -> dict[str, int]:
        seconds, nanoseconds = divmod(duration.nanoseconds, 1_000_000_000)
        return {"sec": seconds, "nsec": nanoseconds}

    return {
        "history": _HISTORY_NAMES.get(int(qos.history), "unknown"),
        "depth": qos.depth,
        "reliability": _RELIABILITY_NAMES.get(int(qos.reliability), "unknown"),
        "durability": _DURABILITY_NAMES.get(int(qos.durability), "unknown"),
        "deadline": span(qos.deadline),
        "lifespan": span(qos.lifespan),
        "liveliness": _LIVELINESS_NAMES.get(int(qos.liveliness), "unknown"),
        "liveliness_lease_duration": span(qos.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": qos.avoid_ros_namespace_conventions,
    }


WRITTEN_QOS = qos_metadata(
    QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
)
"""QoS of the topics that the recorder publishes itself."""
