# SPDX-License-Identifier: Apache-2.0

"""A robot in this process: two arm joints, a gripper, a camera, and servers that do at once what they are told."""

import threading
import time

import rclpy
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from vla_core.testing import PROFILE

# A busy machine may stop for a second; the limits of the robot itself are as they are.
PATIENT = (
    PROFILE.replace("max_age_s: 0.2", "max_age_s: 2.0").replace("max_age_s: 0.05", "max_age_s: 2.0")
    + "safety: {watchdog_s: 3.0}\n"
)


class FakeRobot:
    """Streams and servers, served by a thread of their own until `close`."""

    def __init__(self, *, camera=True, joints=("elbow_joint", "wrist_joint"), servers=True, name="fake"):
        self.where = {"elbow_joint": 0.1, "wrist_joint": 0.2, "finger_joint": 0.0}
        self.joints, self.camera = joints, camera
        self.hold = threading.Event()  # goals run until they are cancelled
        self.goals, self.grips, self.cancelled, self.targets = [], [], 0, []
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self.node = Node(name, context=self._context)
        group = ReentrantCallbackGroup()
        self._states = self.node.create_publisher(JointState, "joint_states", 10)
        self._images = self.node.create_publisher(Image, "front/image_raw", 10)
        self.targets_out = self.node.create_publisher(JointState, "command/arm", 10)
        self.node.create_subscription(JointState, "command/arm", self.targets.append, 10, callback_group=group)
        self.node.create_timer(0.02, self._publish, callback_group=group)
        if servers:
            self._arm = ActionServer(
                self.node,
                FollowJointTrajectory,
                "arm_controller/follow_joint_trajectory",
                self._follow,
                cancel_callback=lambda _: CancelResponse.ACCEPT,
                callback_group=group,
            )
            self._gripper = ActionServer(
                self.node, GripperCommand, "gripper_controller/gripper_cmd", self._grip, callback_group=group
            )
        self._executor = MultiThreadedExecutor(4, context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def say(self, name, positions, driver="/somebody"):
        """Publish targets as another driver."""
        msg = JointState(name=list(self.joints), position=list(positions))
        msg.header.stamp, msg.header.frame_id = self.node.get_clock().now().to_msg(), driver
        self.targets_out.publish(msg)

    def close(self):
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(5.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _publish(self):
        stamp = self.node.get_clock().now().to_msg()
        arm = JointState(name=list(self.joints), position=[self.where[joint] for joint in self.joints])
        finger = JointState(name=["finger_joint"], position=[self.where["finger_joint"]])
        for msg in (arm, finger):
            msg.header.stamp = stamp
            self._states.publish(msg)
        if self.camera:
            image = Image(height=24, width=32, encoding="rgb8", step=96, data=bytes(3 * 24 * 32))
            image.header.stamp = stamp
            self._images.publish(image)

    def _follow(self, handle):
        trajectory = handle.request.trajectory
        self.goals.append(trajectory)
        while self.hold.is_set():
            if handle.is_cancel_requested:
                self.cancelled += 1
                handle.canceled()
                return FollowJointTrajectory.Result()
            time.sleep(0.005)
        self.where |= dict(zip(trajectory.joint_names, trajectory.points[-1].positions, strict=True))
        handle.succeed()
        return FollowJointTrajectory.Result()

    def _grip(self, handle):
        self.grips.append(handle.request.command.position)
        self.where["finger_joint"] = handle.request.command.position
        handle.succeed()
        return GripperCommand.Result(reached_goal=True)


def wait_until(condition, timeout_s=20.0):
    """Poll until `condition()` is true; a deadline, not a pause."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(0.01)
