# SPDX-License-Identifier: Apache-2.0

"""Starvation: the end of a run, and the way on which an arm slows down."""

import numpy as np
import pytest
from policy_cell import RampRunner
from policy_fixtures import PROFILE_TEXT, small_profile
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_core.stamps import to_ns
from vla_core.trajectory import build_trajectory
from vla_msgs.action import RunPolicy
from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.ramp_down import RampDown
from vla_policy.execution.run_guards import StarvationGuard

Result = RunPolicy.Result
T0 = 1_000_000_000_000
LIMITED = PROFILE_TEXT.replace("max_step: 0.5", "max_step: 0.5, max_acceleration: 4.0")


def frame(profile, t_ns, arm=(0.1, 0.2)):
    state = np.array([*arm, 0.0])
    joints = {"arm": np.array(arm), "gripper": np.array([0.0])}
    images = {"observation.images.front": np.zeros((32, 32, 3), dtype=np.uint8)}
    return Frame(
        t_ns=t_ns, state=state.astype(np.float32), state64=state, joints=joints, images=images, action=None, ages_s={}
    )


def executor(profile, **options):
    made = ChunkExecutor(profile, n_action_steps=8, latency=LatencyEstimate(0.0, fixed=True), **options)
    now = frame(profile, T0)
    chunk = RampRunner(profile, slope=0.05).infer(now, "")
    plan = made.prepare(chunk, now, T0, now)
    assert plan.report.ok
    made.adopt(plan, T0)
    return made, plan


def test_a_run_ends_when_the_arm_has_waited_too_long():
    made, plan = executor(small_profile())
    guard = StarvationGuard(made, 0.5)
    end_ns = plan.timeline.end_ns
    assert guard.check(end_ns) is None
    assert guard.check(end_ns + to_ns(0.5)) is None
    stop = guard.check(end_ns + to_ns(0.52))
    assert (stop.error_code, stop.termination) == (Result.STARVED, Result.TERMINATION_STARVED)
    assert "no new chunk for 0.52 s after the last one was over (starvation_timeout_s 0.5 s)" in stop.message
    assert StarvationGuard(made, float("inf")).check(end_ns + to_ns(1000.0)) is None
    made.release()
    assert guard.check(end_ns + to_ns(1000.0)) is None


def trajectory(profile, slope, count=5, dt_s=0.1, start=(0.1, 0.2)):
    rows = np.array(start) + np.arange(count)[:, None] * np.array(slope) * dt_s
    return build_trajectory(rows, T0, dt_s, T0, joint_names=profile.action[0].joints, current=np.array(start))


def test_the_arm_slows_down_along_its_way_within_the_acceleration_of_the_profile():
    profile = parse_profile(LIMITED)
    before = trajectory(profile, (0.8, -0.4))
    after = RampDown(profile)({"arm": before}, 0.1)["arm"]
    kept = len(before.time_from_start)
    assert np.array_equal(after.positions[:kept], before.positions)
    assert after.velocities[kept - 1] == pytest.approx([0.8, -0.4])
    assert after.velocities[-1] == pytest.approx([0.0, 0.0])
    # 0.8 rad/s at 4 rad/s^2 are two steps and 0.08 rad; the slower joint goes half as far, in the same time.
    assert len(after.time_from_start) == kept + 2
    assert after.positions[-1] - before.positions[-1] == pytest.approx([0.08, -0.04])
    times = np.linspace(before.time_from_start[-1], after.time_from_start[-1], 201)
    moved = np.stack([after.position_at(T0 + to_ns(float(t))) for t in times])
    speeds = np.diff(moved, axis=0) / np.diff(times)[:, None]
    assert (np.abs(np.diff(speeds, axis=0)) / np.diff(times)[1:, None]).max() <= 4.0 + 1e-3
    assert speeds[:, 1] == pytest.approx(-0.5 * speeds[:, 0], abs=1e-3)


def test_an_arm_that_stands_or_would_leave_its_limits_ends_where_the_chunk_ends():
    profile = parse_profile(LIMITED)
    ramp = RampDown(profile)
    still = trajectory(profile, (0.0, 0.0))
    assert ramp({"arm": still}, 0.1)["arm"] is still
    near = trajectory(profile, (0.8, 0.0), start=(2.66, 0.2))
    assert near.positions[-1, 0] < 3.0 < near.positions[-1, 0] + 0.08
    assert ramp({"arm": near}, 0.1)["arm"] is near


def test_the_way_is_part_of_what_is_in_force_and_not_of_the_chunk():
    profile = parse_profile(LIMITED)
    _, plain = executor(profile)
    made, ramped = executor(profile, ramp_down=True)
    assert ramped.timeline.end_ns == plain.timeline.end_ns
    end_ns = plain.timeline.end_ns
    assert plain.trajectories["arm"].end_ns == end_ns
    assert ramped.trajectories["arm"].end_ns > end_ns
    assert made.exhausted(end_ns + 1)
    late = made.arm_targets(end_ns + to_ns(0.05))["arm"]
    assert (late > made.arm_targets(end_ns)["arm"]).all()
    again = frame(profile, end_ns, tuple(made.arm_targets(end_ns)["arm"]))
    chunk = RampRunner(profile, slope=0.05).infer(again, "")
    assert made.prepare(chunk, again, end_ns, again).report.ok
