# SPDX-License-Identifier: Apache-2.0

"""LeRobot's `Teleoperator` over real DDS: a leader, another driver's targets, and silence."""

import math
import threading

import pytest
import rclpy
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.utils import make_teleoperator_from_config
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError
from lerobot_teleoperator_ros2 import Ros2TeleoperatorConfig
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_core.errors import VlaError
from vla_core.testing import PROFILE

NAMES = ["elbow_joint.pos", "wrist_joint.pos", "finger_joint.pos"]
PATIENT = PROFILE.replace("rate_hz: 20, max_age_s: 0.2", "rate_hz: 20, max_age_s: 2.0") + "safety: {watchdog_s: 3.0}\n"


class Sender:
    """Publishes joint states on topics, 50 times a second, until `close`."""

    def __init__(self, topics, driver="/teleop"):
        self.topics, self.driver, self.silent, self.stamped = topics, driver, False, True
        self._context = Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("sender", context=self._context)
        self._publishers = {topic: self._node.create_publisher(JointState, topic, 10) for topic in topics}
        self._node.create_timer(0.02, self._send)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _send(self):
        for topic, joints in self.topics.items():
            if self.silent:
                return
            msg = JointState(name=list(joints), position=[float(value) for value in joints.values()])
            msg.header.frame_id = self.driver
            if self.stamped:
                msg.header.stamp = self._node.get_clock().now().to_msg()
            self._publishers[topic].publish(msg)

    def close(self):
        self._ending.set()
        self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


def read_on(read):
    """Until it fails: the last message is fresh for a while."""
    while True:
        read()


@pytest.fixture
def send():
    made = []

    def make(topics, **options):
        made.append(Sender(topics, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def make(tmp_path):
    """Makes teleoperators that are disconnected at the end."""
    made = []

    def make(text=PATIENT, **options):
        path = tmp_path / "robot.yaml"
        path.write_text(text)
        options = {"connect_timeout_s": 30.0, **options}
        config = Ros2TeleoperatorConfig(profile=str(path), calibration_dir=tmp_path / "calibration", **options)
        made.append(make_teleoperator_from_config(config))
        return made[-1]

    yield make
    for one in made:
        if one.is_connected:
            one.disconnect()


ARM = {"elbow_joint": 0.1, "wrist_joint": 0.2}
TARGETS = {"command/arm": ARM, "command/gripper": {"finger_joint": 0.4}}


def test_what_another_driver_commands_is_the_action(make, send):
    assert TeleoperatorConfig.get_choice_class("ros2") is Ros2TeleoperatorConfig
    send(TARGETS)
    teleop = make()
    assert teleop.action_features == dict.fromkeys(NAMES, float)
    teleop.connect()
    assert teleop.get_action() == pytest.approx(dict(zip(NAMES, (0.1, 0.2, 0.5), strict=True)))
    with pytest.raises(DeviceAlreadyConnectedError):
        teleop.connect()
    teleop.disconnect()
    with pytest.raises(DeviceNotConnectedError, match="not connected"):
        teleop.get_action()


def test_a_leader_in_degrees_drives_in_radians(make, send):
    send({"leader": {"1": 90.0, "2": -45.0, "g": 0.0}})
    factor = math.pi / 180.0
    teleop = make(
        source="leader",
        topic="leader",
        joints={"elbow_joint": "1", "wrist_joint": "2", "finger_joint": "g"},
        factors={"elbow_joint": factor, "wrist_joint": -factor},
        offsets={"finger_joint": 0.8},
    )
    teleop.connect()
    assert list(teleop.get_action().values()) == pytest.approx([math.pi / 2, math.pi / 4, 1.0])


def test_silence_is_an_error_and_no_old_value(make, send):
    text = PROFILE + "safety: {watchdog_s: 0.3}\n"
    sender, teleop = send(TARGETS), make(text.replace("max_age_s: 0.2", "max_age_s: 0.5"))
    teleop.connect()
    sender.silent = True
    text = r"action.arm: no fresh message on command/arm; the last one is .* s old.*Does somebody drive"
    with pytest.raises(VlaError, match=text):
        read_on(teleop.get_action)


@pytest.mark.parametrize(
    ("topics", "driver", "options", "text"),
    [
        ({}, "", {}, r"action.arm: no fresh message on command/arm, after .*--teleop.source=leader"),
        (TARGETS, "/lerobot_robot", {}, r"Targets of LeRobot's own robot do not count"),
        ({"leader": {"elbow_joint": 0.1}}, "", {"source": "leader", "topic": "leader"}, r"wrist_joint"),
        ({"leader": {"other": 0.1}}, "", {"source": "leader", "topic": "leader"}, r"none carries .*the last one carries other"),
        (TARGETS, "/teleop", {"use_sim_time": True}, r"nobody publishes /clock.*--teleop.use_sim_time=false"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named_at_connect(make, send, topics, driver, options, text):
    send(topics, driver=driver)
    teleop = make(connect_timeout_s=1.5, **options)
    with pytest.raises(VlaError, match=text):
        teleop.connect()
    assert not teleop.is_connected


def test_messages_without_a_stamp_are_no_actions(make, send):
    send(TARGETS).stamped = False
    with pytest.raises(VlaError, match="came without a header stamp and were dropped"):
        make(connect_timeout_s=1.5).connect()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"source": "joystick"}, "--teleop.source must be one of targets, leader, got 'joystick'"),
        ({"topic": "leader"}, "--teleop.topic belongs to --teleop.source=leader"),
        ({"connect_timeout_s": -1.0}, "connect_timeout_s must be positive"),
    ],
)
def test_options_that_do_not_go_together(make, options, text):
    with pytest.raises(ValueError, match=text):
        make(**options)


def test_deltas_cannot_be_said_by_a_teleoperator(make):
    with pytest.raises(ValueError, match=r"action 'arm' is in the space delta_joint.*absolute_joint or absolute_eef"):
        make(PATIENT.replace("task: lift", "action_space: delta_joint\ntask: lift"))
