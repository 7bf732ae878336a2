# SPDX-License-Identifier: Apache-2.0

"""What a person wants, turned into joint targets: twists, prepared motions and leader arms in one place.

Pure: time enters as the length of a period, nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import KinematicsError
from vla_core.kinematics import rotation_from_rpy
from vla_core.profile import Profile
from vla_core.profile_teleop import TeleopSpec

from vla_teleop.motion.alignment import FAR, FOLLOWING, AlignSettings, LeaderFollower
from vla_teleop.motion.apart import Apart
from vla_teleop.motion.limits import ArmLimits, arm_limits, workspace_of
from vla_teleop.motion.prepared import Reorient
from vla_teleop.motion.ramp import TwistRamp
from vla_teleop.motion.resolved_rate import ResolvedRate
from vla_teleop.motion.rotation import CLOCKWISE, COUNTERCLOCKWISE, SPEED, PreparedRotation

Array = NDArray[np.float64]
ROTATE_CW, ROTATE_CCW, REORIENT, ALIGN = "rotate_cw", "rotate_ccw", "reorient", "align"
TOOL = "tool"
MARGIN = 0.8  # prepared motions stay below the acceleration that the ramp allows, so that it does not delay them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wish:
    """What the person wants in one period.

    Attributes:
        twist: (6,) linear [m/s] and angular [rad/s] velocity of the tool centre point.
        frame: Axes of `twist`: base (of the kinematics table) or tool.
        joints: Of a leader arm: joint name to position [rad]; None for a twist.
        stop: Come to rest as fast as the profile's `stop_s` says, whatever else is wanted.
    """

    twist: Array
    frame: str = "base"
    joints: Mapping[str, float] | None = None
    stop: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drive:
    """One period of the arm: joint targets (n,) [rad], the twist (6,) in the base frame, and what was limited why."""

    positions: Array
    twist: Array
    reason: str


class ArmDriver:
    """One arm in a person's hands. Not thread-safe.

    Attributes:
        limits: Of the joints.
        apart: What keeps it from the other arms.
    """

    def __init__(self, profile: Profile, spec: TeleopSpec, *, max_joint_speed: float, align: AlignSettings) -> None:
        """Prepare.

        Args:
            profile: Robot profile; without kinematics only leader arms can drive.
            spec: Its section teleop.
            max_joint_speed: No joint is faster [rad/s].
            align: How a leader arm is followed.

        Raises:
            KinematicsError: the kinematics are of other joints than the action that is driven.
        """
        action = next(action for action in profile.action if action.name == spec.arm)
        self.limits: ArmLimits = arm_limits(action, max_joint_speed=max_joint_speed, stop_s=spec.stop_s)
        self._spec = spec
        self._rate: ResolvedRate | None = None
        self._base: Array = np.eye(3)
        self.apart = Apart(profile, spec.arm)
        arm = next((arm for arm in profile.arms if arm.name == spec.arm), None)
        table = arm.kinematics if arm else profile.kinematics
        if table is not None:
            rest = profile.ready.get(spec.arm) if profile.ready else None
            self._rate = ResolvedRate(
                table,
                spec.T_tool_tcp,
                self.limits,
                workspace=workspace_of(arm, spec.linear_acceleration),
                rest=None if rest is None else np.array(rest),
            )
            self._base = rotation_from_rpy(table.base_rpy)
        self._upright: Array = self._base @ rotation_from_rpy(spec.vertical_rpy)
        self._ramp = TwistRamp(spec.linear_acceleration, spec.angular_acceleration, spec.stop_s)
        slower = MARGIN * spec.angular_acceleration
        self._rotation = PreparedRotation(acceleration=slower)
        self._reorient = Reorient(speed=SPEED, acceleration=slower)
        self._leader = LeaderFollower(self.limits, align)
        self._aligning = False
        self._q: Array = np.zeros(len(self.limits.joints))

    @property
    def positions(self) -> Array:
        """Joint targets (n,) in force [rad]."""
        return self._q

    @property
    def motion(self) -> str:
        """The prepared motion that runs: rotate_cw, rotate_ccw, reorient, align, or nothing."""
        if self._rotation.active:
            return ROTATE_CW if self._rotation.left < 0.0 else ROTATE_CCW
        if self._reorient.active:
            return REORIENT
        return ALIGN if self._aligning else ""

    @property
    def resting(self) -> bool:
        """Whether nothing is commanded to move."""
        return self._ramp.resting and self._leader.resting

    def start(self, q: Array) -> None:
        """Begin at rest at the joint positions `q` (n,) [rad]."""
        self._q = np.array(q, dtype=np.float64)
        self._ramp.reset()
        self.cancel()
        self._leader.start(self._q)
        if self._rate is not None:
            self._rate.start(self._q)

    def rebase(self, q: Array) -> None:
        """Go on from measured joint positions `q` (n,) [rad], where somebody else turns twists into joints."""
        self._q = np.array(q, dtype=np.float64)
        if self._rate is not None:
            self._rate.start(self._q)

    def cancel(self) -> None:
        """Forget prepared motions; the arm slows down as the person's own command says."""
        self._rotation.cancel()
        self._reorient.cancel()
        self._aligning = False

    def rotate(self, name: str) -> bool:
        """Begin a quarter turn, `rotate_cw` or `rotate_ccw`; returns whether it began (not while another one runs)."""
        self._needs_kinematics()
        if self._reorient.active:
            return False
        return self._rotation.start(CLOCKWISE if name == ROTATE_CW else COUNTERCLOCKWISE)

    def reorient(self) -> bool:
        """Begin to turn the tool upright; returns whether it began (not while another prepared motion runs)."""
        rate = self._needs_kinematics()
        if self._rotation.active or self._reorient.active:
            return False
        self._reorient.start(self._upright, rate.pose[:3, :3])
        return True

    def step(
        self, wish: Wish, dt: float, *, scale: float = 1.0, others: Mapping[str, Array] = MappingProxyType({})
    ) -> Drive:
        """Follow a wish for one period; the arm stays where it is when it would come too near to another one.

        Args:
            wish: What the person wants.
            dt: Length of the period [s].
            scale: Of the person's own speed, 0 to 1; prepared motions keep theirs.
            others: Measured joints (m,) of the other arms by name [rad].

        Raises:
            KinematicsError: a twist, but the profile has no kinematics.
        """
        before = self._q
        drive = self._step(wish, dt, scale)
        reason = self.apart.why_not(before, drive.positions, others)
        if not reason:
            return drive
        self.start(before)
        return Drive(positions=self._q, twist=np.zeros(6), reason=reason)

    def _step(self, wish: Wish, dt: float, scale: float) -> Drive:
        if wish.stop:
            self.cancel()
        if wish.joints is not None and not wish.stop:
            return self._follow(wish.joints, dt, scale)
        self._aligning = False
        if not self._leader.resting:
            self.rebase(self._leader.halt(dt))
            return Drive(positions=self._q, twist=np.zeros(6), reason="")
        if self._rate is None and (wish.stop or not np.any(wish.twist)):
            self._leader.start(self._q)
            return Drive(positions=self._q, twist=np.zeros(6), reason="")
        return self._twist(wish, dt, scale)

    def _twist(self, wish: Wish, dt: float, scale: float) -> Drive:
        rate = self._needs_kinematics()
        pose = rate.pose
        axes = pose[:3, :3] if wish.frame == TOOL else self._base
        wanted = scale * self._limited(wish.twist)
        turning = self._rotation.active
        if turning:
            wanted[5] = self._rotation.want(dt)
        wanted = np.concatenate([axes @ wanted[:3], axes @ wanted[3:]])
        if self._reorient.active:
            wanted = np.concatenate([np.zeros(3), self._reorient.want(pose[:3, :3], dt)])
        twist = self._ramp.step(wanted, dt, stop=wish.stop)
        step = rate.step(twist, dt)
        achieved = step.share * twist
        self._rotation.executed(float(axes[:, 2] @ achieved[3:]) * dt if turning else 0.0, dt)
        if (turning and self._rotation.late) or (self._reorient.active and self._reorient.late):
            self.cancel()
        self._q = step.positions
        self._leader.start(self._q)
        return Drive(positions=self._q, twist=achieved, reason=step.reason)

    def _limited(self, twist: Array) -> Array:
        """The twist with its largest component at the profile's limits; its direction stays."""
        most = np.array([self._spec.max_linear] * 3 + list(self._spec.max_angular))
        return np.array(twist) / max(1.0, float((np.abs(twist) / most).max()))

    def _follow(self, joints: Mapping[str, float], dt: float, scale: float) -> Drive:
        self._ramp.reset()
        before = self._q
        step = self._leader.step(joints, dt, scale=scale)
        reason = step.reason or self._outside(step.positions, before, dt)
        self._aligning = step.state not in (FOLLOWING, FAR)
        if reason:
            self._leader.start(before)
        else:
            self._q = step.positions
        if self._rate is not None:
            self._rate.start(self._q)
        return Drive(positions=self._q, twist=np.zeros(6), reason=reason)

    def _outside(self, q: Array, before: Array, dt: float) -> str:
        """Why the tool may not go where the leader leads it, or nothing."""
        return "" if self._rate is None else self._rate.border(before, q, dt)

    def _needs_kinematics(self) -> ResolvedRate:
        if self._rate is None:
            raise KinematicsError(
                "moving the tool centre point needs the key 'kinematics' in the robot profile; without it only leader arms "
                "can drive"
            )
        return self._rate
