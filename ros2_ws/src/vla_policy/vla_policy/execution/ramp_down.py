# SPDX-License-Identifier: Apache-2.0

"""What an arm does at the end of its last chunk when no other comes: slow down along its way instead of stopping dead.

A trajectory must end at rest. Without this the arm brakes within the last step of the chunk; with it the last waypoint
is passed at the speed of the chunk, and further ones follow on which all joints slow down evenly, so the direction is
kept: `p(t) = p_end + v t (1 - t / 2T)`. They only matter to an arm that starves: the next chunk replaces them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter
from vla_core.trajectory import Trajectory

Array = NDArray[np.float64]
DECELERATION = 2.0  # [rad/s^2] where the profile limits none
_SLOW = 1e-3  # [rad/s] below this an arm stands


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """Waypoints (T, k) [rad], the speeds there (T, k), and the speed (k,) with which the way begins [rad/s]."""

    positions: Array
    speeds: Array
    speed: Array


class RampDown:
    """Adds the braking way to trajectories; where it would leave the limits or the workspace, the chunk's end stays."""

    def __init__(self, profile: Profile) -> None:
        """Args: profile: its accelerations are the decelerations, and its other limits hold on the way."""
        self._filter = SafetyFilter(profile)
        self._most = {
            spec.name: np.array(spec.limits.max_acceleration or (DECELERATION,) * len(spec.joints))
            for spec in profile.action
        }

    def __call__(self, trajectories: Mapping[str, Trajectory], dt_s: float) -> dict[str, Trajectory]:
        """Return the trajectories with their braking ways.

        Args:
            trajectories: By name of the action; each ends at rest.
            dt_s: Time between two waypoints of the way [s].
        """
        ends = {name: trajectory.positions[-1] for name, trajectory in trajectories.items()}
        ways: dict[str, _Way] = {}
        for name, trajectory in trajectories.items():
            way = self._way(name, trajectory, dt_s)
            # With the ways of the arms before it, since two arms may slow down towards each other.
            if way is not None and self._allowed({**ways, name: way}, ends, dt_s):
                ways[name] = way
        return {
            name: _extended(trajectory, ways[name], dt_s) if name in ways else trajectory
            for name, trajectory in trajectories.items()
        }

    def _way(self, name: str, trajectory: Trajectory, dt_s: float) -> _Way | None:
        """The braking way from the end of a trajectory; None where the arm stands there."""
        times, positions = trajectory.time_from_start, trajectory.positions
        if len(times) < 2:
            return None
        speed: Array = (positions[-1] - positions[-2]) / (times[-1] - times[-2])
        if np.abs(speed).max() < _SLOW:
            return None
        count = max(1, ceil(float((np.abs(speed) / self._most[name]).max()) / dt_s))
        u = np.arange(1, count + 1)[:, None] / count
        return _Way(
            positions=positions[-1] + speed * (count * dt_s) * u * (1.0 - u / 2.0),
            speeds=speed * (1.0 - u),
            speed=speed,
        )

    def _allowed(self, ways: Mapping[str, _Way], ends: Mapping[str, Array], dt_s: float) -> bool:
        """Whether the ways keep the limits, while the other arms rest at their ends."""
        resting = {name: end[None] for name, end in ends.items() if name not in ways}
        report = self._filter.check({**resting, **{name: way.positions for name, way in ways.items()}}, dt_s)
        return report.ok and not report.clamped


def _extended(trajectory: Trajectory, way: _Way, dt_s: float) -> Trajectory:
    last = trajectory.time_from_start[-1]
    return replace(
        trajectory,
        time_from_start=np.concatenate(
            [trajectory.time_from_start, last + dt_s * np.arange(1, len(way.positions) + 1)]
        ),
        positions=np.concatenate([trajectory.positions, way.positions]),
        velocities=np.concatenate([trajectory.velocities[:-1], way.speed[None], way.speeds]),
    )
