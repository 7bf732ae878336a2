# SPDX-License-Identifier: Apache-2.0

"""The closed form finds every branch, exactly; following a path stays on the branch; other arms go by least squares."""

from dataclasses import replace

import numpy as np
import pytest
from skill_examples import ARM, READY
from vla_core.kinematics import forward, pose_matrix
from vla_core.rotations import wrapped
from vla_teleop.skills.ur_ik import follow, is_ur, solutions

# the published table of the UR5e, written out here on its own
DH = ((0.0, 0.1625, np.pi / 2), (-0.425, 0.0, 0.0), (-0.3922, 0.0, 0.0))
DH_WRIST = ((0.0, 0.1333, np.pi / 2), (0.0, 0.0997, -np.pi / 2), (0.0, 0.0996, 0.0))


def random_joints(count=2000):
    return np.random.default_rng(4).uniform(-np.pi, np.pi, (count, 6))


def plain_product(q):
    """The Denavit-Hartenberg product, factor by factor, in the UR's own base frame."""
    T = np.eye(4)
    for angle, (a, d, alpha) in zip(q, DH + DH_WRIST, strict=True):
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        T = T @ np.array([[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]])
    return T


def test_forward_kinematics_equals_the_plain_product():
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    q = random_joints(200)
    ours = forward(ARM, q)
    for row, T in zip(q, ours, strict=True):
        assert np.abs(T - half_turn @ plain_product(row)).max() < 1e-9


def test_every_solution_reaches_the_pose_and_one_is_where_it_came_from():
    q = random_joints()
    T = forward(ARM, q)
    found = solutions(ARM, T, np.zeros(6))
    there = ~np.isnan(found[:, :, 0])
    assert there.sum(axis=1).min() >= 2
    assert (there.sum(axis=1) == 8).mean() > 0.7
    for branch in range(8):
        rows = there[:, branch]
        assert np.abs(forward(ARM, found[rows, branch]) - T[rows]).max() < 1e-9
    nearest = np.nanmin(np.abs(wrapped(found - q[:, None])).max(axis=2), axis=1)
    assert nearest.max() < 1e-9


def test_solutions_of_one_pose_are_different_arms():
    found = solutions(ARM, forward(ARM, READY[None]), READY)[0]
    gaps = [np.abs(wrapped(a - b)).max() for i, a in enumerate(found) for b in found[:i]]
    assert len(gaps) == 28
    assert min(gaps) > 0.1


def test_offsets_base_and_tool_of_the_table_are_undone():
    arm = replace(
        ARM,
        theta=(0.3, -0.2, 0.1, 0.5, -0.4, 0.2),
        base_xyz=(0.1, 0.2, 0.8),
        base_rpy=(0.1, -0.2, 1.0),
        tool_xyz=(0.01, 0.02, 0.15),
        tool_rpy=(0.0, 0.3, 0.7),
    )
    q = random_joints(50)
    found = solutions(arm, forward(arm, q), np.zeros(6))
    assert np.nanmin(np.abs(wrapped(found - q[:, None])).max(axis=2), axis=1).max() < 1e-9


def test_following_a_path_stays_on_the_branch_it_begins_on():
    path = READY + np.linspace(0.0, 1.0, 60)[:, None] * np.array([0.4, 0.3, -0.3, 0.2, 0.4, -0.6])
    for turns in (0.0, 2.0 * np.pi):
        start = path[0] + np.array([0, 0, 0, 0, 0, turns])
        q, problem = follow(ARM, forward(ARM, path), start)
        assert problem == ""
        assert np.abs(q - path - [0, 0, 0, 0, 0, turns]).max() < 1e-9


def test_with_the_wrist_in_line_the_last_joint_stays():
    q = np.array([0.2, -1.4, 1.6, -1.0, 0.0, 0.7])
    found, problem = follow(ARM, forward(ARM, q[None]), q)
    assert problem == ""
    assert np.abs(forward(ARM, found) - forward(ARM, q[None])).max() < 1e-7
    assert found[0, 5] == pytest.approx(0.7, abs=1e-6)


def test_a_path_out_of_reach_says_where_it_ends():
    T = forward(ARM, READY)
    path = np.stack([T, T, T])
    path[2, :3, 3] = [0.9, 0.9, 0.3]
    q, problem = follow(ARM, path, READY)
    assert q.shape == (2, 6)
    assert problem == "no joint positions reach it: it is too far from, or too near to, the base"


def test_a_calibrated_arm_is_followed_by_least_squares():
    arm = replace(
        ARM, alpha=(1.5712, 0.0004, -0.0003, 1.5703, -1.5710, 0.0), d=(0.1626, 0.02, -0.02, 0.1331, 0.0998, 0.0995)
    )
    assert is_ur(ARM)
    assert not is_ur(arm)
    path = READY + np.linspace(0.0, 0.3, 10)[:, None]
    q, problem = follow(arm, forward(arm, path), path[0])
    assert problem == ""
    assert np.abs(forward(arm, q) - forward(arm, path)).max() < 1e-6
    far = pose_matrix([2.0, 0.0, 0.0], np.eye(3))[None]
    q, problem = follow(arm, far, READY)
    assert q.shape == (0, 6)
    assert "out of reach or at a singularity" in problem


@pytest.mark.parametrize(
    "change",
    [{"a": (0.0, -0.4, 0.0, 0.0, 0.0, 0.0)}, {"d": (0.1, 0.1, 0.0, 0.1, 0.1, 0.1)}, {"alpha": (0.0,) * 6}],
)
def test_other_shapes_are_not_taken_for_a_ur(change):
    assert not is_ur(replace(ARM, **change))
    seven = ("a", "b", "c", "d", "e", "f", "g")
    assert not is_ur(replace(ARM, joints=seven))
