# SPDX-License-Identifier: Apache-2.0

"""Who has the arm and where it goes next, without ROS and without a bus.

Two controllers as on a robot with ros2_control: `joint_trajectory_controller` follows goals (its behaviour is that of
`vla_core.controller_trajectory`), `forward_position_controller` takes streamed positions. One is active at a time. What is
added to both, because hobby servos have no control box that protects them: torque comes on with the first accepted command,
at the place where the arm is; commands beyond the calibrated ranges, too far away or not finite are refused; the commanded
positions never move faster than the speed limit; a stream that falls silent is held where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from vla_core.controller_manager import Controller, ControllerManager
from vla_core.controller_outcome import GoalRefusedError
from vla_core.controller_trajectory import Plan, TrajectoryController

from vla_drivers.so101.units import Vector

TRAJECTORY_CONTROLLER = "joint_trajectory_controller"
FORWARD_CONTROLLER = "forward_position_controller"
CONTROLLERS = (TRAJECTORY_CONTROLLER, FORWARD_CONTROLLER)
_BROADCASTER = "joint_state_broadcaster"
_RANGE_SLACK = 0.05  # beyond the calibrated range; the servo stops there by itself [rad]
_SPEED_SLACK = 1.05
_LONGEST_REACH_S = 0.05  # after a gap in the cycle the arm goes on as from one late cycle, and does not leap


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLimits:
    """Limits and tolerances.

    Attributes:
        lower, upper: Ends of the joints ``(k,)`` [rad].
        max_velocity: Of every joint [rad/s].
        max_step: Furthest streamed target from the one in force [rad].
        command_timeout_s: Silence after which a stream is held [s].
        path_tolerance, goal_tolerance: Of trajectories [rad].
        goal_time_s: How late a trajectory may reach its end [s].
    """

    lower: Vector
    upper: Vector
    max_velocity: float
    max_step: float
    command_timeout_s: float
    path_tolerance: float
    goal_tolerance: float
    goal_time_s: float


@dataclass(frozen=True, slots=True)
class Command:
    """What the servos are to be told: positions ``(k,)`` [rad], and whether torque has to be turned on there first."""

    positions: Vector
    engage: bool


class Motion:
    """The state of one arm. Not thread-safe: the caller holds one lock around all calls.

    Attributes:
        joints: Names, in the order of all vectors.
        measured: Last measured positions ``(k,)`` [rad]; None before the first, and after the link was lost.
        velocity: Their change ``(k,)`` [rad/s].
        engaged: Whether commands are sent to the servos.
        manager: Which controller is active.
        trajectory: The trajectory controller.
    """

    def __init__(self, joints: Sequence[str], limits: MotionLimits, initial_controller: str) -> None:
        self.joints = tuple(joints)
        self._limits = limits
        count = len(self.joints)
        self.measured: Vector | None = None
        self.velocity: Vector = np.zeros(count)
        self.engaged = False
        self.trajectory = TrajectoryController(
            self.joints,
            path_tolerance=limits.path_tolerance,
            goal_tolerance=limits.goal_tolerance,
            stopped_velocity=np.inf,  # differences of encoder steps are too coarse to judge rest by
            goal_time_s=limits.goal_time_s,
        )
        self._streaming = False
        self._target: Vector = np.zeros(count)  # of the stream
        self._streamed_ns: int | None = None  # the last command; None: none, or held already
        self._sent: Vector = np.zeros(count)
        self._time_ns: int | None = None
        positions = tuple(f"{joint}/position" for joint in self.joints)
        self.manager = ControllerManager(
            [
                Controller(name=_BROADCASTER, type="joint_state_broadcaster/JointStateBroadcaster", active=True),
                Controller(
                    name=TRAJECTORY_CONTROLLER,
                    type="joint_trajectory_controller/JointTrajectoryController",
                    interfaces=positions,
                    start=lambda: self.trajectory.activate(self._sent),
                    stop=self.trajectory.deactivate,
                ),
                Controller(
                    name=FORWARD_CONTROLLER,
                    type="position_controllers/JointGroupPositionController",
                    interfaces=positions,
                    start=self._start_stream,
                    stop=self._stop_stream,
                ),
            ]
        )
        self.manager.restore([initial_controller])

    def check_goal(self, trajectory: Any, now_ns: int) -> Plan:
        """Return the plan of a trajectory goal.

        Args:
            trajectory: trajectory_msgs/JointTrajectory.
            now_ns: Present time.

        Raises:
            GoalRefusedError: the arm is not there, the controller is not active or refuses the goal, or the goal leaves the
                joints' ranges or asks for more than the speed limit.
        """
        self._require_arm()
        if not self.trajectory.active:
            raise GoalRefusedError(f"{TRAJECTORY_CONTROLLER} is not active; switch to it with the controller manager")
        plan = self.trajectory.check(trajectory, now_ns)
        for point in plan.points:
            self._require_range(point.position)
        for a, b in pairwise(plan.points):
            speed = np.abs(b.position - a.position) / (b.time - a.time)
            worst = int(np.argmax(speed))
            if speed[worst] > self._limits.max_velocity * _SPEED_SLACK:
                raise GoalRefusedError(
                    f"the trajectory moves {self.joints[worst]} at {speed[worst]:.2f} rad/s, the limit is "
                    f"{self._limits.max_velocity:g} rad/s (parameter max_velocity)"
                )
        return plan

    def accept_goal(self, plan: Plan, token: Any, tolerances: Any) -> None:
        """Follow a checked plan from the next cycle on; the running goal is aborted."""
        self.trajectory.accept(plan, token, tolerances)

    def cancel(self, token: Any) -> None:
        """End the goal `token` and hold what is commanded now; nothing happens if it does not run."""
        self.trajectory.cancel(token, self._sent)

    def stream(self, values: Sequence[float], now_ns: int) -> None:
        """Take streamed positions in the order of `joints` [rad].

        Raises:
            GoalRefusedError: they are dropped, and the last target stays in force.
        """
        base = self._require_arm() if not self.engaged else self._target
        if not self._streaming:
            raise GoalRefusedError(f"{FORWARD_CONTROLLER} is not active; switch to it with the controller manager")
        if len(values) != len(self.joints):
            raise GoalRefusedError(
                f"command has {len(values)} values, expected {len(self.joints)} in the order {', '.join(self.joints)}"
            )
        target = np.array(values, dtype=np.float64)
        if not np.isfinite(target).all():
            raise GoalRefusedError(f"command is not finite: {list(values)}")
        self._require_range(target)
        step = np.abs(target - base)
        worst = int(np.argmax(step))
        if step[worst] > self._limits.max_step:
            raise GoalRefusedError(
                f"command is {step[worst]:.3f} rad away from the target in force of {self.joints[worst]}, the limit is "
                f"{self._limits.max_step:g} rad (parameter max_step); begin where the arm is and come nearer in steps"
            )
        self._target = np.clip(target, self._limits.lower, self._limits.upper)
        self._streamed_ns = now_ns

    def update(self, now_ns: int, measured: Vector) -> Command | None:
        """One control cycle; returns what to send, or None while nothing was commanded.

        Args:
            now_ns: Time of the measurement.
            measured: Joint positions ``(k,)`` [rad].
        """
        period_s = self._period(now_ns)
        if self.measured is None or period_s == 0.0:
            self.velocity = np.zeros_like(measured)
        else:
            self.velocity = (measured - self.measured) / period_s
        self.measured = measured
        engage = not self.engaged
        if engage:
            self._sent = measured.copy()
            if not self.trajectory.busy and self._streamed_ns is None:
                return None
            self.engaged = True
        if self.trajectory.active:
            wanted = self.trajectory.update(now_ns, period_s, 1.0, measured, self.velocity)
        elif self._streaming:
            wanted = self._stream_target(now_ns)
        else:
            wanted = self._sent
        reach = self._limits.max_velocity * min(period_s, _LONGEST_REACH_S)
        self._sent = self._sent + np.clip(wanted - self._sent, -reach, reach)
        return Command(self._sent, engage)

    def lost(self, why: str) -> None:
        """The arm does not answer any more: goals are aborted, and after it is back nothing moves without a new command."""
        position = self._sent if self.measured is None else self.measured
        self.trajectory.abort(why, position)
        self.measured = self._time_ns = self._streamed_ns = None
        self.engaged = False

    def _period(self, now_ns: int) -> float:
        last, self._time_ns = self._time_ns, now_ns
        return 0.0 if last is None or now_ns <= last else (now_ns - last) * 1e-9

    def _stream_target(self, now_ns: int) -> Vector:
        if self._streamed_ns is None:
            return self._target
        if now_ns - self._streamed_ns > self._limits.command_timeout_s * 1e9:
            self._target, self._streamed_ns = self._sent, None
        return self._target

    def _start_stream(self) -> None:
        self._streaming, self._target, self._streamed_ns = True, self._sent, None

    def _stop_stream(self) -> None:
        self._streaming, self._streamed_ns = False, None

    def _require_arm(self) -> Vector:
        if self.measured is None:
            raise GoalRefusedError(
                "the arm does not answer at present, so it is not known where it is; see the driver's log"
            )
        return self.measured

    def _require_range(self, position: Vector) -> None:
        low, high = self._limits.lower - _RANGE_SLACK, self._limits.upper + _RANGE_SLACK
        outside = np.flatnonzero((position < low) | (position > high))
        if len(outside):
            i = outside[0]
            raise GoalRefusedError(
                f"{self.joints[i]} {position[i]:.3f} rad is outside its calibrated range {self._limits.lower[i]:.3f} to "
                f"{self._limits.upper[i]:.3f} rad"
            )
