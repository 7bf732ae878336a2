# SPDX-License-Identifier: Apache-2.0

"""Following a leader arm joint by joint, from wherever the two arms stand: the follower never jumps.

First it goes slowly towards the leader; within a tolerance it follows at the speed that its limits allow. A leader that is
too far away is refused by name and difference: a person brings it nearer, or the arm home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_teleop.motion.limits import ArmLimits

Array = NDArray[np.float64]
FAR, ALIGNING, FOLLOWING = "far", "align", "follow"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignSettings:
    """How two arms are brought together.

    Attributes:
        speed: Of the fastest joint while they are [rad/s].
        tolerance: Largest difference of a joint from which on the leader is followed [rad].
        refuse: A leader further away than this is not followed at all [rad].
    """

    speed: float = 0.2
    tolerance: float = 0.02
    refuse: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FollowStep:
    """One period: next joint targets (n,) [rad], what is done, and for `FAR` why nothing is."""

    positions: Array
    state: str
    reason: str = ""


class LeaderFollower:
    """Not thread-safe.

    Attributes:
        q: Joint targets (n,) [rad].
    """

    def __init__(self, limits: ArmLimits, settings: AlignSettings) -> None:
        """Args: limits: Of the follower's joints."""
        self._limits = limits
        self._settings = settings
        self._aligned = False
        self.q: Array = np.zeros(len(limits.joints))
        self._speed = 0.0
        self._dq: Array = np.zeros(len(limits.joints))
        self._braking: Array | None = None

    @property
    def resting(self) -> bool:
        """Whether the last period moved nothing."""
        return not self._dq.any()

    def start(self, q: Array) -> None:
        """Begin at rest at `q` (n,) [rad]; the leader has to be aligned with again."""
        self.q = np.array(q, dtype=np.float64)
        self._aligned = False
        self._speed = 0.0
        self._dq = np.zeros(len(self.q))
        self._braking = None

    def halt(self, dt: float) -> Array:
        """Come to rest within the limits' `stop_s`, on the way that the arm was on; the next targets (n,) [rad].

        The leader has to be aligned with again.
        """
        if self._braking is None:
            self._braking = self._dq / self._limits.stop_s
        size, less = float(np.linalg.norm(self._dq)), float(np.linalg.norm(self._braking)) * dt
        self._dq = np.zeros(len(self.q)) if size <= less + 1e-12 else self._dq * (1.0 - less / size)
        self.q = self.q + self._dq * dt
        self._aligned, self._speed = False, 0.0
        return self.q.copy()

    def step(self, leader: Mapping[str, float], dt: float, *, scale: float = 1.0) -> FollowStep:
        """Go one period nearer to the leader.

        Args:
            leader: Joint name to position [rad]; joints that it does not name stay where they are.
            dt: Length of the period [s].
            scale: Of the speed, 0 to 1.
        """
        target = np.array([leader.get(name, now) for name, now in zip(self._limits.joints, self.q, strict=True)])
        target = np.clip(target, self._limits.lower, self._limits.upper)
        away = target - self.q
        worst = int(np.argmax(np.abs(away)))
        distance = abs(float(away[worst]))
        if distance > self._settings.refuse:
            reason = self._far(worst, target[worst])
            return FollowStep(positions=self.halt(dt), state=FAR, reason=reason)
        self._braking = None
        self._aligned = self._aligned or distance <= self._settings.tolerance
        before = self.q
        if distance > 0.0:
            self.q = self.q + away * min(1.0, self._allowed(away, distance, dt, scale) * dt / distance)
        self._dq = (self.q - before) / dt
        return FollowStep(positions=self.q.copy(), state=FOLLOWING if self._aligned else ALIGNING)

    def _allowed(self, away: Array, distance: float, dt: float, scale: float) -> float:
        """Speed of the joint that is furthest away [rad/s], with its acceleration limited."""
        relative = np.abs(away) / distance
        limit = float((self._limits.velocity / np.maximum(relative, 1e-9)).min())
        top = scale * (limit if self._aligned else min(limit, self._settings.speed))
        faster = self._speed + float(self._limits.acceleration.min()) * dt
        self._speed = min(top, faster, distance / dt)
        return self._speed

    def _far(self, worst: int, leader: float) -> str:
        name, limit = self._limits.joints[worst], self._settings.refuse
        return (
            f"the leader's {name} is at {leader:.2f} rad, the robot's at {self.q[worst]:.2f} rad: "
            f"{abs(leader - self.q[worst]):.2f} rad apart, more than {limit:g}. Bring the leader nearer, or the robot home"
        )
