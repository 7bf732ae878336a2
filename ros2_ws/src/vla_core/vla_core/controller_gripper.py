# SPDX-License-Identifier: Apache-2.0

"""The logic of the gripper's action controller: reached within a tolerance, or stalled on an object.

Closing on an object *succeeds* with `stalled` true and `reached` false, as the real controller with allow_stalling
does.
"""

import math
from typing import Any

from vla_core.controller_outcome import GoalOutcome, GoalRefusedError, GoalStatus


class GripperController:
    """One goal at a time for one joint. Not thread-safe: the caller holds one lock around all calls."""

    def __init__(
        self,
        *,
        lower: float,
        upper: float,
        max_velocity: float,
        max_effort: float,
        default_effort: float,
        goal_tolerance: float = 0.02,
        stall_timeout_s: float = 0.05,
        stall_velocity: float = 0.001,
        allow_stalling: bool = True,
    ) -> None:
        """Positions in rad of the knuckle joint, velocities in rad/s, efforts in N of finger force."""
        self._lower, self._upper = lower, upper
        self._max_velocity, self._max_effort, self._default_effort = max_velocity, max_effort, default_effort
        self._goal_tolerance = goal_tolerance
        self._stall_timeout_ns = round(stall_timeout_s * 1e9)
        self._stall_velocity = stall_velocity
        self._allow_stalling = allow_stalling
        self._token: Any = None
        self._moved_ns = 0
        self._requested = lower
        self.target = lower
        self.velocity = max_velocity
        self.effort = default_effort
        self.outcomes: list[GoalOutcome] = []

    @property
    def goal(self) -> Any:
        """Token of the running goal, or None."""
        return self._token

    def check(self, position: float, velocity: float | None, effort: float | None) -> None:
        """Whether a goal would be accepted.

        Raises:
            GoalRefusedError: a number is not finite, or a limit is not positive.
        """
        for name, value in (("position", position), ("velocity", velocity), ("effort", effort)):
            if value is not None and not math.isfinite(value):
                raise GoalRefusedError(f"gripper goal: {name} {value} is not finite")
        for name, value in (("velocity", velocity), ("effort", effort)):
            if value is not None and value < 0.0:
                raise GoalRefusedError(f"gripper goal: {name} {value} is negative")

    def accept(self, position: float, velocity: float | None, effort: float | None, token: Any, now_ns: int) -> None:
        """Move to `position` [rad]; 0 or None for velocity [rad/s] and effort [N] means the default; preempts."""
        self._finish(GoalStatus.ABORTED, stalled=False, reached=False, text="preempted by a new goal")
        self._token = token
        self._requested = position
        self.target = min(max(position, self._lower), self._upper)
        self.velocity = min(velocity, self._max_velocity) if velocity else self._max_velocity
        self.effort = min(effort, self._max_effort) if effort else self._default_effort
        self._moved_ns = now_ns

    def cancel(self, token: Any, position: float) -> bool:
        """Cancel the goal `token` and hold the measured `position`; False if it does not run."""
        if self._token is None or self._token != token:
            return False
        self._finish(GoalStatus.CANCELED, stalled=False, reached=False, text="")
        self.target = position
        return True

    def reset(self, position: float, text: str) -> None:
        """End a running goal from outside and hold `position`."""
        self._finish(GoalStatus.ABORTED, stalled=False, reached=False, text=text)
        self.target = self._requested = position
        self.velocity, self.effort = self._max_velocity, self._default_effort

    def update(self, now_ns: int, position: float, velocity: float) -> None:
        """One control cycle with the measured position [rad] and velocity [rad/s]."""
        if self._token is None:
            return
        if abs(self._requested - position) < self._goal_tolerance:
            self._finish(GoalStatus.SUCCEEDED, stalled=False, reached=True, text="")
        elif abs(velocity) > self._stall_velocity:
            self._moved_ns = now_ns
        elif now_ns - self._moved_ns > self._stall_timeout_ns:
            status = GoalStatus.SUCCEEDED if self._allow_stalling else GoalStatus.ABORTED
            self._finish(status, stalled=True, reached=False, text="")

    def _finish(self, status: GoalStatus, *, stalled: bool, reached: bool, text: str) -> None:
        if self._token is not None:
            outcome = GoalOutcome(token=self._token, status=status, text=text, stalled=stalled, reached=reached)
            self.outcomes.append(outcome)
            self._token = None
