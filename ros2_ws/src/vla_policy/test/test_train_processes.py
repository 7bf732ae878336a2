# SPDX-License-Identifier: Apache-2.0

"""The whole command as a user calls it: two datasets, two processes, a backbone that is made on the way, no ROS."""

import csv
import json
import os
import subprocess
import sys

import pytest
from policy_fixtures import make_dataset, small_profile
from train_bench import tiny_flags
from vla_policy.policies.checkpoint import choose_profile, find_checkpoint

TIMEOUT_S = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    profile = small_profile()
    first = make_dataset(folder / "first", profile, episodes=2, length=10, gripper=0.3)
    second = make_dataset(folder / "second", profile, episodes=1, length=10, gripper=0.3, offset=5.0)
    command = [
        sys.executable,
        "-m",
        "vla_policy.training.train",
        "--policy",
        "smolvla",
        "--dataset",
        f"{first},{second}",
    ]
    command += ["--output", str(folder / "runs" / "both"), "--steps", "4", "--batch-size", "4", "--processes", "2"]
    blocked = folder / "blocked"
    (blocked / "rclpy").mkdir(parents=True)
    (blocked / "rclpy" / "__init__.py").write_text("raise ImportError('training needs no ROS')\n")
    variables = {**os.environ, "PYTHONPATH": f"{blocked}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *tiny_flags("smolvla")],
        env=variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / "runs", done.stdout


def test_two_processes_train_one_policy(run):
    runs, printed = run
    record = json.loads((runs / "both" / "run.json").read_text())
    assert (record["processes"], record["outcome"], record["last_step"]) == (2, "finished", 4)
    assert "Effective batch size: 4 x 2 = 8" in (runs / "both" / "train.log").read_text()
    with (runs / "both" / "loss.csv").open(newline="") as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["1", "2", "3", "4"], "written by one of the two"
    assert "4/4 steps" in printed
    assert record["first_step_s"] > 0.0


def test_the_datasets_were_merged_and_validated(run):
    runs, printed = run
    record = json.loads((runs / "both" / "run.json").read_text())
    assert [(data["episodes"], data["frames"]) for data in record["datasets"]] == [(2, 20), (1, 10)]
    (merged,) = (runs / "merged").iterdir()
    assert record["dataset"] == str(merged)
    assert json.loads((merged / "meta" / "info.json").read_text())["total_frames"] == 30
    assert printed.count("validated: ") == 2


def test_the_backbone_travels_with_the_checkpoint(run):
    runs, printed = run
    assert "backbone: " in printed
    checkpoint = find_checkpoint(runs / "both")
    assert choose_profile(checkpoint, None).sha256 == small_profile().sha256
    assert (checkpoint.vlm / "tokenizer.json").read_bytes() == (runs / "both_vlm" / "tokenizer.json").read_bytes()
    assert not list((runs / "both" / "checkpoints").glob(".*"))
