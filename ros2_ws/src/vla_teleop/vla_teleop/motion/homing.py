# SPDX-License-Identifier: Apache-2.0

"""The slow way to the profile's ready pose, checked as a whole before it begins, and stoppable on the way."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import SafetyError
from vla_core.profile import Profile
from vla_core.profile_teleop import TeleopSpec
from vla_core.safety import SafetyFilter

from vla_teleop.motion.prepared import JointMove

Array = NDArray[np.float64]
CHECKED = 100  # points of the way


class HomeWay:
    """A joint move whose time can be slowed down to rest, so that a stop stays on the way. Not thread-safe."""

    def __init__(self, move: JointMove, stop_s: float) -> None:
        """Args: move: From rest to rest. stop_s: A stop takes this long [s]."""
        self._move = move
        self._stop_s = stop_s
        self._t_s = 0.0
        self._pace = 1.0

    @property
    def duration_s(self) -> float:
        """How long it takes when nobody stops it [s]."""
        return self._move.duration_s

    @property
    def over(self) -> bool:
        """Whether the end is reached."""
        return self._t_s >= self._move.duration_s

    @property
    def resting(self) -> bool:
        """Whether it was stopped, or is over."""
        return self.over or self._pace == 0.0

    def step(self, dt: float, *, stop: bool = False) -> Array:
        """Joint targets (n,) of the next period [rad]."""
        if stop:
            self._pace = max(0.0, self._pace - dt / self._stop_s)
        self._t_s += self._pace * dt
        return self._move.position(self._t_s)


class Homing:
    """Plans ways home for one arm and its gripper.

    Attributes:
        gripper: Position of the gripper's joint at the ready pose [rad or m], or None.
    """

    def __init__(self, profile: Profile, spec: TeleopSpec, *, speed: float, acceleration: float) -> None:
        """Args: profile: With its ready pose. spec: Its teleop. speed: Fastest joint [rad/s]. acceleration: [rad/s^2]."""
        self._profile, self._spec = profile, spec
        self._speed, self._acceleration = speed, acceleration
        ready = profile.ready or {}
        self._ready = ready.get(spec.arm)
        self.gripper: float | None = ready[spec.gripper][0] if spec.gripper and spec.gripper in ready else None

    def plan(self, begin: Array, others: Mapping[str, Array] = MappingProxyType({})) -> HomeWay:
        """Return the way from joint positions (n,) [rad] to the ready pose.

        Args:
            begin: Joint positions (n,) [rad].
            others: Measured joints (m,) of the other arms by name, which are taken to stay there [rad].

        Raises:
            SafetyError: the profile has no ready pose of this arm, or the way breaks one of its limits.
            ActionError: the distance to another arm is to be kept, and nothing is known of where that is.
        """
        if self._ready is None:
            raise SafetyError(
                f"home: {self._profile.source} has no `ready` pose of '{self._spec.arm}'; add one: ready: "
                f"{{{self._spec.arm}: [...]}}"
            )
        move = JointMove(begin, np.array(self._ready), speed=self._speed, acceleration=self._acceleration)
        if move.duration_s > 0.0:
            path = {self._spec.arm: move.path(CHECKED)}
            report = SafetyFilter(self._profile).check(
                path, move.duration_s / CHECKED, {**others, self._spec.arm: begin}
            )
            if not report.ok or report.clamped:
                raise SafetyError(
                    "home: the way to the ready pose breaks limits of the profile, nothing of it was sent: "
                    + "; ".join((*report.violations, *report.clamped))
                    + ". Drive the arm nearer to its ready pose"
                )
        return HomeWay(move, self._spec.stop_s)
