# SPDX-License-Identifier: Apache-2.0

"""The logic of a joint trajectory controller with speed scaling, after the ros2_controllers one (branch jazzy).

Kept from it: which goals are refused and why; a new goal aborts the running one with INVALID_GOAL; the first segment
starts from the *measured* state at the moment the goal takes effect; points that lie in the past are skipped; the
spline's order follows from the fields of both ends; trajectory time advances by period x speed scaling, so at 0 % a
goal neither fails nor ends; tolerances; cancel and abort hold the measured position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_core.controller_outcome import GoalOutcome, GoalRefusedError, GoalStatus
from vla_core.controller_spline import Knot, Spline, Vector

SUCCESSFUL = 0
INVALID_GOAL = -1
PATH_TOLERANCE_VIOLATED = -4
GOAL_TOLERANCE_VIOLATED = -5

_NS = 1_000_000_000
_ZERO_VELOCITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """Bounds per joint (k,) in rad and rad/s; infinite where there is none. `goal_time_s` 0 waits for ever."""

    path: Vector
    goal: Vector
    stopped_velocity: float
    goal_time_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked trajectory in the controller's joint order; `start_ns` None means when it takes effect."""

    start_ns: int | None
    points: tuple[Knot, ...]  # times are relative to the start


@dataclass(slots=True)
class Reference:
    """What the controller wants now, for `controller_state`: positions and velocities (k,)."""

    desired: Vector
    desired_velocity: Vector
    output: Vector


def duration_s(duration: Any) -> float:
    """A builtin_interfaces/Duration in seconds."""
    return float(duration.sec + duration.nanosec / _NS)


def check_trajectory(trajectory: Any, joints: Sequence[str], now_ns: int) -> Plan:
    """Check a trajectory_msgs/JointTrajectory and bring it into the order of `joints`.

    Raises:
        GoalRefusedError: wrong joints, no points, times not increasing, moving at the end, over already, efforts, or
            numbers that are not finite.
    """
    names = list(trajectory.joint_names)
    if len(names) != len(joints):
        raise GoalRefusedError(
            f"the trajectory names {len(names)} joints, the controller has {len(joints)}: all of {', '.join(joints)} "
            "must be there, in any order"
        )
    for name in names:
        if name not in joints:
            raise GoalRefusedError(f"joint '{name}' is not one of the controller's: {', '.join(joints)}")
    if len(set(names)) != len(names):
        raise GoalRefusedError(f"a joint is named twice: {', '.join(names)}")
    if not trajectory.points:
        raise GoalRefusedError("the trajectory has no points")
    order = [names.index(joint) for joint in joints]
    points: list[Knot] = []
    for index, point in enumerate(trajectory.points):
        knot = _knot(point, index, order)
        if points and knot.time <= points[-1].time:
            raise GoalRefusedError(
                f"time_from_start of points {index - 1} and {index} is not strictly increasing: "
                f"{points[-1].time:.6f} s, {knot.time:.6f} s"
            )
        points.append(knot)
    _check_end(points[-1], joints)
    start_ns = _start(trajectory.header.stamp, points[-1].time, now_ns)
    return Plan(start_ns=start_ns, points=tuple(points))


def _knot(point: Any, index: int, order: list[int]) -> Knot:
    if len(point.effort):
        raise GoalRefusedError(f"point {index} has efforts; the controller commands positions only")
    position = _field(point.positions, "positions", index, order)
    if position is None:
        raise GoalRefusedError(f"point {index} has no positions")
    velocity = _field(point.velocities, "velocities", index, order)
    acceleration = _field(point.accelerations, "accelerations", index, order)
    return Knot(duration_s(point.time_from_start), position, velocity, acceleration)


def _field(values: Any, name: str, index: int, order: list[int]) -> Vector | None:
    if len(values) == 0:
        return None
    if len(values) != len(order):
        raise GoalRefusedError(f"point {index} has {len(values)} {name} for {len(order)} joints")
    array = np.array([values[i] for i in order], dtype=np.float64)
    if not np.isfinite(array).all():
        raise GoalRefusedError(f"point {index} has {name} that are not finite: {list(values)}")
    return array


def _check_end(last: Knot, joints: Sequence[str]) -> None:
    if last.velocity is None:
        return
    moving = np.flatnonzero(np.abs(last.velocity) > _ZERO_VELOCITY)
    if len(moving):
        raise GoalRefusedError(
            f"the last point moves: joint '{joints[moving[0]]}' has velocity {last.velocity[moving[0]]:.6f} rad/s "
            "instead of 0"
        )


