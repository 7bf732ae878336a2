# SPDX-License-Identifier: Apache-2.0

"""The doctor on running nodes: small publishers with one fault each over real DDS, and the simulated cell, which is green."""

import json
import os
import threading
import time
from argparse import Namespace
from contextlib import contextmanager

import pytest
import rclpy
from doctor_cases import EXTRAS
from launches import begin, end, isolated, run
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool
from vla_bringup.doctor.live import live_groups
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE

# Rates that a loaded machine holds; what is far from them is a fault on purpose.
SLOWER = PROFILE.replace("rate_hz: 20, max_age_s: 0.2}\nstate", "rate_hz: 5, max_age_s: 2.0}\nstate").replace(
    "rate_hz: 100, max_age_s: 0.05", "rate_hz: 10, max_age_s: 2.0"
)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
OPTIONS = Namespace(seconds=1.5, namespace="", camera_settings=None)


class Robot(Node):
    """Publishes what the small profile names, with faults."""

    def __init__(self, context, **faults):
        super().__init__("robot", context=context)
        self.faults, self.count = faults, 0
        kind = CompressedImage if "type" in faults else Image
        self.images = [self.create_publisher(kind, "front/image_raw", BEST_EFFORT if "qos" in faults else 5)]
        if "twice" in faults:
            self.images.append(self.create_publisher(kind, "front/image_raw", 5))
        if "qos" in faults:
            self.create_subscription(Image, "front/image_raw", lambda _: None, 5)
        self.joints = self.create_publisher(JointState, "joint_states", 10)
        for name in ("safety_mode", "program_running"):
            self.create_publisher(Bool, name, LATCHED).publish(Bool(data=name not in faults))
        self.create_timer(faults.get("period", 0.2), self.send_image)
        self.create_timer(0.1, self.send_joints)

    def stamp(self):
        ahead = round(self.faults.get("ahead_s", 0.0) * 1e9)
        return rclpy.time.Time(nanoseconds=self.get_clock().now().nanoseconds + ahead).to_msg()

    def send_image(self):
        self.count += 1
        content = 7 if "frozen" in self.faults else self.count % 256
        for publisher in self.images:
            if "type" in self.faults:
                message = CompressedImage(format="jpeg", data=bytes(10))
            else:
                message = Image(height=24, width=32, encoding="rgb8", step=96, data=bytes([content]) * 24 * 96)
            message.header.stamp = self.stamp()
            publisher.publish(message)

    def send_joints(self):
        names = self.faults.get("names", ["elbow_joint", "wrist_joint", "finger_joint"])
        message = JointState(name=names, position=[0.1, 0.2, 0.3])
        message.header.stamp = self.stamp()
        self.joints.publish(message)


@contextmanager
def running(**faults):
    context = rclpy.Context()
    rclpy.init(context=context)
    node, executor = Robot(context, **faults), MultiThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown(timeout_sec=2.0)
        thread.join(2.0)
        node.destroy_node()
        rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module", autouse=True)
def domain(tmp_path_factory):
    private = isolated(tmp_path_factory.mktemp("ros_log"))
    old = {key: os.environ.get(key) for key in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    os.environ.update({key: private[key] for key in old})
    yield private
    for key, value in old.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.mark.parametrize(
    ("faults", "parts"),
    [
        ({"frozen": True}, ("camera 'front': frozen: the last",)),
        ({"period": 0.6}, ("Hz instead of 5 Hz",)),
        ({"type": True}, ("published as sensor_msgs/msg/CompressedImage by /robot", "but the profile says")),
        (
            {"qos": True},
            ("/robot gets nothing from /robot (reliability: best effort is offered, reliable is asked for)",),
        ),
        ({"names": ["elbow_joint", "wrist_joint", "fingr_joint"]}, ("no message carries position.finger_joint",)),
        ({"twice": True}, ("2 publishers of the same data: /robot",)),
        ({"ahead_s": 5.0}, ("in the future", "chrony")),
        ({"program_running": True}, ("monitor 'program' /program_running: data = False", "press play")),
        ({"safety_mode": True}, ("monitor 'safety' /safety_mode: data = False", "unlock the protective stop")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_fault_of_a_running_node_is_red(faults, parts):
    robot = parse_profile(SLOWER + EXTRAS, "robot.yaml")
    with running(**faults):
        groups = live_groups(robot, OPTIONS)
    reds = [finding.line for group in groups for finding in group.findings if finding.level == "red"]
    for part in parts:
        assert any(part in line for line in reds), (part, reds)


def test_the_doctor_of_the_simulated_cell_is_green(domain, tmp_path):
    process = begin(["ros2", "launch", "vla_bringup", "sim.launch.py", "robot:=sim_ur5e_tiny"], domain)
    try:
        report = tmp_path / "report.json"
        command = ["ros2", "run", "vla_bringup", "doctor", "--robot", "sim_ur5e_tiny", "--live", "--json", str(report)]
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            code, out = run(domain, *command, "--output-dir", str(tmp_path), timeout=90)
            if code == 0:  # the cell has come up, which takes its time on a busy machine
                break
        groups = {group["title"]: group["findings"] for group in json.loads(report.read_text())["groups"]}
        wrong = [
            f for title in ("streams", "cameras", "robot", "joints") for f in groups[title] if f["level"] != "green"
        ]
        assert wrong == [], out
        assert code == 0, out
        assert "simulated time runs at" in out
    finally:
        end(process, patience_s=10)
