# SPDX-License-Identifier: Apache-2.0

"""Kinematics: the model of the physics against the published DH table, and the inverse against the forward."""

import mujoco
import numpy as np
import pytest
from vla_core.errors import KinematicsError
from vla_sim import constants as c
from vla_sim import kinematics, mjcf

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(mjcf.build_mjcf())


def dh_table_pose(q):
    """tool0 in base, written out from the table, apart from the package's own implementation."""
    pose = np.eye(4)
    for a, d, alpha, theta in zip(c.DH_A, c.DH_D, c.DH_ALPHA, q, strict=True):
        turn, shift = np.eye(4), np.eye(4)
        turn[:2, :2] = [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]
        shift[:3, 3] = (a, 0, d)
        shift[1:3, 1:3] = [[np.cos(alpha), -np.sin(alpha)], [np.sin(alpha), np.cos(alpha)]]
        pose = pose @ turn @ shift
    return pose


def test_published_numbers_of_the_ur5e():
    assert c.DH_A == (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
    assert c.DH_D == (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
    np.testing.assert_allclose(dh_table_pose(np.zeros(6))[:3, 3], [-0.8172, -0.2329, 0.0628], atol=1e-12)


def test_physics_model_equals_the_dh_table(model):
    data = mujoco.MjData(model)
    joints = [model.joint(name).qposadr[0] for name in c.ARM_JOINTS]
    worst_position = worst_rotation = 0.0
    for q in RNG.uniform(-2 * np.pi, 2 * np.pi, (2000, 6)):
        data.qpos[joints] = q
        mujoco.mj_kinematics(model, data)
        base, tool = data.body("base_link_inertia"), data.body("tool0")
        R_base = base.xmat.reshape(3, 3)
        want = dh_table_pose(q)
        worst_position = max(worst_position, np.abs(R_base.T @ (tool.xpos - base.xpos) - want[:3, 3]).max())
        worst_rotation = max(worst_rotation, np.abs(R_base.T @ tool.xmat.reshape(3, 3) - want[:3, :3]).max())
    assert worst_position < 1e-6
    assert worst_rotation < 1e-6


def test_base_is_turned_by_half_a_circle_against_base_link():
    q = RNG.uniform(-3, 3, 6)
    in_base, in_base_link = dh_table_pose(q), kinematics.forward(q)
    np.testing.assert_allclose(in_base_link[:3, 3], in_base[:3, 3] * [-1, -1, 1], atol=1e-12)


def test_inverse_returns_to_the_pose_over_the_work_space():
    for _ in range(50):
        xyz = RNG.uniform([0.35, -0.42, 0.0], [0.6, 0.2, 0.3])
        want = kinematics.tool_down(xyz, RNG.uniform(-0.8, 0.8))
        q = kinematics.inverse(want, kinematics.home())
        np.testing.assert_allclose(kinematics.forward(q), want, atol=2e-6)
        np.testing.assert_allclose(kinematics.tcp(q), xyz, atol=2e-6)


def test_inverse_says_what_cannot_be_reached():
    with pytest.raises(KinematicsError, match=r"did not reach x y z = \[2\.0.*out of reach"):
        kinematics.inverse(kinematics.tool_down(np.array([2.0, 0.0, 0.2])), kinematics.home())


def test_home_is_over_the_table_with_the_fingers_down():
    pose = kinematics.forward(kinematics.home())
    np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=1e-5)
    np.testing.assert_allclose(kinematics.tcp(kinematics.home()), c.HOME_TCP, atol=1e-5)
