# SPDX-License-Identifier: Apache-2.0

"""The recorded files of a real UR5e, driven by the simulated one: visited poses against the formula."""

import numpy as np
import pytest
from skill_bench import SkillBench, moved
from skill_examples import RECORDED, needs_recorded
from test_skill_node import nearest
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy
from vla_msgs.action import ExecuteSkill
from vla_teleop.skills.waypoints import load_waypoints

pytestmark = needs_recorded
TCP = {"xyz": [0.0, 0.0, 0.1792]}  # of the robot that they were taught on
HASTE = {"linear_speed": 0.25, "linear_acceleration": 0.8}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    bench = SkillBench(tmp_path_factory.mktemp("recorded"), skills_dir=str(RECORDED))
    yield bench
    bench.close()


@pytest.mark.parametrize(("name", "relative", "threshold", "verified"), [("CPU", 20, 155, 18), ("RAM", 5, 225, 3)])
def test_a_recorded_skill_goes_where_the_formula_says(shared, name, relative, threshold, verified):
    bench = shared
    bench.reset()
    rows = load_waypoints(RECORDED / f"{name}_Skills.csv")
    turn = pose_matrix(bench.arm.base_xyz, rotation_from_rpy(bench.arm.base_rpy))
    trigger = moved(turn @ rows[0].T, x=0.02, y=-0.03, z=0.04)
    bench.skill("go", [moved(trigger, z=0.1), trigger], [rows[0].gripper] * 2, relative=0, tcp=TCP)
    went = bench.run("go")
    assert went.succeeded, went.result.error_msg
    tool = pose_matrix(TCP["xyz"], np.eye(3))
    measured = forward(bench.arm, bench.q()) @ tool
    bench.visited.clear()
    spec = {"file": f"{name}_Skills.csv", "relative_count": relative, "grasp_threshold": threshold, "tcp": TCP, **HASTE}
    bench.write_table({name: spec})
    failed = bench.run(name).result  # there is no such part in the cell
    assert failed.error_code == ExecuteSkill.Result.VERIFICATION_FAILED, failed.error_msg
    assert failed.grasp_commanded == rows[verified].gripper
    assert failed.grasp_actual >= threshold
    origin = np.linalg.inv(rows[0].T)
    for row in rows[: verified + 1]:
        assert nearest(bench, measured @ origin @ row.T, tool) <= 0.002
    bench.visited.clear()
    resumed = bench.run(name, resume=True)
    assert resumed.succeeded, resumed.result.error_msg
    for row in rows[relative:]:
        assert nearest(bench, turn @ row.T, tool) <= 0.002
