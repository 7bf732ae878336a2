# SPDX-License-Identifier: Apache-2.0

"""Named quality-of-service profiles, so that no node invents its own.

Publishers of sensor data use the driver's default (reliable, volatile), as REP-2003 asks; subscribers keep a history of
60 messages, because ten messages of a 500 Hz stream are gone after 20 ms of a busy machine. `adapt` lowers a
subscription to what the publishers offer: a reliable subscriber of a best-effort publisher receives nothing at all,
silently.
"""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

SENSOR_DEPTH = 60

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=SENSOR_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Sensor streams, publishers and subscribers; nothing is dropped on the way."""

SENSOR_BEST_EFFORT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=SENSOR_DEPTH,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Subscribers that would rather lose a message than hold up the publisher, for example viewers."""

COMMAND = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Command topics; reliable, and deep enough that a recorder misses none."""

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Descriptions, static transforms, modes, status: a late subscriber gets the last value."""

EVENT = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=SENSOR_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Rare messages that must all arrive."""


def overridable() -> QoSOverridingOptions:
    """Options that let a user change a topic's QoS through the parameters `qos_overrides.<topic>.*`."""
    return QoSOverridingOptions.with_default_policies()


def adapt(node: Node, topic: str, wanted: QoSProfile = SENSOR) -> QoSProfile:
    """A subscription profile that matches every publisher of `topic` that exists now, as a bag recorder does.

    Args:
        node: the node that will subscribe.
        topic: relative or absolute name.
        wanted: what to use where the publishers allow it (and while there is none).

    Returns:
        `wanted` with reliability best effort if one publisher offers no more, and durability transient local if all
        offer it (so that latched messages from before the subscription arrive).
    """
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    if not offered:
        return wanted
    best_effort = any(profile.reliability == ReliabilityPolicy.BEST_EFFORT for profile in offered)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=wanted.depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else wanted.reliability,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
