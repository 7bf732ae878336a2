# SPDX-License-Identifier: Apache-2.0

"""Kinematics of one arm and of each of two in a profile."""

from pathlib import Path

import pytest
import yaml
from vla_core.errors import ProfileError
from vla_core.profile import load_profile, mapping_differences, parse_profile

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"


@pytest.fixture(scope="module")
def content():
    return lambda: yaml.safe_load(load_profile(ROBOTS / "sim_ur5e_bimanual.yaml").text)


def parsed(content):
    return parse_profile(yaml.safe_dump(content, sort_keys=False), "two.yaml")


def test_the_only_arm_is_an_arm_too(six_axes):
    profile = six_axes()
    (arm,) = profile.arms
    assert (arm.name, arm.kinematics, arm.base_frame, arm.tool_frame) == ("arm", profile.kinematics, "base", "tool0")
    assert arm.workspace == (profile.safety.workspace_min, profile.safety.workspace_max)
    assert (arm.mount_xyz, arm.links, profile.safety.arms_min_distance_m) == ((0.0, 0.0, 0.0), (), None)


def test_each_of_two_arms_has_its_own(content):
    profile = parsed(content())
    assert profile.kinematics is None
    left, right = profile.arms
    assert (right.base_frame, right.tool_frame) == ("right_base_link", "right_tool0")
    assert right.mount_xyz == (0.0, -0.45, 0.0)
    assert right.workspace == ((-0.95, -0.95, 0.02), (0.95, 0.95, 1.2))
    assert right.kinematics.joints[0] == "right_shoulder_pan_joint"
    assert [link.name for link in left.links][:2] == ["base", "upper_arm"]
    assert left.links[1].joint == "left_shoulder_lift_joint"
    assert profile.safety.arms_min_distance_m == 0.05


def test_a_policy_of_joints_does_not_see_where_the_arms_stand(content):
    moved = content()
    moved["kinematics"]["left_arm"]["mount"] = {"xyz": [0.0, 0.5, 0.0]}
    del moved["kinematics"]["right_arm"]
    del moved["safety"]["arms_min_distance_m"], moved["safety"]["workspace"]["right_arm"]
    assert mapping_differences(parsed(content()), parsed(moved)) == ()
    assert [arm.name for arm in parsed(moved).arms] == ["left_arm"]


def change(path, value):
    def apply(tree):
        *keys, last = path
        for key in keys:
            tree = tree[key]
        if value is None:
            del tree[last]
        else:
            tree[last] = value

    return apply


K, S = "kinematics", "safety"
ONE_ARM = "end-effector spaces are for one arm, and 'kinematics' has a table for each of several"
CASES = {
    "no such arm": (change((K, "left_leg"), {"joints": ["a"]}), "kinematics.left_leg: the profile has no arm 'left_leg'", "left_arm, right_arm"),
    "a gripper": (change((K, "left_gripper"), {"joints": ["a"]}), "the profile has no arm 'left_gripper'", "left_arm, right_arm"),
    "joints of the other": (change((K, "left_arm", "joints", 0), "right_shoulder_pan_joint"), "kinematics.left_arm.joints: the action 'left_arm' does not drive right_shoulder_pan_joint", "it has left_shoulder_pan_joint"),
    "no frame": (change((K, "left_arm", "base_frame"), None), "kinematics.left_arm.base_frame: missing key", "left_arm"),
    "a box of nobody": (change((S, "workspace", "arm"), {"min": [0, 0, 0], "max": [1, 1, 1]}), "safety.workspace.arm: kinematics has no arm 'arm'", "one box per arm"),
    "one box for both": (change((S, "workspace"), {"min": [0, 0, 0], "max": [1, 1, 1]}), "kinematics has no arm 'min'", "each in its own base_frame"),
    "box upside down": (change((S, "workspace", "left_arm", "min"), [0.0, 0.0, 2.0]), "safety.workspace.left_arm.max: every element must be larger", "got [0.95, 0.95, 1.2]"),
    "link of no joint": (change((K, "left_arm", "links", 1, "joint"), "elbow"), "kinematics.left_arm.links[1].joint: 'elbow' is no joint of this arm", "Leave it out for a part that does not move"),
    "flat link": (change((K, "left_arm", "links", 1, "radius"), 0.0), "links[1].radius: must be larger than 0", "radius"),
    "no links": (change((K, "left_arm", "links"), None), "safety.arms_min_distance_m: the distance between arms needs 'kinematics' of each arm", "missing of left_arm"),
    "eef action": (change(("action_space",), "absolute_eef"), f"action[0]: {ONE_ARM}", "use joint spaces"),
    "eef state": (change(("state_space",), "eef"), f"state_space: {ONE_ARM}", "use joint spaces"),
    "one table": (change((K, "left_arm"), None), "kinematics has no arm 'left_arm'", "right_arm"),
    "no distance": (change((S, "arms_min_distance_m"), 0.0), "safety.arms_min_distance_m: must be larger than 0", "0"),
    "ready outside": (change((S, "workspace", "right_arm", "max"), [0.3, 0.95, 1.2]), "ready: the tool of 'right_arm' is at [", "outside safety.workspace"),
    "ready too near": (change((K, "left_arm", "mount", "xyz"), [0.0, -0.2, 0.0]), "ready: left_arm ", "less than safety.arms_min_distance_m 0.05"),
}  # fmt: skip


@pytest.mark.parametrize(("apply", "message", "more"), CASES.values(), ids=CASES)
def test_each_mistake_is_named(content, apply, message, more):
    tree = content()
    apply(tree)
    with pytest.raises(ProfileError) as caught:
        parsed(tree)
    assert message in str(caught.value)
    assert more in str(caught.value)


def test_one_arm_has_no_other_to_keep_from(six_axes_text):
    text = six_axes_text.replace("safety:\n", "safety:\n  arms_min_distance_m: 0.1\n")
    with pytest.raises(ProfileError, match="there are 1 arms with a table"):
        parse_profile(text)
