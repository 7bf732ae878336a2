# SPDX-License-Identifier: Apache-2.0

"""The scripted expert in the cell, without ROS. All 50 seeds of every variant run with VLA_TEST_FULL=1."""

import os

import numpy as np
import pytest
from vla_core.errors import KinematicsError
from vla_sim import constants as c
from vla_sim import kinematics, tasks
from vla_sim.cell import Cell
from vla_sim.expert import MAX_JOINT_SPEED, Expert

FULL = os.environ.get("VLA_TEST_FULL") == "1"
VARIANTS = [
    ("lift", "fixed", 0.0),
    ("lift", "fixed", 0.5),
    ("pick_place", "fixed", 0.0),
    ("pick_place", "moving", 0.0),
    ("pick_place", "moving", 0.5),
    ("pick", "fixed", 0.0),
    ("pick_rotated", "fixed", 0.0),
    ("pick_which", "fixed", 0.0),
]


def plan(task, seed, noise=True, **options):
    start = tasks.start_state(seed, **options)
    return Expert(task, seed, noise).plan(start.q, start.block, start.bin)


def rollout(cell, seed):
    """Run one episode as the drivers would: joint targets each step, gripper goals at 50 Hz."""
    cell.reset(seed)
    state = cell.task_state()
    episode = Expert(cell.task, seed, True).plan(cell.arm_state()[0], state.object_pose, state.target_pose)
    for i in range(int(episode.duration_s * 500)):
        cell.set_arm_target(episode.executed(i * 0.002))
        if i % 10 == 0:
            cell.set_gripper_target(episode.gripper(i * 0.002))
        cell.step()
    return cell.task_state().success


@pytest.mark.parametrize(("task", "bin_mode", "yaw_range"), VARIANTS)
def test_success_over_seeds(task, bin_mode, yaw_range):
    cell = Cell({}, task=task, bin_mode=bin_mode, yaw_range=yaw_range)
    seeds = range(50 if FULL else 2 if task in tasks.PICK_TASKS else 4)
    failed = [seed for seed in seeds if not rollout(cell, seed)]
    assert len(failed) <= (0.02 if task in tasks.PICK_TASKS else 0.05) * len(seeds), (
        f"{task}, bin {bin_mode}, yaw {yaw_range}: failed seeds {failed}"
    )


@pytest.mark.parametrize("task", tasks.BLOCK_TASKS)
def test_plans_are_short_smooth_and_within_the_speed_limit(task):
    longest = 4.3 if task == "lift" else 7.6
    for seed in range(5):
        episode = plan(task, seed, noise=False, bin_mode="moving", yaw_range=0.5)
        assert 3.0 < episode.duration_s < longest
        times = np.arange(0.0, episode.duration_s, 0.002)
        joints = np.array([episode.arm(t) for t in times])
        speed = np.diff(joints, axis=0) / 0.002
        assert np.abs(speed).max() <= MAX_JOINT_SPEED * 1.01
        assert np.abs(np.diff(speed, axis=0)).max() < 0.05
        assert (np.abs(joints) < c.JOINT_LIMIT).all()
        knuckle = np.array([episode.gripper(t) for t in times])
        assert knuckle.min() >= -1e-9
        assert knuckle.max() <= c.KNUCKLE_CLOSED + 1e-9
        assert np.abs(np.diff(knuckle)).max() / 0.002 < 4.0


def test_plan_begins_where_the_arm_is_and_holds_its_end():
    start = tasks.start_state(3)
    episode = plan("lift", 3)
    np.testing.assert_allclose(episode.executed(0.0), start.q, atol=1e-9)
    np.testing.assert_array_equal(episode.arm(-1.0), episode.arm(0.0))
    np.testing.assert_array_equal(episode.arm(99.0), episode.arm(episode.duration_s))
    assert kinematics.tcp(episode.arm(99.0))[2] > 0.1


def test_noise_is_on_the_executed_target_only_and_repeats_with_its_seed():
    clean, noisy, again = plan("lift", 5, noise=False), plan("lift", 5), plan("lift", 5)
    times = np.arange(0.5, clean.duration_s, 0.1)
    gaps = np.array([noisy.executed(t) - noisy.arm(t) for t in times])
    np.testing.assert_array_equal([noisy.arm(t) for t in times], [clean.arm(t) for t in times])
    np.testing.assert_array_equal([clean.executed(t) for t in times], [clean.arm(t) for t in times])
    np.testing.assert_array_equal([again.executed(t) for t in times], [noisy.executed(t) for t in times])
    steps = np.diff([noisy.executed(t) - noisy.arm(t) for t in np.arange(0.0, 3.0, 0.002)], axis=0)
    assert np.abs(steps).max() < 0.001
    assert 0.0 < gaps.std() < 0.02


def test_noise_is_large_away_from_the_block_and_small_near_it():
    plans = [plan("lift", seed) for seed in range(20)]

    def spread(t):
        return np.std([p.executed(t) - p.arm(t) for p in plans])

    assert 0.006 < spread(0.8) < 0.016
    assert 0.002 < spread(1.6) < 0.006
    assert 0.002 < spread(3.0) < 0.006


def test_noise_repeats_with_its_seed_only():
    start = tasks.start_state(5)
    plans = [Expert("lift", seed, True).plan(start.q, start.block, start.bin) for seed in (1, 2)]
    assert not np.allclose(plans[0].executed(1.0), plans[1].executed(1.0))


def test_phases_follow_each_other():
    episode = plan("pick_place", 0)
    names = [episode.phase(t) for t in np.arange(-0.1, episode.duration_s, 0.05)]
    order = list(dict.fromkeys(names))
    assert order == ["approach", "grasp", "carry", "release", "retreat"]
    assert names == sorted(names, key=order.index)


def test_block_out_of_reach_is_refused():
    start = tasks.start_state(0)
    with pytest.raises(KinematicsError, match="out of reach"):
        Expert("lift", 0).plan(start.q, tasks.upright(1.5, 0.0, 0.02), start.bin)
