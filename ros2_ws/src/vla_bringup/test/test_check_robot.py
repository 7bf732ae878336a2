# SPDX-License-Identifier: Apache-2.0

"""A UR that cannot be driven is refused before its driver starts, with the remedy; what only keeps it still is a warning."""

from pathlib import Path

import pytest
from launch import LaunchContext
from vla_bringup.driver_launch import Driver
from vla_bringup.ur_check import check_robots
from vla_drivers.emulators.ur_dashboard import DashboardEmulator


@pytest.fixture
def robot():
    emulator = DashboardEmulator()
    yield emulator
    emulator.close()


def driver(file="ur_control.launch.py", **arguments):
    given = {"robot_ip": "127.0.0.1", "headless_mode": "true", "use_mock_hardware": "false", **arguments}
    return Driver(name="left_arm", file=Path("/share/launch") / file, arguments=given, namespace="")


def start(robot, *drivers, check="true"):
    context = LaunchContext()
    context.launch_configurations["check_robot"] = check
    check_robots(context, list(drivers), robot.ports)


def test_a_robot_that_is_ready_is_started(robot, capfd):
    start(robot, driver())
    assert "check_robot" not in "".join(capfd.readouterr())


def test_a_protective_stop_is_refused_with_the_remedy(robot):
    robot.answers["safetystatus"] = "Safetystatus: PROTECTIVE_STOP"
    with pytest.raises(RuntimeError) as error:
        start(robot, driver())
    text = str(error.value)
    assert text.startswith("driver 'left_arm' would not work, so nothing was started:")
    assert "safety status PROTECTIVE_STOP: the arm is stopped\n    remedy: look why it stopped" in text
    assert "check_robot:=false" in text


def test_headless_mode_needs_remote_control(robot):
    robot.answers["is in remote control"] = "false"
    with pytest.raises(RuntimeError, match="local control: with headless_mode the driver cannot send its program"):
        start(robot, driver())
    start(robot, driver(headless_mode="false"))


def test_an_arm_without_power_is_a_warning(robot, capfd):
    robot.answers["robotmode"] = "Robotmode: POWER_OFF"
    start(robot, driver())
    assert "left_arm: robot mode POWER_OFF: the arm cannot move. power on" in "".join(capfd.readouterr())


def test_what_is_not_asked(robot):
    robot.close()
    start(robot, driver(), check="false")
    start(robot, driver(use_mock_hardware="true"), driver(file="rs_launch.py"))
    with pytest.raises(RuntimeError, match=r"robot at 127\.0\.0\.1 cannot be reached: \d+ refused"):
        start(robot, driver())
