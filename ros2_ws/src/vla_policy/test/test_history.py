# SPDX-License-Identifier: Apache-2.0

"""Policies that look back: which earlier observations they are shown, and what stands for those that are not there."""

import pytest
from policy_cell import RampRunner
from policy_fixtures import small_frame, small_profile
from test_policy_run import T0, Bench
from vla_policy.node.correction_policy import SwitchRunner
from vla_policy.policies.history import History

STEP = 100_000_000


def times(frames):
    return [frame.t_ns // STEP for frame in frames]


def test_the_frames_nearest_to_the_wanted_times_are_read():
    profile = small_profile()
    history = History(2, 0.1)
    assert times(history.before(small_frame(profile, 10 * STEP))) == [10, 10, 10], "the first stands for its past"
    assert times(history.before(small_frame(profile, 11 * STEP))) == [10, 10, 11]
    for t in (18, 19):
        history.add(small_frame(profile, t * STEP))
    history.add(small_frame(profile, 5 * STEP))
    assert times(history.before(small_frame(profile, 20 * STEP))) == [18, 19, 20], "time runs one way"
    assert times(history.before(small_frame(profile, 30 * STEP))) == [30, 30, 30], "20 is farther from 28"
    history.clear()
    assert times(history.before(small_frame(profile, 21 * STEP))) == [21, 21, 21]


def test_a_policy_without_history_keeps_no_frames():
    history = History(0, 0.1)
    frame = small_frame(small_profile())
    assert history.before(frame) == [frame]
    assert not history._frames


class LooksBack(RampRunner):
    """Remembers what it was shown before each inference."""

    history = 2

    def __init__(self, profile):
        super().__init__(profile)
        self.shown, self.asked = [], []

    def observe(self, frame):
        self.shown.append(frame.t_ns)

    def infer(self, frame, task, prefix=None):
        self.asked.append((frame.t_ns, tuple(self.shown)))
        self.shown = []
        return super().infer(frame, task, prefix)


def test_a_run_shows_the_steps_before_each_observation_and_none_from_before_the_run():
    runner = LooksBack(small_profile())
    bench = Bench(runner)
    try:
        assert bench.tick(60) is None
    finally:
        bench.inference.close()
    assert runner.asked[0] == (T0, ())
    assert len(runner.asked) >= 2
    for t_ns, shown in runner.asked[1:]:
        assert shown == pytest.approx((t_ns - 2 * STEP, t_ns - STEP), abs=1)


def test_a_correction_policy_that_looks_back_is_shown_the_past_too():
    profile = small_profile()
    plain, looks_back = RampRunner(profile), LooksBack(profile)
    looks_back.last_timing = {"preprocess": 0.0, "model": 0.25, "postprocess": 0.0}
    both = SwitchRunner(plain, looks_back)
    assert both.history == 2
    both.observe(small_frame(profile, 3 * STEP))
    assert looks_back.shown == [3 * STEP]
    assert both.last_timing == {}
    both.select(correction=True)
    assert both.last_timing["model"] == 0.25
