# SPDX-License-Identifier: Apache-2.0

"""Forward and inverse kinematics of the UR5e from its DH table.

All poses are of ``tool0`` in ``base_link``. ``base_link`` is turned by 180 degrees about z against the frame ``base``
in which the DH table (and the teach pendant) are written.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim.errors import SimError

Array = NDArray[np.float64]

T_BASE_LINK_BASE: Array = np.diag([-1.0, -1.0, 1.0, 1.0])


class UnreachableError(SimError):
    """No joint configuration near the seed reaches the requested pose."""


def dh_transform(a: float, d: float, alpha: float, theta: float) -> Array:
    """Pose (4, 4) of one DH frame in the one before (standard convention)."""
    ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
    return np.array(
        [[ct, -st * ca, st * sa, a * ct], [st, ct * ca, -ct * sa, a * st], [0, sa, ca, d], [0, 0, 0, 1]],
        dtype=np.float64,
    )


def frames(q: Array) -> Array:
    """Poses (7, 4, 4) of the DH frames 0..6 in base_link for the joint angles q (6,) in rad; the last is tool0."""
    poses = np.empty((7, 4, 4))
    poses[0] = T_BASE_LINK_BASE
    for i in range(6):
        poses[i + 1] = poses[i] @ dh_transform(c.DH_A[i], c.DH_D[i], c.DH_ALPHA[i], float(q[i]))
    return poses


def forward(q: Array) -> Array:
    """Pose (4, 4) of tool0 in base_link for the joint angles q (6,) in rad."""
    pose: Array = frames(q)[6]
    return pose


def tcp(q: Array) -> Array:
    """Position (3,) of the tool centre point in base_link for the joint angles q (6,) in rad."""
    pose = forward(q)
    centre: Array = pose[:3, 3] + c.TCP_OFFSET * pose[:3, 2]
    return centre


def jacobian(poses: Array) -> Array:
    """Geometric Jacobian (6, 6) of tool0 in base_link from the result of `frames`: rows 0..2 linear, 3..5 angular."""
    axes = poses[:6, :3, 2]
    return np.vstack([np.cross(axes, poses[6, :3, 3] - poses[:6, :3, 3]).T, axes.T])


def _rotation_error(R_want: Array, R_have: Array) -> Array:
    """Small rotation vector (3,) in base_link that turns R_have into R_want."""
    vector: Array = 0.5 * np.cross(R_have, R_want, axis=0).sum(axis=1)
    return vector


def inverse(T_base_link_tool0: Array, seed: Array, *, tolerance: float = 1e-6, iterations: int = 100) -> Array:
    """Joint angles (6,) near seed (6,) that put tool0 at the pose (4, 4).

    Damped least squares on the geometric Jacobian; the solution stays on the branch of the seed.

    Raises:
        UnreachableError: not converged to tolerance (m and rad) within the iterations.
    """
    q = np.array(seed, dtype=np.float64)
    error = np.zeros(6)
    for _ in range(iterations):
        poses = frames(q)
        error[:3] = T_base_link_tool0[:3, 3] - poses[6, :3, 3]
        error[3:] = _rotation_error(T_base_link_tool0[:3, :3], poses[6, :3, :3])
        norm = float(np.linalg.norm(error))
        if norm < tolerance:
            return q
        J = jacobian(poses)
        damping = min(1e-3, norm * 1e-2)
        step = J.T @ np.linalg.solve(J @ J.T + damping**2 * np.eye(6), error)
        q += step * min(1.0, 0.3 / max(float(np.abs(step).max()), 1e-12))
    x, y, z = T_base_link_tool0[:3, 3]
    raise UnreachableError(
        f"no inverse kinematics solution for tool0 at ({x:.3f}, {y:.3f}, {z:.3f}) m in base_link near the seed "
        f"{np.round(seed, 3).tolist()} (error {norm:.2e} after {iterations} steps): "
        "is the pose within the 0.85 m reach of the arm?"
    )


def tool_down(tcp_xyz: Array, yaw: float = 0.0) -> Array:
    """Pose (4, 4) of tool0 with the fingers pointing down, opening along x of base_link turned by yaw about z."""
    pose = np.eye(4)
    cos, sin = np.cos(yaw), np.sin(yaw)
    pose[:3, :3] = np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]])
    pose[:3, 3] = np.asarray(tcp_xyz) - c.TCP_OFFSET * pose[:3, 2]
    return pose


@lru_cache(maxsize=1)
def _home() -> tuple[float, ...]:
    seed = np.array([-0.3, -1.7, 2.0, -1.9, -1.5708, -0.3])
    return tuple(inverse(tool_down(np.array(c.HOME_TCP)), seed))


def home() -> Array:
    """Joint angles (6,) of the cell's home pose: elbow up, fingers down over the table."""
    return np.array(_home())
