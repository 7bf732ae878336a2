# SPDX-License-Identifier: Apache-2.0

"""What the strategies must reach with a stochastic policy at 30 Hz, chunks of 50, and 150 or 400 ms of latency."""

import os
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from strategy_bench import FPS, run
from vla_core.stamps import NANOSECONDS

SEEDS = range(20)
LATENCIES_S = (0.15, 0.4)
ASYNC = ("latest", "weighted_average", "temporal_ensemble", "crossfade", "rtc")
SMOOTH = ("crossfade", "rtc")
DURATION_S = 8.0 if os.environ.get("VLA_TEST_FULL") == "1" else 6.0


@cache
def outcomes(strategy, latency_s, seeds=SEEDS):
    return [run(strategy, latency_s, seed, duration_s=DURATION_S) for seed in seeds]


def mean(strategy, latency_s, name, seeds=SEEDS):
    return float(np.mean([getattr(outcome, name) for outcome in outcomes(strategy, latency_s, seeds)]))


@pytest.mark.parametrize("latency_s", LATENCIES_S)
@pytest.mark.parametrize("strategy", ASYNC)
def test_the_arm_never_waits_for_a_chunk(strategy, latency_s):
    few = range(3) if strategy in ("weighted_average", "temporal_ensemble") else SEEDS
    assert [outcome.held for outcome in outcomes(strategy, latency_s, few)] == [0.0] * len(few)


@pytest.mark.parametrize(("latency_s", "bar"), [(0.15, 1.2), (0.4, 1.5)])
@pytest.mark.parametrize("strategy", SMOOTH)
def test_seams_are_no_larger_than_other_steps(strategy, latency_s, bar):
    assert mean(strategy, latency_s, "seam_jump") <= bar
    assert mean("latest", latency_s, "seam_jump") > 3.0, "else this policy would show nothing"


@pytest.mark.parametrize("latency_s", LATENCIES_S)
@pytest.mark.parametrize("strategy", SMOOTH)
def test_smoothness_does_not_cost_accuracy(strategy, latency_s):
    assert mean(strategy, latency_s, "error") <= mean("latest", latency_s, "error")


@pytest.mark.parametrize("latency_s", LATENCIES_S)
def test_steps_of_the_past_are_skipped_and_the_rest_keeps_its_time(latency_s):
    late = int(np.ceil(latency_s * FPS)) + 1  # and one step of lead
    exact = run("latest", latency_s, noise=0.0)
    assert exact.skipped == [late] * exact.chunks
    assert exact.error < 2e-3, "without noise every chunk says the same; only the start is behind"


def test_sync_waits_and_passes_no_step_over():
    waiting = run("sync", 0.4)
    assert waiting.held > 0.1
    assert waiting.skipped == [0] * waiting.chunks


def test_a_gripper_changes_at_the_time_of_its_step_whatever_joins_the_arms():
    for strategy in ASYNC:
        outcome = run(strategy, 0.15, duration_s=4.5)
        changes = [b[0] / NANOSECONDS for a, b in pairwise(outcome.grippers) if a[1] != b[1]]
        assert changes == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.06), strategy
        assert len({round(value, 6) for _, value in outcome.grippers}) == 2, f"{strategy}: never half open"


def test_refill_asks_sooner():
    assert run("crossfade", 0.15, refill=40).chunks > 2 * run("crossfade", 0.15).chunks
