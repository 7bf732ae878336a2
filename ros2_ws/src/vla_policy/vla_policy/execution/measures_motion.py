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


class Motion:
    """Fed with one sample per control tick.

    Attributes:
        seams: Largest step between two ticks of each change from one chunk to the next, until two policy steps after
            it: norm over all joints, over the period, so that a skipped tick does not count as a jump [rad/s].
        steps: The same of each stretch of that length inside a chunk while the arm moves [rad/s]. Like is compared with
            like, so a policy whose steps differ much from each other shows no jump where there is none.
        accelerations: Of each joint, the difference of the mean speeds of two successive periods over their distance
            [rad/s^2].
    """

    def __init__(self, fps: float, make: Callable[[], Series] = Series) -> None:
        """Args: fps: steps of a chunk per second. make: what numbers are collected in."""
        self._seam_s = SEAM_STEPS / fps
        self.steps, self.seams, self.accelerations = make(), make(), make()
        self._before: tuple[int, Array, int] | None = None  # time, positions, chunk
        self._speed: tuple[Array, float] | None = None  # of the last period, and its length [s]
        self._window: tuple[bool, int] | None = None  # of a seam or inside a chunk, and until when
        self._largest = 0.0

    def add(self, t_ns: int, positions: Array, chunk: int, *, resting: bool) -> None:
        """Look at one tick.

        Args:
            t_ns: Time of the tick [ns].
            positions: (k,) of all arm joints in force [rad].
            chunk: Number of the chunk in force.
            resting: The chunk is over, so the arm rests at its end.
        """
        before = self._before
        if before is not None and t_ns <= before[0]:
            return
        self._before = (t_ns, positions, chunk)
        if before is None:
            return
        period_s = to_s(t_ns - before[0])
        speed = (positions - before[1]) / period_s
        if self._speed is not None:
            last, last_s = self._speed
            self.accelerations.add_all(np.abs(speed - last) / (0.5 * (period_s + last_s)))
        self._speed = (speed, period_s)
        self._sort(t_ns, float(np.linalg.norm(speed)), chunk != before[2], resting)

    def gap(self) -> None:
        """Nothing was commanded for a while, or the run is over; what comes does not follow from what was."""
        self._close(complete=True)
        self._before, self._speed = None, None

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
        """A step belongs to the stretch after a change of plan, or to one inside a chunk."""
        if boundary:
            self._close(complete=False)
        elif self._window is not None and t_ns > self._window[1]:
            self._close(complete=True)
        in_seam = boundary or (self._window is not None and self._window[0])
        if resting and not in_seam:
            self._window = None
            return
        if self._window is None:
            self._window, self._largest = (in_seam, t_ns + round(self._seam_s * NANOSECONDS)), 0.0
        self._largest = max(self._largest, step)

    def _close(self, *, complete: bool) -> None:
        """Count the present stretch; one inside a chunk only when it was not cut short."""
        if self._window is not None and self._window[0]:
            self.seams.add(self._largest)
        elif self._window is not None and complete:
            self.steps.add(self._largest)
        self._window = None
