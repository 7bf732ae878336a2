# SPDX-License-Identifier: Apache-2.0

"""Forward and inverse kinematics of a serial arm, and rotations.

``T_base_tool`` is the pose of the tool in the base frame: it maps points of the tool frame into the base frame.
Quaternions are x y z w. Rotation vectors are axis times angle [rad].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.errors import KinematicsError, listing

if TYPE_CHECKING:
    from vla_core.specs import Kinematics

Array = NDArray[np.float64]
_DAMPING = 0.01
_MAX_STEP_RAD = 0.3
_MAX_ITERATIONS = 100
_SMALL_ANGLE = 1e-7
_NEAR_PI = 1e-4


@dataclass(frozen=True, slots=True)
class _Chain:
    """The constant matrices of an arm: base, one ``Tz(d) Tx(a) Rx(alpha)`` per joint, tool."""

    base: Array
    links: Array
    tool: Array
    theta: Array


@lru_cache(maxsize=16)
def _chain(arm: Kinematics) -> _Chain:
    links = np.zeros((len(arm.joints), 4, 4))
    for i, (a, d, alpha) in enumerate(zip(arm.a, arm.d, arm.alpha, strict=True)):
        c, s = np.cos(alpha), np.sin(alpha)
        links[i] = [[1, 0, 0, a], [0, c, -s, 0], [0, s, c, d], [0, 0, 0, 1]]
    return _Chain(
        base=pose_matrix(arm.base_xyz, rotation_from_rpy(arm.base_rpy)),
        links=links,
        tool=pose_matrix(arm.tool_xyz, rotation_from_rpy(arm.tool_rpy)),
        theta=np.array(arm.theta),
    )


def pose_matrix(xyz: ArrayLike, rotation: ArrayLike) -> Array:
    """Return the 4x4 matrix of a translation [m] and a 3x3 rotation."""
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = xyz
    return T


def forward(arm: Kinematics, q: ArrayLike) -> Array:
    """Return ``T_base_tool``.

    Args:
        arm: Denavit-Hartenberg table.
        q: Joint positions ``(n,)`` or ``(T, n)`` [rad], in the order of ``arm.joints``.

    Returns:
        ``(4, 4)`` or ``(T, 4, 4)``, metres.

    Raises:
        KinematicsError: the number of joints is another one.
    """
    joints = np.asarray(q, dtype=np.float64)
    if joints.ndim not in (1, 2) or joints.shape[-1] != len(arm.joints):
        raise KinematicsError(
            f"the arm has {len(arm.joints)} joints ({listing(arm.joints)}), got an array of shape {joints.shape}"
        )
    T: Array = _frames(arm, np.atleast_2d(joints))[-1]
    return T[0] if joints.ndim == 1 else T


def joint_frames(arm: Kinematics, q: Array) -> list[Array]:
    """Return the poses ``(T, 4, 4)`` [m] of the table's base, and of its frame after joint 0, 1, …, in base_frame.

    Args:
        arm: Denavit-Hartenberg table.
        q: Joint positions ``(T, n)`` [rad].
    """
    chain = _chain(arm)
    frames = [np.broadcast_to(chain.base, (len(q), 4, 4))]
    for i, link in enumerate(chain.links):
        frames.append(frames[-1] @ _turn_z(q[:, i] + chain.theta[i]) @ link)
    return frames


def _frames(arm: Kinematics, q: Array) -> list[Array]:
    """Return ``(T, 4, 4)`` poses of the frames in which joint 0, 1, … turn, and of the tool as the last one."""
    *frames, last = joint_frames(arm, q)
    return [*frames, last @ _chain(arm).tool]


def _turn_z(angle: Array) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    T = np.zeros((len(angle), 4, 4))
    T[:, 0, 0] = T[:, 1, 1] = c
    T[:, 0, 1], T[:, 1, 0] = -s, s
    T[:, 2, 2] = T[:, 3, 3] = 1.0
    return T


def jacobian(arm: Kinematics, q: ArrayLike) -> Array:
    """Return the geometric Jacobian of the tool: linear [m/rad] over angular [1], in the base frame.

    Args:
        arm: Denavit-Hartenberg table.
        q: Joint positions ``(n,)`` or ``(T, n)`` [rad].

    Returns:
        ``(6, n)`` or ``(T, 6, n)``.
    """
    joints = np.asarray(q, dtype=np.float64)
    frames = np.stack(_frames(arm, np.atleast_2d(joints)))
    axes, origins = frames[:-1, :, :3, 2], frames[:-1, :, :3, 3]  # joints turn about their own z
    columns = np.concatenate([np.cross(axes, frames[-1, :, :3, 3] - origins), axes], axis=2)
    J: Array = columns.transpose(1, 2, 0)
    return J[0] if joints.ndim == 1 else J


def inverse(
    arm: Kinematics,
    T_base_tool: ArrayLike,
    q0: ArrayLike,
    *,
    tolerance_m: float = 1e-6,
    tolerance_rad: float = 1e-5,
) -> Array:
    """Return joint positions that put the tool at a pose, found by damped least squares from `q0`.

    The search stays on the branch (elbow up or down) of `q0`, so consecutive poses give consecutive joints. Joint
    limits are not known here; the safety filter checks them.

    Args:
        arm: Denavit-Hartenberg table.
        T_base_tool: Wanted pose ``(4, 4)`` in the base frame [m].
        q0: Joint positions ``(n,)`` to start from [rad].
        tolerance_m: Allowed position error [m].
        tolerance_rad: Allowed rotation error [rad].

    Raises:
        KinematicsError: the search did not converge; the text gives the remaining error.
    """
    target = np.asarray(T_base_tool, dtype=np.float64)
    q = np.array(q0, dtype=np.float64)
    error = _pose_error(target, forward(arm, q))
    for _ in range(_MAX_ITERATIONS):
        far, turned = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
        if far <= tolerance_m and turned <= tolerance_rad:
            return q
        J = jacobian(arm, q)
        # Damping that fades with the error: safe near singularities, quadratic convergence at the end.
        damping = _DAMPING**2 * min(1.0, float(error @ error) * 100.0) + 1e-12
        step = J.T @ np.linalg.solve(J @ J.T + damping * np.eye(6), error)
        largest = np.abs(step).max()
        q += step * min(1.0, _MAX_STEP_RAD / largest) if largest > 0.0 else 0.0
        error = _pose_error(target, forward(arm, q))
    raise KinematicsError(
        f"inverse kinematics did not reach x y z = {np.round(target[:3, 3], 4).tolist()} m in {_MAX_ITERATIONS} steps: "
        f"{np.linalg.norm(error[:3]) * 1e3:.1f} mm and {np.degrees(np.linalg.norm(error[3:])):.1f} deg remain; "
        "the pose is out of reach or at a singularity"
    )


def _pose_error(target: Array, current: Array) -> Array:
    turn = rotation_vector(target[:3, :3] @ current[:3, :3].T)
    return np.concatenate([target[:3, 3] - current[:3, 3], turn])


def rotation_from_rpy(rpy: ArrayLike) -> Array:
    """Return the 3x3 rotation of roll, pitch, yaw about the fixed axes x, y, z [rad] (REP-103, as in URDF)."""
    roll, pitch, yaw = np.asarray(rpy, dtype=np.float64)
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rotation_from_vector(vector: ArrayLike) -> Array:
    """Return the 3x3 rotation of a rotation vector ``(3,)`` [rad] (Rodrigues' formula)."""
    v = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(v))
    if angle < _SMALL_ANGLE:
        return np.eye(3) + _skew(v)
    K = _skew(v / angle)
    R: Array = np.eye(3) + np.sin(angle) * K + (1.0 - np.cos(angle)) * (K @ K)
    return R


