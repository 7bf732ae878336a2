# SPDX-License-Identifier: Apache-2.0

"""A UR is asked over its Dashboard server whether it can be driven; every answer that stands in the way has a remedy."""

import json
import socket
import time

import pytest
from vla_drivers.check_ur import main
from vla_drivers.emulators.ur_dashboard import DashboardEmulator
from vla_drivers.ur_prerequisites import UrPorts, check_ur, worst


@pytest.fixture
def robot():
    emulator = DashboardEmulator()
    yield emulator
    emulator.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def look(robot, **options):
    return check_ur("127.0.0.1", ports=robot.ports, timeout_s=10.0, **options)


def the(findings, word):
    found = [finding for finding in findings if word in finding.what]
    assert len(found) == 1, findings
    return found[0]


def test_all_is_well_with_a_robot_that_plays_its_program(robot):
    findings = look(robot)
    assert worst(findings) == "green", findings
    assert [f.what for f in findings][1:] == [
        "robot mode RUNNING: powered, brakes released",
        "safety status NORMAL",
        "remote control is on",
        "program external_control.urp is playing",
        f"ports {', '.join(map(str, robot.ports.host))} of this host are free for the robot's program",
    ]
    assert not any(f.remedy for f in findings)


@pytest.mark.parametrize(
    ("question", "answer", "level", "what", "remedy"),
    [
        (
            "robotmode",
            "Robotmode: POWER_OFF",
            "yellow",
            "robot mode POWER_OFF: the arm cannot move",
            "/dashboard_client/power_on",
        ),
        ("robotmode", "Robotmode: NO_CONTROLLER", "red", "robot mode NO_CONTROLLER", "clear what the pendant shows"),
        (
            "safetystatus",
            "Safetystatus: PROTECTIVE_STOP",
            "red",
            "safety status PROTECTIVE_STOP",
            "unlock_protective_stop",
        ),
        (
            "safetystatus",
            "Safetystatus: ROBOT_EMERGENCY_STOP",
            "red",
            "ROBOT_EMERGENCY_STOP",
            "release the emergency stop",
        ),
        ("is in remote control", "false", "yellow", "local control", "dashboard_client/play needs Remote Control"),
        ("get loaded program", "No program loaded", "yellow", "no program is loaded", "URCap External Control"),
        (
            "programState",
            "STOPPED external_control.urp",
            "yellow",
            "loaded and not playing",
            "press play once the driver runs",
        ),
    ],
)
def test_what_stands_in_the_way_has_a_remedy(robot, question, answer, level, what, remedy):
    robot.answers[question] = answer
    if question == "get loaded program":
        robot.answers["programState"] = "STOPPED <unnamed>"
    found = the(look(robot), what)
    assert found.level == level
    assert remedy in found.remedy


def test_the_host_ip_of_the_external_control_node_is_said(robot):
    robot.answers |= {"programState": "STOPPED <unnamed>", "get loaded program": "No program loaded"}
    assert "Host IP 127.0.0.1 and Custom port 50002" in the(look(robot), "no program").remedy


def test_headless_needs_remote_control_and_no_program(robot):
    robot.answers |= {
        "is in remote control": "false",
        "programState": "STOPPED <unnamed>",
        "get loaded program": "No program loaded",
    }
    findings = look(robot, headless=True)
    assert the(findings, "local control").level == "red"
    assert "headless_mode:=false" in the(findings, "local control").remedy
    assert the(findings, "the driver sends its own").level == "green"


def test_a_cb3_without_remote_control_is_fine(robot):
    robot.answers["is in remote control"] = "could not understand: 'is in remote control'"
    assert the(look(robot), "remote control: not known").level == "green"


def test_nobody_there(robot):
    robot.close()
    findings = look(robot)
    assert worst(findings) == "red"
    assert f"robot at 127.0.0.1 cannot be reached: {robot.ports.dashboard} refused" in findings[0].what
    assert "a computer is there, but no running UR" in findings[0].remedy
    bad = check_ur("no.such.robot.invalid", timeout_s=1.0)
    assert [f.level for f in bad] == ["red"]
    assert "'no.such.robot.invalid' is no address" in bad[0].what


def test_a_network_that_swallows_everything_takes_no_longer_than_the_time_out(monkeypatch):
    def never(address, timeout):
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    begin = time.monotonic()
    findings = check_ur("127.0.0.1", timeout_s=0.3, driver_running=True)
    assert (
        time.monotonic() - begin < 5.0
    )  # four ports one after the other, or none in time, would be far beyond on any machine
    assert "29999 no answer" in findings[0].what
    assert "is the robot on and its cable plugged in" in findings[0].remedy


def test_only_some_ports_are_open(robot):
    closed = free_port()
    ports = UrPorts(dashboard=robot.ports.dashboard, robot=(*robot.ports.robot, closed), host=())
    findings = check_ur("127.0.0.1", ports=ports, timeout_s=10.0)
    assert f"interfaces of 127.0.0.1 that the driver needs are closed: port {closed} refused" in findings[0].what
    findings = check_ur("127.0.0.1", ports=UrPorts(dashboard=closed, robot=robot.ports.robot, host=()), timeout_s=10.0)
    assert (findings[0].level, "PolyScope X has none" in findings[0].remedy) == ("yellow", True)


@pytest.mark.parametrize(
    ("greeting", "text"),
    [("SSH-2.0-OpenSSH", "it greets with 'SSH-2.0-OpenSSH'"), ("", "no answer in time")],
)
def test_something_else_behind_the_port(robot, greeting, text):
    robot.greeting = greeting
    found = the(check_ur("127.0.0.1", ports=robot.ports, timeout_s=1.0), "does not answer as a Dashboard server")
    assert found.level == "red"
    assert text in found.what


def test_a_dashboard_that_hangs_up(robot):
    robot.hang_up_after = 2
    assert "it closed the connection" in the(look(robot), "does not answer as a Dashboard server").what


def test_ports_of_the_host_that_are_taken(robot):
    with socket.socket() as other:
        other.bind(("0.0.0.0", robot.ports.host[1]))
        other.listen()
        found = the(look(robot), "is in use")
        assert (found.level, str(robot.ports.host[1]) in found.what) == ("red", True)
        assert "ss -ltnp" in found.remedy
        assert worst(look(robot, driver_running=True)) == "green"


def test_command(robot, capsys):
    assert main(["--robot-ip", "127.0.0.1", "--timeout", "10"], robot.ports) == 0
    assert "GREEN  safety status NORMAL\n" in capsys.readouterr().out
    robot.answers["safetystatus"] = "Safetystatus: SAFEGUARD_STOP"
    assert main(["--robot-ip", "127.0.0.1", "--timeout", "10", "--json"], robot.ports) == 1
    found = [f for f in json.loads(capsys.readouterr().out) if f["level"] == "red"]
    assert found == [
        {
            "level": "red",
            "what": "safety status SAFEGUARD_STOP: the arm is stopped",
            "remedy": "close the safeguard (door, light curtain) and reset it",
        }
    ]
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ros2 run vla_drivers check_ur --robot-ip 192.168.56.101" in capsys.readouterr().out
