# SPDX-License-Identifier: Apache-2.0

"""The distribution of a stream of numbers in bounded memory, so that a run may last for days."""

from collections import deque
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

RATIO = 1.01  # of the ends of one bin; percentiles are right to within half of it
SMALLEST = 1e-6
LARGEST = 1e9
_BINS = ceil(log(LARGEST / SMALLEST) / log(RATIO)) + 1
_LOG_RATIO = log(RATIO)
RECENT = 2048


class Series:
    """Counts numbers >= 0 in logarithmic bins; count, sum, last and largest are exact, percentiles within 0.5 %.

    Numbers below 1e-6 count as 0. The newest 2048 are kept as they are.
    """

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self._bins = np.zeros(_BINS + 1, dtype=np.int64)  # bin 0 holds the zeros
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.count = 0
        self.total = 0.0
        self.largest = float("nan")

    def add(self, value: float) -> None:
        """Count one number; a negative one counts as 0."""
        number = max(0.0, value)
        index = 0 if number < SMALLEST else min(_BINS, 1 + int(log(number / SMALLEST) / _LOG_RATIO))
        self._bins[index] += 1
        self.count += 1
        self.total += number
        self.largest = number if self.count == 1 else max(self.largest, number)
        self.recent.append(number)

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count several numbers at once (any shape)."""
        for value in values.ravel().tolist():
            self.add(value)

    @property
    def last(self) -> float:
        """The newest number; NaN before the first."""
        return self.recent[-1] if self.recent else float("nan")

    @property
    def mean(self) -> float:
        """Mean; NaN before the first number."""
        return self.total / self.count if self.count else float("nan")

    def percentile(self, q: float) -> float:
        """The smallest counted number that is not below `q` % of all (nearest rank); NaN before the first number."""
        if not self.count:
            return float("nan")
        rank = max(1, ceil(q / 100.0 * self.count))
        index = int(np.searchsorted(np.cumsum(self._bins), rank))
        if index == 0:
            return 0.0
        middle: float = SMALLEST * RATIO ** (index - 0.5)
        return min(middle, self.largest)


def percentile(values: list[float], q: float) -> float:
    """The q-th percentile by nearest rank, as `Series` counts; NaN of an empty list."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(1, ceil(q / 100.0 * len(ordered))) - 1]