def rotation_vector(rotation: ArrayLike) -> Array:
    """Return the rotation vector ``(3,)`` of a 3x3 rotation, with an angle in [0, pi] [rad]."""
    R = np.asarray(rotation, dtype=np.float64)
    twice_sine = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine = float(np.linalg.norm(twice_sine)) / 2.0
    cosine = (float(np.trace(R)) - 1.0) / 2.0
    angle = float(np.arctan2(sine, cosine))
    if angle < _SMALL_ANGLE:
        return twice_sine / 2.0
    if np.pi - angle > _NEAR_PI:
        return twice_sine / (2.0 * sine) * angle
    # Near half a turn the sine carries no direction; the largest column of R + I does.
    symmetric = (R + R.T) / 2.0 + np.eye(3)
    column = symmetric[:, int(np.argmax(np.diag(symmetric)))]
    axis = column / np.linalg.norm(column)
    if axis @ twice_sine < 0.0:
        axis = -axis
    return axis * angle


def rotation_from_quaternion(xyzw: ArrayLike) -> Array:
    """Return the 3x3 rotation of a quaternion x y z w; it is normalised first.

    Raises:
        KinematicsError: the quaternion is zero or not finite.
    """
    q = np.asarray(xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not np.isfinite(norm) or norm < _SMALL_ANGLE:
        raise KinematicsError(f"quaternion x y z w = {q.tolist()} has no direction; was it ever set?")
    x, y, z, w = q / norm
    K = _skew(np.array([x, y, z]))
    R: Array = np.eye(3) + 2.0 * w * K + 2.0 * (K @ K)
    return R


def quaternion_from_rotation(rotation: ArrayLike) -> Array:
    """Return the quaternion x y z w of a 3x3 rotation, with w >= 0."""
    vector = rotation_vector(rotation)
    angle = float(np.linalg.norm(vector))
    if angle < _SMALL_ANGLE:
        return np.array([*(vector / 2.0), 1.0])
    return np.array([*(vector / angle * np.sin(angle / 2.0)), np.cos(angle / 2.0)])


def xyzw_to_wxyz(quaternion: ArrayLike) -> Array:
    """Return a quaternion in the order w x y z (MuJoCo)."""
    return np.roll(np.asarray(quaternion, dtype=np.float64), 1, axis=-1)


def wxyz_to_xyzw(quaternion: ArrayLike) -> Array:
    """Return a quaternion in the order x y z w (ROS)."""
    return np.roll(np.asarray(quaternion, dtype=np.float64), -1, axis=-1)


def _skew(v: Array) -> Array:
    x, y, z = v
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
