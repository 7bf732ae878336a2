# SPDX-License-Identifier: Apache-2.0

"""Numbers of an evaluation against values known by hand or published."""

import math

import numpy as np
import pytest
from evaluation_fixtures import OffsetRunner, frame_of, window_of
from policy_fixtures import small_profile
from scipy.stats import binomtest
from vla_core.statistics import wilson_interval
from vla_policy.evaluation.metrics import ErrorSums, Limits, StepSizes, dimension_units
from vla_policy.evaluation.offline import evaluate_offline
from vla_policy.evaluation.predictors import NoisyTruth, RunnerPredictor
from vla_policy.evaluation.run_folder import EvaluationError
from vla_policy.evaluation.significance import compare_paired, mcnemar_exact

STATISTICS = {"mean": np.array([0.0, 0.5, 0.25]), "std": np.array([1.0, 0.5, 0.25])}
ALL = np.ones(2, dtype=bool)


def rows(*values):
    """Chunk (T, 3) whose three values are alike."""
    return np.repeat(np.array(values)[:, None], 3, axis=1)


def test_a_policy_with_a_known_offset_has_its_square_as_error_everywhere():
    """Recorded: standing still. The policy is 0.1 off plus 0.01 per step, so step k errs by 0.1 + 0.01 k in every value."""
    window = window_of(rows(*[0.2] * 6))
    found = evaluate_offline(
        [window, window], RunnerPredictor(OffsetRunner(0.1, 0.01)), small_profile(), steps=6, statistics=STATISTICS
    ).measures
    errors = 0.1 + 0.01 * np.arange(6)
    policy = found["policy"]
    assert policy["mse"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert policy["mse_over_horizon"] == pytest.approx(errors**2, rel=1e-5)
    assert policy["rmse_per_dimension"] == pytest.approx([math.sqrt(np.mean(errors**2))] * 3, rel=1e-5)
    # against variances of 1, 1/4 and 1/16: the mean of 1, 4 and 16 times the error
    assert policy["nmse"] == pytest.approx(7.0 * np.mean(errors**2), rel=1e-5)
    assert found["delta"]["predicted"] == pytest.approx(0.01, rel=1e-4)
    assert found["delta"]["recorded"] == 0.0
    assert found["delta"]["ratio"] is None, "nothing moved, so there is no ratio"
    assert found["hold_last"]["mse"] == 0.0, "who held the last action was right"
    mean_errors = 0.2 - STATISTICS["mean"]
    assert found["dataset_mean"]["mse_per_dimension"] == pytest.approx(mean_errors**2, rel=1e-5)
    assert found["windows"] == 2
    assert found["action_names"] == ["shoulder.pos", "elbow.pos", "finger.pos"]
    assert found["units"] == ["rad", "rad", ""], "the gripper is scaled to 0..1 and has no unit"
    assert found["latency_ms"]["p50"] >= 0.0


def test_holding_the_last_action_is_exact_on_a_ramp():
    """The recorded action rises by 0.25 per step, so the action before is (k + 1) / 4 behind at step k."""
    truth = rows(*(0.25 * np.arange(1, 5)))
    found = evaluate_offline(
        [window_of(truth, previous=[0.0] * 3)], NoisyTruth(0.0, 0), small_profile(), steps=4, statistics=STATISTICS
    ).measures
    assert found["hold_last"]["mse_over_horizon"] == [(0.25 * (k + 1)) ** 2 for k in range(4)]
    assert found["policy"]["mse"] == 0.0, "noise of 0 is the truth"
    assert found["delta"]["ratio"] == 1.0


def test_the_noisy_mock_errs_by_its_variance_and_repeats_itself_with_its_seed():
    windows = [window_of(rows(*[0.1] * 6)) for _ in range(300)]
    kwargs = {"profile": small_profile(), "steps": 6, "statistics": STATISTICS}
    one, same, other = (
        evaluate_offline(windows, NoisyTruth(0.02, seed), **kwargs).measures["policy"]["mse"] for seed in (1, 1, 2)
    )
    # 5400 squared normal numbers: the standard error of their mean is 0.02^2 sqrt(2 / 5400), 1.9 %
    assert one == pytest.approx(4e-4, rel=0.08)
    assert one == same
    assert one != other


def test_steps_past_the_end_of_an_episode_count_nowhere():
    window = window_of(rows(0.0, 0.0, 9.0), valid=[True, True, False])
    found = evaluate_offline(
        [window], RunnerPredictor(OffsetRunner(0.1)), small_profile(), steps=3, statistics=STATISTICS
    ).measures
    assert found["policy"]["mse"] == pytest.approx(0.01, rel=1e-5)
    assert found["policy"]["mse_over_horizon"][2] is None
    assert found["policy"]["rmse_over_horizon_per_dimension"][2] is None


def test_a_value_that_never_varies_is_left_out_of_the_share_of_the_variance():
    sums = ErrorSums(2, 3)
    sums.add(rows(0.1, 0.1), rows(0.0, 0.0), ALL)
    assert sums.report(np.array([1.0, 1.0, 0.0]))["nmse"] == pytest.approx(0.01)
    assert sums.report(np.zeros(3))["nmse"] is None


def test_a_chunk_of_one_step_has_no_step_size():
    sizes = StepSizes(3)
    sizes.add(rows(0.0, 1.0), rows(0.0, 1.0), np.array([True, False]))
    assert sizes.report() is None


def test_each_episode_begins_anew():
    runner = OffsetRunner()
    windows = [window_of(rows(0.0, 0.0), episode=episode, step=step) for episode, step in ((0, 1), (0, 6), (1, 1))]
    result = evaluate_offline(windows, RunnerPredictor(runner), small_profile(), steps=2, statistics=STATISTICS, draw=1)
    assert runner.resets == 2
    assert [trace.episode for trace in result.traces] == [0]
    assert result.traces[0].steps == [1, 6]


def test_clipping_counts_commands_outside_the_limits_and_refused_chunks():
    """Limits of the profile: arm -3..3 with steps of at most 0.5, gripper -0.05..0.9 (0..0.8 is 0..1 in the dataset)."""
    limits = Limits(small_profile())
    limits.add(rows(0.1, 0.2).astype(np.float32), frame_of([0.0, 0.0, 0.0]))
    assert limits.report()["fraction"] == 0.0
    assert limits.report()["refused_chunks"] == 0.0
    far = np.array([[0.0, 0.0, 0.0], [3.2, 0.0, 2.0]], dtype=np.float32)  # 2 of the gripper means 1.6
    limits.add(far, frame_of([0.0, 0.0, 0.0]))
    found = limits.report()
    assert found["fraction"] == pytest.approx(2 / 12)
    assert found["per_joint"] == {"shoulder": 0.25, "elbow": 0.0, "finger": 0.25}
    assert found["per_group"] == {"arm": 0.125, "gripper": 0.25}
    assert found["refused_chunks"] == 0.5
    assert found["refused_by"] == {"position": 1, "step": 1, "velocity": 1}


def test_a_gripper_that_overshoots_is_clipped_and_refuses_nothing():
    limits = Limits(small_profile())
    limits.add(np.array([[0.0, 0.0, 1.3], [0.0, 0.0, 0.5]], dtype=np.float32), frame_of([0.0, 0.0, 0.0]))
    found = limits.report()
    assert found["per_joint"]["finger"] == 0.5
    assert (found["refused_chunks"], found["refused_by"]) == (0.0, {})


def test_the_first_step_counts_from_the_measured_joints():
    limits = Limits(small_profile())
    limits.add(np.array([[0.6, 0.0, 0.0], [0.6, 0.0, 0.0]], dtype=np.float32), frame_of([0.0, 0.0, 0.0]))
    assert limits.report()["per_joint"]["shoulder"] == 0.5


def test_units_follow_the_action_space():
    kinematics = """
kinematics:
  joints: [shoulder, elbow]
  a: [0.4, 0.3]
  d: [0.0, 0.0]
  alpha: [0.0, 0.0]
"""
    text = small_profile().text
    eef = small_profile(
        **{"task: pick": "action_space: absolute_eef\nrotation: rotvec\ntask: pick", "safety:": kinematics + "safety:"}
    )
    assert dimension_units(eef) == ("m", "m", "m", "rad", "rad", "rad", "")
    assert "absolute_eef" not in text


# Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, and every table of the sign test: 1 against 9 of 10
# discordant pairs is 2 * (1 + 10) / 1024; 0 against 6 is 2 / 64.
@pytest.mark.parametrize(
    ("pairs", "p_value"),
    [((1, 9), 22 / 1024), ((0, 6), 2 / 64), ((3, 3), 1.0), ((0, 0), 1.0), ((5, 15), 0.04138946533203125)],
)
def test_mcnemar_by_hand(pairs, p_value):
    assert mcnemar_exact(*pairs) == p_value
    assert mcnemar_exact(*reversed(pairs)) == p_value


def test_mcnemar_is_the_exact_sign_test_of_scipy():
    for first in range(0, 40, 3):
        for second in range(1, 40, 4):
            expected = binomtest(first, first + second, 0.5).pvalue
            assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-12)
    assert mcnemar_exact(900, 1100) == pytest.approx(binomtest(900, 2000, 0.5).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="counts must be at least 0, got -1 and 2"):
        mcnemar_exact(-1, 2)


# Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (Wilson without continuity correction).
@pytest.mark.parametrize(
    ("ok", "n", "interval"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_as_published(ok, n, interval):
    assert wilson_interval(ok, n) == pytest.approx(interval, abs=5e-5)


def test_pairs_are_made_of_the_seeds_that_both_were_tried_on():
    first = {0: True, 1: True, 2: False, 3: False, 9: True}
    second = {0: True, 1: False, 2: True, 3: False, 8: True}
    found = compare_paired(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == ((0,), (1,), (2,), (3,))
    assert (found.n, found.p_value) == (4, 1.0)
    with pytest.raises(
        EvaluationError, match="no seed in common, so they cannot be paired; run both with the same --seeds"
    ):
        compare_paired({0: True}, {1: True})
