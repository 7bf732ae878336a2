# SPDX-License-Identifier: Apache-2.0

"""Piecewise polynomials through trajectory points: linear, cubic or quintic, by the fields that both ends give."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Knot:
    """One point of a trajectory: time [s], positions, velocities and accelerations (k,) in rad, rad/s, rad/s²."""

    time: float
    position: Vector
    velocity: Vector | None = None
    acceleration: Vector | None = None


def segment(a: Knot, b: Knot) -> Vector:
    """Coefficients (6, k), lowest order first, of the polynomial in `t - a.time` from knot `a` to knot `b`."""
    coefficients = np.zeros((6, len(a.position)))
    duration = b.time - a.time
    step = b.position - a.position
    coefficients[0] = a.position
    if a.velocity is None or b.velocity is None:
        coefficients[1] = step / duration
        return coefficients
    coefficients[1] = a.velocity
    if a.acceleration is None or b.acceleration is None:
        coefficients[2] = (3.0 * step / duration - 2.0 * a.velocity - b.velocity) / duration
        coefficients[3] = (-2.0 * step / duration + a.velocity + b.velocity) / duration**2
        return coefficients
    rest = step / duration - a.velocity - 0.5 * a.acceleration * duration  # after position, velocity, acceleration of a
    d_velocity = b.velocity - a.velocity - a.acceleration * duration
    d_acceleration = b.acceleration - a.acceleration
    coefficients[2] = 0.5 * a.acceleration
    coefficients[3] = (10.0 * rest - 4.0 * d_velocity + 0.5 * d_acceleration * duration) / duration**2
    coefficients[4] = (-15.0 * rest + 7.0 * d_velocity - d_acceleration * duration) / duration**3
    coefficients[5] = (6.0 * rest - 3.0 * d_velocity + 0.5 * d_acceleration * duration) / duration**4
    return coefficients


_EXPONENTS = np.arange(6)


def evaluate(coefficients: Vector, t: float) -> tuple[Vector, Vector]:
    """Value and first derivative (k,) of a segment at `t` seconds after its start."""
    powers = t**_EXPONENTS
    slopes = np.zeros(6)
    slopes[1:] = _EXPONENTS[1:] * powers[:5]
    return powers @ coefficients, slopes @ coefficients


class Spline:
    """A trajectory that is sampled with growing time."""

    def __init__(self, knots: list[Knot]) -> None:
        self._knots = knots
        self._segments = [segment(a, b) for a, b in pairwise(knots)]
        self._index = 0

    @property
    def end_time(self) -> float:
        """Time of the last knot [s]."""
        return self._knots[-1].time

    @property
    def end_position(self) -> Vector:
        """Position (k,) of the last knot."""
        return self._knots[-1].position

    def sample(self, t: float) -> tuple[Vector, Vector]:
        """Position and velocity (k,) at `t`; before the first and after the last knot their position is held."""
        if t >= self.end_time:
            return self.end_position, np.zeros_like(self.end_position)
        first = self._knots[0]
        if t <= first.time:
            velocity = np.zeros_like(first.position) if first.velocity is None else first.velocity
            return first.position, velocity
        while self._index > 0 and t < self._knots[self._index].time:
            self._index -= 1
        while t >= self._knots[self._index + 1].time:
            self._index += 1
        local = t - self._knots[self._index].time
        return evaluate(self._segments[self._index], local)
