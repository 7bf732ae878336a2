# SPDX-License-Identifier: Apache-2.0

"""Action chunks: consecutive actions with the time at which each is in force."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ActionError
from vla_core.stamps import NANOSECONDS


def step_ns(t0_ns: int, dt_s: float, index: int) -> int:
    """Return the time of step `index` [ns], computed from the index so that it does not drift."""
    return t0_ns + round(index * dt_s * NANOSECONDS)


def steps_ns(t0_ns: int, dt_s: float, count: int) -> NDArray[np.int64]:
    """Return the times ``(count,)`` of the first steps, each as of `step_ns` [ns]."""
    times: NDArray[np.int64] = t0_ns + np.rint(np.arange(count) * dt_s * NANOSECONDS).astype(np.int64)
    return times


def first_step(t0_ns: int, dt_s: float, count: int, t_ns: int) -> int:
    """Return the index of the first of `count` steps that is not before `t_ns`; `count` when there is none."""
    index = min(max(0, ceil((t_ns - t0_ns) / (dt_s * NANOSECONDS))), count)
    # The division may be off by a rounding error either way.
    while index > 0 and step_ns(t0_ns, dt_s, index - 1) >= t_ns:
        index -= 1
    while index < count and step_ns(t0_ns, dt_s, index) < t_ns:
        index += 1
    return index


@dataclass(frozen=True, slots=True, eq=False)
class ActionChunk:
    """A sequence of actions, one per step of `dt_s`.

    Attributes:
        t0_ns: Time of the first action, which is the time of the observation it was computed from [ns].
        dt_s: Time between two actions [s].
        values: ``(T, m)`` float32 in the profile's action space. ``values[k]`` is the action in force at
            ``t0_ns + k * dt_s``.
    """

    t0_ns: int
    dt_s: float
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 2 or values.shape[0] == 0:
            raise ActionError(f"an action chunk is a non-empty (T, m) array, got shape {values.shape}")
        if not self.dt_s > 0.0:
            raise ActionError(f"the step of an action chunk must be positive, got dt_s={self.dt_s}")
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def end_ns(self) -> int:
        """Time of the last action [ns]."""
        return self.time_ns(len(self) - 1)

    def time_ns(self, index: int) -> int:
        """Return the time of action `index` [ns]."""
        return step_ns(self.t0_ns, self.dt_s, index)

    def first_at_or_after(self, t_ns: int) -> int:
        """Return the index of the first action that is not before `t_ns`; ``len(self)`` when there is none."""
        return first_step(self.t0_ns, self.dt_s, len(self), t_ns)

    def remaining(self, t_ns: int) -> int:
        """Return how many actions are not before `t_ns`."""
        return len(self) - self.first_at_or_after(t_ns)

    def in_force(self, t_ns: int) -> NDArray[np.float32] | None:
        """Return the ``(m,)`` action in force at `t_ns` (the last one not after it), or None outside the chunk.

        The last action stays in force for one step; it is never held longer.
        """
        if t_ns < self.t0_ns or t_ns >= self.time_ns(len(self)):
            return None
        index = self.first_at_or_after(t_ns)
        if index == len(self) or self.time_ns(index) != t_ns:
            index -= 1
        row: NDArray[np.float32] = self.values[index]
        return row
