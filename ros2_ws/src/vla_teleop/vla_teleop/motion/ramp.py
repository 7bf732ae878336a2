# SPDX-License-Identifier: Apache-2.0

"""Twists that change no faster than the profile's accelerations, and that end within the profile's `stop_s`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class TwistRamp:
    """Not thread-safe.

    Attributes:
        twist: (6,) of now: linear [m/s], angular [rad/s].
    """

    def __init__(self, linear: float, angular: float, stop_s: float) -> None:
        """Begin at rest.

        Args:
            linear: Acceleration [m/s^2].
            angular: Acceleration [rad/s^2].
            stop_s: A stop from any speed takes no longer [s].
        """
        self._rates = (linear, angular)
        self._stop_s = stop_s
        self._stopping_from: tuple[float, float] | None = None
        self.twist: Array = np.zeros(6)

    def reset(self) -> None:
        """At rest."""
        self.twist = np.zeros(6)
        self._stopping_from = None

    def step(self, wanted: Array, dt: float, *, stop: bool = False) -> Array:
        """Go towards a twist for one period.

        Args:
            wanted: (6,) where to; ignored during a stop.
            dt: Length of the period [s].
            stop: Come to rest, at least as fast as the accelerations allow, and within `stop_s`.

        Returns:
            The twist (6,) of this period.
        """
        parts = [self.twist[:3], self.twist[3:]]
        if not stop:
            self._stopping_from = None
        elif self._stopping_from is None:
            self._stopping_from = (float(np.linalg.norm(parts[0])), float(np.linalg.norm(parts[1])))
        target = np.zeros(6) if stop else wanted
        for i, (now, then) in enumerate(zip(parts, (target[:3], target[3:]), strict=True)):
            rate = self._rates[i]
            if self._stopping_from is not None:
                rate = max(rate, self._stopping_from[i] / self._stop_s)
            change = then - now
            size = float(np.linalg.norm(change))
            allowed = rate * dt + 1e-12
            parts[i] = then if size <= allowed else now + change * (allowed / size)
        self.twist = np.concatenate(parts)
        return self.twist

    @property
    def resting(self) -> bool:
        """Whether the twist is zero."""
        return not self.twist.any()
