# SPDX-License-Identifier: Apache-2.0

"""Joint limits of the robot description that the robot's driver publishes, laid over those of the profile."""

import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from std_msgs.msg import String
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode
from vla_core.errors import SafetyError
from vla_core.profile import Profile
from vla_core.safety_urdf import tighten
from vla_msgs.action import RunPolicy

from vla_policy.execution.hooks import Stop

Result = RunPolicy.Result
TOPIC = "robot_description"


class DescribedLimits:
    """Listens to `robot_description`; the tighter limit counts, and the log says which that is.

    A robot without a description is driven under the limits of its profile; one with a description that cannot be read,
    or that contradicts the profile, is not driven at all.
    """

    def __init__(self, node: ManagedNode, profile: Profile, *, group: CallbackGroup | None = None) -> None:
        """Args: group: callback group; None takes the node's default."""
        self._node = node
        self._profile = profile
        self._heard = threading.Event()
        self._text = self._wrong = ""
        node.create_subscription(String, TOPIC, self._on_description, LATCHED, callback_group=group)

    def tightened(self, profile: Profile) -> Profile:
        """The profile with the tighter limits; as it is while nothing was heard."""
        return tighten(profile, self._text).profile if self._text else profile

    def wait(self, timeout_s: float) -> None:
        """Wait for the description up to `timeout_s` wall seconds, if somebody offers one."""
        deadline = time.monotonic() + timeout_s
        while self._node.count_publishers(TOPIC) and time.monotonic() < deadline:
            if self._heard.wait(min(0.1, timeout_s)):
                return

    def begin(self, t_ns: int) -> None:
        """See `Guard.begin`."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        if not self._wrong:
            return None
        message = f"{self._wrong} (topic {TOPIC}); correct the description or the profile"
        return Stop(termination=Result.TERMINATION_LIMIT, error_code=Result.UNSAFE_ACTION, message=message)

    def _on_description(self, msg: Any) -> None:
        try:
            found = tighten(self._profile, msg.data)
        except SafetyError as error:
            self._text, self._wrong = "", str(error)
            self._node.get_logger().error(self._wrong)
        else:
            self._text, self._wrong = msg.data, ""
            if found.notes:
                tighter = "; ".join(found.notes)
                self._node.get_logger().warning(
                    f"limits of {TOPIC} are tighter than the profile's and count: {tighter}"
                )
            if found.unknown:
                unknown = ", ".join(found.unknown)
                self._node.get_logger().info(f"{TOPIC} has no joint {unknown}; the profile's limits count for it alone")
        self._heard.set()
