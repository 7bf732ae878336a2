# SPDX-License-Identifier: Apache-2.0

"""The policy without weights: a known motion inside the limits, chunks that agree with it, options that are checked."""

from dataclasses import replace

import numpy as np
import pytest
from policy_fixtures import PROFILE_TEXT, small_frame, small_profile
from vla_core.errors import CheckpointError
from vla_policy.policies.runner import InferenceError, LoadRequest, PolicyRunner
from vla_policy.policies.scripted import ScriptedOptions, ScriptedRunner, load, parse_options

JOINTS = {"arm": np.array([0.1, 0.2]), "gripper": np.array([0.05])}


def frame_at(profile, t_s, joints=JOINTS):
    return replace(small_frame(profile, round(t_s * 1e9)), joints=joints)


def request(folder, guided=False, n_action_steps=0, **options):
    path = folder / "robot.yaml"
    path.write_text(PROFILE_TEXT)
    return LoadRequest(profile=path, rename={}, options=options, guided=guided, n_action_steps=n_action_steps)


def test_factory_makes_a_runner(tmp_path):
    loaded = load(request(tmp_path, chunk="30", noise="0.01"))
    assert isinstance(loaded.runner, PolicyRunner)
    assert (loaded.runner.chunk_size, loaded.runner.n_action_steps) == (30, 30)
    assert loaded.profile.robot == "sim_two_joint"
    assert loaded.source == "scripted"
    assert "noise 0.01 rad" in loaded.runner.description


def test_motion_starts_where_the_arm_is_and_at_rest():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions())
    runner.infer(frame_at(profile, 5.0), "")
    times = np.arange(5_000_000_000, 30_000_000_000, 10_000_000)
    arm = runner.reference.at(times)["arm"]
    assert arm[0] == pytest.approx([0.1, 0.2])
    speed = np.linalg.norm(np.diff(arm, axis=0), axis=1) / 0.01
    assert speed[0] < 1e-3
    started = times[:-1] > 5_000_000_000 + 1_600_000_000
    assert speed[started] == pytest.approx(2 * np.pi * 0.1 / 6.0, rel=1e-3)  # constant once it has started
    acceleration = np.abs(np.diff(arm, n=2, axis=0)) / 0.01**2
    assert acceleration.max() < 0.3


def test_chunks_lie_on_the_reference_whenever_they_are_asked_for():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions(chunk=20))
    for t_s in (1.0, 2.3, 7.77):
        chunk = runner.infer(frame_at(profile, t_s), "")
        times = np.array([chunk.time_ns(k) for k in range(len(chunk))])
        assert chunk.t0_ns == round(t_s * 1e9)
        assert chunk.dt_s == pytest.approx(0.1)
        assert chunk.values[:, :2] == pytest.approx(runner.reference.at(times)["arm"], abs=1e-6)


def test_noise_is_zero_at_the_observation_and_of_the_stated_size_at_the_end():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions(noise=0.05))
    ends = []
    for i in range(400):
        chunk = runner.infer(frame_at(profile, 1.0 + i), "")
        times = np.array([chunk.time_ns(k) for k in range(len(chunk))])
        off = chunk.values[:, :2] - runner.reference.at(times)["arm"]
        assert np.abs(off[0]).max() < 1e-6
        assert np.abs(off[1]).max() < 1e-3
        ends.append(off[-1])
    assert np.std(ends) == pytest.approx(0.05, rel=0.1)


def three_runs(seed):
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions(noise=0.05), seed=seed)
    values = []
    for _ in range(3):
        runner.reset()
        values.append(runner.infer(frame_at(profile, 1.0), "").values)
    return np.array(values)


def test_each_run_has_its_own_noise_and_a_seed_repeats_all_of_them():
    first = three_runs(3)
    assert np.array_equal(first, three_runs(3))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], three_runs(4)[0])


def test_gripper_closes_half_way_and_opens():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions(gripper_period=2.0, chunk=40))
    values = runner.infer(frame_at(profile, 0.0), "").values[:, 2]
    assert values[:10] == pytest.approx(0.05 / 0.8, abs=1e-6)  # as it was, in the profile's scale
    assert values[10:20] == pytest.approx((0.05 + 0.9) / 2 / 0.8, abs=1e-6)
    assert values[20:30] == pytest.approx(values[:10])
    still = ScriptedRunner(profile, ScriptedOptions(gripper_period=0.0)).infer(frame_at(profile, 0.0), "").values
    assert np.ptp(still[:, 2]) == 0.0


@pytest.mark.parametrize("start", [(2.99, -2.99), (-3.0, 3.0), (2.95, 2.95)])
def test_near_a_limit_the_motion_keeps_away_from_it(start):
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions())
    runner.infer(frame_at(profile, 0.0, {**JOINTS, "arm": np.array(start)}), "")
    arm = runner.reference.at(np.arange(0, 20_000_000_000, 50_000_000))["arm"]
    assert np.abs(arm).max() <= 3.0 + 1e-9
    assert np.ptp(arm[:, 1]) > 0.05  # the joint that moves to one side still moves


def test_a_state_without_the_joints_is_named():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions())
    with pytest.raises(InferenceError, match=r"does not hold the joints of gripper; add their position fields"):
        runner.infer(frame_at(profile, 0.0, {"arm": JOINTS["arm"]}), "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"nois": "0.1"}, r"unknown option 'nois' .*known: chunk, amplitude.*noise"),
        ({"noise": "much"}, "noise=much is not a number"),
        ({"noise": "nan"}, "noise=nan is not a number"),
        ({"chunk": "1"}, "chunk=1: a whole number from 2 to 1000"),
        ({"chunk": "7.5"}, "chunk=7.5: a whole number"),
        ({"period": "0"}, "period=0: above 0 s"),
        ({"amplitude": "-1"}, "amplitude=-1: not below 0"),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(CheckpointError, match=text):
        parse_options(options)


def test_requests_that_cannot_be_met(tmp_path):
    with pytest.raises(CheckpointError, match="give one with profile:=FILE"):
        load(LoadRequest(rename={}, options={}))
    with pytest.raises(CheckpointError, match="cannot be guided; choose another strategy than rtc"):
        load(request(tmp_path, guided=True))
    with pytest.raises(CheckpointError, match="n_action_steps:=60 is not between 1 and its chunk of 50"):
        load(request(tmp_path, n_action_steps=60))
    with pytest.raises(CheckpointError, match=r"moves 'arm' at 6.28 rad/s, more than half of what the profile allows"):
        load(request(tmp_path, period=1.0, amplitude=1.0))


def test_latency_is_slept_and_reported():
    profile = small_profile()
    runner = ScriptedRunner(profile, ScriptedOptions(latency=0.05))
    runner.infer(frame_at(profile, 0.0), "")
    assert runner.last_timing["model"] >= 0.05
