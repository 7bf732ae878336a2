# SPDX-License-Identifier: Apache-2.0

"""Joint limits of the robot descriptions that the drivers of the arms publish, laid over those of the profile."""

import threading
import time
from functools import partial
from typing import Any

from rclpy.callback_groups import CallbackGroup
from std_msgs.msg import String
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode
from vla_core.errors import SafetyError
from vla_core.profile import Profile
from vla_core.safety_urdf import description_topics, tighten
from vla_msgs.action import RunPolicy

from vla_policy.execution.hooks import Stop

Result = RunPolicy.Result


class DescribedLimits:
    """Listens to `robot_description`, of several arms to each; the tighter limit counts, and the log says which that is.

    A robot without a description is driven under the limits of its profile; one with a description that cannot be read,
    or that contradicts the profile, is not driven at all.
    """

    def __init__(self, node: ManagedNode, profile: Profile, *, group: CallbackGroup | None = None) -> None:
        """Args: group: callback group; None takes the node's default."""
        self._node = node
        self._profile = profile
        self._changed = threading.Condition()
        self._texts: dict[str, str] = {}
        self._wrong: dict[str, str] = {}
        self._topics = {topic: node.resolve_topic_name(topic) for topic in description_topics(profile)}
        for topic in self._topics:
            receive = partial(self._on_description, topic)
            node.create_subscription(String, topic, receive, LATCHED, callback_group=group)

    def tightened(self, profile: Profile) -> Profile:
        """The profile with the tighter limits; as it is while nothing was heard."""
        return tighten(profile, *self._texts.values()).profile

    def wait(self, timeout_s: float) -> None:
        """Wait for the descriptions up to `timeout_s` wall seconds, as far as somebody offers them."""
        deadline = time.monotonic() + timeout_s
        while self._awaited() and time.monotonic() < deadline:
            with self._changed:
                self._changed.wait(min(0.1, timeout_s))

    def _awaited(self) -> bool:
        heard = self._texts.keys() | self._wrong.keys()
        return any(self._node.count_publishers(name) for topic, name in self._topics.items() if topic not in heard)

    def begin(self, t_ns: int) -> None:
        """See `Guard.begin`."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        if not self._wrong:
            return None
        topic, text = next(iter(self._wrong.items()))
        message = f"{text} (topic {topic}); correct the description or the profile"
        return Stop(termination=Result.TERMINATION_LIMIT, error_code=Result.UNSAFE_ACTION, message=message)

    def _on_description(self, topic: str, msg: Any) -> None:
        others = {other: text for other, text in self._texts.items() if other != topic}
        texts, wrong = others, {other: text for other, text in self._wrong.items() if other != topic}
        try:
            notes = tighten(self._profile, msg.data).notes
            unknown = tighten(self._profile, *others.values(), msg.data).unknown
        except SafetyError as error:
            wrong[topic] = str(error)
            self._node.get_logger().error(f"{topic}: {error}")
        else:
            texts = {**others, topic: msg.data}
            if notes:
                tighter = "; ".join(notes)
                self._node.get_logger().warning(
                    f"limits of {topic} are tighter than the profile's and count: {tighter}"
                )
            if unknown:
                names = ", ".join(unknown)
                self._node.get_logger().info(f"{topic} has no joint {names}; the profile's limits count for it alone")
        with self._changed:
            self._texts, self._wrong = texts, wrong
            self._changed.notify_all()
