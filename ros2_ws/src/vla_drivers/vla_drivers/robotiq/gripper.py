# SPDX-License-Identifier: Apache-2.0

"""A Robotiq 2F-85 by its registers: activation, moves and how they end, without ROS.

Registers (Robotiq, 2F-85 instruction manual): ACT activate, GTO go, POS, SPE and FOR 0 to 255; read back STA (0 reset, 1
activating, 3 active), PRE (echo of the requested position), OBJ (0 moving, 1 stopped while opening, 2 stopped while closing, 3
at the requested position), FLT. A real gripper reports about 3 when open and 230 when closed, never 0 and 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vla_core.controller_outcome import GoalOutcome, GoalRefusedError, GoalStatus

from vla_drivers.errors import DriverError
from vla_drivers.robotiq.client import GripperClient

CLOSED_RAD = 0.7929
"""Knuckle angle of the closed gripper, as in ros2_robotiq_gripper; 0 is open."""
ACTIVE = 3
_MOVING, _THERE = 0, 3
_STALE = 3.0  # "at the requested position" this many tolerances away from it is still about the request before
_MIN_SPEED, _MAX_SPEED = 0.187, 1.4  # 20 and 150 mm/s of finger opening as knuckle speed [rad/s]
_MIN_FORCE, _MAX_FORCE = 20.0, 235.0  # [N]
_FAULTS = {
    5: "an action waits for the activation; activate the gripper",
    7: "the activation bit is not set; activate the gripper",
    8: "it is too hot; let it cool",
    9: "it had no communication for a second",
    10: "its voltage is too low; check the tool connector and the tool voltage of 24 V",
    11: "it releases automatically",
    12: "internal fault; switch it off and on",
    13: "the activation failed; look for something between the fingers, then activate again",
    14: "overcurrent; look for something that blocks the fingers, then activate again",
    15: "it has released automatically; activate it again",
}
_WARNINGS = (8, 9)  # it goes on working


def fault_text(code: int) -> str:
    """Return what a fault code means and what to do; empty for none."""
    return f"fault {code}: {_FAULTS.get(code, 'unknown; see the manual of the gripper')}" if code else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GripperSettings:
    """Calibration and behaviour.

    Attributes:
        open_register, closed_register: What the gripper reports when it is open and closed.
        goal_tolerance: How near counts as reached [rad].
        motion_timeout_s: Longest motion [s].
        speed, force: Defaults, fractions of the fastest and strongest.
    """

    open_register: int = 3
    closed_register: int = 230
    goal_tolerance: float = 0.02
    motion_timeout_s: float = 5.0
    speed: float = 1.0
    force: float = 0.2


@dataclass(frozen=True, slots=True)
class Reading:
    """Knuckle angle [rad] and its change [rad/s]."""

    position: float
    velocity: float


class Gripper:
    """One gripper and at most one goal. Not thread-safe: one thread owns it.

    Attributes:
        reading: The last one, or None.
        outcomes: Goals that have ended; whoever reports them empties the list.
        fault: The last fault code.
        status: The last STA.
    """

    def __init__(self, client: GripperClient, settings: GripperSettings) -> None:
        if settings.open_register == settings.closed_register:
            raise DriverError(
                "open_register and closed_register are the same; give what the gripper reports at its two ends"
            )
        self._client, self._settings = client, settings
        self.reading: Reading | None = None
        self.outcomes: list[GoalOutcome] = []
        self.fault = 0
        self.status = 0
        self._read_s = -math.inf
        self._token: Any = None
        self._requested = 0.0
        self._register = 0
        self._deadline_s = math.inf
        self._waiting: tuple[float, float | None, float | None] | None = None  # a goal before the activation is through

    def radians(self, register: int) -> float:
        """Return the knuckle angle [rad] of a register value."""
        low, high = self._settings.open_register, self._settings.closed_register
        return (register - low) / (high - low) * CLOSED_RAD

    def register(self, angle: float) -> int:
        """Return the register value of a knuckle angle [rad], within 0 to 255."""
        low, high = self._settings.open_register, self._settings.closed_register
        return min(255, max(0, round(low + angle / CLOSED_RAD * (high - low))))

    @staticmethod
    def check(position: float, velocity: float | None, effort: float | None) -> None:
        """Whether a goal would be accepted.

        Raises:
            GoalRefusedError: a number is not finite, or a limit is negative.
        """
        for name, value in (("position", position), ("velocity", velocity), ("effort", effort)):
            if value is not None and not math.isfinite(value):
                raise GoalRefusedError(f"gripper goal: {name} {value} is not finite")
        for name, value in (("velocity", velocity), ("effort", effort)):
            if value is not None and value < 0.0:
                raise GoalRefusedError(f"gripper goal: {name} {value} is negative")

    def start(self, position: float, velocity: float | None, effort: float | None, token: Any, now_s: float) -> None:
        """Move to `position` [rad]; 0 or None for velocity [rad/s] and effort [N] means the default; preempts.

        A gripper that is not active is activated first, which opens and closes its fingers once.

        Raises:
            LinkError: the gripper does not answer.
        """
        self._finish(GoalStatus.ABORTED, text="preempted by a new goal")
        self._token, self._requested = token, position
        self._deadline_s = now_s + self._settings.motion_timeout_s
        self._check_state()
        if self.status != ACTIVE:
            self.activate()
            self._deadline_s += self._settings.motion_timeout_s
            self._waiting = (position, velocity, effort)
            return
        self._move(position, velocity, effort)

    def activate(self) -> None:
        """Begin the activation, which moves the fingers; `poll` says in `status` when it is through.

        Raises:
            LinkError: the gripper does not answer.
        """
        self._client.set(ACT=0, ATR=0)
        self._client.set(ACT=1)
        self.status = 1

    def cancel(self, token: Any) -> None:
        """Stop the fingers where they are, if the goal `token` runs.

        Raises:
            LinkError: the gripper does not answer.
        """
        if self._token is None or self._token != token:
            return
        self._finish(GoalStatus.CANCELED)
        self._client.set(GTO=0)

    def lost(self, why: str) -> None:
        """The gripper does not answer: a running goal is aborted."""
        self._finish(GoalStatus.ABORTED, text=why)
        self.reading, self._read_s = None, -math.inf

    def poll(self, now_s: float, *, everything: bool = False) -> Reading:
        """Read the position, see whether the goal has ended, and return the position.

        Args:
            now_s: Present time [s].
            everything: Read status and fault as well; while a goal runs they are always read.

        Raises:
            LinkError: the gripper does not answer.
        """
        obj = _MOVING
        if everything or self._token is not None:
            self._check_state()
        if self._token is not None and self._waiting is None and self._client.get("PRE") == self._register:
            obj = self._client.get("OBJ")
        position = self.radians(self._client.get("POS"))  # last, so that it is where a motion that has ended has ended
        velocity = 0.0
        if self.reading is not None and now_s > self._read_s:
            velocity = (position - self.reading.position) / (now_s - self._read_s)
        self.reading, self._read_s = Reading(position, velocity), now_s
        if self._token is not None:
            self._follow(now_s, position, obj)
        return self.reading

    def _check_state(self) -> None:
        self.status, self.fault = self._client.get("STA"), self._client.get("FLT")

    def _move(self, position: float, velocity: float | None, effort: float | None) -> None:
        self._waiting = None
        self._register = self.register(position)
        self._client.set(
            POS=self._register,
            SPE=_scaled(velocity, _MIN_SPEED, _MAX_SPEED, self._settings.speed),
            FOR=_scaled(effort, _MIN_FORCE, _MAX_FORCE, self._settings.force),
            GTO=1,
        )

    def _follow(self, now_s: float, position: float, obj: int) -> None:
        if self.fault and self.fault not in _WARNINGS and self._waiting is None:
            self._finish(GoalStatus.ABORTED, text=fault_text(self.fault))
        elif self._waiting is not None and self.status == ACTIVE:
            self._move(*self._waiting)
        elif self._waiting is None:
            self._judge(obj, position)
        if self._token is not None and now_s > self._deadline_s:
            what = (
                "is not active" if self._waiting is not None else f"has not finished its motion at {position:.3f} rad"
            )
            self._finish(GoalStatus.ABORTED, text=f"the gripper {what} after {self._settings.motion_timeout_s:g} s")

    def _judge(self, obj: int, position: float) -> None:
        away = abs(self._requested - position) / self._settings.goal_tolerance
        if obj == _MOVING or (obj == _THERE and away > _STALE):
            return
        reached = obj == _THERE or away < 1.0
        self._finish(GoalStatus.SUCCEEDED, reached=reached, stalled=not reached)

    def _finish(self, status: GoalStatus, *, reached: bool = False, stalled: bool = False, text: str = "") -> None:
        if self._token is not None:
            self.outcomes.append(
                GoalOutcome(token=self._token, status=status, text=text, stalled=stalled, reached=reached)
            )
            self._token = self._waiting = None


def _scaled(value: float | None, low: float, high: float, default: float) -> int:
    fraction = (value - low) / (high - low) if value else default
    return round(255 * min(1.0, max(0.0, fraction)))
