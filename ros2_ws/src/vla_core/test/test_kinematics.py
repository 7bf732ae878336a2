# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from vla_core.errors import KinematicsError
from vla_core.kinematics import (
    forward,
    inverse,
    jacobian,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_rpy,
    rotation_from_vector,
    rotation_vector,
    wxyz_to_xyzw,
    xyzw_to_wxyz,
)

RNG = np.random.default_rng(1)


@pytest.fixture
def arm(six_axes):
    return six_axes().kinematics


def test_forward_matches_the_published_zero_pose(arm):
    T = forward(arm, np.zeros(6))
    assert T[:3, 3] == pytest.approx([-0.8172, -0.2329, 0.0628], abs=1e-9)
    assert T[:3, :3] @ T[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)


def test_forward_of_many_is_forward_of_each(arm):
    q = RNG.uniform(-3, 3, (7, 6))
    many = forward(arm, q)
    assert many.shape == (7, 4, 4)
    assert all(np.allclose(many[i], forward(arm, q[i]), atol=1e-14) for i in range(7))


def test_base_and_tool_offsets(six_axes):
    from vla_core.profile import parse_profile

    text = six_axes().text
    moved = parse_profile(
        text.replace(
            "kinematics:\n",
            "kinematics:\n  base: {xyz: [0, 0, 1], rpy: [0, 0, 3.141592653589793]}\n  tool: {xyz: [0, 0, 0.1]}\n",
        )
    ).kinematics
    q = RNG.uniform(-2, 2, 6)
    T = forward(six_axes().kinematics, q)
    tip = T[:3, 3] + 0.1 * T[:3, 2]
    assert forward(moved, q)[:3, 3] == pytest.approx([-tip[0], -tip[1], tip[2] + 1.0], abs=1e-12)


def test_wrong_number_of_joints(arm):
    with pytest.raises(KinematicsError, match=r"the arm has 6 joints \(pan, lift, .*got an array of shape \(5,\)"):
        forward(arm, np.zeros(5))


def test_jacobian_is_the_derivative(arm):
    q = RNG.uniform(-2, 2, 6)
    J, h = jacobian(arm, q), 1e-6
    for i in range(6):
        step = np.eye(6)[i] * h
        plus, minus = forward(arm, q + step), forward(arm, q - step)
        assert J[:3, i] == pytest.approx((plus[:3, 3] - minus[:3, 3]) / (2 * h), abs=1e-8)
        assert J[3:, i] == pytest.approx(rotation_vector(plus[:3, :3] @ minus[:3, :3].T) / (2 * h), abs=1e-6)


def test_jacobians_of_many_poses_are_those_of_each(arm):
    q = np.random.default_rng(3).uniform(-2.0, 2.0, (5, 6))
    assert jacobian(arm, q) == pytest.approx(np.stack([jacobian(arm, row) for row in q]), abs=1e-12)


def test_inverse_finds_the_pose_on_the_same_branch(arm):
    home = np.array([0.0, -1.6, 1.8, -1.8, -1.57, 0.3])
    for _ in range(30):
        q = home + RNG.uniform(-0.2, 0.2, 6)
        found = inverse(arm, forward(arm, q), home)
        assert found == pytest.approx(q, abs=1e-4)


def test_inverse_says_when_a_pose_is_out_of_reach(arm):
    T = forward(arm, np.array([0.0, -1.6, 1.8, -1.8, -1.57, 0.3]))
    T[:3, 3] = [2.0, 0.0, 0.5]
    with pytest.raises(
        KinematicsError, match=r"did not reach x y z = \[2.0, 0.0, 0.5\] m .* mm and .* deg remain; the pose"
    ):
        inverse(arm, T, np.array([0.0, -1.6, 1.8, -1.8, -1.57, 0.3]))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-5, 0.5, 3.0, np.pi - 1e-3, np.pi - 1e-5, np.pi - 1e-9])
def test_rotation_vectors_are_exact_at_every_angle(angle):
    for _ in range(20):
        axis = RNG.normal(size=3)
        vector = axis / np.linalg.norm(axis) * angle
        assert rotation_vector(rotation_from_vector(vector)) == pytest.approx(vector, abs=1e-7)


def test_half_turns_keep_their_rotation():
    for axis in (*np.eye(3), *-np.eye(3), np.array([1.0, -1.0, 1.0]) / np.sqrt(3)):
        R = rotation_from_vector(axis * np.pi)
        assert rotation_from_vector(rotation_vector(R)) == pytest.approx(R, abs=1e-9)


def test_quaternions():
    for _ in range(20):
        R = rotation_from_vector(RNG.normal(size=3))
        quaternion = quaternion_from_rotation(R)
        assert quaternion[3] >= 0
        assert rotation_from_quaternion(3.0 * quaternion) == pytest.approx(R, abs=1e-12)
    assert quaternion_from_rotation(np.eye(3)).tolist() == [0, 0, 0, 1]
    assert rotation_from_quaternion([1, 0, 0, 0]) == pytest.approx(np.diag([1, -1, -1]))
    with pytest.raises(KinematicsError, match=r"quaternion x y z w = \[0.0, 0.0, 0.0, 0.0\] has no direction"):
        rotation_from_quaternion([0, 0, 0, 0])
    assert xyzw_to_wxyz([1, 2, 3, 4]).tolist() == [4, 1, 2, 3]
    assert wxyz_to_xyzw([4, 1, 2, 3]).tolist() == [1, 2, 3, 4]


def test_rpy_turns_about_fixed_axes():
    roll, pitch, yaw = 0.3, -0.5, 1.1
    x, y, z = np.eye(3)
    wanted = rotation_from_vector(z * yaw) @ rotation_from_vector(y * pitch) @ rotation_from_vector(x * roll)
    assert rotation_from_rpy((roll, pitch, yaw)) == pytest.approx(wanted, abs=1e-12)
