# SPDX-License-Identifier: Apache-2.0

"""Alignment of chunks by observation time, take-over, and what is in force."""

import numpy as np
import pytest
from policy_fixtures import small_profile
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.errors import ActionError, StaleChunkError
from vla_core.frames import Frame, FrameBuilder
from vla_core.profile import parse_profile, with_codec
from vla_core.testing import image, joint_state
from vla_policy.execution.executor import ChunkExecutor, describe
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.measures import Measures, append_report

S = 1_000_000_000
DT = S // 10
STATE = np.array([0.0, 0.0, 0.0], dtype=np.float32)


def observed(state=STATE):
    """A frame with this state."""
    joints = ActionMap(small_profile()).current_joints(state)
    return Frame(t_ns=0, state=state, state64=state.astype(float), images={}, action=None, ages_s={}, joints=joints)


def chunk(t0_ns=0, steps=10, speed=0.5, offset=0.0):
    """The first joint moves at `speed` rad/s, the gripper closes at step 5."""
    k = np.arange(steps)
    columns = [offset + speed * 0.1 * k, np.zeros(steps), np.where(k < 5, 0.0, 1.0)]
    return ActionChunk(t0_ns=t0_ns, dt_s=0.1, values=np.stack(columns, axis=1).astype(np.float32))


def executor(n=10, latency_s=0.1, fixed=True):
    return ChunkExecutor(small_profile(), n_action_steps=n, latency=LatencyEstimate(latency_s, fixed=fixed))


def test_past_steps_are_skipped_and_the_rest_keeps_its_time():
    e = executor()
    now = 25 * S // 100
    plan = e.prepare(chunk(), observed(), now, observed())
    arm = plan.trajectories["arm"]
    assert arm.first_step == 4, "0.35 s is the earliest time that is one step ahead"
    for time_s, position in zip(arm.time_from_start, arm.positions[:, 0], strict=True):
        assert position == pytest.approx(0.5 * (0.25 + time_s), abs=1e-6)
    assert (arm.velocities[-1] == 0.0).all(), "controllers reject anything else"


def test_another_policy_is_executed_by_its_own_number_of_steps():
    steps = [4]
    e = executor(n=lambda: steps[0], latency_s=0.1)
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    assert e.wants_observation(2 * DT)
    steps[0] = 8
    assert not e.wants_observation(5 * DT)
    assert e.wants_observation(6 * DT)


def test_a_state_that_holds_a_pose_still_leads_to_joints():
    arm = "kinematics: {joints: [shoulder, elbow], a: [0.5, 0.4], d: [0.0, 0.0], alpha: [0.0, 0.0]}\n"
    profile = with_codec(parse_profile(small_profile().text + arm), "eepose_delta", "rot6d")
    builder = FrameBuilder(profile, actions=False)
    builder.push_topic("front/image_raw", 0, image(S, np.zeros((*profile.cameras[0].size, 3), np.uint8)))
    joints = {"shoulder": 0.4, "elbow": 0.8, "finger": 0.1}
    builder.push_topic("joint_states", 0, joint_state(S, list(joints), list(joints.values())))
    frame = builder.sample(S)
    targets = {"arm": np.array([0.4, 0.8]) + 0.02 * np.arange(10)[:, None], "gripper": np.full((10, 1), 0.2)}
    values = ActionMap(profile).encode(targets, frame.state)
    e = ChunkExecutor(profile, n_action_steps=10, latency=LatencyEstimate(0.1, fixed=True))
    plan = e.prepare(ActionChunk(t0_ns=S, dt_s=0.1, values=values), frame, S, frame)
    assert plan.report.ok
    assert plan.trajectories["arm"].positions == pytest.approx(targets["arm"][1:], abs=1e-4)


def test_a_chunk_that_came_too_late_is_refused():
    with pytest.raises(StaleChunkError, match="all 10 steps"):
        executor().prepare(chunk(), observed(), 2 * S, observed())


