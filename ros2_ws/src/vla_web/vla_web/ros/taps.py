# SPDX-License-Identifier: Apache-2.0

"""Topics that are looked at now and then instead of being served.

A viewer needs the newest message ten times a second, not all thirty or five hundred. The executor does not wait for
these subscriptions at all; `Tap.poll` asks the middleware, which keeps the last few. Nothing is deserialized unless
somebody wants to see it. Subscriptions are best effort, so a slow viewer never holds up a publisher.
"""

import time
from collections import deque
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosidl_runtime_py.utilities import get_message
from vla_core.errors import ProfileError

_NS = 1e-9


class Unserved(CallbackGroup):
    """A callback group whose members no executor waits for."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing began."""


class Sample:
    """A message as it was received.

    Attributes:
        data: Serialized message.
        number: The publisher's own count of its messages; None where the middleware does not tell.
        received_s: When the middleware received it [s, monotonic clock].
    """

    __slots__ = ("_kind", "_message", "data", "number", "received_s")

    def __init__(self, kind: type[Any], data: bytes, number: int | None, received_s: float) -> None:
        self._kind, self._message = kind, None
        self.data, self.number, self.received_s = data, number, received_s

    @property
    def message(self) -> Any:
        """The deserialized message; made once."""
        if self._message is None:
            self._message = deserialize_message(self.data, self._kind)
        return self._message


class Tap:
    """One topic that is polled while somebody looks.

    Attributes:
        recent: The last few messages, oldest first.
        new: How many of them came with the last poll.
    """

    def __init__(self, node: Node, group: Unserved, topic: str, type_name: str, depth: int) -> None:
        """Prepare; nothing is subscribed before `open`.

        Args:
            node: Subscribes.
            group: Keeps the executor away.
            topic: Relative or absolute name.
            type_name: Message type, such as sensor_msgs/msg/Image.
            depth: Messages that the middleware keeps.

        Raises:
            ProfileError: The message type is not installed.
        """
        try:
            self._kind = get_message(type_name)
        except (ImportError, AttributeError, ValueError) as error:
            package = type_name.partition("/")[0].replace("_", "-")
            raise ProfileError(
                f"{topic}: the message type {type_name!r} cannot be used: {error}. Install its package "
                f"(sudo apt-get install ros-jazzy-{package}) or correct the profile"
            ) from error
        self._node, self._group, self._topic = node, group, topic
        self._qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=depth,
            reliability=ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )
        self._subscription: Any = None
        self.recent: deque[Sample] = deque(maxlen=depth)
        self.new = 0

    @property
    def name(self) -> str:
        """The resolved name of the topic."""
        return self._node.resolve_topic_name(self._topic)

    def open(self) -> None:
        """Subscribe, unless that is done."""
        if self._subscription is None:
            self._subscription = self._node.create_subscription(
                self._kind,
                self._topic,
                lambda data: None,
                self._qos,
                raw=True,
                callback_group=self._group,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )

    def close(self) -> None:
        """Unsubscribe and forget."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.recent.clear()
        self.new = 0

    def poll(self) -> int:
        """Take what has come since the last poll; returns how many messages that were."""
        self.new = 0
        if self._subscription is None:
            return 0
        # The middleware's times are of the system's clock, which may be set; what counts is how long ago it was.
        wall_ns, now_s = time.time_ns(), time.monotonic()
        handle = self._subscription.handle
        with handle:
            for _ in range(self._qos.depth):
                taken = handle.take_message(self._kind, True)
                if taken is None:
                    break
                data, info = taken
                received = info.get("received_timestamp") or wall_ns
                ago_s = min(max((wall_ns - received) * _NS, 0.0), 60.0)
                number = info.get("publication_sequence_number")
                self.recent.append(Sample(self._kind, data, number, now_s - ago_s))
                self.new += 1
        return self.new

    def newest(self) -> list[Sample]:
        """What came with the last poll, newest first."""
        return [self.recent[-1 - i] for i in range(min(self.new, len(self.recent)))]
