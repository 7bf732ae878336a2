# SPDX-License-Identifier: Apache-2.0

"""Whether another node drives the same robot."""

import time
from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.qos import COMMAND
from vla_core.codecs import JOINT_STATE
from vla_core.errors import SafetyError
from vla_core.profile import Profile

MOVING_S = 0.5  # a target that changed within this is somebody's command
STANDING_S = 0.3  # one that was repeated within this ...
GRACE_S = 1.0  # ... stands, and falls silent when it hears another driver's new one


class Rivals:
    """Listens to the targets in force that others publish. Messages come in another thread."""

    def __init__(self, node: Node, profile: Profile, clock: Callable[[], float] = time.monotonic) -> None:
        """Listen.

        Args:
            node: The own one; what carries its name in ``header.frame_id`` is its own.
            profile: Of the robot.
            clock: Steady seconds.
        """
        self._me = node.get_fully_qualified_name()
        self._clock = clock
        self._heard: dict[str, tuple[str, tuple[float, ...], float, float]] = {}
        for spec in profile.action:
            if spec.record.type == JOINT_STATE:
                topic = spec.record.topic
                node.create_subscription(JointState, topic, partial(self.hear, topic), COMMAND)

    def hear(self, topic: str, msg: JointState) -> None:
        """Somebody said what is in force."""
        if msg.header.frame_id == self._me:
            return
        now_s, values, before = self._clock(), tuple(msg.position), self._heard.get(topic)
        changed_s = now_s if before is None or before[1] != values else before[2]
        self._heard[topic] = (msg.header.frame_id, values, changed_s, now_s)

    def check(self, driving_s: float | None) -> None:
        """Refuse to be one of two drivers.

        Args:
            driving_s: For how long this node has sent commands [s]; None: not yet.

        Raises:
            SafetyError: another node drives.
        """
        now_s = self._clock()
        for topic, (who, _, changed_s, heard_s) in list(self._heard.items()):
            standing = now_s - heard_s < STANDING_S
            if now_s - changed_s < MOVING_S or (standing and driving_s is not None and driving_s > GRACE_S):
                raise SafetyError(
                    f"'{who or 'a node without a name'}' drives this robot too: it publishes targets on {topic}. Stop it, or "
                    "let it drive alone and only record what it does: --robot.drive=false --teleop.source=targets"
                )
