# SPDX-License-Identifier: Apache-2.0

"""The joint targets in force, published by whoever drives; recordings learn the action from them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from vla_core.codecs import JOINT_STATE
from vla_core.errors import ProfileError, listing
from vla_core.profile import Profile

from vla_common.action_channel import time_message
from vla_common.qos import COMMAND


class TargetPublisher:
    """Publishers on the record topics of a profile's actions."""

    def __init__(self, node: Node, profile: Profile, names: Sequence[str] | None = None) -> None:
        """Make the publishers.

        Args:
            node: That drives.
            profile: Robot profile.
            names: Of the actions that it drives; None: all.

        Raises:
            ProfileError: an action is absent, or recorded from another type than sensor_msgs/msg/JointState.
        """
        specs = {spec.name: spec for spec in profile.action}
        self._driver = node.get_fully_qualified_name()
        self._last: dict[str, NDArray[np.float64]] = {}
        self._joints: dict[str, list[str]] = {}
        self._publishers: dict[str, Publisher] = {}
        for name in specs if names is None else names:
            if name not in specs:
                raise ProfileError(f"{profile.source}: there is no action '{name}'; actions: {listing(specs)}")
            spec = specs[name]
            if spec.record.type != JOINT_STATE:
                raise ProfileError(
                    f"{profile.source}: action '{name}' is recorded from {spec.record.type} on {spec.record.topic}; "
                    f"whoever drives publishes {JOINT_STATE}, so set record.type to that"
                )
            self._joints[name] = list(spec.joints)
            self._publishers[name] = node.create_publisher(JointState, spec.record.topic, COMMAND)

    def publish(self, name: str, t_ns: int, positions: "Sequence[float] | NDArray[np.float64]") -> None:
        """Publish the targets (k,) of the action `name` [rad or m], in the order of its joints, as of `t_ns`.

        The header's `frame_id` says which node drives.

        Raises:
            ValueError: the action has another number of joints.
        """
        joints = self._joints[name]
        if len(positions) != len(joints):
            raise ValueError(f"action '{name}' has {len(joints)} joints, got {len(positions)} positions")
        msg = JointState(name=joints, position=[float(value) for value in positions])
        msg.header.stamp, msg.header.frame_id = time_message(t_ns), self._driver
        self._last[name] = np.array(msg.position)
        self._publishers[name].publish(msg)

    @property
    def last(self) -> "dict[str, NDArray[np.float64]]":
        """What was published last: action -> targets (k,) [rad or m]; actions without any are left out."""
        return dict(self._last)
