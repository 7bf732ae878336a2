# SPDX-License-Identifier: Apache-2.0

"""The logic of a freedrive controller: while it is active and enabled the arm goes where it is pushed.

Like ur_controllers' FreedriveModeController it has to be told again and again: without a message for `TIMEOUT_S` the arm
holds. The pushing hand is a velocity of the tool, which a person's hand is not; nothing of the arm's resistance is
simulated.
"""

from collections.abc import Sequence

import numpy as np
from vla_core.controller_outcome import GoalRefusedError
from vla_core.controller_spline import Vector
from vla_core.kinematics import jacobian
from vla_core.specs import Kinematics

TIMEOUT_S = 1.0
_PUSH_S = 0.2  # a push that is not repeated ends
_DAMPING = 0.02
_MAX_SPEED = 1.0  # rad/s of any joint


class FreedriveController:
    """Moves the set-point of an arm by pushes. Not thread-safe: the caller holds one lock around all calls."""

    def __init__(self, arm: Kinematics) -> None:
        self.active = False
        self._arm = arm
        self._target: Vector = np.zeros(len(arm.joints))
        self._twist: Vector = np.zeros(6)
        self._told_ns: int | None = None
        self._pushed_ns = 0

    def activate(self, position: Vector) -> None:
        """Start at `position` (k,) [rad], not enabled."""
        self.active = True
        self._told_ns = None
        self._target = np.array(position, dtype=np.float64)

    def deactivate(self) -> None:
        """Hold, whatever is pushed."""
        self.active = False
        self._told_ns = None

    def enable(self, on: bool, now_ns: int) -> None:
        """Let the arm be pushed for the next `TIMEOUT_S`, or no more.

        Raises:
            GoalRefusedError: on, and the controller is not active.
        """
        if on and not self.active:
            raise GoalRefusedError("freedrive_mode_controller is not active; switch to it with the controller manager")
        self._told_ns = now_ns if on else None

    def enabled(self, now_ns: int) -> bool:
        """Whether the arm can be pushed now."""
        return self._told_ns is not None and (now_ns - self._told_ns) * 1e-9 <= TIMEOUT_S

    def push(self, twist: "Sequence[float] | Vector", now_ns: int) -> None:
        """Push the tool: linear [m/s] and angular [rad/s] velocity (6,) of tool0 in base_link, for 0.2 s.

        Raises:
            GoalRefusedError: wrong length or numbers that are not finite.
        """
        values = np.array(twist, dtype=np.float64)
        if values.shape != (6,) or not np.isfinite(values).all():
            raise GoalRefusedError(f"a push is 6 finite numbers, linear [m/s] and angular [rad/s], got {list(twist)}")
        self._twist, self._pushed_ns = values, now_ns

    def update(self, now_ns: int, period_s: float) -> Vector:
        """One control cycle: the set-point (k,) [rad]."""
        if self.enabled(now_ns) and np.any(self._twist) and (now_ns - self._pushed_ns) * 1e-9 <= _PUSH_S:
            J = jacobian(self._arm, self._target)
            speed = J.T @ np.linalg.solve(J @ J.T + _DAMPING**2 * np.eye(6), self._twist)
            self._target = self._target + period_s * speed * min(1.0, _MAX_SPEED / max(np.abs(speed).max(), 1e-9))
        return self._target
