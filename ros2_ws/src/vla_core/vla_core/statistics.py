# SPDX-License-Identifier: Apache-2.0

"""Statistics of success rates and latencies, as they are reported."""

import math
from collections.abc import Sequence

import numpy as np

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson_interval(ok: int, n: int) -> tuple[float, float]:
    """95 % score interval of a success rate (Wilson 1927).

    Args:
        ok: successes.
        n: trials, at least 1.

    Returns:
        Lower and upper bound, both within [0, 1].

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if n < 1 or not 0 <= ok <= n:
        raise ValueError(f"wilson_interval: {ok} successes of {n} trials is not possible")
    p, z2 = ok / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def percentile(values: Sequence[float], q: float) -> float | None:
    """The q-th percentile (linear interpolation), or None of nothing: a latency nobody measured is not 0."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), q)) if len(values) else None
