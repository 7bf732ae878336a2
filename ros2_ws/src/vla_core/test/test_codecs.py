# SPDX-License-Identifier: Apache-2.0

import array

import numpy as np
import pytest
from vla_core import codecs
from vla_core.errors import CodecError, FieldError
from vla_core.fields import joint_of
from vla_core.testing import (
    Data,
    Image,
    JointState,
    JointTrajectory,
    Joy,
    Pose,
    PoseStamped,
    Quaternion,
    TrajectoryPoint,
    Twist,
    TwistStamped,
    Vector3,
    image,
    joint_state,
)

POSE = PoseStamped(pose=Pose(Vector3(1.0, 2.0, 3.0), Quaternion(0.0, 0.6, 0.0, 0.8)))
TWIST = TwistStamped(twist=Twist(Vector3(1.0, 2.0, 3.0), Vector3(4.0, 5.0, 6.0)))
TRAJECTORY = JointTrajectory(joint_names=["b", "a"], points=[TrajectoryPoint([1.0, 2.0]), TrajectoryPoint([3.0, 4.0])])

# A message of every vector type, all its numbers, some fields and their values.
EXAMPLES = [
    (codecs.JOINT_STATE, joint_state(0, ["b", "a"], [1, 2]), [1, 2], ["position.a", "position.b"], [2, 1]),
    (codecs.JOINT_TRAJECTORY, TRAJECTORY, [3, 4], ["position.a"], [4]),
    (codecs.POSE_STAMPED, POSE, [1, 2, 3, 0, 0.6, 0, 0.8], ["pose.orientation.w", "pose.position.x"], [0.8, 1]),
    (codecs.TWIST_STAMPED, TWIST, [1, 2, 3, 4, 5, 6], ["twist.angular.z", "twist.linear.y"], [6, 2]),
    (codecs.FLOAT64_MULTI_ARRAY, Data(array.array("d", [1, 2, 3])), [1, 2, 3], ["data[2]", "data.0"], [3, 1]),
    (codecs.JOY, Joy(axes=[0.5, -1.0], buttons=[0, 1]), [0.5, -1, 0, 1], ["axes.1", "buttons[1]"], [-1, 1]),
]


@pytest.mark.parametrize(("type_name", "msg", "everything", "fields", "values"), EXAMPLES, ids=lambda x: None)
def test_numbers(type_name, msg, everything, fields, values):
    assert codecs.decode(msg, type_name).tolist() == everything
    read = codecs.decode(msg, type_name, fields)
    assert read.dtype == np.float64
    assert read.tolist() == values


def test_every_vector_type_has_an_example():
    assert {example[0] for example in EXAMPLES} | {codecs.BOOL} == set(codecs.VECTOR_TYPES)
    assert set(codecs.VECTOR_TYPES) | set(codecs.IMAGE_TYPES) | {codecs.STRING} == set(codecs.CODECS)


def test_text_flag_and_image():
    assert codecs.decode(Data("pick"), codecs.STRING) == "pick"
    assert codecs.decode(Data(True), codecs.BOOL) is True
    assert codecs.decode(Data(True), codecs.BOOL, ["data"]).tolist() == [1.0]
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (codecs.decode(image(0, pixels), codecs.IMAGE) == pixels).all()


def test_first_and_last_point():
    assert codecs.decode(TRAJECTORY, codecs.JOINT_TRAJECTORY, ["position.a"], "first").tolist() == [2.0]
    assert codecs.decode(TRAJECTORY, codecs.JOINT_TRAJECTORY, ["position.a"], "last").tolist() == [4.0]
    with pytest.raises(FieldError, match="the trajectory message has no points"):
        codecs.decode(JointTrajectory(joint_names=["a"]), codecs.JOINT_TRAJECTORY, ["position.a"])


def test_unknown_type():
    with pytest.raises(
        CodecError, match=r"no codec for message type 'sensor_msgs/msg/JointStates'; known: .*did you mean"
    ):
        codecs.codec("sensor_msgs/msg/JointStates")
    with pytest.raises(CodecError, match="sensor_msgs/msg/Image has no number fields; types that have: sensor_msgs"):
        codecs.reader(codecs.IMAGE, ["data[0]"])


@pytest.mark.parametrize(
    ("type_name", "field", "message"),
    [
        (codecs.JOINT_STATE, "position", "'position' is no field path here; write it like 'position.<joint name>'"),
        (codecs.JOINT_STATE, "position.", "write it like"),
        (codecs.JOINT_STATE, "velocitty.a", "did you mean 'velocity'"),
        (codecs.POSE_STAMPED, "pose.position.w", "allowed: pose.position.x, .*did you mean 'pose.position"),
        (codecs.JOY, "axis[1]", r"write it like 'axes\[0\]' with one of axes, buttons"),
        (codecs.FLOAT64_MULTI_ARRAY, "data[-1]", r"write it like 'data\[0\]'"),
    ],
)
def test_impossible_paths(type_name, field, message):
    with pytest.raises(FieldError, match=message):
        codecs.reader(type_name, [field])


@pytest.mark.parametrize(
    ("msg", "message"),
    [
        (joint_state(0, ["a", "bb"], [1, 2]), "the message carries a, bb but not b; did you mean 'bb'"),
        (joint_state(0, ["a", "b"], [1]), "the message has 1 values in 'position' for 2 names"),
        (joint_state(0, ["a", "b", "a"], [1, 2, 3]), "the message names a joint twice: a, b, a"),
    ],
)
def test_broken_joint_states(msg, message):
    with pytest.raises(FieldError, match=message):
        codecs.decode(msg, codecs.JOINT_STATE, ["position.a", "position.b"])


def test_missing_array_element():
    with pytest.raises(FieldError, match=r"Joy has no 'axes\[4\]': list index out of range"):
        codecs.decode(Joy(axes=[0.0]), codecs.JOY, ["axes[4]"])


def test_mixed_groups_and_joint_names_with_dots():
    msg = JointState(
        name=["left.a", "b"], position=[1.0, 2.0], velocity=[3.0, 4.0], effort=array.array("d", [5.0, 6.0])
    )
    read = codecs.decode(msg, codecs.JOINT_STATE, ["velocity.left.a", "position.b", "effort.left.a"])
    assert read.tolist() == [3.0, 2.0, 5.0]
    assert joint_of("position.left.a") == "left.a"
    assert joint_of("velocity.a") is None
    assert joint_of("data[0]") is None


def test_carries_and_caches_survive_changing_names():
    reader = codecs.reader(codecs.JOINT_STATE, ["position.a", "position.b"])
    assert reader.carries(joint_state(0, ["b", "a", "c"], [1, 2, 3])) == "all"
    assert reader.carries(joint_state(0, ["a"], [1])) == "some"
    assert reader.carries(joint_state(0, ["x"], [1])) == "none"
    for i in range(200):
        msg = joint_state(0, [f"x{i}", "b", "a"], [0, i, 2 * i])
        assert reader.carries(msg) == "all"
        assert reader.read(msg).tolist() == [2 * i, i]
    assert max(len(reader._indices), len(reader._carried)) <= 64
    assert codecs.reader(codecs.JOY, ["axes[0]"]).carries(Joy()) == "all"


def test_image_message_is_not_touched():
    pixels = np.zeros((2, 2, 3), np.uint8)
    msg = image(5, pixels)
    assert isinstance(msg, Image)
    codecs.decode(msg, codecs.IMAGE)
    assert bytes(msg.data) == pixels.tobytes()
