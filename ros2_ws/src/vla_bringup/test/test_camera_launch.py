# SPDX-License-Identifier: Apache-2.0

"""Camera settings and transforms as arguments of the launch files."""

import json
import threading

import pytest
from launches import begin, end, isolated, launch, run


@pytest.fixture
def env(tmp_path):
    return isolated(tmp_path / "ros_log")


def test_a_robot_without_camera_settings_starts_with_a_loud_warning(env):
    code, out = launch(env, "robot", "robot:=sim_ur5e", "check_robot:=false")
    assert code == 0, out
    flat = " ".join(out.split())
    assert "[WARN" in flat
    assert "NO CAMERA SETTINGS: exposure and white balance of front, wrist are automatic" in flat
    assert "lighting is inconsistent between recordings" in flat
    assert "ros2 run vla_teleop calibrate_cameras --auto --profile" in flat


@pytest.mark.parametrize("name", ["camera_settings", "camera_transforms"])
def test_a_file_that_is_not_there_stops_the_launch(env, name):
    code, out = launch(env, "robot", "robot:=sim_ur5e", f"{name}:=/nowhere/file")
    assert code == 1
    assert f"{name}:=/nowhere/file: no such file" in out


def test_the_settings_of_the_file_are_those_of_the_cameras(env, tmp_path):
    settings = tmp_path / "camera_settings.json"
    block = {"rgb_camera.enable_auto_exposure": False, "rgb_camera.exposure": 99, "rgb_camera.gain": 31}
    cameras = {
        name: {"node": f"{name}_camera", "settings": "realsense", "parameters": block} for name in ("front", "wrist")
    }
    content = {"schema": 1, "timestamp": "2026-01-01T00:00:00+00:00", "robot": "sim_ur5e_tiny", "cameras": cameras}
    settings.write_text(json.dumps(content))
    transforms = tmp_path / "camera_transforms.yaml"
    transforms.write_text("cameras:\n  wrist:\n    mount: {parent: tool0, child: probe_link, xyz: [0.0, 0.1, 0.2]}\n")
    files = [f"camera_settings:={settings}", f"camera_transforms:={transforms}"]
    command = ["ros2", "launch", "vla_bringup", "robot.launch.py", "sim:=true", "robot:=sim_ur5e_tiny", "clock:=paced"]
    process = begin([*command, *files], env)
    watchdog = threading.Timer(90.0, end, [process])  # ends the output, and with it the loop below
    watchdog.start()
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            text = "".join(seen)
            if text.count("3 settings as in the file") == 2 and "probe_link in tool0" in text:
                break
        else:
            raise AssertionError("".join(seen))
        assert "NO CAMERA SETTINGS" not in text
        code, out = run(env, "ros2", "param", "get", "/front_camera", "rgb_camera.exposure", timeout=40)
        assert (code, out.strip().splitlines()[-1]) == (0, "Integer value is: 99")
    finally:
        watchdog.cancel()
        end(process, patience_s=10.0)
