# SPDX-License-Identifier: Apache-2.0

"""What devices share whose drivers are nodes of their own: subscriptions that feed a pure core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription
from vla_common.qos import SENSOR, overridable

from vla_teleop.devices.device import Command
from vla_teleop.devices.settings import Common


class Core(Protocol):
    """What the messages are fed to; knows no ROS. Times are passed in [ns]."""

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`."""
        ...

    def age_s(self, now_ns: int) -> float:
        """See `Device.age_s`."""
        ...

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        ...

    def lost(self, now_ns: int) -> str | None:
        """See `Device.lost`."""
        ...


class TopicDevice:
    """A `Device` that listens to topics. Messages are timed when they arrive, by the node clock.

    The stamps in the messages are not used: a driver on another machine, or beside a simulated clock, has another time.
    """

    def __init__(self, node: Node, common: Common, core: Core, callback_group: CallbackGroup | None) -> None:
        """Keep what every device has; `_listen` subscribes.

        Args:
            node: Which listens; topics are relative to its namespace.
            common: Name and time-out of the device.
            core: What the messages are fed to.
            callback_group: Of the subscriptions.
        """
        self.name = common.name
        self.timeout_s = common.timeout_s
        self._node = node
        self._source = core
        self._callback_group = callback_group
        self._subscriptions: list[Subscription] = []

    def _listen(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                kind,
                topic,
                callback,
                SENSOR,
                callback_group=self._callback_group,
                qos_overriding_options=overridable(),
            )
        )

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`."""
        return self._source.read(now_ns)

    def age_s(self, now_ns: int) -> float:
        """See `Device.age_s`."""
        return self._source.age_s(now_ns)

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        return self._source.raw()

    @property
    def lost(self) -> str | None:
        """See `Device.lost`."""
        return self._source.lost(self._now_ns())

    def close(self) -> None:
        """See `Device.close`."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
