# SPDX-License-Identifier: Apache-2.0

"""The estimate of the delay: a percentile of the last ones, without the first calls."""

import pytest
from vla_policy.execution.latency import LatencyEstimate


def measured(*delays, **options):
    latency = LatencyEstimate(0.1, fixed=False, **options)
    for delay in delays:
        latency.add(delay)
    return latency.seconds


def test_the_stated_value_counts_until_something_was_measured():
    assert measured() == 0.1


def test_first_calls_are_not_counted():
    assert measured(3.0) == 0.1
    assert measured(3.0, 0.05) == 0.05
    assert measured(3.0, 2.0, 0.05, warm_up=2) == 0.05
    assert measured(3.0, warm_up=0) == 3.0


def test_it_is_a_percentile_of_a_window():
    delays = [0.01 * i for i in range(1, 41)]  # the first is warm-up, then 0.02 to 0.40; the window holds 0.09 to 0.40
    assert measured(*delays, percentile=100.0) == pytest.approx(0.40)
    assert measured(*delays, percentile=95.0) == pytest.approx(0.39)
    assert measured(*delays, percentile=50.0) == pytest.approx(0.25)
    assert measured(*delays, percentile=0.0) == pytest.approx(0.09)


def test_one_slow_call_does_not_count_for_ever():
    assert measured(0.05, 9.0, *[0.05] * 31, percentile=95.0) == 0.05, "one of 32"
    assert measured(0.05, 9.0, *[0.05] * 4, percentile=95.0) == 9.0, "one of five"
    assert measured(0.05, 9.0, *[0.05] * 32, percentile=100.0) == 0.05, "out of the window"


def test_in_lockstep_nothing_is_measured():
    latency = LatencyEstimate(0.1, fixed=True)
    latency.add(9.0)
    latency.add(9.0)
    assert latency.seconds == 0.1
