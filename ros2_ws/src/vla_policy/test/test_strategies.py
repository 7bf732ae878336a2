# SPDX-License-Identifier: Apache-2.0

"""What each strategy makes of two overlapping chunks, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from policy_fixtures import small_profile
from strategy_bench import frame, run
from test_executor import DT, S, chunk, observed
from vla_core.chunks import ActionChunk
from vla_core.profile import parse_profile
from vla_core.trajectory import follows
from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.strategies import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    Running,
    StrategyError,
    StrategyOptions,
    make_strategy,
    ramp,
    require_guidable,
)
from vla_policy.execution.timeline import Timeline


def line(t0_ns, values):
    return Timeline(t0_ns=t0_ns, dt_s=0.1, rows={"arm": np.asarray(values, dtype=float)[:, None]})


def join(name, *, first=2, covered=6, count=10, **options):
    """A new chunk of ones over a running one of zeros."""
    strategy = make_strategy(name, StrategyOptions(**options))
    running = Running(rows={"arm": np.zeros((count, 1))}, covered=covered)
    return strategy.join(line(0, np.ones(count)), running, first)["arm"][:, 0]


def test_a_row_is_held_until_the_next_one_and_the_first_and_last_for_ever():
    grid = Timeline(t0_ns=7, dt_s=1.0 / 30.0, rows={"arm": np.arange(40.0)[:, None]})
    assert grid.times_ns().tolist() == [grid.time_ns(i) for i in range(40)]
    times = np.concatenate([grid.times_ns() + d for d in (-1, 0, 1)] + [[-(10**9), 10**10]])
    last = [max([i for i in range(40) if grid.time_ns(i) <= t], default=0) for t in times]
    assert grid.held("arm", times)[:, 0].tolist() == last


def test_latest_and_sync_take_the_new_chunk_as_it_is():
    assert join("latest").tolist() == join("sync").tolist() == [1.0] * 10


def test_weighted_average_mixes_where_both_have_steps():
    assert join("weighted_average") == pytest.approx([0.7] * 6 + [1.0] * 4)
    assert join("weighted_average", aggregate_weight=0.5) == pytest.approx([0.5] * 6 + [1.0] * 4)


def test_crossfade_is_a_smooth_ramp_from_the_first_step_that_can_be_reached():
    share = join("crossfade", blend_steps=4)
    assert share[:2].tolist() == [0.0, 0.0]
    assert share[6:].tolist() == [1.0] * 4
    assert (np.diff(share) >= 0.0).all()
    assert share[2:6] == pytest.approx(0.5 - 0.5 * np.cos(np.pi * np.array([1, 2, 3, 4]) / 5))
    assert ramp(20, 3, 10)[3] < 0.03, "the first step is nearly the old one"


def test_rtc_takes_only_a_few_steps_to_remove_what_guidance_left():
    assert join("rtc")[2:7].tolist() == join("crossfade", blend_steps=4)[2:7].tolist()


def test_at_the_beginning_there_is_nothing_to_join():
    for name in STRATEGIES:
        assert make_strategy(name).join(line(0, np.ones(5)), None, 1)["arm"][:, 0] == pytest.approx(np.ones(5))


def test_the_ensemble_weighs_the_oldest_chunk_most_and_forgets_those_that_are_over():
    ensemble = make_strategy("temporal_ensemble", StrategyOptions(ensemble_decay=0.5))
    ensemble.join(line(0, np.full(4, 1.0)), None, 0)
    ensemble.join(line(DT, np.full(4, 2.0)), None, 0)
    got = ensemble.join(line(2 * DT, np.full(4, 3.0)), None, 0)["arm"][:, 0]
    w = np.exp(-0.5 * np.arange(3))
    # At 0.2 and 0.3 s all three speak, at 0.4 s the second and third, at 0.5 s only the third.
    assert got == pytest.approx([w @ [1, 2, 3] / w.sum()] * 2 + [w[:2] @ [2, 3] / w[:2].sum(), 3.0])
    got = ensemble.join(line(10 * DT, np.full(4, 7.0)), None, 0)["arm"][:, 0]
    assert got == pytest.approx([7.0] * 4)
    ensemble.join(line(10 * DT, np.full(4, 9.0)), None, 0)
    ensemble.reset()
    assert ensemble.join(line(10 * DT, np.full(4, 5.0)), None, 0)["arm"][:, 0] == pytest.approx([5.0] * 4)


def test_the_ensemble_reads_chunks_between_their_steps():
    ensemble = make_strategy("temporal_ensemble", StrategyOptions(ensemble_decay=0.0))
    ensemble.join(line(0, [0.0, 1.0, 2.0, 3.0]), None, 0)
    got = ensemble.join(line(DT // 2, [0.0, 0.0, 0.0, 0.0]), None, 0)["arm"][:, 0]
    assert got == pytest.approx([0.25, 0.75, 1.25, 0.0])


def test_unknown_names_and_impossible_options_are_named():
    assert DEFAULT_STRATEGY in STRATEGIES
    with pytest.raises(StrategyError, match=r"strategy 'crosfade' is unknown; known: sync, .*did you mean 'crossfade'"):
        make_strategy("crosfade")
    for options, text in (
        ({"aggregate_weight": 1.5}, r"aggregate_weight:=1\.5 is not between 0 \(old\) and 1 \(new\)"),
        ({"blend_steps": 0}, "blend_steps:=0 .* at least 1; strategy:=latest changes over without a ramp"),
        ({"ensemble_decay": -1.0}, "ensemble_decay:=-1 is negative"),
    ):
        with pytest.raises(StrategyError, match=text):
            make_strategy("crossfade", StrategyOptions(**options))


def test_a_policy_that_cannot_be_guided_is_refused_for_rtc():
    require_guidable(SimpleNamespace(guidable=True, description="SmolVLA"))
    with pytest.raises(
        StrategyError, match=r"cannot be guided: ACT of 5 M parameters\. ACT cannot be guided, .*crossfade"
    ):
        require_guidable(SimpleNamespace(guidable=False, description="ACT of 5 M parameters"))


def made(strategy, *, latency_s=0.1, n=10, **options):
    return ChunkExecutor(
        small_profile(),
        n_action_steps=n,
        latency=LatencyEstimate(latency_s, fixed=True),
        strategy=make_strategy(strategy),
        **options,
    )


def test_the_prefix_is_what_is_in_force_counted_from_the_new_frame():
    e = made("rtc", latency_s=0.2)
    assert e.prefix(observed(), 0) is None, "nothing is in force yet"
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    later = 3 * DT
    seen = frame(later, np.array([0.1, 0.0]), np.array([0.0]))
    prefix = e.prefix(seen, later + DT // 10)
    # Steps 0.3 to 0.9 s of the running chunk; it can be replaced from 0.31 + 0.2 + 0.1 s on, so four are certain.
    assert prefix.values.shape == (7, 3)
    assert prefix.values[2:, 0] == pytest.approx(0.05 * np.arange(5, 10), abs=1e-3)
    assert np.all(prefix.values[:2, 0] < 0.05 * np.arange(3, 5)), "the arm has begun smoothly"
    assert prefix.values[:, 2].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert prefix.frozen == 4
    assert e.prefix(frame(20 * DT, np.zeros(2), np.zeros(1)), 20 * DT) is None, "the plan is over: never padded"
    other = made("crossfade")
    other.adopt(other.prepare(chunk(), observed(), 0, observed()), 0)
    assert other.prefix(seen, later) is None, "nobody would read it"


def test_the_steps_of_a_prefix_are_those_that_the_new_chunk_really_skips():
    for latency_s in (0.15, 0.4):
        outcome = run("rtc", latency_s, duration_s=3.0)
        assert len(set(outcome.skipped)) == 1


def test_the_first_chunk_begins_smoothly_however_late_it_comes():
    fade, raw = made("crossfade", n=30), made("latest", n=30)
    late = ActionChunk(t0_ns=0, dt_s=0.1, values=np.outer(np.arange(30), [0.05, 0.0, 0.0]).astype(np.float32))
    steps = {}
    for name, e in (("crossfade", fade), ("latest", raw)):
        e.adopt(e.prepare(late, observed(), 12 * DT, observed()), 12 * DT)
        positions = np.array([e.arm_targets(t * DT)["arm"][0] for t in range(12, 30)])
        assert positions[-1] == pytest.approx(1.45, abs=1e-3), "on the clock of the chunk again"
        steps[name] = np.abs(np.diff(positions)).max()
    assert steps["latest"] == pytest.approx(0.65, abs=0.01), "13 steps at once"
    assert steps["crossfade"] < 0.2


def test_sync_observes_at_rest_and_begins_its_chunk_when_it_comes():
    e = made("sync", latency_s=0.4, n=5)
    e.adopt(e.prepare(chunk(), observed(), 4 * DT, observed()), 4 * DT)
    arm = e.plan.trajectories["arm"]
    assert (arm.first_step, len(arm.waypoints)) == (0, 5), "all five steps: 0.4 s of thinking cost none"
    assert arm.waypoints[0, 0] == pytest.approx(chunk().values[0, 0]), "the first of them, one step from now"
    assert not e.wants_observation(9 * DT - 1)
    assert e.wants_observation(9 * DT), "executing n steps takes n steps"


def test_the_ensemble_asks_whenever_it_may_and_crossfade_while_there_is_room_for_its_ramp():
    eager, fade = made("temporal_ensemble"), made("crossfade")
    for e in (eager, fade):
        e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    assert eager.wants_observation(DT // 10)
    # Of ten steps the ramp gets four, half of what there is: it takes over at step 4, one latency after 0.3 s.
    assert not fade.wants_observation(3 * DT - 1)
    assert fade.wants_observation(3 * DT)


def test_refill_counts_the_steps_that_are_left():
    e = made("latest", refill=6)
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    assert not e.wants_observation(3 * DT)
    assert e.wants_observation(3 * DT + 1), "steps 4 to 9 are left"


def test_an_arm_that_follows_goes_on_from_what_is_in_force_and_one_that_does_not_from_where_it_is():
    e = made("latest")
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    spline, now = e.plan.in_force["arm"], 5 * DT
    lagging = spline.position_at(now - S // 20)
    assert follows(spline, now, lagging)
    assert not follows(spline, now, lagging - [0.2, 0.0])
    state = np.array([lagging[0], 0.0, 0.0], dtype=np.float32)
    plan = e.prepare(chunk(t0_ns=4 * DT, offset=0.2), observed(state), now, observed(state))
    start = plan.trajectories["arm"]
    assert start.from_start
    assert start.positions[0] == pytest.approx(spline.position_at(now))
    assert start.velocities[0] == pytest.approx([0.5, 0.0], abs=0.02)
    behind = np.array([0.05, 0.0, 0.0], dtype=np.float32)  # speed scaling held it up
    plan = e.prepare(chunk(t0_ns=4 * DT, offset=0.2), observed(behind), now, observed(behind))
    assert not plan.trajectories["arm"].from_start
    assert plan.in_force["arm"].positions[0] == pytest.approx([0.05, 0.0])


def test_what_the_safety_filter_clamps_is_what_is_sent():
    clamping = parse_profile(small_profile().text.replace("watchdog_s: 0.3", "watchdog_s: 0.3\n  clamp: true"))
    e = ChunkExecutor(clamping, n_action_steps=10, latency=LatencyEstimate(0.1, fixed=True))
    near = np.array([2.8, 0.0, 0.0], dtype=np.float32)
    plan = e.prepare(chunk(offset=2.8), observed(near), 0, observed(near))
    assert plan.report.ok
    assert plan.report.clamped
    assert plan.trajectories["arm"].waypoints[:, 0].max() == pytest.approx(3.0)
    e.adopt(plan, 0)
    assert e.arm_targets(9 * DT)["arm"][0] == pytest.approx(3.0), "and what is recorded"
