# SPDX-License-Identifier: Apache-2.0

import pytest
from vla_core.statistics import percentile, wilson_interval


@pytest.mark.parametrize(
    ("ok", "n", "low", "high"),
    # published values of the score interval
    [(50, 50, 0.9287, 1.0), (47, 50, 0.8378, 0.9794), (0, 10, 0.0, 0.2775), (24, 50, 0.3480, 0.6149)],
)
def test_wilson_interval(ok, n, low, high):
    assert wilson_interval(ok, n) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


@pytest.mark.parametrize(("ok", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(ok, n):
    with pytest.raises(ValueError, match=f"{ok} successes of {n} trials"):
        wilson_interval(ok, n)


def test_a_percentile_of_nothing_is_none():
    assert percentile([], 95) is None
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
