# SPDX-License-Identifier: Apache-2.0

"""Publishes what the policy predicts, for who watches: `~/chunk`, one trajectory_msgs/JointTrajectory per chunk.

It is the policy's own prediction as joint targets of all parts of the action, before it is joined with the chunk in force.
The header's stamp is the time of the first step on the node clock, `time_from_start` counts from there, and
`header.frame_id` is empty. A chunk that was refused, withheld or too late is not published. In a dry run nothing is
commanded and the chunk is published all the same. Without a subscriber nothing is computed.
"""

from array import array

import numpy as np
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from vla_common.action_channel import time_message
from vla_common.qos import COMMAND
from vla_core.profile import Profile
from vla_core.stamps import split_ns

from vla_policy.execution.executor import Plan
from vla_policy.execution.timeline import Timeline


class ChunkPublisher:
    """See the module."""

    def __init__(self, node: Node, profile: Profile) -> None:
        """Args: node: the topic is relative to it."""
        self._profile = profile
        self._publisher = node.create_publisher(JointTrajectory, "~/chunk", COMMAND)

    def publish(self, plan: Plan) -> None:
        """Publish the prediction behind a plan that is in force now, if anybody listens."""
        if self._publisher.get_subscription_count():
            self._publisher.publish(chunk_message(self._profile, plan.predicted))


def chunk_message(profile: Profile, predicted: Timeline) -> JointTrajectory:
    """Joint targets as a message: columns in the order of the profile's actions, one point per step."""
    msg = JointTrajectory(joint_names=[joint for spec in profile.action for joint in spec.joints])
    msg.header.stamp = time_message(predicted.t0_ns)
    columns = np.hstack([predicted.rows[spec.name] for spec in profile.action])
    for t_ns, row in zip(predicted.times_ns().tolist(), np.asarray(columns, dtype=np.float64), strict=True):
        point = JointTrajectoryPoint(positions=array("d", row.tobytes()))
        point.time_from_start.sec, point.time_from_start.nanosec = split_ns(t_ns - predicted.t0_ns)
        msg.points.append(point)
    return msg
