# SPDX-License-Identifier: Apache-2.0

"""Where a robot's tool is and how it gets somewhere with its fingers down, in the base frame of its station.

A UR5e has a Denavit-Hartenberg table (`vla_sim.kinematics`). Other robots are solved on their links by damped least
squares (Wampler 1986): a pose that a five-jointed arm cannot take exactly is taken as well as it can be.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import KinematicsError
from vla_core.kinematics import rotation_vector

from vla_sim import kinematics
from vla_sim.model import Link, transform
from vla_sim.robot import Robot

Array = NDArray[np.float64]

_ITERATIONS: Final = 200
_DAMPING: Final = 0.02
_LONGEST_STEP: Final = 0.3  # rad of any joint
_POSITION: Final = 5e-4  # m
_ANGLE: Final = 0.02  # rad
_LENGTH: Final = 0.1  # m that weigh as much as a radian


class Reach:
    """Kinematics of the arm joints of one robot; angles (k,) [rad] in the order of `Robot.arm_joints`."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.count = len(robot.arm_joints)
        self._chain = _chain(robot)

    def tool(self, q: Array) -> Array:
        """Pose (4, 4) of the tool's link in the base frame."""
        if self.robot.dh is not None:
            return kinematics.forward(q[: self.count])
        return self._frames(q)[-1]

    def tcp(self, q: Array) -> Array:
        """Position (3,) of the tool centre point in the base frame [m]."""
        pose = self.tool(q)
        centre: Array = pose[:3, 3] + self.robot.tcp * pose[:3, 2]
        return centre

    def yaw(self, q: Array) -> float:
        """Turn of the tool about z of the base frame [rad], when it points down."""
        pose = self.tool(q)
        return float(np.arctan2(pose[1, 0], pose[0, 0]))

    def down(self, tcp_xyz: Sequence[float] | Array, yaw: float, seed: Array) -> Array:
        """Joint angles (k,) near `seed` (k,) that hold the tool centre point at `tcp_xyz` [m] with the fingers down.

        Raises:
            KinematicsError: the arm does not reach the place from the seed.
        """
        pose = kinematics.tool_down(np.asarray(tcp_xyz), yaw, self.robot.tcp)
        if self.robot.dh is not None:
            return kinematics.inverse(pose, seed)
        return self._solve(pose, np.array(seed[: self.count], dtype=np.float64))

    def _frames(self, q: Array) -> list[Array]:
        """Pose (4, 4) of each link of the chain, after its joint."""
        values = dict(zip(self.robot.arm_joints, q, strict=False))
        pose, frames = np.eye(4), []
        for link in self._chain:
            pose = pose @ transform(link.xyz, link.rpy)
            if link.joint is not None:
                pose = pose @ _turn(link.joint.axis, values[link.joint.name])
            frames.append(pose)
        return frames

    def _solve(self, goal: Array, q: Array) -> Array:
        lower, upper = self._limits()
        weight = np.array([*[1.0 / _LENGTH] * 3, 1.0, 1.0, 1.0])
        for _ in range(_ITERATIONS):
            frames = self._frames(q)
            error = np.concatenate(
                [goal[:3, 3] - frames[-1][:3, 3], rotation_vector(goal[:3, :3] @ frames[-1][:3, :3].T)]
            )
            if np.linalg.norm(error[:3]) < 1e-6 and np.linalg.norm(error[3:]) < 1e-5:
                break
            J = weight[:, None] * self._jacobian(frames)
            step = J.T @ np.linalg.solve(J @ J.T + _DAMPING**2 * np.eye(6), weight * error)
            step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step).max() < 1e-9:
                break
            q = np.clip(q + step, lower, upper)
        pose = self._frames(q)[-1]
        off = float(np.linalg.norm(goal[:3, 3] - pose[:3, 3]))
        tilt = float(np.arccos(np.clip(goal[:3, 2] @ pose[:3, 2], -1.0, 1.0)))
        if off > _POSITION or tilt > _ANGLE:
            at = ", ".join(f"{v:.3f}" for v in goal[:3, 3])
            raise KinematicsError(
                f"the {self.robot.kind} does not reach its tool to [{at}] m in {self.robot.base} with the fingers down: "
                f"{1e3 * off:.1f} mm and {np.degrees(tilt):.1f} degrees are left"
            )
        return q

    def _limits(self) -> tuple[Array, Array]:
        joints = [link.joint for link in self._chain if link.joint is not None]
        return np.array([j.lower for j in joints]), np.array([j.upper for j in joints])

    def _jacobian(self, frames: list[Array]) -> Array:
        """Velocity (6, k) of the tool, linear then angular, per joint."""
        columns = []
        for link, pose in zip(self._chain, frames, strict=True):
            if link.joint is not None:
                axis = pose[:3, :3] @ np.array(link.joint.axis)
                columns.append(np.concatenate([np.cross(axis, frames[-1][:3, 3] - pose[:3, 3]), axis]))
        return np.column_stack(columns)


def _chain(robot: Robot) -> tuple[Link, ...]:
    """The links from the base to the tool."""
    by_name = {link.name: link for link in robot.links}
    chain, name = [], robot.tool
    while name != robot.base:
        chain.append(by_name[name])
        name = by_name[name].parent
    return tuple(reversed(chain))


def _turn(axis: Sequence[float], angle: float) -> Array:
    """Pose (4, 4) of a turn by `angle` [rad] about a unit axis."""
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) + np.sin(angle) * K + (1.0 - np.cos(angle)) * (K @ K)
    return pose
