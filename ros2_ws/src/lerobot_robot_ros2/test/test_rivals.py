# SPDX-License-Identifier: Apache-2.0

"""Two drivers of one robot: found before the arm obeys both, and a hand-over is no rival."""

import pytest
from lerobot_robot_ros2.rivals import GRACE_S, MOVING_S, Rivals
from sensor_msgs.msg import JointState
from vla_core.errors import SafetyError
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE


class Listener:
    """As much of a node as subscriptions need."""

    def __init__(self):
        self.topics = []

    def get_fully_qualified_name(self):
        return "/lerobot_robot"

    def create_subscription(self, kind, topic, callback, qos):
        self.topics.append(topic)


def said(driver, *values):
    msg = JointState(position=list(values))
    msg.header.frame_id = driver
    return msg


@pytest.fixture
def rig():
    node, now = Listener(), [0.0]
    rivals = Rivals(node, parse_profile(PROFILE), clock=lambda: now[0])
    assert node.topics == ["command/arm", "command/gripper"]
    return rivals, now


def test_who_moves_the_robot_now_is_named(rig):
    rivals, _ = rig
    rivals.hear("command/arm", said("/teleop", 0.1))
    with pytest.raises(SafetyError, match=r"'/teleop' drives this robot too.*--robot.drive=false"):
        rivals.check(None)


def test_what_the_last_driver_left_standing_is_no_rival_until_it_goes_on(rig):
    rivals, now = rig
    rivals.hear("command/arm", said("/policy", 0.1))
    now[0] = MOVING_S + 0.01
    rivals.hear("command/arm", said("/policy", 0.1))
    rivals.check(None)
    rivals.check(GRACE_S - 0.1)
    with pytest.raises(SafetyError, match="'/policy' drives"):
        rivals.check(GRACE_S + 0.1)


def test_the_own_targets_and_old_ones_are_no_rivals(rig):
    rivals, now = rig
    rivals.hear("command/arm", said("/lerobot_robot", 0.1))
    rivals.check(10.0)
    rivals.hear("command/arm", said("/skills", 0.1))
    now[0] = 5.0
    rivals.check(10.0)
