# SPDX-License-Identifier: Apache-2.0

"""The simulated arm driven by streamed positions through infer.launch.py: smooth, never waiting, no protective stop."""

import json
import os
import random
import subprocess


def test_streamed_positions_drive_the_arm_without_seams(tmp_path):
    command = [
        "ros2",
        "launch",
        "vla_bringup",
        "infer.launch.py",
        "policy:=scripted",
        "robot:=sim_ur5e_stream",
        "sim:=true",
    ]
    command += [
        "policy_options:=noise=0.02",
        "episodes:=1",
        "max_duration:=3.0",
        f"report_file:={tmp_path / 'report.jsonl'}",
    ]
    isolated = {
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    done = subprocess.run(
        command,
        env={**os.environ, **isolated, "ROS_LOG_DIR": str(tmp_path / "log")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout
    assert "protective stop" not in done.stdout
    (line,) = (tmp_path / "report.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert (report["termination"], report["error_code"]) == ("timeout", 0), report["message"]
    assert report["chunks_in_force"] >= 2
    assert report["held_percent"] == 0.0
    assert report["seam_jump"] < 1.2