def test_the_next_observation_is_taken_one_latency_before_the_take_over():
    e = executor(latency_s=0.2)
    assert e.wants_observation(0)
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    # The arm would rest at step 9, so the next chunk takes over at step 8 = 0.8 s.
    assert not e.wants_observation(S * 59 // 100)
    assert e.wants_observation(S * 60 // 100)


def test_fewer_steps_than_the_chunk_holds_replans_earlier():
    e = executor(n=4, latency_s=0.1)
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    assert not e.wants_observation(S * 19 // 100)
    assert e.wants_observation(S * 20 // 100)
    assert e.plan.trajectories["arm"].time_from_start[-1] == pytest.approx(0.9), "the rest stays as a reserve"


def test_a_take_over_has_no_jump_in_position_and_little_in_speed():
    e = executor()
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    swap = 8 * DT
    before = e.arm_targets(swap)["arm"]
    state = np.array([before[0], before[1], 0.0], dtype=np.float32)
    e.adopt(e.prepare(chunk(t0_ns=7 * DT, offset=0.36), observed(), swap, observed(state)), swap)
    times = np.arange(0, 4 * DT, 2_000_000)
    path = np.array([e.arm_targets(swap + int(t))["arm"][0] for t in times])
    assert path[0] == pytest.approx(before[0], abs=1e-6)
    speed = np.diff(path) / 0.002
    assert speed.max() < 0.75, "the demonstrated 0.5 rad/s plus the offset of 0.01 rad caught up in a step"
    assert speed.min() > 0.3, "it does not stop in between"


def test_grippers_follow_the_step_in_force():
    e = executor()
    assert e.gripper_targets(0) == {}
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    assert e.gripper_targets(5 * DT - 1)["gripper"][0] == pytest.approx(0.0)
    assert e.gripper_targets(5 * DT)["gripper"][0] == pytest.approx(0.8)
    assert e.gripper_targets(50 * DT)["gripper"][0] == pytest.approx(0.8), "the last target stays"
    assert e.exhausted(50 * DT)


def test_gripper_overshoot_is_clipped_and_counted():
    c = chunk()
    c.values[:, 2] = 1.4  # 1.12 rad, the travel ends at 0.9
    plan = executor().prepare(c, observed(), 0, observed())
    assert plan.clipped == 10
    assert plan.grippers["gripper"].max() == pytest.approx(0.9)
    assert plan.report.ok


def test_steps_are_counted_once():
    e = executor()
    e.adopt(e.prepare(chunk(), observed(), 0, observed()), 0)
    for t in range(30):
        e.count(t * DT // 4)
    assert e.steps == 7
    e.count(100 * DT)
    assert e.steps == 9, "nine steps come into force after the one at the take-over"
    e.reset()
    assert (e.steps, e.plan) == (0, None)


def test_limits_of_the_profile_are_reported():
    plan = executor().prepare(chunk(speed=20.0), observed(), 0, observed())
    assert not plan.report.ok
    text = "; ".join(plan.report.violations)
    assert "velocity of shoulder" in text
    assert "3 rad/s" in text
    far = executor().prepare(chunk(offset=2.0), observed(), 0, observed())
    assert any("step" in violation for violation in far.report.violations), "the way from where the arm is counts"


def test_nan_is_refused_by_name():
    c = chunk()
    c.values[3, 1] = np.nan
    with pytest.raises(ActionError, match=r"elbow\.pos at step 3 is nan"):
        executor().prepare(c, observed(), 0, observed())


def test_a_plan_can_be_described():
    text = describe(executor().prepare(chunk(), observed(), S // 10, observed()), S // 10)
    assert "observed 100 ms ago; arm: 8 points" in text
    assert "shoulder +0.100→+0.450" in text
    assert "gripper: 0.000→0.800 rad" in text


def test_measures_and_their_file(tmp_path):
    measures = Measures()
    for i, wall_s in enumerate((0.0, 0.020, 0.045, 0.060)):
        measures.tick(i * 20_000_000, wall_s)
    assert list(measures.control_jitter_ms.recent) == pytest.approx([0.0, 5.0, 5.0])
    append_report(tmp_path / "new" / "report.jsonl", measures.summary())
    append_report(tmp_path / "new" / "report.jsonl", measures.summary())
    assert len((tmp_path / "new" / "report.jsonl").read_text().splitlines()) == 2
