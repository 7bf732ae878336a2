# SPDX-License-Identifier: Apache-2.0

"""Other recorders that listen to the same topics: twice the load, and episodes that two nodes count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.topic_endpoint_info import TopicEndpointInfo
from vla_common.qos import LATCHED
from vla_msgs.msg import RecorderStatus

_TYPE = "vla_msgs/msg/RecorderStatus"
_UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"  # rmw's name of an endpoint whose node is not discovered yet
_ALIVE_S = 3.0  # a status comes once a second; what was killed stays in the graph for longer


class Rivals:
    """Listens to the status of all recorders. Only one that speaks counts, so one that was killed does not."""

    def __init__(self, node: Node, own: Publisher, clock: Callable[[], float] = time.monotonic) -> None:
        """Listen to the own topic too: a second recorder of the same name speaks there.

        Args:
            node: The recorder.
            own: Its publisher of the status.
            clock: Steady seconds.
        """
        self._node, self._clock = node, clock
        self._own = own.topic_name
        self._published = self._excess = 0
        self._received: dict[str, int] = {}
        self._heard_s: dict[str, float] = {}
        self.refresh()

    def published(self) -> None:
        """Say that the own status is about to be published."""
        self._published += 1

    def refresh(self) -> None:
        """Listen to recorders that have come since."""
        for topic, kinds in [(self._own, [_TYPE]), *self._node.get_topic_names_and_types()]:
            if _TYPE in kinds and topic not in self._received:
                self._received[topic] = 0
                self._node.create_subscription(RecorderStatus, topic, partial(self._receive, topic), LATCHED)

    def names(self, topics: Iterable[str]) -> list[str]:
        """Return the full names of other recorders that speak and listen to one of these topics.

        Args:
            topics: Full names of what this one records.
        """
        now_s = self._clock()
        alive = [topic for topic, heard_s in self._heard_s.items() if now_s - heard_s < _ALIVE_S]
        if not alive:
            return []
        listeners = {name for topic in topics for name in _owners(self._node.get_subscriptions_info_by_topic(topic))}
        found = []
        for topic in alive:
            found += sorted(_owners(self._node.get_publishers_info_by_topic(topic)) & listeners)
        return found

    def _receive(self, topic: str, _: RecorderStatus) -> None:
        self._received[topic] += 1
        if topic == self._own:
            # Who sent a message is not told, but what was received beyond the own messages is not the own.
            excess = self._received[topic] - self._published
            if excess <= self._excess:
                return
            self._excess = excess
        self._heard_s[topic] = self._clock()


def _owners(endpoints: Iterable[TopicEndpointInfo]) -> set[str]:
    """Full names of the nodes of these endpoints.

    An endpoint may be discovered before its node is; two such would match by rcl's word for "unknown".
    """
    return {
        f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in endpoints if info.node_name != _UNKNOWN_NODE
    }


def refusal(names: Iterable[str]) -> str:
    """Return why no episode is started beside other recorders, and what to do."""
    return (
        f"another recorder listens to the same topics: {', '.join(names)}. End one of them (a launch that was left running? "
        "`ros2 node list` shows both), or give each launch its own namespace:="
    )
