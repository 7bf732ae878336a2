# SPDX-License-Identifier: Apache-2.0

"""How smooth the commanded motion is: steps across chunk boundaries against steps inside chunks, and acceleration.

Both look at what is in force at consecutive control ticks, which is what the arm is to follow, not at the chunks. The
same code serves the running node and the report of its log.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from vla_core.stamps import NANOSECONDS, to_s

from vla_policy.execution.measures_series import Series

Array = NDArray[np.float64]
SEAM_STEPS = 2.0  # policy steps from the change of plan to the first waypoint of the new one, at most
_SAME_PERIOD = 0.5  # ticks whose distance differs by more than this share were skipped or are extra


class Motion:
    """Fed with one sample per control tick.

    Attributes:
        steps: Steps between two ticks inside a chunk while the arm moves: norm over all joints, over the period, so that
            a skipped tick does not count as a jump [rad/s].
        seams: Largest such step of each change from one chunk to the next: until two policy steps after it [rad/s].
        accelerations: Absolute second difference of each joint over the squared period [rad/s^2].
    """

    def __init__(self, fps: float, make: Callable[[], Series] = Series) -> None:
        """Args: fps: steps of a chunk per second. make: what numbers are collected in."""
        self._seam_s = SEAM_STEPS / fps
        self.steps, self.seams, self.accelerations = make(), make(), make()
        self._period_s = float("inf")
        self._before: tuple[int, Array, int] | None = None  # time, positions, chunk
        self._step: Array | None = None
        self._seam_until_ns: int | None = None
        self._seam = 0.0

    def add(self, t_ns: int, positions: Array, chunk: int, *, resting: bool) -> None:
        """Look at one tick.

        Args:
            t_ns: Time of the tick [ns].
            positions: (k,) of all arm joints in force [rad].
            chunk: Number of the chunk in force.
            resting: The chunk is over, so the arm rests at its end.
        """
        before, self._before = self._before, (t_ns, positions, chunk)
        if before is None:
            return
        period_s = to_s(t_ns - before[0])
        if period_s <= 0.0:
            return
        if abs(period_s - self._period_s) > _SAME_PERIOD * self._period_s:
            self._step = None  # of another period: no second difference
        self._period_s = period_s
        step = positions - before[1]
        if self._step is not None:
            self.accelerations.add_all(np.abs(step - self._step) / period_s**2)
        self._step = step
        self._sort(t_ns, float(np.linalg.norm(step)) / period_s, chunk != before[2], resting)

    def gap(self) -> None:
        """Nothing was commanded for a while; what comes does not follow from what was."""
        self._close_seam()
        self._before, self._step = None, None

    @property
    def seam_jump(self) -> float:
        """Mean of the boundary steps over the median step inside chunks; NaN without a boundary."""
        median = self.steps.percentile(50)
        return self.seams.mean / median if median > 0.0 else float("nan")

    def seam_jump_at(self, q: float) -> float:
        """The same of the q-th percentile of the boundaries."""
        median = self.steps.percentile(50)
        return self.seams.percentile(q) / median if median > 0.0 else float("nan")

    def _sort(self, t_ns: int, step: float, boundary: bool, resting: bool) -> None:
        """A step belongs to a boundary or to the inside of a chunk."""
        if boundary:
            self._close_seam()
            self._seam_until_ns = t_ns + round(self._seam_s * NANOSECONDS)
        if self._seam_until_ns is not None and t_ns <= self._seam_until_ns:
            self._seam = max(self._seam, step)
            return
        self._close_seam()
        if not resting:
            self.steps.add(step)

    def _close_seam(self) -> None:
        if self._seam_until_ns is not None:
            self.seams.add(self._seam)
            self._seam_until_ns, self._seam = None, 0.0
