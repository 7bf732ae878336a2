# SPDX-License-Identifier: Apache-2.0

"""How long a chunk takes from the observation to its command, as far as the past tells."""

from collections import deque

import numpy as np

WINDOW = 32
WARM_UP = 1


class LatencyEstimate:
    """A percentile of the last delays, or the stated value until there are any."""

    def __init__(
        self,
        stated_s: float,
        *,
        fixed: bool,
        percentile: float = 95.0,
        window: int = WINDOW,
        warm_up: int = WARM_UP,
    ) -> None:
        """Begin without a measurement.

        Args:
            stated_s: Used until something was measured [s].
            fixed: Never measure (lockstep).
            percentile: Of the delays in the window, 0 to 100. A maximum over all time would let one slow call count
                for ever; a mean would let every second chunk come late.
            window: How many delays are remembered.
            warm_up: First delays that are not counted: caches fill and kernels are chosen in the first calls.
        """
        self._stated_s = stated_s
        self._fixed = fixed
        self._percentile = percentile
        self._skip = warm_up
        self._measured: deque[float] = deque(maxlen=window)

    def add(self, seconds: float) -> None:
        """Note one delay [s]: from the tick that observed to the command."""
        if self._fixed:
            return
        if self._skip:
            self._skip -= 1
            return
        self._measured.append(seconds)

    @property
    def seconds(self) -> float:
        """The delay to plan for [s]; never a mean of two measured ones."""
        if not self._measured:
            return self._stated_s
        return float(np.percentile(self._measured, self._percentile, method="higher"))
