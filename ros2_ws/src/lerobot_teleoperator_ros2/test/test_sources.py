# SPDX-License-Identifier: Apache-2.0

"""Where each part of the action is read from: record topics, or a leader's joints by other names."""

import pytest
from lerobot_teleoperator_ros2.sources import leader_parts, target_parts
from vla_core.errors import ProfileError
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE, JointState

NOTHING = {"topic": "", "joints": {}, "factors": {}, "offsets": {}}


@pytest.fixture
def profile():
    return parse_profile(PROFILE)


def test_targets_come_from_the_record_topics(profile):
    arm, gripper = target_parts(profile)
    assert (arm.source.stream.topic, gripper.source.stream.topic) == ("command/arm", "command/gripper")
    assert arm.source.decode(JointState(name=["wrist_joint", "elbow_joint"], position=[2.0, 1.0])).tolist() == [
        1.0,
        2.0,
    ]


def test_a_leader_of_the_same_kind_is_read_where_the_robot_is_measured(profile):
    arm, gripper = leader_parts(profile, **NOTHING)
    assert {arm.source.stream.topic, gripper.source.stream.topic} == {"joint_states"}
    msg = JointState(name=["finger_joint"], position=[0.4])
    assert gripper.source.decode(msg).tolist() == [0.4], "a leader's numbers are joints, not the dataset's"


def test_a_leader_of_another_kind_is_mapped_joint_by_joint(profile):
    options = {"joints": {"wrist_joint": "5"}, "factors": {"wrist_joint": -0.5}, "offsets": {"elbow_joint": 0.1}}
    arm, _ = leader_parts(profile, **{**NOTHING, "topic": "leader/joints", **options})
    value = arm.source.decode(JointState(name=["5", "elbow_joint"], position=[2.0, 1.0]))
    assert arm.source.stream.topic == "leader/joints"
    assert (arm.factors * value + arm.offsets).tolist() == [1.1, -1.0]


@pytest.mark.parametrize("option", ["joints", "factors", "offsets"])
def test_a_joint_that_does_not_exist_is_refused(profile, option):
    with pytest.raises(ProfileError, match=rf"--teleop.{option}: .*'elbow'; did you mean 'elbow_joint'\?"):
        leader_parts(profile, **{**NOTHING, option: {"elbow": 1}})


def test_a_leader_without_a_topic_needs_a_state_that_measures_it():
    text = PROFILE.replace("joints: [finger_joint]", "joints: [thumb_joint]").replace(
        "record: {topic: command/gripper, rate", "record: {topic: command/gripper, fields: [position.thumb_joint], rate"
    )
    with pytest.raises(
        ProfileError, match=r"no state stream measures all joints of the action 'gripper' \(thumb_joint\)"
    ):
        leader_parts(parse_profile(text), **NOTHING)
