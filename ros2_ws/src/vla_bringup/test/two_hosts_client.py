# SPDX-License-Identifier: Apache-2.0

"""A node on the policy's host: waits for arm and policy, sends one RunPolicy goal, and prints what crossed the network.

python two_hosts_client.py PROFILE SECONDS    prints {"joint_states": n, "images": n, "goals_sent": n, "code": n, "moved_rad": x, ...}
"""

import json
import sys
import time
from pathlib import Path

import rclpy
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from vla_core.profile import load_profile
from vla_msgs.action import RunPolicy

DEADLINE_S = 150.0


def spin_until(node, condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {DEADLINE_S} s")
        rclpy.spin_once(node, timeout_sec=0.1)


def main(path, seconds):
    profile = load_profile(Path(path))
    joint = profile.action[0].joints[0]
    node = rclpy.create_node("two_hosts_client")
    angles, images = [], []

    def on_state(msg):
        if joint in msg.name:
            angles.append(msg.position[msg.name.index(joint)])

    node.create_subscription(JointState, "joint_states", on_state, qos_profile_sensor_data)
    camera = profile.cameras[0].topic
    node.create_subscription(Image, camera, lambda m: images.append(m.header.stamp), qos_profile_sensor_data)
    arm = ActionClient(node, FollowJointTrajectory, profile.action[0].command.name)
    policy = ActionClient(node, RunPolicy, "policy/run")
    spin_until(node, lambda: arm.server_is_ready() and policy.server_is_ready(), "arm and policy")
    spin_until(node, lambda: angles and images, "joint states and images")
    before = len(angles)
    accepted = policy.send_goal_async(RunPolicy.Goal(max_duration=seconds))
    spin_until(node, accepted.done, "the goal's acceptance")
    ended = accepted.result().get_result_async()
    spin_until(node, ended.done, "the goal's result")
    result, moved = ended.result().result, angles[before - 1 :]
    report = {"joint_states": len(angles), "images": len(images), "goals_sent": result.goals_sent}
    report |= {"code": result.error_code, "text": result.error_msg, "moved_rad": max(moved) - min(moved)}
    print(json.dumps(report))


if __name__ == "__main__":
    rclpy.init()
    main(sys.argv[1], float(sys.argv[2]))
    rclpy.try_shutdown()
