# SPDX-License-Identifier: Apache-2.0

"""Launch files as a user meets them: arguments, refusals, and a cell that comes up and goes away."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from launches import begin, end, isolated, launch, run

PACKAGE = Path(__file__).parent.parent
ARGUMENTS = yaml.safe_load((PACKAGE / "config" / "arguments.yaml").read_text())
SECTIONS = {
    "sim": ("robot", "sim"),
    "robot": ("robot", "sim"),
    "record": ("robot", "sim", "record", "teleop_device", "teleop", "joystick", "monitor"),
    "teleop": ("robot", "sim", "teleop_device", "teleop", "teleop_only", "monitor"),
    "infer": ("robot", "sim", "infer", "teleop", "skills", "monitor"),
    "replay": ("replay", "monitor"),
    "usb_camera": ("usb_camera",),
}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return isolated(tmp_path_factory.mktemp("ros_log"))


def test_every_launch_file_is_in_the_table_of_this_test():
    assert {p.name.removesuffix(".launch.py") for p in (PACKAGE / "launch").glob("*.launch.py")} == set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_show_args_lists_every_argument_with_its_description(env, name):
    code, out = launch(env, name, "--show-args")
    assert code == 0, out
    flat = " ".join(out.split())
    for section in SECTIONS[name]:
        for argument, entry in ARGUMENTS[section].items():
            assert f"'{argument}':" in out
            assert " ".join(entry["description"].split()) in flat


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sim", ["robot:=ur99"], "launch argument robot:=ur99: no such profile. Shipped ones are "),
        ("record", ["profile:=/nowhere/my.yaml", "sim:=true"], "/nowhere/my.yaml"),
        ("record", ["operator:=scripted"], "operator:=scripted drives the simulated cell only; add sim:=true"),
        ("record", ["joy_player:=success", "sim:=true"], "joy_player:=success plays a joystick in the simulated cell"),
        (
            "record",
            ["joy_player:=abort", "sim:=true", "operator:=joystick"],
            "joy_player:=abort knows the scenes extract_cpu and extract_ram only; add scene:=extract_cpu",
        ),
        ("record", ["operator:=joystick", "skill_table:=/nowhere.yaml"], "skill_table:=/nowhere.yaml: no such file"),
        (
            "teleop",
            ["sim:=true", "device:=sol_r3"],
            "device 'sol_r3': there is no such mapping; did you mean 'sol_r2'?",
        ),
        (
            "robot",
            ["robot:=ur5e_2f85_realsense", "robot_ip:=127.0.0.1", "camera_serials:=front:1,wrist:2"],
            "needs the ROS 2 package ur_robot_driver, which is not installed",
        ),
        ("robot", ["robot:=ur5e_2f85_realsense"], "Without a robot: sim:=true or use_mock_hardware:=true"),
        ("infer", ["checkpoint:=/nowhere/run"], "/nowhere/run"),
        (
            "infer",
            [],
            "policy:=lerobot needs checkpoint:=DIR; to try the robot without a trained policy use policy:=scripted",
        ),
        ("infer", ["policy:=scripted", "robot:=none"], "robot:=none needs profile:=FILE, or a checkpoint's own"),
        (
            "infer",
            ["policy:=scripted", "sim:=true", "skill_table:=x.yaml"],
            "skill_table:= is for runs that hand over to a skill; add mode:=planner or mode:=correction",
        ),
        ("replay", ["bag:=/nowhere/bag"], "/nowhere/bag"),
        ("sim", ["clock:=sundial"], "sundial"),
        ("sim", ["params_file:=/nowhere/more.yaml"], "params_file:=/nowhere/more.yaml: no such file"),
    ],
)
def test_a_wrong_argument_is_one_clear_message_before_anything_starts(env, name, arguments, message):
    code, out = launch(env, name, *arguments)
    assert code == 1, out
    assert message in out
    assert "process started with pid" not in out


def test_a_wrong_profile_names_file_key_and_nearest_name(env, tmp_path):
    text = (PACKAGE / "robots" / "sim_ur5e.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("base_frame:", "base_fram:"))
    code, out = launch(env, "sim", f"profile:={wrong}")
    assert code == 1, out
    assert "wrong.yaml" in out
    assert "base_fram" in out
    assert "did you mean" in out.lower()
    assert "process started with pid" not in out


DRIVER = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo
from launch.substitutions import LaunchConfiguration

def generate_launch_description():
    names = ("ur_type", "robot_ip", "use_mock_hardware")
    arguments = [DeclareLaunchArgument(name, default_value="unset", description="x") for name in names]
    texts = [piece for name in names for piece in (f" {name}=", LaunchConfiguration(name))]
    return LaunchDescription([*arguments, LogInfo(msg=["driver started with", *texts])])
"""


def test_a_driver_gets_the_profile_s_arguments_and_those_of_the_command_line(env, tmp_path):
    for folder, text in (
        ("share/arm_driver/launch/up.launch.py", DRIVER),
        ("share/ament_index/resource_index/packages/arm_driver", ""),
    ):
        path = tmp_path / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    profile = tmp_path / "arm.yaml"
    drivers = "drivers:\n  arm: {package: arm_driver, launch: up.launch.py, args: {ur_type: ur5e, robot_ip: 10.0.0.1, use_mock_hardware: 'false'}}\n"
    profile.write_text((PACKAGE / "robots" / "sim_ur5e.yaml").read_text() + drivers)
    prefixed = {**env, "AMENT_PREFIX_PATH": f"{tmp_path}{os.pathsep}{env['AMENT_PREFIX_PATH']}"}
    code, out = launch(prefixed, "robot", f"profile:={profile}", "robot_ip:=192.168.56.101", "check_robot:=false")
    assert code == 0, out
    assert "driver started with ur_type=ur5e robot_ip=192.168.56.101 use_mock_hardware=false" in out


def test_the_cell_comes_up_moves_nothing_and_leaves_on_sigint(env, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("/**/cell:\n  ros__parameters:\n    camera_drop_fraction: 0.25\n")
    command = [
        "ros2",
        "launch",
        "vla_bringup",
        "sim.launch.py",
        "robot:=sim_ur5e_tiny",
        "clock:=paced",
        f"params_file:={more}",
    ]
    process = begin(command, env)
    try:
        first = tool_pose(env)
        assert len(first) == 6
        second = tool_pose(env)
        assert first == pytest.approx(second, abs=1e-3)
        _, dropping = run(env, "ros2", "param", "get", "/cell", "camera_drop_fraction", timeout=40)
        assert "0.25" in dropping
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0, out
        assert "process has finished cleanly" in out
    finally:
        end(process)


def tool_pose(env):
    """Position and quaternion x, y, z of the tool from `ros2 topic echo`, waiting until the cell publishes."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        code, out = run(env, "ros2", "topic", "echo", "--once", "/tcp_pose_broadcaster/pose", timeout=40)
        if code == 0 and "position" in out:
            return [float(line.split(":")[1]) for line in out.splitlines() if line.strip()[:2] in ("x:", "y:", "z:")][
                :6
            ]
    raise AssertionError(f"no pose: {out}")
