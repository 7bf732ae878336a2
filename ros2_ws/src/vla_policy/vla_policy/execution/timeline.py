# SPDX-License-Identifier: Apache-2.0

"""Joint targets on a time grid: what chunks become before they are joined."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.chunks import first_step, step_ns, steps_ns

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Joint targets, one row per step.

    Attributes:
        t0_ns: Time of the first row [ns].
        dt_s: Time between two rows [s].
        rows: Name of each part of the action to its targets (T, k) [rad or m]; all have the same T.
    """

    t0_ns: int
    dt_s: float
    rows: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    @property
    def end_ns(self) -> int:
        """Time of the last row [ns]."""
        return self.time_ns(len(self) - 1)

    def time_ns(self, index: int) -> int:
        """Time of a row [ns]."""
        return step_ns(self.t0_ns, self.dt_s, index)

    def times_ns(self) -> NDArray[np.int64]:
        """Times (T,) of all rows [ns]."""
        return steps_ns(self.t0_ns, self.dt_s, len(self))

    def first_at_or_after(self, t_ns: int) -> int:
        """Index of the first row that is not before `t_ns`; `len(self)` when there is none."""
        return first_step(self.t0_ns, self.dt_s, len(self), t_ns)

    def remaining(self, t_ns: int) -> int:
        """How many rows are not before `t_ns`."""
        return len(self) - self.first_at_or_after(t_ns)

    def between(self, name: str, times_ns: NDArray[np.int64]) -> Array:
        """Targets (n, k) of a part at the times (n,), linear between rows; outside the grid its first or last row."""
        place = (times_ns - self.t0_ns) * (1e-9 / self.dt_s)
        grid = np.arange(len(self))
        return np.stack([np.interp(place, grid, column) for column in self.rows[name].T], axis=1)

    def held(self, name: str, times_ns: NDArray[np.int64]) -> Array:
        """Targets (n, k) of a part at the times (n,): the last row not after each; before the grid, its first row."""
        index = np.searchsorted(self.times_ns(), times_ns, side="right") - 1
        rows: Array = self.rows[name][np.maximum(index, 0)]
        return rows
