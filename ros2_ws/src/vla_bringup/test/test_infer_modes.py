# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py with mode:=planner and record_eval:=true, as a user meets it: policy, skill, recorder, trial, summary."""

import csv
import json
import os
import random
import subprocess

import pytest
import yaml

# The scripted policy moves in circles and half closes the gripper now and then; with these values that is its stop signal.
MORE = """
/**/policy:
  ros__parameters: {stop_distance: 1.0, stop_gripper: 0.3}
/**/trial:
  ros__parameters: {hold_s: 60.0}
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    isolated = {
        "ROS_DOMAIN_ID": str(random.randint(1, 101)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(tmp_path_factory.mktemp("ros_log")),
    }
    return {**os.environ, **isolated}


def run(env, *command, timeout=300):
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout


def launch(env, *arguments):
    return run(env, "ros2", "launch", "vla_bringup", "infer.launch.py", *arguments)


def test_a_planner_s_run_is_finished_by_the_skill_recorded_labelled_and_summed_up(env, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text(MORE)
    result, rollouts = tmp_path / "result.json", tmp_path / "rollouts"
    code, out = launch(
        env,
        *("policy:=scripted", "robot:=sim_ur5e_tiny", "sim:=true", "episodes:=1", "seed:=3", "mode:=planner"),
        *("record_eval:=true", f"output_dir:={rollouts}", f"result_file:={result}", f"params_file:={more}"),
        "max_duration:=20",
    )
    assert code == 0, out
    assert "skill 'grasp' follows" in out
    (trial,) = json.loads(result.read_text())["trials"]
    assert (trial["success"], trial["error_msg"]) == (True, "skill 'grasp' succeeded")

    (folder,) = rollouts.iterdir()
    assert folder.name.startswith("vla-eval-lift-")
    (bag,) = folder.iterdir()
    assert trial["bag"] == str(bag)
    about = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["custom_data"]
    expected = {
        "x_checkpoint": "scripted",
        "x_mode": "planner",
        "x_scene": "lift",
        "x_run_termination": "completed",
        "skill_name": "grasp",
        "skill_outcome": "completed",
        "outcome": "success",
        "seed": "3",
    }
    assert expected.items() <= about.items()
    assert [part["phase"] for part in json.loads(about["phase_segments"])] == ["ARMED", "POLICY", "SKILL"]

    table = tmp_path / "table.csv"
    code, out = run(env, "ros2", "run", "vla_policy", "rollouts", "summary", str(rollouts), "--csv", str(table))
    assert code == 0, out
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["mode"], row["n"], row["successes"], row["rate_low"]) == ("planner", "1", "1", "0.207")


def test_arguments_that_mean_nothing_together_are_one_clear_message(env):
    _, out = launch(env, "policy:=scripted", "robot:=none", f"profile:={profile()}", "skill:=grasp")
    assert "[FATAL] skill:=grasp means nothing with mode:=e2e; add mode:=planner" in out
    assert "exit code 2" in out


def profile():
    from vla_bringup.launch_util import share

    return share() / "robots" / "sim_ur5e_tiny.yaml"
