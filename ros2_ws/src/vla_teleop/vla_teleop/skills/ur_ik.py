# SPDX-License-Identifier: Apache-2.0

"""All joint positions that put a UR arm's tool at a pose, in closed form, and the sequence that follows a path.

The arms of Universal Robots share one shape: the axes of joints 2, 3 and 4 are parallel, and consecutive wrist axes meet
at right angles. So joint 1 follows from where the wrist is, joint 5 from its offset, joint 6 from the tool's direction, and
joints 2 to 4 are a planar arm: up to 2 x 2 x 2 = 8 solutions (shoulder left or right, wrist up or down, elbow up or down).
The derivation is that of Hawkins, "Analytic Inverse Kinematics for the Universal Robots UR-5/UR-10 Arms" (2013), on the
standard Denavit-Hartenberg table. An arm of another shape, also a UR with its factory calibration in the table, is solved by
damped least squares from the joints before (`vla_core.kinematics.inverse`): slower, and it cannot see other branches, but it
needs no shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vla_core.errors import KinematicsError
from vla_core.kinematics import inverse, pose_matrix, rotation_from_rpy
from vla_core.rotations import wrapped
from vla_core.specs import Kinematics

Array = NDArray[np.float64]
BRANCHES = 8
_ALPHA = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)
_SAME = 1e-9
_ROUNDING = 1e-9  # a cosine this far beyond one is rounding, not out of reach
_SINGULAR_SINE = 1e-9  # below this sine of joint 5, joint 6 has no value of its own


def is_ur(arm: Kinematics) -> bool:
    """Whether the Denavit-Hartenberg table has the shape that `solutions` solves."""
    if len(arm.joints) != len(_ALPHA):
        return False
    zeros = (arm.a[0], *arm.a[3:], arm.d[1], arm.d[2])
    bent = np.abs(np.subtract(arm.alpha, _ALPHA)).max() < _SAME
    return bool(bent and np.abs(zeros).max() < _SAME and min(abs(arm.a[1]), abs(arm.a[2]), abs(arm.d[5])) > _SAME)


def solutions(arm: Kinematics, T_base_tool: ArrayLike, near: ArrayLike) -> Array:
    """Return all joint positions of each pose.

    Args:
        arm: Denavit-Hartenberg table of a UR arm (`is_ur`).
        T_base_tool: ``(K, 4, 4)`` poses of the tool in the base frame [m].
        near: ``(6,)`` joints [rad]; joint 6 takes this value where the axes of joints 4 and 6 are in line, because only
            their sum is known there.

    Returns:
        ``(K, 8, 6)`` [rad], each angle in [-pi, pi); NaN where a branch does not reach the pose.
    """
    base = pose_matrix(arm.base_xyz, rotation_from_rpy(arm.base_rpy))
    tool = pose_matrix(arm.tool_xyz, rotation_from_rpy(arm.tool_rpy))
    T = np.linalg.inv(base) @ np.asarray(T_base_tool, dtype=np.float64) @ np.linalg.inv(tool)
    last = float(np.asarray(near)[5]) + arm.theta[5]
    found = np.full((len(T), BRANCHES, 6), np.nan)
    branch = 0
    for shoulder in (1.0, -1.0):
        q1 = _pan(arm, T, shoulder)
        for wrist in (1.0, -1.0):
            q5, q6 = _wrist(arm, T, q1, wrist, last)
            for elbow in (1.0, -1.0):
                q2, q3, q4 = _planar(arm, T, (q1, q5, q6), elbow)
                found[:, branch] = np.stack([q1, q2, q3, q4, q5, q6], axis=1)
                branch += 1
    found[np.isnan(found).any(axis=2)] = np.nan
    answers: Array = wrapped(found - np.array(arm.theta))
    return answers


def _pan(arm: Kinematics, T: Array, side: float) -> Array:
    centre = T[:, :3, 3] - arm.d[5] * T[:, :3, 2]  # where the axes of joints 5 and 6 meet
    across = np.hypot(centre[:, 0], centre[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = _arccos(arm.d[3] / across)
    angle: Array = np.arctan2(centre[:, 1], centre[:, 0]) + side * turn + np.pi / 2
    return angle


def _wrist(arm: Kinematics, T: Array, q1: Array, side: float, last: float) -> tuple[Array, Array]:
    s1, c1 = np.sin(q1), np.cos(q1)
    q5 = side * _arccos((T[:, 0, 3] * s1 - T[:, 1, 3] * c1 - arm.d[3]) / arm.d[5])
    s5 = np.sin(q5)
    y = -(T[:, 0, 1] * s1 - T[:, 1, 1] * c1) * np.sign(s5)
    x = (T[:, 0, 0] * s1 - T[:, 1, 0] * c1) * np.sign(s5)
    q6 = np.where(np.abs(s5) > _SINGULAR_SINE, np.arctan2(y, x), last)
    return q5, np.where(np.isnan(q5), np.nan, q6)


def _planar(arm: Kinematics, T: Array, known: tuple[Array, Array, Array], side: float) -> tuple[Array, Array, Array]:
    q1, q5, q6 = known
    first = np.linalg.inv(_joint(q1, 0.0, arm.d[0], _ALPHA[0]))
    after = _joint(q5, 0.0, arm.d[4], _ALPHA[4]) @ _joint(q6, 0.0, arm.d[5], _ALPHA[5])
    T14 = first @ T @ np.linalg.inv(np.nan_to_num(after) + np.isnan(after) * np.eye(4))
    x, y = (T14[:, :2, 3] - arm.d[3] * T14[:, :2, 1]).T  # the wrist in the plane of the upper arm and the forearm
    upper, fore = arm.a[1], arm.a[2]
    q3 = side * _arccos((x**2 + y**2 - upper**2 - fore**2) / (2.0 * upper * fore))
    q2 = np.arctan2(y, x) - np.arctan2(fore * np.sin(q3), upper + fore * np.cos(q3))
    return q2, q3, np.arctan2(T14[:, 1, 0], T14[:, 0, 0]) - q2 - q3


def _joint(q: Array, a: float, d: float, alpha: float) -> Array:
    c, s, ca, sa = np.cos(q), np.sin(q), np.cos(alpha), np.sin(alpha)
    T = np.zeros((len(q), 4, 4))
    T[:, 0] = np.stack([c, -s * ca, s * sa, a * c], axis=1)
    T[:, 1] = np.stack([s, c * ca, -c * sa, a * s], axis=1)
    T[:, 2, 1], T[:, 2, 2], T[:, 2, 3], T[:, 3, 3] = sa, ca, d, 1.0
    return T


def _arccos(cosine: Array) -> Array:
    inside = np.where(np.abs(cosine) <= 1.0 + _ROUNDING, np.clip(cosine, -1.0, 1.0), np.nan)
    angle: Array = np.arccos(inside)
    return angle


def follow(arm: Kinematics, T_base_tool: ArrayLike, q0: ArrayLike) -> tuple[Array, str]:
    """Return joints that follow a path, each the solution nearest to the one before.

    Args:
        arm: Denavit-Hartenberg table.
        T_base_tool: ``(K, 4, 4)`` poses of the tool in the base frame [m].
        q0: ``(n,)`` joints to start from [rad]; whole turns are kept.

    Returns:
        ``(k, n)`` joints [rad] with k <= K, and why the path ends after k poses; an empty text when it is complete.
    """
    poses = np.asarray(T_base_tool, dtype=np.float64)
    q = np.asarray(q0, dtype=np.float64)
    joints: list[Array] = []
    if not is_ur(arm):
        for pose in poses:
            try:
                q = inverse(arm, pose, q, tolerance_m=1e-7, tolerance_rad=1e-6)
            except KinematicsError as error:
                return _rows(joints, len(q)), str(error)
            joints.append(q)
        return _rows(joints, len(q)), ""
    for candidates in solutions(arm, poses, q):
        turns = wrapped(candidates - q)
        distance = np.einsum("ij,ij->i", turns, turns)
        if np.isnan(distance).all():
            return _rows(joints, len(q)), "no joint positions reach it: it is too far from, or too near to, the base"
        q = q + turns[int(np.nanargmin(distance))]
        joints.append(q)
    return _rows(joints, len(q)), ""


def _rows(joints: list[Array], width: int) -> Array:
    return np.array(joints).reshape(-1, width)
