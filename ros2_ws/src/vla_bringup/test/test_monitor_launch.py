# SPDX-License-Identifier: Apache-2.0

"""monitor:= as a user meets it: refusals before anything starts, and a simulated run that is watched."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from launches import begin, end, isolated, launch
from rerun.experimental import RrdReader

STAND_IN = Path(__file__).parent / "rviz_stand_in.py"


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return isolated(tmp_path_factory.mktemp("ros_log"))


@pytest.mark.parametrize(
    ("file", "arguments", "message"),
    [
        (
            "teleop",
            "monitor:=oscilloscope",
            "there is no monitor 'oscilloscope'; there are none, rviz, rerun, foxglove",
        ),
        ("record", "monitor:=none,rerun", "'none' goes with no other"),
        ("infer", "policy:=scripted urdf:=/nowhere.urdf", "urdf:=/nowhere.urdf: no such file"),
        ("infer", "policy:=scripted monitor:=rerun urdf:=SELF", "urdf:= is for a monitor that draws the robot"),
        ("teleop", "monitor:=rerun rerun_file:=x.rrd", "rerun_file:=x.rrd is written by rerun_mode:=save only"),
        ("teleop", "monitor:=foxglove foxglove_port:=high", "foxglove_port:=high: expected a port, 1 to 65535"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_starts(env, file, arguments, message):
    code, out = launch(env, file, "sim:=true", *arguments.replace("SELF", __file__).split())
    assert code == 1, out
    assert message in out
    assert "process started with pid" not in out


@pytest.mark.parametrize(("monitor", "package"), [("rviz", "rviz2"), ("foxglove", "foxglove_bridge")])
def test_a_program_that_is_not_installed_is_named_with_its_remedy(env, tmp_path, monitor, package):
    found = [Path(path) / "share" / package for path in env["AMENT_PREFIX_PATH"].split(os.pathsep)]
    if any(folder.exists() for folder in found):
        pytest.skip(f"{package} is installed here")
    code, out = launch(env, "teleop", "sim:=true", f"monitor:={monitor}")
    assert code == 1, out
    assert f"sudo apt-get install ros-jazzy-{package.replace('_', '-')}" in out
    assert "process started with pid" not in out


def installed(folder):
    """A package rviz2 whose program is the stand-in."""
    program = folder / "lib" / "rviz2" / "rviz2"
    marker = folder / "share" / "ament_index" / "resource_index" / "packages" / "rviz2"
    for path in (program, marker, folder / "share" / "rviz2" / "package.xml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}"


@pytest.mark.timeout(200)
def test_a_run_is_watched_and_goes_on_when_the_monitor_is_closed(env, tmp_path):
    result, recording = tmp_path / "rviz.json", tmp_path / "run.rrd"
    watched = {**env, "AMENT_PREFIX_PATH": installed(tmp_path / "prefix"), "VLA_RVIZ_RESULT": str(result)}
    remaps = [part for name in ("tf", "tf_static") for part in ("-r", f"{name}:=mine/{name}")]
    links = ["ros2", "run", "vla_monitor", "robot_state", "--ros-args", *remaps, "-p", "use_sim_time:=true"]
    save = ["monitor:=rviz,rerun", "rerun_mode:=save", f"rerun_file:={recording}"]
    cell = ["policy:=scripted", "sim:=true", "robot:=sim_ur5e_tiny", "clock:=paced", "log_level:=warn"]
    log = (tmp_path / "log").open("w+")
    state = begin(links, watched, stdout=log)
    run = begin(["ros2", "launch", "vla_bringup", "infer.launch.py", *cell, *save], watched)
    try:
        lines = []
        for line in run.stdout:
            lines.append(line)
            if "process has finished cleanly" in line and "rviz2" in line:
                break
        assert run.poll() is None, "".join(lines)
    finally:
        end(run, patience_s=30.0)
        end(state, patience_s=10.0)
    seen = json.loads(result.read_text())
    assert min(seen["counts"].values()) >= 1, seen["counts"]
    assert set(seen["counts"]) == {
        "/robot_description",
        "/monitor/markers",
        "/front_camera/color/image_raw",
        "/wrist_camera/color/image_raw",
    }
    assert {"path/arm", "chunk/arm", "steps/arm", "difference/arm", "phase"} <= set(seen["drawn"])
    assert any(text.startswith("POLICY · wave\narm ") for text in seen["captions"]), seen["captions"]
    assert len(seen["differences"]) >= 20
    # joint states are best effort: where one is lost or late, a joint stands for a moment where it was before
    assert np.median(seen["differences"]) < 1e-7, "transforms out of the description are those of the cell"
    assert max(seen["differences"]) < 0.05
    entities = {chunk.entity_path for chunk in RrdReader(recording).store().stream()}
    assert {"/cameras/front", "/cameras/wrist", "/world/arm/chunk", "/story"} <= entities
