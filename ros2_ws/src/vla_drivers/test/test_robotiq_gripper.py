# SPDX-License-Identifier: Apache-2.0

"""The gripper's client and its moves against a socket server that speaks the URCap's protocol; no ROS."""

import socket
import threading
import time

import pytest
from vla_core.controller_outcome import GoalRefusedError, GoalStatus
from vla_drivers.emulators.robotiq import RobotiqEmulator
from vla_drivers.errors import DriverError, LinkError
from vla_drivers.robotiq.client import GripperClient
from vla_drivers.robotiq.gripper import CLOSED_RAD, Gripper, GripperSettings, fault_text

LONG_S = 20.0


@pytest.fixture
def emulator():
    made = RobotiqEmulator()
    yield made
    made.close()


def connected(emulator, timeout_s=LONG_S, **settings):
    client = GripperClient(*emulator.address, timeout_s=timeout_s)
    client.connect()
    return Gripper(client, GripperSettings(motion_timeout_s=LONG_S, **settings))


def run(gripper):
    """Poll until the goal has ended."""
    end = time.monotonic() + 60.0
    while not gripper.outcomes and time.monotonic() < end:
        gripper.poll(time.monotonic())
    (outcome,) = gripper.outcomes
    gripper.outcomes = []
    return outcome


def test_positions_are_those_that_a_real_gripper_reports(emulator):
    gripper = connected(emulator)
    assert gripper.poll(0.0).position == 0.0  # register 3
    gripper.start(CLOSED_RAD, None, None, 1, time.monotonic())
    outcome = run(gripper)
    assert (outcome.status, outcome.reached, outcome.stalled) == (GoalStatus.SUCCEEDED, True, False)
    assert gripper.reading.position == pytest.approx(CLOSED_RAD)  # register 230, never 255
    assert [line for line in emulator.requests if line.startswith("SET")] == ["SET POS 230 SPE 255 FOR 51 GTO 1"]


@pytest.mark.parametrize(("angle", "register"), [(0.0, 3), (0.7929, 230), (0.39645, 116), (-0.5, 0), (2.0, 255)])
def test_angle_to_register(emulator, angle, register):
    gripper = connected(emulator)
    assert gripper.register(angle) == register
    if 3 <= register <= 230:
        assert gripper.radians(register) == pytest.approx(angle, abs=CLOSED_RAD / 227 / 2 + 1e-9)


def test_other_ends(emulator):
    gripper = connected(emulator, open_register=10, closed_register=210)
    assert (gripper.register(0.0), gripper.register(CLOSED_RAD)) == (10, 210)
    with pytest.raises(DriverError, match="open_register and closed_register are the same"):
        Gripper(GripperClient("127.0.0.1"), GripperSettings(open_register=7, closed_register=7))


def test_an_object_between_the_fingers_is_a_success_that_stalls(emulator):
    emulator.object_at = 120.0
    gripper = connected(emulator)
    gripper.start(CLOSED_RAD, None, None, 1, time.monotonic())
    outcome = run(gripper)
    assert (outcome.status, outcome.reached, outcome.stalled) == (GoalStatus.SUCCEEDED, False, True)
    assert gripper.reading.position == pytest.approx(gripper.radians(120))


def test_speed_and_force_in_the_units_of_the_action(emulator):
    gripper = connected(emulator)
    gripper.start(0.1, 0.187, 235.0, 1, time.monotonic())
    gripper.start(0.1, 9.0, 1.0, 2, time.monotonic())
    sets = [line for line in emulator.requests if line.startswith("SET")]
    assert sets == ["SET POS 32 SPE 0 FOR 255 GTO 1", "SET POS 32 SPE 255 FOR 0 GTO 1"]
    (first,) = gripper.outcomes
    assert (first.token, first.status, first.text) == (1, GoalStatus.ABORTED, "preempted by a new goal")


def test_cancel_stops_the_fingers(emulator):
    gripper = connected(emulator)
    gripper.start(CLOSED_RAD, 0.187, None, 1, time.monotonic())
    gripper.cancel(2)
    assert gripper.outcomes == []
    gripper.cancel(1)
    assert gripper.outcomes[0].status == GoalStatus.CANCELED
    stopped = emulator.position
    assert emulator.position == stopped < 230
    assert emulator.requests[-1] == "SET GTO 0"