def _start(stamp: Any, end_s: float, now_ns: int) -> int | None:
    start_ns = stamp.sec * _NS + stamp.nanosec
    if start_ns == 0:
        return None
    end_ns = start_ns + round(end_s * _NS)
    if end_ns < now_ns:
        raise GoalRefusedError(
            f"the trajectory with start time {start_ns / _NS:.6f} s ends in the past: at {end_ns / _NS:.6f} s, "
            f"now is {now_ns / _NS:.6f} s"
        )
    return int(start_ns)


class TrajectoryController:
    """One trajectory at a time for a group of joints. Not thread-safe: the caller holds one lock around all calls."""

    def __init__(
        self,
        joints: Sequence[str],
        *,
        path_tolerance: float | Vector = 0.2,
        goal_tolerance: float | Vector = 0.1,
        stopped_velocity: float = 0.2,
        goal_time_s: float = 0.0,
    ) -> None:
        self.joints = tuple(joints)
        self.active = False
        self.outcomes: list[GoalOutcome] = []
        count = len(self.joints)
        self._default = Tolerances(
            path=np.full(count, path_tolerance),
            goal=np.full(count, goal_tolerance),
            stopped_velocity=stopped_velocity,
            goal_time_s=goal_time_s,
        )
        self._tolerances = self._default
        self._plan: Plan | None = None  # accepted, not yet in effect
        self._spline: Spline | None = None
        self._token: Any = None
        self._time = 0.0  # on the spline's time axis, which starts when the goal takes effect
        self._first = False
        self._ahead: tuple[float, Vector, Vector] | None = (
            None  # time, position and velocity sampled for the next cycle
        )
        self._hold: Vector = np.zeros(count)
        self.reference = Reference(desired=self._hold, desired_velocity=np.zeros(count), output=self._hold)

    @property
    def busy(self) -> bool:
        """Whether a goal runs."""
        return self._token is not None

    @property
    def goal(self) -> Any:
        """Token of the running goal, or None."""
        return self._token

    def activate(self, position: Vector) -> None:
        """Start controlling: hold `position` (k,)."""
        self.active = True
        self._hold_at(position)

    def deactivate(self) -> None:
        """Stop controlling; a running goal is aborted."""
        self.active = False
        self._finish(GoalStatus.ABORTED, INVALID_GOAL, "Current goal cancelled during deactivate transition.")

    def check(self, trajectory: Any, now_ns: int) -> Plan:
        """Whether a goal would be accepted now.

        Raises:
            GoalRefusedError: the controller is not active or `check_trajectory` refuses the trajectory.
        """
        if not self.active:
            raise GoalRefusedError("the controller is not active; is the robot's program running?")
        return check_trajectory(trajectory, self.joints, now_ns)

    def accept(self, plan: Plan, token: Any, tolerances: Tolerances | None = None) -> None:
        """Make `plan` the running goal from the next update on; the running one is aborted."""
        self._finish(GoalStatus.ABORTED, INVALID_GOAL, "Current goal preempted by new incoming action.")
        self.replace(plan)
        self._token = token
        self._tolerances = tolerances or self._default

    def replace(self, plan: Plan) -> None:
        """Follow `plan` without a goal of its own, as for a message on the `joint_trajectory` topic."""
        self._plan = plan

    def cancel(self, token: Any, position: Vector) -> bool:
        """Cancel the goal `token` and hold the measured `position`; False if it does not run."""
        if self._token is None or self._token != token:
            return False
        self._finish(GoalStatus.CANCELED, SUCCESSFUL, "")
        self._hold_at(position)
        return True

    def abort(self, text: str, position: Vector) -> None:
        """End a running goal from outside, for example on a reset, and hold `position`."""
        self._finish(GoalStatus.ABORTED, INVALID_GOAL, text)
        self._hold_at(position)

    def tolerances_for(self, goal: Any) -> Tolerances:
        """Default tolerances, with those that a FollowJointTrajectory goal names (0: default, -1: none)."""
        path, end = self._default.path.copy(), self._default.goal.copy()
        for requested, bounds in ((goal.path_tolerance, path), (goal.goal_tolerance, end)):
            for item in requested:
                if item.name not in self.joints:
                    raise GoalRefusedError(f"tolerance for joint '{item.name}', which is not one of the controller's")
                if item.position > 0.0:
                    bounds[self.joints.index(item.name)] = item.position
                elif item.position == -1.0:
                    bounds[self.joints.index(item.name)] = np.inf
                elif item.position != 0.0:
                    raise GoalRefusedError(
                        f"tolerance {item.position} rad for joint '{item.name}': use a positive number, 0 for the "
                        "default or -1 for none"
                    )
        time_s = duration_s(goal.goal_time_tolerance)
        return Tolerances(
            path=path,
            goal=end,
            stopped_velocity=self._default.stopped_velocity,
            goal_time_s=time_s if time_s > 0.0 else self._default.goal_time_s,
        )

    def update(self, now_ns: int, period_s: float, scaling: float, position: Vector, velocity: Vector) -> Vector:
        """One control cycle.

        Args:
            now_ns: time of the measurement.
            period_s: time until the next cycle [s].
            scaling: speed scaling, 0 to 1.
            position: measured joint positions (k,) [rad].
            velocity: measured joint velocities (k,) [rad/s].

        Returns:
            The position command (k,) [rad] for the coming period.
        """
        if self._plan is not None:
            self._begin(self._plan, now_ns, position, velocity)
            self._plan = None
        elif self._spline is not None:
            self._time += period_s * scaling
        if self._spline is None:
            self.reference = Reference(self._hold, np.zeros_like(self._hold), self._hold)
            return self._hold
        if self._ahead is None or self._ahead[0] != self._time:
            self._ahead = (self._time, *self._spline.sample(self._time))
        _, desired, desired_velocity = self._ahead
        # What is commanded now is what is desired in the next cycle, so it is computed once.
        next_time = self._time + period_s * scaling
        command, command_velocity = self._spline.sample(next_time)
        self._ahead = (next_time, command, command_velocity)
        self.reference = Reference(desired, desired_velocity, command)
        held = self._check_tolerances(desired, desired_velocity, position, velocity)
        self._first = False
        return command if held is None else held

    def _begin(self, plan: Plan, now_ns: int, position: Vector, velocity: Vector) -> None:
        start_ns = now_ns if plan.start_ns is None else plan.start_ns
        offset = (start_ns - now_ns) / _NS
        knots = [Knot(p.time + offset, p.position, p.velocity, p.acceleration) for p in plan.points]
        if knots[0].time > 0.0:
            acceleration = None if knots[0].acceleration is None else np.zeros_like(position)
            knots.insert(0, Knot(0.0, position.copy(), velocity.copy(), acceleration))
        self._spline = Spline(knots)
        self._ahead = None
        self._time = 0.0
        self._first = True

    def _check_tolerances(
        self, desired: Vector, desired_velocity: Vector, position: Vector, velocity: Vector
    ) -> Vector | None:
        """End the goal where a tolerance says so; returns the position to hold after a violation."""
        if self._spline is None or self._token is None:
            return None
        error = np.abs(desired - position)
        over = self._time >= self._spline.end_time
        if (not over or self._first) and (error > self._tolerances.path).any():
            return self._violated(error, position)
        if not over:
            return None
        inside = (error <= self._tolerances.goal).all()
        stopped = (np.abs(desired_velocity - velocity) <= self._tolerances.stopped_velocity).all()
        if inside and stopped:
            end = self._spline.end_position
            self._finish(GoalStatus.SUCCEEDED, SUCCESSFUL, "Goal successfully reached!")
            self._hold_at(end)
            return None
        late = self._time - self._spline.end_time
        if self._tolerances.goal_time_s > 0.0 and late > self._tolerances.goal_time_s:
            text = f"Aborted due to goal_time_tolerance exceeding by {late:.6f} seconds"
            self._finish(GoalStatus.ABORTED, GOAL_TOLERANCE_VIOLATED, text)
            self._hold_at(position)
            return self._hold
        return None

    def _violated(self, error: Vector, position: Vector) -> Vector:
        worst = int(np.argmax(error - self._tolerances.path))
        self._finish(
            GoalStatus.ABORTED,
            PATH_TOLERANCE_VIOLATED,
            f"Aborted due to path tolerance violation: {self.joints[worst]} is {error[worst]:.4f} rad off its "
            f"trajectory (limit {self._tolerances.path[worst]:g} rad)",
        )
        self._hold_at(position)
        return self._hold

    def _hold_at(self, position: Vector) -> None:
        self._hold = np.array(position, dtype=np.float64)
        self._plan = None
        self._spline = None

    def _finish(self, status: GoalStatus, code: int, text: str) -> None:
        if self._token is None:
            return
        self.outcomes.append(GoalOutcome(token=self._token, status=status, code=code, text=text))
        self._token = None
        self._tolerances = self._default
