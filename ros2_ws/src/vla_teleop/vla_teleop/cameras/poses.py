# SPDX-License-Identifier: Apache-2.0

"""Poses of the arm from which a board can be seen, around one from which it is seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import KinematicsError
from vla_core.kinematics import forward, inverse, pose_matrix, rotation_from_vector
from vla_core.profile import Profile
from vla_core.specs import ActionSpec

from vla_teleop.cameras.errors import CalibrationError

Array = NDArray[np.float64]
_TILTS_DEG = (14.0, 26.0)
_ROLL_DEG = 28.0
_DEPTHS = (0.0, 0.06, -0.04)  # m along the line of sight
_GOLDEN = np.pi * (3.0 - np.sqrt(5.0))
_LARGEST_JOINT_STEP = 1.6  # rad; further ones mean another branch of the arm
_PATH_POINTS = 12


def around(T_base_tool: Array, pivot: Array, count: int) -> list[Array]:
    """Return poses of the tool tilted and rolled about a pivot.

    Tilt directions follow the golden angle, so that any number of them covers all sides.

    Args:
        T_base_tool: Pose ``(4, 4)`` from which the board is seen.
        pivot: Point ``(3,)`` in the tool frame that stays where it is.
        count: How many.
    """
    poses = []
    for i in range(count):
        direction, tilt = i * _GOLDEN, np.radians(_TILTS_DEG[i % len(_TILTS_DEG)])
        lean = rotation_from_vector(tilt * np.array([np.cos(direction), np.sin(direction), 0.0]))
        roll = rotation_from_vector([0.0, 0.0, np.radians(_ROLL_DEG) * ((i * 3) % 5 - 2) / 2.0])
        R = lean @ roll
        depth = np.array([0.0, 0.0, _DEPTHS[i % len(_DEPTHS)]])
        poses.append(T_base_tool @ pose_matrix(pivot - R @ (pivot + depth), R))
    return poses


class Reach:
    """Which poses the arm may go to, in a straight line of joints from where it is."""

    def __init__(self, profile: Profile) -> None:
        """Find the arm.

        Raises:
            CalibrationError: the profile has no kinematics, or no action that moves those joints by trajectories.
        """
        if profile.kinematics is None:
            raise CalibrationError(f"profile {profile.robot} has no kinematics, so the pose of the tool is unknown")
        self.kinematics, self._safety = profile.kinematics, profile.safety
        arms = [spec for spec in profile.action if spec.joints == profile.kinematics.joints]
        if not arms or arms[0].command.interface != "follow_joint_trajectory":
            raise CalibrationError(
                f"profile {profile.robot} has no action that drives {', '.join(profile.kinematics.joints)} by "
                "follow_joint_trajectory; leave out --auto-poses and move the arm by hand"
            )
        self.arm: ActionSpec = arms[0]

    def joints_for(self, pose: Array, q: Array) -> Array | None:
        """Joint positions (n,) for a pose, near to q and on an allowed path from there; None where there are none."""
        try:
            goal = inverse(self.kinematics, pose, q)
        except KinematicsError:
            return None
        goal = q + (goal - q + np.pi) % (2.0 * np.pi) - np.pi
        low, high = np.array(self.arm.limits.lower), np.array(self.arm.limits.upper)
        if (goal < low).any() or (goal > high).any() or np.abs(goal - q).max() > _LARGEST_JOINT_STEP:
            return None
        return goal if self.inside(q, goal) else None

    def inside(self, q: Array, goal: Array) -> bool:
        """Whether the tool stays inside the workspace box on a straight line of joints from q to goal, each (n,)."""
        if self._safety.workspace_min is None or self._safety.workspace_max is None:
            return True
        path = q + np.linspace(0.0, 1.0, _PATH_POINTS)[1:, None] * (goal - q)
        tools = forward(self.kinematics, path)[:, :3, 3]
        return bool((tools >= self._safety.workspace_min).all() and (tools <= self._safety.workspace_max).all())