def test_a_gripper_that_is_not_active_is_activated_by_the_first_goal():
    emulator = RobotiqEmulator(active=False)
    try:
        gripper = connected(emulator)
        gripper.poll(0.0, everything=True)
        assert (gripper.status, [r for r in emulator.requests if r.startswith("SET")]) == (
            0,
            [],
        )  # nothing moves on start
        gripper.start(0.4, None, None, 1, time.monotonic())
        assert run(gripper).reached
        assert [r for r in emulator.requests if r.startswith("SET")] == [
            "SET ACT 0 ATR 0",
            "SET ACT 1",
            f"SET POS {gripper.register(0.4)} SPE 255 FOR 51 GTO 1",
        ]
    finally:
        emulator.close()


def test_a_fault_ends_the_goal_and_says_what_to_do(emulator):
    gripper = connected(emulator)
    gripper.start(CLOSED_RAD, None, None, 1, time.monotonic())
    emulator.registers["FLT"] = 14
    outcome = run(gripper)
    assert (outcome.status, outcome.text) == (
        GoalStatus.ABORTED,
        "fault 14: overcurrent; look for something that blocks the fingers, then activate again",
    )
    assert fault_text(0) == ""
    assert "unknown" in fault_text(99)


def test_fingers_that_do_not_move_end_the_goal(emulator):
    emulator.stuck = True
    gripper = connected(emulator)
    gripper.start(0.5, None, None, 1, 0.0)
    gripper.poll(1.0)
    assert gripper.outcomes == []
    gripper.poll(LONG_S + 1.0)
    assert gripper.outcomes[0].text == "the gripper has not finished its motion at 0.000 rad after 20 s"


@pytest.mark.parametrize(
    ("goal", "text"),
    [((float("nan"), None, None), "position nan is not finite"), ((0.1, -1.0, None), "velocity -1.0 is negative")],
)
def test_refused_goals(emulator, goal, text):
    with pytest.raises(GoalRefusedError, match=text):
        connected(emulator).check(*goal)


def test_a_server_that_dies_and_comes_back(emulator):
    gripper = connected(emulator)
    gripper.start(CLOSED_RAD, 0.187, None, 1, time.monotonic())
    emulator.die()
    with pytest.raises(LinkError, match=r"gripper at 127\.0\.0\.1:\d+ was lost: "):
        gripper.poll(0.0)
    gripper.lost("gone")
    assert (gripper.outcomes[0].status, gripper.outcomes[0].text) == (GoalStatus.ABORTED, "gone")
    with pytest.raises(LinkError, match="not connected"):
        gripper.poll(0.0)
    client = GripperClient(*emulator.address)
    with pytest.raises(LinkError, match=r"refused\. A computer is there, but no gripper server"):
        client.connect()
    emulator.revive()
    client.connect()
    assert client.get("STA") == 3


def test_answers_that_take_too_long_close_the_connection(emulator):
    client = GripperClient(*emulator.address, timeout_s=LONG_S)
    client.connect()
    client._timeout_s, emulator.delay_s = 0.05, 0.5
    with pytest.raises(LinkError, match=r"was lost: no answer to 'GET POS' within 0\.05 s"):
        client.get("POS")
    assert not client.connected  # a late answer must not be taken for the next one


def test_no_gripper_behind_the_urcap(emulator):
    client = GripperClient(*emulator.address, timeout_s=LONG_S)
    client.connect()
    with pytest.raises(LinkError, match="does not know its XYZ: is the gripper plugged into the wrist"):
        client.get("XYZ")


def test_wrong_addresses_are_explained(monkeypatch):
    with pytest.raises(LinkError, match="Give the IPv4 address that the pendant shows"):
        GripperClient("no.such.robot.invalid").connect()

    def never(address, timeout):
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(LinkError, match=r"gripper at 10\.1\.2\.3:63352 cannot be reached: no answer\. Is the robot on"):
        GripperClient("10.1.2.3").connect()


@pytest.mark.parametrize(
    ("pieces", "value"), [([b"STA 3\n"], 3), ([b"ST", b"A 3"], 3), ([b"SSH-2.0-OpenSSH_9.6 " * 12], None)]
)
def test_answers_in_pieces_and_other_programs(pieces, value):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            link, _ = server.accept()
            with link:
                link.recv(100)
                for piece in pieces:
                    link.sendall(piece)
                link.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        client = GripperClient(*server.getsockname(), timeout_s=LONG_S)
        if value is None:
            with pytest.raises(LinkError, match="is another program behind this port"):
                client.connect()
        else:
            client.connect()
        client.close()
        thread.join(10.0)
