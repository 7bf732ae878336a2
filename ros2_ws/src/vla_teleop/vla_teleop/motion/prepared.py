# SPDX-License-Identifier: Apache-2.0

"""Motions that run by themselves once a button is pressed: turn the tool upright, go home."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import rotation_vector

Array = NDArray[np.float64]
UPRIGHT = 1e-3  # [rad] from the wanted orientation
LATE_S = 3.0
PEAK_VELOCITY, PEAK_ACCELERATION = 1.875, 5.7735  # of a minimum-jerk path over unit distance in unit time


class Reorient:
    """Turns the tool to an orientation on the shortest way while its centre point stays. Not thread-safe."""

    def __init__(self, *, speed: float, acceleration: float) -> None:
        """Args: speed: [rad/s]. acceleration: [rad/s^2]."""
        self._speed = speed
        self._acceleration = acceleration
        self._target: Array | None = None
        self._before: Array = np.zeros(3)
        self._seconds = self._allowed_s = 0.0

    @property
    def active(self) -> bool:
        """Whether a turn is under way."""
        return self._target is not None

    @property
    def late(self) -> bool:
        """Whether it takes so much longer than planned that something holds it."""
        return self._seconds > self._allowed_s

    def start(self, target: Array, present: Array) -> float:
        """Begin to turn.

        Args:
            target: Wanted orientation (3, 3) in the base frame.
            present: Orientation (3, 3) now.

        Returns:
            The angle of the turn [rad].
        """
        way = rotation_vector(target @ present.T)
        angle = float(np.linalg.norm(way))
        self._target, self._before, self._seconds = np.array(target), way, 0.0
        self._allowed_s = angle / self._speed + self._speed / self._acceleration + LATE_S
        return angle

    def cancel(self) -> None:
        """Forget it."""
        self._target = None

    def want(self, present: Array, dt: float) -> Array:
        """Angular velocity (3,) for the next period [rad/s], base frame; zero at the end, when it is no longer active."""
        if self._target is None:
            return np.zeros(3)
        way = rotation_vector(self._target @ present.T)
        if way @ self._before < 0.0 and np.linalg.norm(way) > math.pi / 2.0:
            way = way * (1.0 - 2.0 * math.pi / np.linalg.norm(way))  # the same turn the other way round: keep on
        angle = float(np.linalg.norm(way))
        self._seconds += dt
        if angle < UPRIGHT:
            self._target = None
            return np.zeros(3)
        self._before = way
        speed = min(self._speed, math.sqrt(2.0 * self._acceleration * angle), angle / dt)
        velocity: Array = way * (speed / angle)
        return velocity


class JointMove:
    """A synchronised way from rest to rest: all joints arrive together on a minimum-jerk path (Flash and Hogan 1985)."""

    def __init__(self, begin: Array, end: Array, *, speed: float, acceleration: float) -> None:
        """Plan.

        Args:
            begin: Joint positions (n,) [rad].
            end: Joint positions (n,) [rad].
            speed: Of the fastest joint in the middle of the way [rad/s].
            acceleration: Of that joint [rad/s^2].
        """
        self._begin, self._way = np.array(begin, dtype=np.float64), np.asarray(end) - begin
        longest = float(np.abs(self._way).max())
        self.duration_s = max(PEAK_VELOCITY * longest / speed, math.sqrt(PEAK_ACCELERATION * longest / acceleration))

    def position(self, t_s: float) -> Array:
        """Joint positions (n,) [rad] `t_s` after the beginning; the end from `duration_s` on."""
        u = 1.0 if self.duration_s == 0.0 else min(max(t_s / self.duration_s, 0.0), 1.0)
        position: Array = self._begin + u**3 * (10.0 - 15.0 * u + 6.0 * u**2) * self._way
        return position

    def path(self, count: int) -> Array:
        """(count, n) positions, evenly in time, the last one at the end [rad]."""
        return np.array([self.position(self.duration_s * (i + 1) / count) for i in range(count)])
