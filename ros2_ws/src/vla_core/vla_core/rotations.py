# SPDX-License-Identifier: Apache-2.0

"""Orientations as numbers that a policy can learn: rotation vector, quaternion, six numbers, or roll, pitch, yaw.

Every kind is counted from an origin, so that it does not jump where the tool usually is: a rotation vector and a
quaternion jump at half a turn from the origin, roll, pitch and yaw near half a turn of one angle, six numbers never.

- ``rotvec``: axis times angle [rad].
- ``quaternion``: x y z w with ``w >= 0``; along a sequence the sign follows the row before instead.
- ``rot6d``: the first two columns of the matrix, one after the other (Zhou et al. 2019, On the Continuity of Rotation
  Representations in Neural Networks); Gram-Schmidt leads back.
- ``rpy``: roll, pitch, yaw about fixed axes (REP-103) minus those of the origin, each in [-pi, pi) [rad]. Of the two
  triples that mean the same orientation, the one nearer to the origin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.errors import KinematicsError
from vla_core.kinematics import (
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_rpy,
    rotation_from_vector,
    rotation_vector,
)

Array = NDArray[np.float64]
AXES = {
    "rotvec": ("rx", "ry", "rz"),
    "quaternion": ("qx", "qy", "qz", "qw"),
    "rot6d": ("r11", "r21", "r31", "r12", "r22", "r32"),
    "rpy": ("roll", "pitch", "yaw"),
}
"""Names of the numbers of each kind."""
# Below this, roll and yaw turn about the same axis and only their difference (or sum) is known.
_GIMBAL_LOCK = 1e-7
_SHORTEST_COLUMN = 1e-6


def rpy_from_rotation(rotation: ArrayLike, near: ArrayLike = (0.0, 0.0, 0.0)) -> Array:
    """Return roll, pitch, yaw about fixed axes [rad] of a 3x3 rotation, the triple nearest to `near`.

    At gimbal lock (pitch of a quarter turn) the roll is that of `near`.
    """
    R, wanted = np.asarray(rotation, dtype=np.float64), np.asarray(near, dtype=np.float64)
    cos_pitch = float(np.hypot(R[0, 0], R[1, 0]))
    pitch = float(np.arctan2(-R[2, 0], cos_pitch))
    if cos_pitch < _GIMBAL_LOCK:
        up = 1.0 if pitch > 0.0 else -1.0
        yaw = up * (wanted[0] - np.arctan2(up * R[0, 1], R[1, 1]))
        candidates = [np.array([wanted[0], pitch, yaw])]
    else:
        roll, yaw = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
        candidates = [np.array([roll, pitch, yaw]), np.array([roll + np.pi, np.pi - pitch, yaw + np.pi])]
    nearest = min((wrapped(angles - wanted) for angles in candidates), key=lambda turn: float(turn @ turn))
    return wanted + nearest


def wrapped(angles: ArrayLike) -> Array:
    """Return angles [rad] by whole turns brought into [-pi, pi)."""
    turned: Array = (np.asarray(angles, dtype=np.float64) + np.pi) % (2.0 * np.pi) - np.pi
    return turned


def encode(kind: str, rotations: ArrayLike, origin: ArrayLike, *, fixed_axes: bool) -> Array:
    """Return rotations as numbers.

    Args:
        kind: rotvec, quaternion, rot6d or rpy.
        rotations: ``(T, 3, 3)``; more than one is a sequence.
        origin: ``(3, 3)`` orientation to count from.
        fixed_axes: Turns from the origin are about the fixed axes (True) or about the axes of the origin. Roll, pitch and
            yaw are about the fixed axes either way.

    Returns:
        ``(T, k)`` with k = 3, 4 or 6.
    """
    R, R0 = np.asarray(rotations, dtype=np.float64), np.asarray(origin, dtype=np.float64)
    if kind == "rpy":
        start = rpy_from_rotation(R0)
        return np.stack([rpy_from_rotation(turned, start) - start for turned in R])
    turns = R @ R0.T if fixed_axes else R0.T @ R
    if kind == "rotvec":
        return np.stack([rotation_vector(turn) for turn in turns])
    if kind == "rot6d":
        return turns[:, :, :2].transpose(0, 2, 1).reshape(-1, 6)
    rows = np.stack([quaternion_from_rotation(turn) for turn in turns])
    for i in range(1, len(rows)):
        if rows[i] @ rows[i - 1] < 0.0:
            rows[i] *= -1.0
    return rows


def decode(kind: str, values: ArrayLike, origin: ArrayLike, *, fixed_axes: bool) -> Array:
    """Return the ``(T, 3, 3)`` rotations of ``(T, k)`` numbers, the inverse of `encode`.

    Numbers that a policy predicts need not be exact: quaternions are normalised, six numbers are made orthogonal.

    Raises:
        KinematicsError: a quaternion is zero, or the two columns of six numbers are zero or parallel.
    """
    rows, R0 = np.asarray(values, dtype=np.float64), np.asarray(origin, dtype=np.float64)
    if kind == "rpy":
        start = rpy_from_rotation(R0)
        return np.stack([rotation_from_rpy(start + row) for row in rows])
    from_numbers = {
        "rotvec": rotation_from_vector,
        "quaternion": rotation_from_quaternion,
        "rot6d": rotation_from_columns,
    }[kind]
    turns = np.stack([from_numbers(row) for row in rows])
    return turns @ R0 if fixed_axes else R0 @ turns


def rotation_from_columns(six: ArrayLike) -> Array:
    """Return the 3x3 rotation of two columns ``(6,)`` by Gram-Schmidt.

    Raises:
        KinematicsError: a column is zero, or both are parallel.
    """
    numbers = np.asarray(six, dtype=np.float64)
    first, second = numbers[:3], numbers[3:]
    length = float(np.linalg.norm(first))
    x = first / length if length > _SHORTEST_COLUMN else first
    rest = second - (x @ second) * x
    width = float(np.linalg.norm(rest))
    if length <= _SHORTEST_COLUMN or width <= _SHORTEST_COLUMN:
        raise KinematicsError(
            f"the six rotation numbers {numbers.tolist()} have no direction: a column is zero or both are parallel"
        )
    y = rest / width
    return np.stack([x, y, np.cross(x, y)], axis=1)
