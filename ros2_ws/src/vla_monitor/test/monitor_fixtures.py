# SPDX-License-Identifier: Apache-2.0

"""A robot of two joints and a finger, and nodes of one test."""

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

PROFILE = """
robot: toy
fps: 10
base_frame: base
tool_frame: tool
task: wave
cameras:
  front: {topic: front/image_raw, size: [24, 32], rate_hz: 10.0, max_age_s: 0.5}
state:
  - {topic: joint_states, type: sensor_msgs/msg/JointState, rate_hz: 100.0, max_age_s: 0.5, fields: [position.shoulder, position.elbow]}
  - {topic: joint_states, type: sensor_msgs/msg/JointState, rate_hz: 100.0, max_age_s: 0.5, fields: [position.finger], scale: {from: [0.0, 0.8], to: [0.0, 1.0]}}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 10.0, max_age_s: 0.5}
    command: {interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}
    joints: [elbow, shoulder]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0]}
  - name: gripper
    record: {topic: command/gripper, rate_hz: 10.0, max_age_s: 0.5}
    command: {interface: gripper_command, name: gripper/gripper_cmd}
    joints: [finger]
    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}
    limits: {lower: [0.0], upper: [0.8]}
"""
# two links of 1 m and 0.5 m in a plane: tool at (cos a + cos(a + b) / 2, sin a + sin(a + b) / 2, 0)
KINEMATICS = """
kinematics: {joints: [shoulder, elbow], a: [1.0, 0.5], d: [0.0, 0.0], alpha: [0.0, 0.0]}
"""


class Graph:
    """Nodes of one test, spun by it."""

    def __init__(self):
        self.executor = SingleThreadedExecutor()
        self.nodes = []

    def add(self, node):
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def node(self, name="tester"):
        return self.add(rclpy.create_node(name))

    def until(self, condition, what, each=lambda: None, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
            each()
            self.executor.spin_once(timeout_sec=0.02)


def given(**values):
    """Parameters of a node under test."""
    return {"parameter_overrides": [Parameter(name, value=value) for name, value in values.items()]}
