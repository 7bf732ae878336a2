# SPDX-License-Identifier: Apache-2.0

"""The profile's section `teleop`: what is read, what is refused, and that policies do not notice it."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.errors import ProfileError
from vla_core.kinematics import forward, rotation_from_rpy, rotation_vector
from vla_core.profile import load_profile, mapping_differences, parse_profile
from vla_core.testing import PROFILE

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"
SHORT = "teleop: {arm: arm, stream: {name: stream/commands}"


def test_without_the_section_there_is_nothing(profile):
    assert profile.teleop is None


def test_the_defaults_are_slow_and_give_the_arm_back_to_its_own_controller():
    found = parse_profile(PROFILE + SHORT + "}\n").teleop
    assert (found.max_linear, found.max_angular, found.linear_acceleration) == (0.05, (0.10, 0.10, 0.25), 0.5)
    assert (found.stream_name, found.stream_controller) == ("stream/commands", "stream")
    assert found.trajectory_controller == parse_profile(PROFILE).action[0].command.controller
    assert (found.gripper, found.freedrive_controller, found.servo_topic) == (None, None, "")
    assert found.manager == "controller_manager"
    assert found.T_tool_tcp == pytest.approx(np.eye(4))


def test_all_keys_are_read():
    more = (
        ", gripper: gripper, trajectory_controller: a, freedrive_controller: b, manager: left/controller_manager, "
        "tcp: {xyz: [0, 0, 0.2], rpy: [0, 0, 1.5]}, vertical_rpy: [3, 0, 0], max_linear: 0.1, "
        "max_angular: [1, 2, 3], linear_acceleration: 1, angular_acceleration: 4, stop_s: 0.1, servo_topic: servo/twist, "
        "gripper_units: [3, 230]}\n"
    )
    profile = parse_profile(PROFILE + SHORT + more)
    found = profile.teleop
    assert (found.trajectory_controller, found.freedrive_controller, found.manager) == (
        "a",
        "b",
        "left/controller_manager",
    )
    assert found.T_tool_tcp[:3, 3] == pytest.approx([0, 0, 0.2])
    assert found.T_tool_tcp[:2, 0] == pytest.approx([np.cos(1.5), np.sin(1.5)])
    assert (found.max_linear, found.max_angular, found.stop_s) == (0.1, (1.0, 2.0, 3.0), 0.1)
    assert (found.linear_acceleration, found.angular_acceleration) == (1.0, 4.0)
    assert (found.servo_topic, found.gripper_units, found.vertical_rpy) == (
        "servo/twist",
        (3.0, 230.0),
        (3.0, 0.0, 0.0),
    )
    assert parse_profile(profile.text).teleop == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SHORT.replace("arm: arm", "arm: gripper"),
            "teleop.arm: the profile has no arm action 'gripper'; there are: arm",
        ),
        (
            SHORT + ", gripper: grip",
            "teleop.gripper: the profile has no gripper action 'grip'; there are: gripper; did",
        ),
        (SHORT.replace("name: ", "topic: "), "teleop.stream.topic: unknown key 'topic'"),
        (SHORT + ", max_linear: 0", "teleop.max_linear: must be larger than 0, got 0"),
        (SHORT + ", max_angular: [1, -1, 1]", "teleop.max_angular: must be larger than 0, got -1"),
        (SHORT + ", gripper_units: [7, 7]", "teleop.gripper_units: open and closed are both 7"),
        (SHORT + ", speed: 1", "teleop.speed: unknown key 'speed'"),
        ("teleop: {arm: arm", "teleop.stream: missing key"),
    ],
)
def test_each_mistake_is_named(text, message):
    with pytest.raises(ProfileError) as caught:
        parse_profile(PROFILE + text + "}\n", "test.yaml")
    assert message in str(caught.value)


def test_an_arm_without_a_velocity_limit_is_refused():
    text = PROFILE.replace("max_velocity: 2.0, ", "")
    with pytest.raises(ProfileError, match=r"teleop.arm: the action 'arm' has no limits.max_velocity, and a streaming"):
        parse_profile(text + SHORT + "}\n")


def test_skill_numbers_are_the_ends_of_the_grippers_scale():
    found = load_profile(ROBOTS / "sim_ur5e.yaml").teleop
    assert found.gripper_joint(3.0) == 0.0
    assert found.gripper_joint(230.0) == pytest.approx(0.7929)
    assert found.gripper_number(found.gripper_joint(155.0)) == pytest.approx(155.0)


def test_vertical_is_the_ready_pose_of_the_shipped_cell():
    profile = load_profile(ROBOTS / "sim_ur5e.yaml")
    base = rotation_from_rpy(profile.kinematics.base_rpy)
    tcp = forward(profile.kinematics, profile.ready["arm"]) @ profile.teleop.T_tool_tcp
    assert np.linalg.norm(rotation_vector(tcp[:3, :3].T @ base @ rotation_from_rpy(profile.teleop.vertical_rpy))) < 1e-3


def test_policies_do_not_notice_it():
    with_it = load_profile(ROBOTS / "sim_ur5e.yaml")
    text = with_it.text
    begin, end = text.index("teleop:"), text.index("record_topics:")
    without = parse_profile(text[:begin] + text[end:])
    assert without.teleop is None
    assert mapping_differences(without, with_it) == ()


def test_the_robot_differs_from_its_simulation_by_its_fingers_only():
    simulated, real = (load_profile(ROBOTS / f"{name}.yaml").teleop for name in ("sim_ur5e", "ur5e_2f85_realsense"))
    assert real.freedrive_controller == simulated.freedrive_controller == "freedrive_mode_controller"
    assert (simulated.tcp_xyz[2], real.tcp_xyz[2]) == (0.148, 0.1792)
    assert real.stream_name == simulated.stream_name == "forward_position_controller/commands"


def two_arms(*changes):
    text = (ROBOTS / "sim_ur5e_bimanual.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_profile(text, "two.yaml")


def test_each_of_two_arms_has_a_section_under_its_name():
    profile = two_arms()
    assert profile.teleop is None
    left, right = profile.teleops
    assert (left.arm, left.gripper, left.manager) == ("left_arm", "left_gripper", "left/controller_manager")
    assert (right.arm, right.stream_name) == ("right_arm", "right/forward_position_controller/commands")
    assert parse_profile(profile.text).teleops == profile.teleops
    alone = load_profile(ROBOTS / "sim_ur5e.yaml")
    assert alone.teleops == (alone.teleop,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("teleop:                          #", "teleop:\n  arm: left_arm  #", "unknown key 'left_arm'"),
        ("  right_arm:\n    gripper: right_gripper", "  right:\n    gripper: right_gripper", "teleop.right: the profile has no arm action 'right'; with several arms"),
        ("    gripper: right_gripper", "    gripper: left_gripper", "teleop.right_arm: the gripper 'left_gripper' is another arm's already"),
        ("    gripper: right_gripper", "    arm: right_arm", "teleop.right_arm.arm: unknown key 'arm'"),
    ],
)  # fmt: skip
def test_each_mistake_with_two_arms_is_named(old, new, message):
    with pytest.raises(ProfileError) as caught:
        two_arms((old, new))
    assert message in str(caught.value)
