# SPDX-License-Identifier: Apache-2.0

"""From a twist of the tool centre point to joint targets: resolved-rate control by damped least squares.

``dq = J^+ (twist + k * pose error)`` is integrated over one control period. The pose error is that between the joints and
the exactly integrated twist, so a straight line stays straight however long it is.

Near a singularity (smallest singular value of the Jacobian below `DAMPED_BELOW`) only the directions that are lost are
damped (numerical filtering, Maciejewski and Klein 1988) with a damping that grows towards the singularity (Nakamura and
Hanafusa 1986); already before (`SLOW_BELOW`) a motion towards it is slowed down as a whole, so that its direction stays.
Every other limit scales the whole motion too. The first that binds is the reason that a person reads.

A redundant arm drifts back to its rest pose in the null space of the Jacobian while it moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import KinematicsError, listing
from vla_core.kinematics import forward, jacobian, rotation_from_vector, rotation_vector
from vla_core.specs import Kinematics

from vla_teleop.motion.limits import ArmLimits, Bound, Workspace, joint_bound

Array = NDArray[np.float64]
SLOW_BELOW = 0.10
DAMPED_BELOW = 0.04
MAX_DAMPING = 0.05
SLOWEST = 0.15  # share of the speed that is left at the singularity itself
FEEDBACK = 0.3  # share of the pose error that is corrected in one period
REST_GAIN = 1.0  # [1/s] of the null-space motion
STILL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateStep:
    """One control period.

    Attributes:
        positions: Next joint targets (n,) [rad].
        velocities: Joint velocities (n,) that lead there [rad/s].
        share: How much of the wanted twist was followed, 0 to 1.
        reason: Why it was not all of it; empty: it was.
    """

    positions: Array
    velocities: Array
    share: float
    reason: str


class ResolvedRate:
    """Integrates twists to joint targets. Not thread-safe.

    Attributes:
        q: Joint targets (n,) [rad], in the order of the limits' joints.
    """

    def __init__(
        self,
        arm: Kinematics,
        T_tool_tcp: Array,
        limits: ArmLimits,
        *,
        workspace: Workspace | None = None,
        rest: Array | None = None,
    ) -> None:
        """Prepare.

        Args:
            arm: Denavit-Hartenberg table.
            T_tool_tcp: Pose (4, 4) of the tool centre point in the tool frame [m].
            limits: Of the joints; the same joints as those of the table, in any order.
            workspace: Box of the tool frame, or None.
            rest: Joint positions (n,) that a redundant arm drifts back to [rad], or None.

        Raises:
            KinematicsError: the table is of other joints.
        """
        if sorted(arm.joints) != sorted(limits.joints):
            raise KinematicsError(
                f"a twist needs the kinematics of the joints that it drives: the action has {listing(limits.joints)}, "
                f"the profile's kinematics {listing(arm.joints)}"
            )
        self._arm = arm
        self._order = np.array([limits.joints.index(joint) for joint in arm.joints])
        self._T_tool_tcp = np.array(T_tool_tcp)
        self._limits = limits
        self._workspace = workspace
        self._rest = rest
        n = len(limits.joints)
        self.q: Array = np.zeros(n)
        self._dq: Array = np.zeros(n)
        self._goal: Array = np.eye(4)

    def start(self, q: Array) -> None:
        """Begin at rest at the joint positions `q` (n,) [rad]."""
        self.q = np.array(q, dtype=np.float64)
        self._dq = np.zeros(len(self.q))
        self._goal = self.pose

    @property
    def pose(self) -> Array:
        """Pose (4, 4) of the tool centre point in the base frame, of the joint targets."""
        T: Array = forward(self._arm, self.q[self._order]) @ self._T_tool_tcp
        return T

    def step(self, twist: Array, dt: float) -> RateStep:
        """Follow a twist for one period.

        Args:
            twist: (6,) linear [m/s] and angular [rad/s] velocity of the tool centre point, in the axes of the base frame.
            dt: Length of the period [s].
        """
        T_base_tool = forward(self._arm, self.q[self._order])
        T = T_base_tool @ self._T_tool_tcp
        J = self._jacobian(T_base_tool, T)
        pinv, smallest = damped_inverse(J)
        wanted = pinv @ twist
        if self._rest is not None and len(self.q) > len(twist) and np.abs(twist).max() > STILL:
            wanted = wanted + self._null_space(J)
        bound = self._bound(T_base_tool, J, wanted, smallest, dt)
        error = np.concatenate([self._goal[:3, 3] - T[:3, 3], rotation_vector(self._goal[:3, :3] @ T[:3, :3].T)])
        dq = bound.share * wanted + pinv @ (FEEDBACK / dt * error)
        dq = dq * min(1.0, float((self._limits.velocity / np.maximum(np.abs(dq), STILL)).min()))
        dq, eased = self._accelerated(dq, dt)
        self.q = self.q + dq * dt
        self._dq = dq
        self._follow(bound.share * twist, dt, lost=eased or smallest < DAMPED_BELOW)
        return RateStep(positions=self.q.copy(), velocities=dq, share=bound.share, reason=bound.reason)

    def border(self, before: Array, q: Array, dt: float) -> str:
        """Return why a step from the joints `before` (n,) to `q` (n,) would leave the workspace; empty: it would not."""
        if self._workspace is None:
            return ""
        here, there = (forward(self._arm, joints[self._order])[:3, 3] for joints in (before, q))
        bound = self._workspace.bound(here, (there - here) / dt, dt)
        outside = ((there < self._workspace.low) | (there > self._workspace.high)).any()
        return bound.reason if outside else ""

    def _jacobian(self, T_base_tool: Array, T: Array) -> Array:
        """(6, n) Jacobian of the tool centre point, columns in the order of the limits' joints."""
        J = jacobian(self._arm, self.q[self._order])
        lever = T[:3, 3] - T_base_tool[:3, 3]
        J[:3] += np.cross(J[3:].T, lever).T
        columns = np.empty_like(J)
        columns[:, self._order] = J
        return columns

    def _bound(self, T_base_tool: Array, J: Array, dq: Array, smallest: float, dt: float) -> Bound:
        bound = joint_bound(self._limits, self.q, dq, dt)
        if self._workspace is not None:
            lever = (T_base_tool[:3, :3] @ -self._T_tool_tcp[:3, 3]).ravel()
            moved = J @ dq
            tool = moved[:3] + np.cross(moved[3:], lever)
            bound = bound.tightest(self._workspace.bound(T_base_tool[:3, 3], tool, dt))
        if smallest < SLOW_BELOW and self._approaches(dq, smallest):
            share = max(SLOWEST, smallest / SLOW_BELOW)
            reason = "near a singular pose, so the arm is slow; turn or move the tool another way"
            bound = bound.tightest(Bound(share=share, reason=reason))
        return bound

    def _approaches(self, dq: Array, smallest: float) -> bool:
        """Whether the motion leads further into the singularity."""
        size = float(np.abs(dq).max())
        if size < STILL:
            return False
        ahead = self.q + dq * (0.01 / size)
        here, self.q = self.q, ahead
        T_base_tool = forward(self._arm, ahead[self._order])
        J = self._jacobian(T_base_tool, T_base_tool @ self._T_tool_tcp)
        self.q = here
        return float(np.linalg.svd(J, compute_uv=False)[-1]) < smallest

    def _null_space(self, J: Array) -> Array:
        """Way back to the rest pose that does not move the tool; at most a fifth of each joint's speed limit."""
        assert self._rest is not None
        back = np.clip(REST_GAIN * (self._rest - self.q), -0.2 * self._limits.velocity, 0.2 * self._limits.velocity)
        _, values, Vt = np.linalg.svd(J)
        rows = Vt[: int((values > STILL).sum())]
        free: Array = back - rows.T @ (rows @ back)
        return free

    def _accelerated(self, dq: Array, dt: float) -> tuple[Array, bool]:
        """Velocities that the joints can reach within a period, and whether they differ from those wanted."""
        delta = dq - self._dq
        slower = (np.abs(dq) < np.abs(self._dq)) & (dq * self._dq >= 0.0)
        allowed = np.where(slower, self._limits.brake, self._limits.acceleration) * dt
        share = float((allowed / np.maximum(np.abs(delta), STILL)).min())
        return (dq, False) if share >= 1.0 else (self._dq + share * delta, True)

    def _follow(self, twist: Array, dt: float, *, lost: bool) -> None:
        """Advance the pose that the joints are held to; where they cannot follow it, it is where they are."""
        if lost:
            self._goal = self.pose
            return
        self._goal[:3, 3] += twist[:3] * dt
        if np.abs(twist[3:]).max() > STILL:
            self._goal[:3, :3] = rotation_from_vector(twist[3:] * dt) @ self._goal[:3, :3]


def damped_inverse(J: Array) -> tuple[Array, float]:
    """Return the (n, 6) inverse of a (6, n) Jacobian, damped in its lost directions, and its smallest singular value."""
    U, values, Vt = np.linalg.svd(J, full_matrices=False)
    near = np.clip(1.0 - values / DAMPED_BELOW, 0.0, 1.0)
    gains = values / (values**2 + (MAX_DAMPING * near) ** 2 + 1e-12)
    inverse: Array = (Vt.T * gains) @ U.T
    return inverse, float(values[-1])
