# SPDX-License-Identifier: Apache-2.0

"""A driver that publishes what the small robot's profile names, and the recorder beside it, over real DDS."""

import os
import random
import threading
from pathlib import Path

import pytest
import rclpy
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from vla_common.params import overrides
from vla_common.services import call_service
from vla_msgs.action import RecordEpisode
from vla_recorder.capture.recorder_node import RecorderNode
from vla_recorder.testing import wait_for, write_profile


class Driver(Node):
    """Publishes what the profile names, with a best-effort camera as real drivers may have."""

    def __init__(self) -> None:
        super().__init__("driver")
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.images = self.create_publisher(Image, "front/image_raw", best_effort)
        self.joints = self.create_publisher(JointState, "joint_states", 10)
        self.commands = self.create_publisher(JointState, "command/arm", 10)
        self.create_publisher(String, "robot_description", latched).publish(String(data="<robot/>"))
        self.target = 0.0
        self.count = 0
        self.silent = False
        self.camera_works = True
        self.create_timer(0.02, self.step)

    def step(self) -> None:
        if self.silent:
            return
        stamp = self.get_clock().now().to_msg()
        state = JointState(name=["wrist_joint", "elbow_joint"], position=[0.5, self.target])
        state.header.stamp = stamp
        self.joints.publish(state)
        if self.count % 2 == 0:
            command = JointState(name=["elbow_joint", "wrist_joint"], position=[self.target, 0.5])
            command.header.stamp = stamp
            self.commands.publish(command)
            if self.camera_works:
                image = Image(height=24, width=32, encoding="rgb8", step=96, data=bytes([self.count % 256]) * 24 * 96)
                image.header.stamp = stamp
                self.images.publish(image)
        self.count += 1


class Bench:
    """Driver, recorder and a client node, spun by one thread each."""

    def __init__(self, folder: Path, **parameters: object) -> None:
        values = {
            "profile": str(write_profile(folder)),
            "output_dir": str(folder / "bags"),
            "min_free_gb": 0.0,
            "record_from": "start",
        }
        self.recorder = RecorderNode(parameter_overrides=overrides({**values, **parameters}))
        self.driver = Driver()
        self.client = Node("client")
        self.nodes = [self.recorder, self.driver, self.client]
        self.executors = []
        self.threads = []
        for node in self.nodes:
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            thread = threading.Thread(target=executor.spin, daemon=True)
            thread.start()
            self.executors.append(executor)
            self.threads.append(thread)
        self.action = ActionClient(self.client, RecordEpisode, "recorder/record_episode")

    def call(self, kind, name, **fields):
        client = self.client.create_client(kind, f"recorder/{name}")
        return call_service(client, kind.Request(**fields))

    def ready(self) -> None:
        observed = [tap for tap in self.recorder._controller.taps.taps.values() if tap.plan.role == "observation"]
        wait_for(lambda: all(tap.last_ns for tap in observed), what="first messages of every observation")
        wait_for(lambda: any(tap.latched for tap in self.recorder._controller.taps.taps.values()), what="latched")

    def messages(self) -> int:
        return self.recorder._controller.snapshot().get("messages", 0)

    def close(self) -> None:
        for executor, thread in zip(self.executors, self.threads, strict=True):
            executor.shutdown(timeout_sec=2.0)
            thread.join(2.0)
        for node in self.nodes:
            node.destroy_node()


@pytest.fixture(scope="session", autouse=True)
def ros():
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def make_bench(tmp_path):
    made = []

    def make(**parameters: object) -> Bench:
        made.append(Bench(tmp_path, **parameters))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench):
    return make_bench()


@pytest.fixture
def driver():
    node = Driver()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown(timeout_sec=2.0)
    thread.join(2.0)
    node.destroy_node()
