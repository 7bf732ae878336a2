# SPDX-License-Identifier: Apache-2.0

"""From an action chunk to the waypoints of a trajectory controller.

Controllers interpolate with a cubic spline when points carry velocities, and refuse goals whose times do not increase,
that end in the past, or whose last velocity is not zero (ros2_controllers, joint_trajectory_controller).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.chunks import first_step, step_ns, steps_ns
from vla_core.errors import StaleChunkError, TrajectoryError
from vla_core.stamps import NANOSECONDS, to_ns, to_s

Array = NDArray[np.float64]
_STEP_SLACK_NS = 1000
LAG_S = 0.15  # an arm may be this far behind its commands; drives of arms lag by 10 to 100 ms
_LAGS_NS = np.rint(np.linspace(0.0, LAG_S, 16) * 1e9).astype(np.int64)
FOLLOW_TOLERANCE = 0.03  # ... and this far off the commanded path [rad or m] and still count as following it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """Waypoints of one controller.

    Attributes:
        joint_names: Names, in the order of the columns.
        start_ns: Header stamp: the times of the points count from here [ns].
        time_from_start: ``(K,)`` strictly increasing, not negative [s]; 0 only for a given start.
        positions: ``(K, k)`` [rad or m].
        velocities: ``(K, k)`` [rad/s or m/s]; the last row is zero.
        first_step: Index in the chunk of the first waypoint after the start; the steps before it were skipped.
        from_start: The first point is the start that was given, at time 0, and no step of the chunk.
    """

    joint_names: tuple[str, ...]
    start_ns: int
    time_from_start: Array
    positions: Array
    velocities: Array
    first_step: int
    from_start: bool = False

    @property
    def waypoints(self) -> Array:
        """The ``(K, k)`` positions that are steps of the chunk."""
        return self.positions[1:] if self.from_start else self.positions

    @property
    def first_waypoint_s(self) -> float:
        """Time from the stamp to the first of `waypoints` [s]."""
        return float(self.time_from_start[1 if self.from_start else 0])

    @property
    def end_ns(self) -> int:
        """Time of the last waypoint [ns]."""
        return self.start_ns + to_ns(float(self.time_from_start[-1]))

    def position_at(self, t_ns: int) -> Array:
        """Return the ``(k,)`` positions on the cubic spline; outside it, those of the first or last waypoint."""
        return self.state_at(t_ns)[0]

    def positions_at(self, times_ns: ArrayLike) -> Array:
        """Return the ``(T, k)`` positions of `position_at` at the times ``(T,)`` [ns]."""
        return self.states_at(times_ns)[0]

    def state_at(self, t_ns: int) -> tuple[Array, Array]:
        """Return the ``(k,)`` positions and velocities on the cubic spline; outside it, its ends at rest."""
        positions, velocities = self.states_at([t_ns])
        return positions[0], velocities[0]

    def states_at(self, times_ns: ArrayLike) -> tuple[Array, Array]:
        """Return the ``(T, k)`` positions and velocities of `state_at` at the times ``(T,)`` [ns]."""
        times, t = self.time_from_start, (np.asarray(times_ns, dtype=np.int64) - self.start_ns) / NANOSECONDS
        position, velocity = np.empty((2, len(t), self.positions.shape[1]))
        if len(times) > 1:
            i = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
            h = (times[i + 1] - times[i])[:, None]
            u = (t - times[i])[:, None] / h
            p0, v0, v1 = self.positions[i], self.velocities[i] * h, self.velocities[i + 1] * h
            step = self.positions[i + 1] - p0
            square, cube = 3.0 * step - 2.0 * v0 - v1, v0 + v1 - 2.0 * step
            position = p0 + u * (v0 + u * (square + u * cube))
            velocity = (v0 + u * (2.0 * square + u * 3.0 * cube)) / h
        before, after = t < times[0], t >= times[-1]
        position[before], position[after] = self.positions[0], self.positions[-1]
        velocity[before | after] = 0.0
        return position, velocity


def build_trajectory(
    targets: ArrayLike,
    t0_ns: int,
    dt_s: float,
    now_ns: int,
    *,
    joint_names: tuple[str, ...],
    lead_s: float | None = None,
    current: ArrayLike | None = None,
    start: tuple[ArrayLike, ArrayLike] | None = None,
) -> Trajectory:
    """Return the waypoints of a chunk that can still be reached in time.

    Step ``i`` of the chunk is in force at ``t0_ns + i * dt_s``. Steps that are over, or nearer than `lead_s`, are
    skipped: they are never played late. Velocities are zero where a joint turns round, and else the harmonic mean of
    the slopes on both sides (Fritsch and Butland 1984), so the spline does not overshoot its waypoints.

    A controller begins a new trajectory at the measured position, unless its first point is not ahead any more. The
    arm lags behind what it was told, so beginning there is a jump backwards. With `start`, the trajectory holds where
    the running one is now as its first point, at time 0, and a controller goes on from it without a jump.

    Args:
        targets: ``(T, k)`` joint targets [rad or m].
        t0_ns: Time of the observation that the chunk was computed from [ns].
        dt_s: Step of the chunk [s].
        now_ns: Present time, which becomes the stamp of the trajectory [ns].
        joint_names: Names of the ``k`` joints.
        lead_s: Time from now to the first waypoint at least; one step by default [s].
        current: ``(k,)`` measured positions now; used for the first velocity when no step was skipped.
        start: ``(k,)`` positions and velocities in force now; becomes the first point.

    Raises:
        StaleChunkError: no step is left.
        TrajectoryError: shapes do not fit, or a target is not finite.
    """
    positions = _checked(targets, joint_names)
    count = len(positions)
    # Times are rounded to nanoseconds, so a step that is exactly one step ahead may look a nanosecond short.
    first = first_step(t0_ns, dt_s, count, now_ns + to_ns(dt_s if lead_s is None else lead_s) - _STEP_SLACK_NS)
    if first == count:
        raise StaleChunkError(
            f"all {count} steps of the chunk are over or too near: it was observed {to_s(now_ns - t0_ns):.3f} s ago "
            f"and lasts {to_s(step_ns(0, dt_s, max(count - 1, 0))):.3f} s; use longer chunks or faster inference"
        )
    times, kept = (steps_ns(t0_ns, dt_s, count)[first:] - now_ns) / NANOSECONDS, positions[first:]
    if start is not None:
        return _from_start(start, now_ns, joint_names, times, kept, first)
    before: tuple[float, Array] | None = None
    if first > 0:
        before = (to_s(step_ns(t0_ns, dt_s, first - 1) - now_ns), positions[first - 1])
    elif current is not None:
        before = (0.0, np.asarray(current, dtype=np.float64))
    return Trajectory(
        joint_names=tuple(joint_names),
        start_ns=now_ns,
        time_from_start=times,
        positions=kept,
        velocities=_velocities(times, kept, before),
        first_step=first,
    )


def follows(spline: Trajectory, now_ns: int, position: Array) -> bool:
    """Whether a measured position (k,) lies where an arm that follows `spline` with a lag would be now."""
    path = spline.positions_at(now_ns - _LAGS_NS)
    return float(np.abs(path - position).max(axis=1).min()) <= FOLLOW_TOLERANCE


def from_present(trajectory: Trajectory, current: Array | None) -> Trajectory:
    """The trajectory from its stamp on, as a controller plays it: without a start, from the measured position (k,)."""
    if current is None or trajectory.from_start:
        return trajectory
    slope = (trajectory.positions[0] - current) / trajectory.time_from_start[0]
    return Trajectory(
        joint_names=trajectory.joint_names,
        start_ns=trajectory.start_ns,
        time_from_start=np.concatenate([[0.0], trajectory.time_from_start]),
        positions=np.vstack([current, trajectory.positions]),
        velocities=np.vstack([slope, trajectory.velocities]),
        first_step=trajectory.first_step,
        from_start=True,
    )


def _checked(targets: ArrayLike, joint_names: tuple[str, ...]) -> Array:
    positions = np.asarray(targets, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != len(joint_names):
        raise TrajectoryError(f"targets must be (T, {len(joint_names)}), one column per joint, got {positions.shape}")
    if not np.isfinite(positions).all():
        raise TrajectoryError("a target is not finite; check the chunk with the safety filter before this")
    return positions


def _from_start(
    start: tuple[ArrayLike, ArrayLike], now_ns: int, joint_names: tuple[str, ...], times: Array, kept: Array, first: int
) -> Trajectory:
    position, velocity = (np.asarray(part, dtype=np.float64) for part in start)
    if position.shape != kept.shape[1:] or velocity.shape != kept.shape[1:]:
        raise TrajectoryError(
            f"the start must be a position and a velocity of {kept.shape[1]} joints, got {position.shape} and "
            f"{velocity.shape}"
        )
    return Trajectory(
        joint_names=tuple(joint_names),
        start_ns=now_ns,
        time_from_start=np.concatenate([[0.0], times]),
        positions=np.vstack([position, kept]),
        velocities=np.vstack([velocity, _velocities(times, kept, (0.0, position))]),
        first_step=first,
        from_start=True,
    )


def _velocities(times: Array, positions: Array, before: tuple[float, Array] | None) -> Array:
    """Return ``(K, k)`` velocities for points whose predecessor may be known."""
    velocities = np.zeros_like(positions)
    if len(times) == 1:
        return velocities
    if before is not None and before[0] < times[0]:
        times = np.concatenate([[before[0]], times])
        positions = np.concatenate([before[1][None], positions])
    slopes = np.diff(positions, axis=0) / np.diff(times)[:, None]
    inner = np.zeros_like(slopes[1:])
    product = slopes[:-1] * slopes[1:]
    same_way = product > 0.0
    np.divide(2.0 * product, slopes[:-1] + slopes[1:], out=inner, where=same_way)
    if len(positions) > len(velocities):
        velocities[:-1] = inner
    else:
        velocities[1:-1] = inner
        velocities[0] = slopes[0]
    return velocities
