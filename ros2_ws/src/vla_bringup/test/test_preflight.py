# SPDX-License-Identifier: Apache-2.0

"""The checks of a robot's start: which driver is silent and what to do, said once; nothing may move before they have passed."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from launch import LaunchContext
from launches import begin, end, isolated
from vla_bringup.doctor.drivers import drivers_of_topic, start_it
from vla_bringup.doctor.findings import Group, green, red, yellow
from vla_bringup.doctor.preflight import Verdict, command
from vla_bringup.launch_util import declare
from vla_bringup.preflight_launch import checked, preflight
from vla_core.profile import load_profile

HERE = Path(__file__).resolve().parent
ROBOTS = HERE.parent / "robots"
PATIENCE_S = 200.0  # of the wall, on a machine that does something else, too
SILENT = red("camera 'front' /front/image_raw", "nobody publishes it", "start its driver")


@pytest.mark.parametrize(
    ("robot", "topic", "names"),
    [
        ("ur5e_2f85_realsense", "camera/front_camera/color/image_raw", ("front_camera",)),
        ("ur5e_2f85_realsense", "joint_states", ("arm", "gripper")),
        ("ur5e_bimanual", "left/joint_states", ("left_arm", "left_gripper")),
        ("ur5e_bimanual", "camera/right_wrist_camera/color/camera_info", ("right_wrist_camera",)),
        ("so101", "wrist_camera/image_raw", ("wrist_camera",)),
        ("so101", "joint_states", ("arm",)),
        ("sim_so101", "joint_states", ()),
    ],
)
def test_which_driver_publishes_a_topic(robot, topic, names):
    assert tuple(d.name for d in drivers_of_topic(load_profile(ROBOTS / f"{robot}.yaml"), topic)) == names


def test_what_to_do_about_a_silent_topic():
    text = start_it(load_profile(ROBOTS / "ur5e_bimanual.yaml"), "right/joint_states")
    assert text.startswith(
        "start its driver 'right_arm' (ur_robot_driver) or 'right_gripper' (vla_drivers); if it runs"
    )
    assert "held by no other program?" in text
    assert start_it(load_profile(ROBOTS / "sim_so101.yaml"), "joint_states") == "start its driver"


def test_what_is_red_is_said_after_a_while_and_again_when_it_changes():
    verdict = Verdict(20.0, "doctor --live")
    arm = red("controller /arm", "is inactive, so every goal is rejected", "start the program")
    fine = green("nodes", "3 nodes")
    assert verdict.judge([Group("streams", (SILENT, fine))], 5.0) == (False, [], [])
    passed, (text,), lines = verdict.judge([Group("streams", (SILENT, fine)), Group("robot", (arm,))], 21.0)
    assert (passed, lines) == (False, [])
    assert text.startswith("checks of the start: 2 red, so nothing may move:\n")
    assert "\n  RED    camera 'front' /front/image_raw: nobody publishes it -> start its driver\n" in text
    assert text.endswith("Looked at again until nothing is red; more: doctor --live")
    assert verdict.judge([Group("streams", (SILENT,)), Group("robot", (arm,))], 30.0) == (False, [], [])
    passed, (text,), _ = verdict.judge([Group("robot", (arm,))], 40.0)
    assert not passed
    assert "1 red" in text
    doubt = yellow("limits", "tighter", "write them")
    passed, errors, lines = verdict.judge([Group("joints", (fine, doubt))], 50.0)
    assert (passed, errors) == (True, [])
    assert lines == [doubt.line, "checks of the start: passed (2 findings, 1 yellow)"]


def test_the_command_for_a_closer_look():
    profile = load_profile(ROBOTS / "so101.yaml")
    assert command(profile, "/") == f"ros2 run vla_bringup doctor --profile {ROBOTS / 'so101.yaml'} --live"
    assert command(profile, "/cell_2").endswith(" --live --namespace /cell_2")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, True),
        ({"sim": "true"}, False),
        ({"use_mock_hardware": "true"}, False),
        ({"check_robot": "false"}, False),
    ],
)
def test_which_starts_are_checked(arguments, wanted):
    context = LaunchContext()
    for argument in declare("robot"):
        argument.execute(context)
    context.launch_configurations.update(arguments)
    assert checked(context) is wanted
    assert len(preflight(context, ROBOTS / "so101.yaml")) == wanted


CAMERA_DRIVER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess

def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("camera_name", default_value="x", description="x"),
        ExecuteProcess(cmd={command!r}, output="screen"),
    ])
"""


def own_robot(folder, plugged):
    """A profile of the SO-101 with an emulated arm and two cameras that wait for the file; what goes on AMENT_PREFIX_PATH."""
    late = [sys.executable, str(HERE / "late_cameras.py"), str(plugged), "front_camera", "wrist_camera"]
    for name, text in (
        ("share/late_camera/launch/up.launch.py", CAMERA_DRIVER.format(command=late)),
        ("share/ament_index/resource_index/packages/late_camera", ""),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    content = yaml.safe_load((ROBOTS / "sim_so101.yaml").read_text())
    for name, camera in content["cameras"].items():
        content["cameras"][name] = {"topic": camera["topic"], "size": [48, 64], "rate_hz": 5.0, "max_age_s": 2.0}
    content["state"][0] |= {"rate_hz": 20.0, "max_age_s": 1.0}
    content["record_topics"] = []
    content["drivers"] = {
        "arm": {
            "package": "vla_drivers",
            "launch": "so101.launch.py",
            "args": {"port": "", "use_mock_hardware": "true", "rate_hz": "20.0"},
        },
        "front_camera": {"package": "late_camera", "launch": "up.launch.py", "args": {"camera_name": "front_camera"}},
    }
    profile = folder / "own.yaml"
    profile.write_text(yaml.safe_dump(content))
    return profile


def wait_for(log, text):
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"'{text}' has not come:\n{log.read_text()}"
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_camera_that_another_program_holds_is_told_at_launch_and_looked_for_until_it_comes(tmp_path):
    plugged, log = tmp_path / "plugged", tmp_path / "log.txt"
    profile, params = own_robot(tmp_path, plugged), tmp_path / "params.yaml"
    params.write_text("/**/preflight:\n  ros__parameters: {patience_s: 0.0, pause_s: 0.0}\n")
    env = isolated(tmp_path / "ros")
    env["AMENT_PREFIX_PATH"] = f"{tmp_path}{os.pathsep}{env['AMENT_PREFIX_PATH']}"
    arguments = [f"profile:={profile}", f"params_file:={params}"]
    with log.open("w") as output:
        process = begin(["ros2", "launch", "vla_bringup", "robot.launch.py", *arguments], env, stdout=output)
    try:
        wait_for(log, "camera 'front' /front_camera/image_raw: nobody publishes it")
        assert "-> start its driver 'front_camera' (late_camera); if it runs, its log says more" in log.read_text()
        assert "red, so nothing may move" in log.read_text()
        assert "checks of the start: passed" not in log.read_text()
        plugged.touch()
        wait_for(log, "checks of the start: passed")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        end(process)
