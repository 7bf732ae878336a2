# SPDX-License-Identifier: Apache-2.0

"""Limits of the robot description against those of the profile."""

import math

import pytest
from vla_core.errors import SafetyError
from vla_core.profile import parse_profile
from vla_core.safety import SafetyFilter
from vla_core.safety_urdf import description_topics, tighten, urdf_limits
from vla_core.testing import PROFILE


def urdf(*joints):
    return f'<?xml version="1.0"?><robot name="r"><link name="base"/>{"".join(joints)}</robot>'


def joint(name, kind="revolute", **limit):
    attributes = " ".join(f'{key}="{value}"' for key, value in limit.items())
    return f'<joint name="{name}" type="{kind}"><limit {attributes}/></joint>'


def test_the_tighter_limit_counts_and_is_said(profile):
    text = urdf(
        joint("elbow_joint", lower=-2.5, upper=5.0, velocity=1.0, effort=10),
        joint("wrist_joint", lower=-9.0, upper=9.0, velocity=9.0),
    )
    tightened = tighten(profile, text)
    arm = tightened.profile.action[0].limits
    assert (arm.lower, arm.upper, arm.max_velocity) == ((-2.5, -3.0), (3.0, 3.0), (1.0, 2.0))
    assert arm.max_step == profile.action[0].limits.max_step
    assert tightened.notes == ("elbow_joint: lower -2.5 instead of -3", "elbow_joint: velocity 1 instead of 2")
    assert tightened.unknown == profile.action[1].joints
    assert tightened.profile.sha256 == profile.sha256
    report = SafetyFilter(tightened.profile).check({"arm": [[-2.7, 0.0]]}, 0.1)
    assert report.violations == ("arm: position of elbow_joint at step 0 is -2.7 rad, the limit is -2.5 rad",)


def test_rounding_of_two_pi_is_no_difference(profile):
    own = profile.action[0].limits
    text = urdf(joint("elbow_joint", lower=own.lower[0] + 1e-4, upper=own.upper[0] - 1e-4, velocity=2.0))
    assert tighten(profile, text).notes == ()


def test_a_gripper_keeps_its_own_pace(profile):
    finger = profile.action[1].joints[0]
    limits = tighten(profile, urdf(joint(finger, lower=0.1, upper=0.5, velocity=0.2))).profile.action[1].limits
    assert (limits.lower, limits.upper, limits.max_velocity) == ((0.1,), (0.5,), None)


def test_a_continuous_joint_has_a_velocity_only():
    limit = urdf_limits(urdf(joint("wheel", "continuous", velocity=3.0)))["wheel"]
    assert (limit.lower, limit.upper, limit.velocity) == (-math.inf, math.inf, 3.0)


def test_fixed_joints_and_joints_without_limits_have_none():
    text = urdf(joint("weld", "fixed"), '<joint name="bare" type="continuous"/>')
    assert urdf_limits(text) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "the robot description is not XML: "),
        ("<sdf/>", "the robot description begins with <sdf>, expected <robot>"),
        (urdf(joint("a", lower="low", upper=1)), "joint a: limit lower='low' is not a number"),
        (
            urdf(joint("elbow_joint", lower=3.5, upper=4.0)),
            "joint elbow_joint: the robot description allows 3.5 to 4, ",
        ),
    ],
)
def test_what_cannot_be_used_is_named(profile, text, message):
    with pytest.raises(SafetyError) as caught:
        tighten(profile, text)
    assert message in str(caught.value)


def test_of_two_descriptions_the_tighter_limit_counts():
    one, other = (
        urdf(joint("elbow", lower=-1.0, upper=2.0, velocity=1.0)),
        urdf(joint("elbow", lower=-2.0, upper=1.0, velocity=2.0)),
    )
    elbow = urdf_limits(one)["elbow"]
    assert (elbow.lower, elbow.upper, elbow.velocity) == (-1.0, 2.0, 1.0)
    profile = parse_profile(PROFILE.replace("elbow_joint", "elbow"), "robot.yaml")
    limits = tighten(profile, one, other).profile.action[0].limits
    at = profile.action[0].joints.index("elbow")
    assert (limits.lower[at], limits.upper[at]) == (-1.0, 1.0)
    assert tighten(profile).notes == ()


def test_where_drivers_publish_descriptions():
    assert description_topics(parse_profile(PROFILE, "robot.yaml")) == ("robot_description",)
    two = PROFILE.replace("name: arm_controller/", "name: left/arm_controller/")
    assert description_topics(parse_profile(two, "robot.yaml")) == ("robot_description", "left/robot_description")
