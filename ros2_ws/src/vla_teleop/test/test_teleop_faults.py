# SPDX-License-Identifier: Apache-2.0

"""What goes wrong around the teleop node: wrong names, absent parts, and an end in the middle of a motion."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from controller_manager_msgs.srv import ListControllers
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from teleop_stage import MOVING, PROFILE, TeleopStage
from vla_common.params import overrides
from vla_core.errors import KinematicsError, ProfileError
from vla_core.profile import load_profile, parse_profile
from vla_msgs.msg import TeleopState
from vla_teleop.devices.device import DeviceError
from vla_teleop.node.teleop_node import TeleopNode
from vla_teleop.node.teleop_report import Now, Reporter
from vla_teleop.node.teleop_robot import teleop_spec

S = TeleopState
FORWARD = np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.0])


@pytest.fixture
def staged(tmp_path):
    made = []

    def make(**options):
        made.append(TeleopStage(tmp_path, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def active(stage):
    answer = stage.call(ListControllers, "controller_manager/list_controllers")
    return {one.name for one in answer.controller if one.state == "active" and "trajectory" in one.name}


def test_a_controller_that_is_not_loaded_is_a_fault_with_text_and_the_arm_stays_where_it_is(staged):
    stage = staged(profile_changes=[("controller: forward_position_controller", "controller: forward_controller")])
    q0 = stage.q()
    stage.stick.move(twist=FORWARD, moving=True)
    answer = stage.enable()
    assert not answer.success
    text = (
        "forward_controller did not get the arm: controller_manager knows no controller 'forward_controller'; did you mean "
        "'forward_position_controller'?; loaded are "
    )
    assert answer.message.startswith(text)
    assert "Correct the section teleop of the profile, or load it" in answer.message
    assert stage.state.state == S.FAULT
    assert text in stage.state.line
    assert stage.q() == pytest.approx(q0, abs=1e-4)
    assert stage.commands == []
    assert active(stage) == {"scaled_joint_trajectory_controller"}
    assert stage.enable(False).success
    assert stage.state.state == S.OFF


def test_a_stream_that_nobody_hears_is_a_fault_with_text(staged):
    stage = staged(profile_changes=[("name: forward_position_controller/commands", "name: forward/commands")])
    answer = stage.enable()
    assert not answer.success
    assert "after 3.0 s nobody listens on forward/commands; is the robot's driver running" in answer.message
    assert active(stage) == {"scaled_joint_trajectory_controller"}


def test_an_absent_controller_manager_is_a_fault_with_text(staged):
    stage = staged(
        profile_changes=[("  arm: arm\n", "  arm: arm\n  manager: nobody\n")],
        answer_timeout_s=0.3,
        switch_timeout_s=0.3,
    )
    answer = stage.enable()
    assert not answer.success
    assert (
        "which controller has the arm cannot be found out: service /nobody/list_controllers: nobody" in answer.message
    )
    assert stage.state.state == S.FAULT


def test_an_arm_that_does_not_follow_is_not_pulled_any_further(staged):
    stage = staged(divergence=0.01)
    stage.enable()
    joints = stage.profile.action[0].joints
    stage.stick.move(joints=dict(zip(joints, stage.q() + np.array([0.015, 0, 0, 0, 0, 0]), strict=True)))
    stage.pass_s(0.3)
    stage.stick.move(joints=dict(zip(joints, stage.q() + np.array([0.5, 0, 0, 0, 0, 0]), strict=True)))
    stage.until(lambda: stage.state.state == S.FAULT, "the state FAULT")
    assert "shoulder_pan_joint is 0.0" in stage.state.line
    assert (
        "rad away from its target (limit 0.01): the arm does not follow. Is it held, or is forward_pos"
        in stage.state.line
    )
    stage.pass_s(0.3)
    assert np.abs(stage.joints[-1][2]).max() < MOVING
    stage.stick.move()
    assert stage.enable(False).success


def test_the_end_of_the_node_brings_the_arm_to_rest_and_gives_it_back(staged):
    stage = staged()
    stage.enable()
    stage.stick.move(twist=FORWARD, moving=True)
    stage.pass_s(0.4)
    assert np.abs(stage.joints[-1][2]).max() > MOVING
    begun = stage.now_s
    stage.node.close()
    stage.until(lambda: stage.now_s > begun + 0.3, "time, which no longer waits for the node")
    assert stage.still_from(begun) <= 0.2
    assert active(stage) == {"scaled_joint_trajectory_controller"}
    assert stage.states[-1].state == S.OFF


def test_a_robot_without_freedrive_and_a_device_without_deadman_are_told(staged):
    stage = staged(profile_changes=[("  freedrive_controller: freedrive_mode_controller\n", "")], require_deadman=True)
    answer = stage.call_freedrive(True)
    assert (answer.success, stage.state.state) == (False, S.OFF)
    assert answer.message.startswith("this robot has no freedrive: its profile names no teleop.freedrive_controller")
    answer = stage.enable()
    assert (answer.success, stage.state.state) == (False, S.OFF)
    assert answer.message.startswith(
        "require_deadman is set, but stick has no enabling button: name one with `deadman:`"
    )
    stage.stick.move(deadman=True)
    stage.pass_s(0.05)
    assert stage.enable().success
    answer = stage.trigger("teleop/reorient")
    assert answer.success


def test_enable_on_start_and_the_nodes_own_buttons(staged):
    stage = staged(enable_on_start=True, own_buttons=True)
    stage.until(lambda: stage.state.state == S.ACTIVE, "the state ACTIVE")
    stage.stick.press("enable")
    stage.until(lambda: stage.state.state == S.OFF, "the state OFF")
    answer = stage.trigger("teleop/reorient")
    assert answer.message == "reorient turns the tool only while the person drives; call ~/enable with true first"
    stage.stick.press("home")
    stage.until(lambda: stage.state.motion == "home" or stage.states[-1].state == S.ACTIVE, "the way home")
    stage.stick.press("freedrive")
    stage.until(lambda: stage.state.state == S.FREEDRIVE, "the state FREEDRIVE")


def test_twists_go_to_moveit_servo_where_the_profile_says_so(staged):
    stage = staged(profile_changes=[("  arm: arm\n", "  arm: arm\n  servo_topic: servo_node/delta_twist_cmds\n")])
    got = []
    stage.helper.create_subscription(TwistStamped, "servo_node/delta_twist_cmds", got.append, 100)
    stage.until(lambda: stage.node.count_subscribers("servo_node/delta_twist_cmds") > 0)
    assert stage.enable().success
    stage.stick.move(twist=np.array([0.03, -0.02, 0.01, 0.0, 0.0, 0.1]), moving=True)
    stage.pass_s(0.5)
    last = got[-1]
    assert last.header.frame_id == "base_link"
    assert [last.twist.linear.x, last.twist.linear.y, last.twist.linear.z] == pytest.approx(
        [-0.03, 0.02, 0.01], abs=1e-6
    )
    assert [last.twist.angular.x, last.twist.angular.y, last.twist.angular.z] == pytest.approx([0, 0, 0.1], abs=1e-6)
    stamps = [msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec for msg in got[-20:]]
    assert np.diff(stamps) == pytest.approx(0.01)
    assert stage.commands == [], "only Servo talks to the streaming controller"


@contextlib.contextmanager
def started():
    context = Context()
    rclpy.init(context=context)
    try:
        yield context
    finally:
        rclpy.try_shutdown(context=context)


def test_a_text_whose_numbers_change_is_said_once():
    lines, sent = [], []
    topics = SimpleNamespace(create_publisher=lambda *_: SimpleNamespace(publish=sent.append))
    report = Reporter(topics, "stick", lines.append)
    rest = {"state": S.ACTIVE, "moving": False, "stale": True, "motion": "", "twist": np.zeros(6), "gripper_rate": 0.0}
    for i in range(11):
        report.now(i * 10_000_000, Now(**rest, gain=1.0, controller="c", text=f"silent for {0.1 + 0.01 * i:.2f} s"))
    assert lines == ["ACTIVE | stick | 0 mm/s 0.00 rad/s, gain 1.00 | silent for 0.10 s"]
    assert [msg.line[-6:] for msg in sent] == ["0.10 s", "0.15 s", "0.20 s"]  # 20 Hz
    report.now(101_000_000, Now(**{**rest, "stale": False}, gain=1.0, controller="c", text=""))
    assert len(sent) == 4  # a change is said at once


def test_what_cannot_be_driven_is_refused_at_the_start(tmp_path):
    text = load_profile(PROFILE).text
    begin, end = text.index("teleop:"), text.index("record_topics:")
    with pytest.raises(
        ProfileError, match=r"no section 'teleop', so nobody can drive this robot by hand. Name its contr"
    ):
        teleop_spec(parse_profile(text[:begin] + text[end:]))
    swapped = text.replace(
        "kinematics:\n  joints:\n  - shoulder_pan_joint", "kinematics:\n  joints:\n  - shoulder_joint"
    )
    assert swapped != text
    path = tmp_path / "robot.yaml"
    path.write_text(swapped)
    with started() as context:
        for values, error, message in (
            ({"profile": str(path)}, KinematicsError, "a twist needs the kinematics of the joints that it drives"),
            (
                {"profile": str(PROFILE), "device": "sol_r3"},
                DeviceError,
                "there is no such mapping; did you mean 'sol_r2'",
            ),
        ):
            with pytest.raises(error, match=message):
                TeleopNode(context=context, parameter_overrides=overrides(values))
