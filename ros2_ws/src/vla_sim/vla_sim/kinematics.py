# SPDX-License-Identifier: Apache-2.0

"""Kinematics of the cell's arm: `vla_core.kinematics` with the DH table of the UR5e, and the poses of its tool.

All poses are of ``tool0`` in ``base_link``. ``base_link`` is turned by 180 degrees about z against the frame ``base``
in which the DH table (and the teach pendant) are written.
"""

from functools import lru_cache
from math import pi
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import forward as chain_forward
from vla_core.kinematics import inverse as chain_inverse
from vla_core.specs import Kinematics

from vla_sim import constants as c

Array = NDArray[np.float64]

T_BASE_LINK_BASE: Array = np.diag([-1.0, -1.0, 1.0, 1.0])

ARM: Final = Kinematics(
    joints=c.ARM_JOINTS,
    a=c.DH_A,
    d=c.DH_D,
    alpha=c.DH_ALPHA,
    theta=(0.0,) * 6,
    base_xyz=(0.0, 0.0, 0.0),
    base_rpy=(0.0, 0.0, pi),
    tool_xyz=(0.0, 0.0, 0.0),
    tool_rpy=(0.0, 0.0, 0.0),
    reference_rpy=(pi, 0.0, 0.0),
)


def forward(q: Array) -> Array:
    """Pose (4, 4) of tool0 in base_link for the joint angles q (6,) in rad."""
    return chain_forward(ARM, q)


def tcp(q: Array) -> Array:
    """Position (3,) of the tool centre point in base_link for the joint angles q (6,) in rad."""
    pose = forward(q)
    centre: Array = pose[:3, 3] + c.TCP_OFFSET * pose[:3, 2]
    return centre


def inverse(T_base_link_tool0: Array, seed: Array) -> Array:
    """Joint angles (6,) near seed (6,) that put tool0 at the pose (4, 4).

    Raises:
        KinematicsError: the arm does not reach the pose from the seed.
    """
    return chain_inverse(ARM, T_base_link_tool0, seed)


def tool_down(tcp_xyz: Array, yaw: float = 0.0, tcp_offset: float = c.TCP_OFFSET) -> Array:
    """Pose (4, 4) of the tool's link with the fingers pointing down, opening along x of base_link turned by yaw about z."""
    pose = np.eye(4)
    cos, sin = np.cos(yaw), np.sin(yaw)
    pose[:3, :3] = np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]])
    pose[:3, 3] = np.asarray(tcp_xyz) - tcp_offset * pose[:3, 2]
    return pose


@lru_cache(maxsize=1)
def _home() -> tuple[float, ...]:
    seed = np.array([-0.3, -1.7, 2.0, -1.9, -1.5708, -1.9])
    return tuple(inverse(tool_down(np.array(c.HOME_TCP)), seed))


def home() -> Array:
    """Joint angles (6,) of the cell's home pose: elbow up, fingers down over the table."""
    return np.array(_home())
