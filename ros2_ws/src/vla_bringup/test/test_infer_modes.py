# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py with mode:=planner and record_eval:=true, as a user meets it: policy, skill, recorder, trial, summary."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from launches import install_policy, isolated, launch, run
from vla_bringup.launch_util import share

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


def test_a_planner_s_run_is_finished_by_the_skill_recorded_labelled_and_summed_up(env, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text(MORE)
    result, rollouts = tmp_path / "result.json", tmp_path / "rollouts"
    code, out = launch(
        env,
        "infer",
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
    (bag,) = folder.glob("episode_*")
    assert trial["bag"] == str(bag)
    dataset = json.loads((folder / "dataset" / "meta" / "info.json").read_text())
    assert (dataset["total_episodes"], dataset["fps"]) == (1, 10), "the run is a dataset when the launch ends"
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


# A grasp that fails once, a policy that stops before it and one that corrects it.
FAILING = """
/**/skills:
  ros__parameters: {fail_first: 1}
/**/trial:
  ros__parameters: {hold_s: 60.0}
"""
POLICIES = Path(__file__).parents[2] / "vla_policy" / "test" / "planner_policies.py"


def test_a_failed_grasp_is_corrected_by_the_other_policy_and_the_skill_goes_on(env, tmp_path):
    more, log, result = tmp_path / "more.yaml", tmp_path / "log.jsonl", tmp_path / "result.json"
    more.write_text(FAILING)
    path = install_policy(tmp_path / "plugin", "planner", POLICIES)
    code, out = launch(
        {**env, "PYTHONPATH": path},
        "infer",
        *("policy:=planner", "checkpoint:=approach", "mode:=planner", "correction_checkpoint:=correction"),
        *("robot:=sim_ur5e_tiny", "sim:=true", "episodes:=1", "seed:=5", f"params_file:={more}", "max_duration:=40"),
        *(f"result_file:={result}", f"report_file:={log}"),
    )
    assert code == 0, out
    (trial,) = json.loads(result.read_text())["trials"]
    assert (trial["success"], trial["error_msg"]) == (True, "skill 'grasp' succeeded")
    course = (
        "the policy signalled its end; skill 'grasp' follows",
        "skill 'grasp' failed: VERIFICATION_FAILED (the gripper is closed around nothing",
        "the correction policy signalled its end; skill 'grasp' follows",
        "run ended after",
    )
    found = [out.find(text) for text in course]
    assert -1 not in found, out
    assert found == sorted(found), out
    (report,) = map(json.loads, log.read_text().splitlines())
    assert report["termination"] == "completed", report


def test_arguments_that_mean_nothing_together_are_one_clear_message(env):
    _, out = launch(env, "infer", "policy:=scripted", "robot:=none", f"profile:={profile()}", "skill:=grasp")
    assert "[FATAL] skill:=grasp means nothing with mode:=e2e; add mode:=planner" in out
    assert "exit code 2" in out


def profile():
    return share() / "robots" / "sim_ur5e_tiny.yaml"
