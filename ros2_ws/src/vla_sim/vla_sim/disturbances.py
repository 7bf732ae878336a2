# SPDX-License-Identifier: Apache-2.0

"""When cameras take a frame: a fixed grid with phase, jitter, losses and latency."""

from dataclasses import dataclass

import numpy as np

_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDisturbance:
    """How a camera departs from a perfect 1/rate grid; all zero is perfect."""

    phase_s: float = 0.0
    jitter_s: float = 0.0
    drop_fraction: float = 0.0
    latency_s: float = 0.0
    seed: int = 0


class CameraSchedule:
    """Capture times of one camera. The same seeds give the same times, counted from the last `restart`."""

    def __init__(self, rate_hz: float, disturbance: CameraDisturbance) -> None:
        self._period_ns = _NS / rate_hz
        self._disturbance = disturbance
        self.latency_ns = round(disturbance.latency_s * _NS)
        self.dropped = 0
        self.restart(0, 0)

    def restart(self, t_ns: int, seed: int) -> None:
        """Begin the grid anew at `t_ns`, for the episode `seed`."""
        self._origin_ns = t_ns + self._disturbance.phase_s * _NS
        self._rng = np.random.default_rng((self._disturbance.seed, seed))
        self._index = 0
        self._next_ns = self._draw()

    def due(self, t_ns: int) -> bool:
        """Whether a frame is taken at `t_ns`; to be asked at growing times, at least as often as frames come."""
        if t_ns < self._next_ns:
            return False
        self._index += 1
        self._next_ns = self._draw()
        if self._disturbance.drop_fraction and self._rng.random() < self._disturbance.drop_fraction:
            self.dropped += 1
            return False
        return True

    def _draw(self) -> float:
        nominal = self._origin_ns + self._index * self._period_ns
        if not self._disturbance.jitter_s:
            return nominal
        half = 0.45 * self._period_ns  # frames keep their order
        return nominal + float(np.clip(self._rng.normal(0.0, self._disturbance.jitter_s) * _NS, -half, half))
