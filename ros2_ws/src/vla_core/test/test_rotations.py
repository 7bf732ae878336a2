# SPDX-License-Identifier: Apache-2.0

"""Orientations as numbers, against SciPy and near the places where they jump."""

import numpy as np
import pytest
from vla_core import rotations
from vla_core.errors import KinematicsError
from vla_core.kinematics import rotation_from_rpy

Rotation = pytest.importorskip("scipy.spatial.transform", reason="SciPy is the reference").Rotation

DOWN = rotation_from_rpy([np.pi, 0.0, 0.0])
RNG = np.random.default_rng(11)
KINDS = tuple(rotations.AXES)


def turns_near(origin, angle, count=40):
    """Return rotations at `angle` from `origin`, in random directions and exactly along its axes."""
    axes = np.concatenate([RNG.normal(size=(count, 3)), np.eye(3), -np.eye(3)])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return origin @ Rotation.from_rotvec(axes * angle).as_matrix()


def angle_between(a, b):
    return Rotation.from_matrix(np.swapaxes(a, -1, -2) @ b).magnitude()


@pytest.mark.parametrize("fixed_axes", [False, True])
@pytest.mark.parametrize(
    "angle", [0.0, 1e-9, 1e-4, 1.0, np.pi / 2, 3.0, np.pi - 1e-4, np.pi - 1e-7, np.pi, np.pi + 1e-6]
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_comes_back(kind, angle, fixed_axes):
    for origin in (np.eye(3), DOWN, Rotation.from_rotvec([0.4, -2.0, 1.0]).as_matrix()):
        wanted = turns_near(origin, angle)
        for R in wanted:
            numbers = rotations.encode(kind, R[None], origin, fixed_axes=fixed_axes).astype(np.float32)
            assert numbers.shape == (1, len(rotations.AXES[kind]))
            back = rotations.decode(kind, numbers, origin, fixed_axes=fixed_axes)[0]
            assert angle_between(back, R) < 2e-6
            assert back.T @ back == pytest.approx(np.eye(3), abs=1e-9)


def test_numbers_are_those_of_scipy():
    R = Rotation.random(200, random_state=np.random.default_rng(3))
    matrices = R.as_matrix()
    alone = {
        kind: np.concatenate([rotations.encode(kind, M[None], DOWN, fixed_axes=False) for M in matrices])
        for kind in KINDS
    }
    from_origin = Rotation.from_matrix(DOWN.T) * R
    assert alone["rotvec"] == pytest.approx(from_origin.as_rotvec(), abs=1e-9)
    assert alone["quaternion"] == pytest.approx(from_origin.as_quat(canonical=True), abs=1e-9)
    assert alone["rot6d"] == pytest.approx(
        from_origin.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6), abs=1e-12
    )
    about_fixed = np.concatenate([rotations.encode("rotvec", M[None], DOWN, fixed_axes=True) for M in matrices])
    assert about_fixed == pytest.approx((R * Rotation.from_matrix(DOWN).inv()).as_rotvec(), abs=1e-9)
    plain = np.concatenate([rotations.encode("rpy", M[None], np.eye(3), fixed_axes=False) for M in matrices])
    assert Rotation.from_euler("xyz", plain).as_matrix() == pytest.approx(matrices, abs=1e-12)
    usual = np.abs(plain[:, 1]) < np.pi / 2
    assert usual.mean() > 0.5  # where the nearer triple is SciPy's, it is SciPy's exactly
    assert plain[usual] == pytest.approx(R.as_euler("xyz")[usual], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_that_points_down_moves_without_a_jump(kind):
    # Roll swings through half a turn, where a plain roll jumps from pi to -pi.
    angles = np.linspace(-0.5, 0.5, 201)
    path = np.stack([rotation_from_rpy([np.pi + a, 0.3 * a, 2.0 * a]) for a in angles])
    plain_roll = Rotation.from_matrix(path).as_euler("xyz")[:, 0]
    assert np.abs(np.diff(plain_roll)).max() > 6.0
    rows = np.concatenate([rotations.encode(kind, R[None], DOWN, fixed_axes=False) for R in path])
    assert np.abs(np.diff(rows, axis=0)).max() < 0.03
    assert rotations.encode(kind, path, DOWN, fixed_axes=False) == pytest.approx(rows, abs=1e-12)


def test_rpy_takes_the_triple_near_the_origin():
    # The same orientation as roll pi: pitch of half a turn, and yaw of half a turn.
    origin = np.array([0.0, np.pi, np.pi])
    angles = origin + np.array([0.1, -0.2, 0.3])
    R = rotation_from_rpy(angles)
    assert rotations.rpy_from_rotation(R, origin) == pytest.approx(angles)
    assert rotations.rpy_from_rotation(R) == pytest.approx(Rotation.from_matrix(R).as_euler("xyz"))


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-9, 1e-5 - np.pi / 2])
def test_rpy_at_gimbal_lock_keeps_the_roll(pitch):
    for roll, yaw in RNG.uniform(-3, 3, (50, 2)):
        R = rotation_from_rpy([roll, pitch, yaw])
        angles = rotations.rpy_from_rotation(R, [0.7, 0.0, 0.0])
        assert angle_between(rotation_from_rpy(angles), R) < 1e-6
        if abs(abs(pitch) - np.pi / 2) < 1e-8:
            assert angles[0] == pytest.approx(0.7)


def test_quaternions_keep_one_hemisphere_and_follow_a_sequence():
    spin = np.stack([rotation_from_rpy([0.0, 0.0, a]) for a in np.linspace(0.0, 2.0 * np.pi, 101)])
    alone = np.concatenate([rotations.encode("quaternion", R[None], np.eye(3), fixed_axes=False) for R in spin])
    assert (alone[:, 3] >= 0.0).all()
    assert np.abs(np.diff(alone, axis=0)).max() > 1.9  # past half a turn the hemisphere forces a jump
    sequence = rotations.encode("quaternion", spin, np.eye(3), fixed_axes=False)
    assert np.abs(np.diff(sequence, axis=0)).max() < 0.04
    assert sequence[-1] == pytest.approx([0, 0, 0, -1], abs=1e-9)
    for rows in (alone, sequence):
        assert angle_between(rotations.decode("quaternion", rows, np.eye(3), fixed_axes=False), spin).max() < 1e-7


def test_inexact_predictions_become_rotations():
    R = Rotation.random(20, random_state=np.random.default_rng(4)).as_matrix()
    for kind in ("rot6d", "quaternion"):
        numbers = np.concatenate([rotations.encode(kind, M[None], DOWN, fixed_axes=False) for M in R])
        noisy = 1.7 * numbers + RNG.normal(scale=0.02, size=numbers.shape)
        back = rotations.decode(kind, noisy, DOWN, fixed_axes=False)
        assert np.swapaxes(back, 1, 2) @ back == pytest.approx(np.tile(np.eye(3), (20, 1, 1)), abs=1e-12)
        assert np.linalg.det(back) == pytest.approx(np.ones(20))
        assert angle_between(back, R).max() < 0.1


@pytest.mark.parametrize("six", [[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 2, 3, -2, -4, -6]])
def test_six_numbers_without_a_direction_are_refused(six):
    with pytest.raises(KinematicsError, match="have no direction: a column is zero or both are parallel"):
        rotations.rotation_from_columns(six)


def test_wrapped():
    assert rotations.wrapped([3.5, -3.5, 2 * np.pi, np.pi]).tolist() == pytest.approx(
        [3.5 - 2 * np.pi, 2 * np.pi - 3.5, 0.0, -np.pi]
    )
