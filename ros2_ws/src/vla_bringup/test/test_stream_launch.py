# SPDX-License-Identifier: Apache-2.0

"""The simulated arm driven by streamed positions through infer.launch.py: smooth, never waiting, no protective stop."""

import json

from launches import isolated, launch


def test_streamed_positions_drive_the_arm_without_seams(tmp_path):
    arguments = [
        "policy:=scripted",
        "robot:=sim_ur5e_stream",
        "sim:=true",
        "policy_options:=noise=0.02",
        "episodes:=1",
        "max_duration:=3.0",
        f"report_file:={tmp_path / 'report.jsonl'}",
    ]
    code, out = launch(isolated(tmp_path / "log"), "infer", *arguments)
    assert code == 0, out
    assert "protective stop" not in out
    (line,) = (tmp_path / "report.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert (report["termination"], report["error_code"]) == ("timeout", 0), report["message"]
    assert report["chunks_in_force"] >= 2
    assert report["held_percent"] == 0.0
    assert report["seam_jump"] < 1.2
