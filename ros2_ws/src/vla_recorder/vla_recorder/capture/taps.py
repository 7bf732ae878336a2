# SPDX-License-Identifier: Apache-2.0

"""Subscriptions of the recorder: raw bytes in, time stamps read from the bytes, nothing deserialized."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rosidl_runtime_py.utilities import get_message
from vla_common.qos import LATCHED, SENSOR, SENSOR_BEST_EFFORT, adapt
from vla_core.errors import BagError

from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import TopicInfo
from vla_recorder.capture.topic_plan import TopicPlan

_HEADER_BYTES = 12  # CDR encapsulation and a stamp
_LATCHED_KEPT = 64
_SILENT_S = 1.0
_NS = 1_000_000_000
_QOS = {"default": SENSOR, "sensor": SENSOR_BEST_EFFORT, "latched": LATCHED}
_HISTORY_NAMES = {0: "system_default", 1: "keep_last", 2: "keep_all", 3: "unknown"}
_RELIABILITY_NAMES = {0: "system_default", 1: "reliable", 2: "best_effort", 3: "unknown"}
_DURABILITY_NAMES = {0: "system_default", 1: "transient_local", 2: "volatile", 3: "unknown"}
_LIVELINESS_NAMES = {0: "system_default", 1: "automatic", 3: "manual_by_topic", 4: "unknown"}

Listener = Callable[["Tap", bytes, int], None]
"""Called with the tap, the message and its header stamp (0: none)."""


def header_stamp_ns(data: bytes) -> int:
    """Return the stamp of a serialized message whose first field is a header or a time, in nanoseconds."""
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(f"{order}iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def content(data: bytes, stamped: bool) -> bytes:
    """Return the serialized message without its stamp, to see whether anything but the time has changed."""
    return data[_HEADER_BYTES:] if stamped else data[4:]


@dataclass(slots=True)
class Tap:
    """One topic that is listened to.

    Attributes:
        latched: The last messages of a transient-local topic, written again at the start of every episode.
        last_ns: Node clock of the last message; 0 before the first.
    """

    plan: TopicPlan
    name: str
    kind: type[Any]
    definition: str
    stamped: bool
    qos: QoSProfile | None = None
    subscription: Subscription | None = None
    latched: list[bytes] = field(default_factory=list)
    last_ns: int = 0

    def keep_latched(self, data: bytes) -> None:
        """Remember a latched message once, however often it is sent."""
        if data not in self.latched:
            self.latched.append(data)
            del self.latched[:-_LATCHED_KEPT]


class Taps:
    """All subscriptions of the recorder; `refresh` follows publishers that come later or offer another QoS."""

    def __init__(self, node: Node, plans: Iterable[TopicPlan], listener: Listener) -> None:
        """Subscribe.

        Raises:
            BagError: A message type is not installed.
        """
        self._node = node
        self._listener = listener
        self.taps = {tap.name: tap for tap in (self._make(plan) for plan in plans)}
        self.refresh()

    def refresh(self) -> None:
        """Subscribe anew to every topic whose publishers ask for another QoS than the subscription has."""
        for tap in self.taps.values():
            wanted = _QOS[tap.plan.qos]
            offered = adapt(self._node, tap.name, wanted)
            if tap.qos is not None and _same(tap.qos, offered):
                continue
            if tap.subscription is not None:
                self._node.destroy_subscription(tap.subscription)
            tap.qos = offered
            tap.subscription = self._node.create_subscription(
                tap.kind, tap.name, self._callback(tap), offered, raw=True
            )

    def silent_observations(self, now_ns: int) -> list[str]:
        """Return, in words, every observation that sends nothing; commands may begin later, observations may not."""
        silent = []
        for tap in self.taps.values():
            if tap.plan.role != "observation":
                continue
            age_ns = now_ns - tap.last_ns
            if tap.last_ns == 0:
                silent.append(f"{tap.plan.label}: nothing received on {tap.name} ({tap.plan.type})")
            elif age_ns > max(_SILENT_S, tap.plan.max_age_s or 0.0) * _NS:
                silent.append(f"{tap.plan.label}: {tap.name} silent for {age_ns / _NS:.1f} s")
        return silent

    def silent_topics(self, now_ns: int) -> list[str]:
        """Return the names of the profile's topics that have sent nothing for longer than their ``max_age_s``."""
        return [
            tap.name
            for tap in self.taps.values()
            if tap.plan.max_age_s is not None and (tap.last_ns == 0 or now_ns - tap.last_ns > tap.plan.max_age_s * _NS)
        ]

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

    def _make(self, plan: TopicPlan) -> Tap:
        try:
            kind = get_message(plan.type)
        except (ModuleNotFoundError, AttributeError, ValueError) as error:
            raise BagError(
                f"{plan.topic}: the message type {plan.type!r} is not installed ({error}), so the topic cannot be "
                "recorded. Install its package, or take the topic out of the profile"
            ) from error
        first = next(iter(kind.get_fields_and_field_types().values()), "")
        return Tap(
            plan=plan,
            name=self._node.resolve_topic_name(plan.topic),
            kind=kind,
            definition=full_definition(plan.type),
            stamped=first in ("std_msgs/Header", "builtin_interfaces/Time"),
        )

    def _callback(self, tap: Tap) -> Callable[[bytes], None]:
        def receive(data: bytes) -> None:
            if tap.qos is not None and tap.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
                tap.keep_latched(data)
            self._listener(tap, data, header_stamp_ns(data) if tap.stamped else 0)

        return receive


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
