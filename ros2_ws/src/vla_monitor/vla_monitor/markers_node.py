# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_monitor markers_node --ros-args -p profile:=robot.yaml``: what rviz and Foxglove draw beside the robot.

Publishes `monitor/markers` (visualization_msgs/MarkerArray) in the profile's base frame: the path of each tool, the chunks
that the policy predicts as they fade, how far the tool is from the newest one, and phase and task as text. Arms without
kinematics in the profile are left out. And `monitor/joints` (sensor_msgs/JointState): the measured joints [rad or m], always all
of them in the order of the profile's actions and NaN while one is not known, for plots that address them by index.
"""

import math
import sys
from functools import partial
from typing import Any

import numpy as np
from rosidl_runtime_py.utilities import get_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray
from vla_common.params import declare
from vla_common.qos import COMMAND, SENSOR_BEST_EFFORT
from vla_common.run import ManagedNode, run_node
from vla_core.profile import load_profile
from vla_msgs.msg import PolicyStatus

from vla_monitor import chunk as chunks
from vla_monitor.arms import find_arms
from vla_monitor.markers import marker_array
from vla_monitor.markers_params import MarkersParams
from vla_monitor.scene import TEXT, Scene, Shape, age_s, caption
from vla_monitor.story import Story
from vla_monitor.values import measured, message_ns

TOPIC = "monitor/markers"
JOINTS = "monitor/joints"
GATHER_S = 0.05  # joint states come 1000 times a second; ten pictures a second are drawn


class MarkersNode(ManagedNode):
    """See the module."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("markers", **kwargs)
        self.gather_s = GATHER_S
        params = declare(self, MarkersParams)
        profile = load_profile(params.profile)
        self._frame, self._height = profile.base_frame, params.text_height
        self._arms, without = find_arms(profile)
        if without:
            self.get_logger().warning(
                f"no path and no chunk of {', '.join(without)}: the profile {profile.robot} has no kinematics of it"
            )
        self._scene = Scene(
            self._arms, path_s=params.path_s, fade_s=params.fade_s, chunks=params.chunks, rate_hz=3.0 * params.rate_hz
        )
        self._values: dict[str, float] = {}
        self._reader = measured(profile)
        self._newest_ns, self._chunk_ns = 0, 0
        self._joints = [joint for spec in profile.action for joint in spec.joints]
        self._joint_publisher = self.create_publisher(JointState, JOINTS, COMMAND)
        self._publisher = self.create_publisher(MarkerArray, TOPIC, COMMAND)
        self._story = Story(self, self._on_policy)
        for topic, kind in self._reader.types.items():
            receive = partial(self._on_joints, topic)
            self.create_subscription(get_message(kind), topic, receive, SENSOR_BEST_EFFORT)
        self.create_subscription(JointTrajectory, chunks.TOPIC, self._on_chunk, COMMAND)
        self.create_timer(1.0 / params.rate_hz, self._draw)

    def _now_ns(self) -> int:
        now_ns = int(self.get_clock().now().nanoseconds)
        if now_ns < self._newest_ns:
            self._scene.clear()  # the clock went back: a bag or a simulation begins again
            self._values.clear()
        self._newest_ns = now_ns
        return now_ns

    def _on_joints(self, topic: str, msg: Any) -> None:
        self._now_ns()
        self._values.update(self._reader.read(topic, msg))
        self._scene.moved(message_ns(msg, self._newest_ns), self._values)

    def _on_chunk(self, msg: JointTrajectory) -> None:
        chunk = chunks.read_chunk(msg)
        if chunk is not None:
            self._chunk_ns = int(chunk.times_ns[0])
            self._scene.predicted(self._now_ns(), chunk)

    def _on_policy(self, msg: PolicyStatus) -> None:
        if msg.state != PolicyStatus.RUNNING:
            self._scene.released()

    def _draw(self) -> None:
        now_ns = self._now_ns()
        shapes = [*self._scene.shapes(now_ns), self._text(now_ns)]
        if self._publisher.get_subscription_count():
            self._publisher.publish(marker_array(shapes, self._frame, self.get_clock().now().to_msg()))
        if self._values and self._joint_publisher.get_subscription_count():
            positions = [self._values.get(joint, math.nan) for joint in self._joints]
            msg = JointState(name=self._joints, position=positions)
            msg.header.stamp = self.get_clock().now().to_msg()
            self._joint_publisher.publish(msg)

    def _text(self, now_ns: int) -> Shape:
        off = {arm.name: self._scene.deviation_m(arm.name) for arm in self._arms}
        text = caption(self._story.phase, self._story.task, off, age_s(now_ns, self._chunk_ns))
        place = np.array([[0.0, 0.0, self._height]])
        white = (1.0, 1.0, 1.0)
        return Shape(
            space="phase", number=0, kind=TEXT, points=place, alpha=np.ones(1), color=white, size=0.06, text=text
        )


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(MarkersNode, args)


if __name__ == "__main__":
    sys.exit(main())
