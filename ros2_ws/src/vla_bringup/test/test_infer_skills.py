# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py with skill_table:=, as a user meets it: a skill from a waypoint file goes on where the policy stopped."""

import json

import numpy as np
import pytest
import yaml
from launches import isolated, launch
from vla_core.kinematics import pose_matrix
from vla_teleop.skills.waypoints import Waypoint, save_waypoints

# The scripted policy moves in circles and half closes the gripper now and then; with these values that is its stop signal.
MORE = """
/**/policy:
  ros__parameters: {stop_distance: 1.0, stop_gripper: 0.3}
/**/trial:
  ros__parameters: {hold_s: 60.0}
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return isolated(tmp_path_factory.mktemp("ros_log"))


def test_the_skill_node_finishes_what_the_policy_began(env, tmp_path):
    more, table, result = tmp_path / "more.yaml", tmp_path / "skills.yaml", tmp_path / "result.json"
    more.write_text(MORE)
    heights = [0.0, 0.02, 0.03]  # relative to where the policy stops, wherever that is
    rows = [Waypoint(T=pose_matrix([0.0, 0.0, -z], np.eye(3)), joints=np.zeros(6), gripper=3) for z in heights]
    save_waypoints(tmp_path / "up.csv", rows)
    spec = {"file": "up.csv", "relative_count": 3, "linear_speed": 0.2, "linear_acceleration": 1.0}
    table.write_text(yaml.safe_dump({"skills": {"up": spec}}))
    code, out = launch(
        env,
        "infer",
        *("policy:=scripted", "robot:=sim_ur5e_tiny", "sim:=true", "episodes:=1", "seed:=3", "mode:=planner"),
        *("skill:=up", f"skill_table:={table}", f"result_file:={result}", f"params_file:={more}", "max_duration:=20"),
    )
    assert code == 0, out
    assert "skill 'up' follows" in out
    assert "skill 'up': triggered at x y z = " in out
    (trial,) = json.loads(result.read_text())["trials"]
    assert trial["error_msg"] == "skill 'up' succeeded"
