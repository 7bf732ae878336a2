# SPDX-License-Identifier: Apache-2.0

"""Measured joints by name, from the topics that the profile's state lists, and how long each was silent."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from vla_common.qos import SENSOR
from vla_common.ticks import Ticker
from vla_core.codecs import JOINT_STATE
from vla_core.errors import ProfileError, listing
from vla_core.fields import joint_of
from vla_core.profile import Profile
from vla_core.stamps import stamp_ns, to_s

Array = NDArray[np.float64]


class JointWatch:
    """Listens between `start` and `stop`: listening all the time would cost more than all the rest of a node.

    In lockstep it listens until the node ends: simulated time would run on while a subscription meets its publishers, and
    how far is chance.

    Messages come in the executor's thread, everything else is for the worker that owns the ticker. Silence is counted in
    ticks of the node clock, so it does not matter whether the driver's clock is the same.
    """

    def __init__(
        self, node: Node, profile: Profile, ticker: Ticker, joints: Sequence[str], *, lockstep: bool = False
    ) -> None:
        """Prepare.

        Args:
            node: subscribes.
            profile: its `state` says which topics carry the joints.
            ticker: in lockstep, ticks wait for these messages.
            joints: names; all others are ignored.
            lockstep: listen from now on.

        Raises:
            ProfileError: no JointState topic of the profile's state carries one of them.
        """
        self._node, self._ticker = node, ticker
        self._joints = frozenset(joints)
        sources = [spec for spec in profile.state if spec.type == JOINT_STATE]
        known = {name: spec.topic for spec in sources for field in spec.fields if (name := joint_of(field))}
        lost = [name for name in joints if name not in known]
        if lost:
            raise ProfileError(
                f"{profile.source}: no entry of 'state' says on which JointState topic {listing(lost)} is measured; add "
                f"position.{lost[0]} to the fields of one"
            )
        self._topics = tuple(dict.fromkeys(known[name] for name in joints))
        self._subscriptions: list[Subscription] = []
        self._heard: dict[str, tuple[float, int]] = {}  # position, number of messages so far
        self._fresh: dict[str, tuple[int, int]] = {}  # number of messages at a tick, time of that tick
        self._old = 0  # number of the last message before `start`
        self._lasting = lockstep
        if lockstep:
            self._subscribe()

    @property
    def topics(self) -> str:
        """The topics, for messages."""
        return listing(self._topics)

    def start(self) -> None:
        """Listen, and forget what was heard before."""
        self._fresh = {}
        self._old = self._newest()
        if not self._lasting and not self._subscriptions:
            self._subscribe()

    def _subscribe(self) -> None:
        for topic in self._topics:
            name = self._node.resolve_topic_name(topic)
            self._subscriptions.append(
                self._node.create_subscription(JointState, topic, partial(self._on_message, name), SENSOR)
            )
            self._ticker.watch(name)

    def stop(self) -> None:
        """Listen no more, but in lockstep."""
        if self._lasting:
            return
        for subscription in self._subscriptions:
            self._ticker.unwatch(str(subscription.topic_name))
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def complete(self) -> bool:
        """Whether every joint was heard since `start`."""
        heard = self._heard
        return all(name in heard and heard[name][1] > self._old for name in self._joints)

    def positions(self, joints: Sequence[str]) -> Array:
        """Return the newest positions ``(k,)`` [rad or m]; NaN where nothing was heard."""
        heard = self._heard
        return np.array([heard[name][0] if name in heard else np.nan for name in joints])

    def age_s(self, now_ns: int, joints: Sequence[str]) -> float:
        """Return for how long the most silent of these joints has not been heard [s]; to be asked at every tick."""
        oldest = 0.0
        for name in joints:
            count = self._heard[name][1] if name in self._heard else 0
            before = self._fresh.get(name)
            if before is None or before[0] != count or now_ns < before[1]:
                self._fresh[name] = (count, now_ns)
            else:
                oldest = max(oldest, to_s(now_ns - before[1]))
        return oldest

    def _newest(self) -> int:
        return max((number for _, number in self._heard.values()), default=0)

    def _on_message(self, topic: str, msg: JointState) -> None:
        count = self._newest() + 1
        mine = {
            name: (position, count)
            for name, position in zip(msg.name, msg.position, strict=False)
            if name in self._joints
        }
        self._heard = {**self._heard, **mine}
        self._ticker.notice(topic, stamp_ns(msg))
