# SPDX-License-Identifier: Apache-2.0

"""Skills against the simulated cell in lockstep: what they reach, how they end early, and what the operator reads."""

import numpy as np
import pytest
from skill_bench import CLOSED, THRESHOLD, SkillBench
from vla_core.kinematics import forward, rotation_vector
from vla_msgs.action import ExecuteSkill

Result = ExecuteSkill.Result


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    bench = SkillBench(tmp_path_factory.mktemp("skills"))
    yield bench
    bench.close()


@pytest.fixture
def bench(shared):
    shared.reset()
    shared.speed(1.0)
    return shared


def nearest(bench, T):
    """Smallest distance [m] at which the tool centre point passed a pose, among those turned by no more than 0.02 rad."""
    poses = forward(bench.arm, np.array([q for _, q, _ in bench.visited])) @ bench.teleop.T_tool_tcp
    turned = np.array([np.linalg.norm(rotation_vector(T[:3, :3] @ R.T)) for R in poses[::5, :3, :3]])
    far = np.linalg.norm(poses[::5, :3, 3] - T[:3, 3], axis=1)
    return far[turned <= 0.02].min()


def test_a_skill_goes_where_the_formula_says_and_verifies_its_grasp(bench):
    poses = bench.take()
    outcome = bench.run("take")
    result = outcome.result
    assert outcome.succeeded, result.error_msg
    assert [nearest(bench, T) <= 0.002 for T in poses] == [True] * len(poses)
    assert (result.grasp_checked, result.grasp_verified) == (True, True)
    assert (result.grasp_commanded, result.grasp_threshold) == (CLOSED, THRESHOLD)
    assert 110 < result.grasp_actual < 140  # a block of 40 mm in a stroke of 85 mm
    assert result.waypoints == len(poses)
    assert result.duration > 3.0
    assert bench.measured["robotiq_85_left_knuckle_joint"] < 0.05
    waypoints = [f.waypoint for f in bench.feedback]
    assert waypoints == sorted(waypoints)
    assert [f.absolute for f in bench.feedback if f.waypoint >= 5] == [True] * sum(w >= 5 for w in waypoints)
