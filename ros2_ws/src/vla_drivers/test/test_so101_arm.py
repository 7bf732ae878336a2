# SPDX-License-Identifier: Apache-2.0

"""LeRobot's real motor bus against servos behind a pseudo terminal."""

import time
from dataclasses import replace

import numpy as np
import pytest
from vla_drivers.emulators.feetech import FeetechEmulator
from vla_drivers.errors import DriverError, LinkError
from vla_drivers.so101.arm import So101Arm, _remedy
from vla_drivers.so101.calibration import NOMINAL, folder
from vla_drivers.so101.units import Units

UNITS = Units(gripper_closed=0.0, gripper_open=1.7453)
STEP = np.radians(360 / 4095)
CALIBRATION = {name: replace(joint, homing_offset=40 * joint.id - 150) for name, joint in NOMINAL.items()}


@pytest.fixture
def servos(tmp_path):
    emulator = FeetechEmulator(CALIBRATION, link=tmp_path / "arm")
    yield emulator
    emulator.close()


@pytest.fixture
def make(servos):
    made = []

    def arm(role="follower", calibration=CALIBRATION, patience_s=10.0):
        made.append(So101Arm(str(servos.path), role, calibration, UNITS, "blue", patience_s))
        return made[-1]

    yield arm
    for one in made:
        one.drop()


def test_a_follower_is_read_driven_and_released(servos, make):
    arm = make()
    arm.connect()
    start = arm.read()
    assert start == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.0, 0.87265], abs=STEP)
    assert not any(servo.torque for servo in servos.servos.values())  # connecting moves and stiffens nothing
    arm.torque_on(start)
    with servos.lock:
        assert all(servo.torque for servo in servos.servos.values())
        assert all(abs(servo.goal - servo.position) <= 1 for servo in servos.servos.values())
    target = start + np.array([0.3, -0.2, 0.1, 0.0, 0.2, 0.4])
    arm.write(target)
    end = time.monotonic() + 60.0
    while np.abs(arm.read() - target).max() > 2 * STEP and time.monotonic() < end:
        time.sleep(0.01)
    assert arm.read() == pytest.approx(target, abs=2 * STEP)
    arm.close(torque_off=True)
    assert not any(servo.torque for servo in servos.servos.values())


def test_closing_may_leave_the_arm_stiff_and_connecting_again_does_not_drop_it(servos, make):
    arm = make()
    arm.connect()
    arm.torque_on(arm.read())
    arm.close(torque_off=False)
    assert all(servo.torque for servo in servos.servos.values())
    again = make()
    again.connect()
    assert all(servo.torque for servo in servos.servos.values())


def test_servos_are_set_up_as_lerobot_does(servos, make):
    make().connect()
    for number, servo in servos.servos.items():
        registers = servo.registers
        assert (registers[21], registers[23], registers[22], registers[33], registers[7]) == (16, 0, 32, 0, 0)
        assert int.from_bytes(registers[16:18], "little") == (500 if number == 6 else 0)
        assert registers[55] == 1  # locked again


def test_a_leader_is_limp(servos, make):
    for servo in servos.servos.values():
        servo.registers[40] = 1
    arm = make("leader")
    arm.connect()
    assert not any(servo.torque for servo in servos.servos.values())
    assert servos.servos[1].registers[21] == 0  # its gains are left alone


def test_another_arm_on_the_port_is_refused(servos, make):
    other = dict(CALIBRATION) | {"elbow_flex": replace(CALIBRATION["elbow_flex"], homing_offset=7)}
    with pytest.raises(DriverError, match=r"calibrated otherwise than the file says \(elbow_flex\).*--robot\.id=blue"):
        make(calibration=other).connect()


def test_a_servo_that_does_not_answer_is_named(servos, make):
    servos.servos[4].silent = True
    with pytest.raises(LinkError, match=r"no answer from wrist_flex \(id 4\)\. Is the arm's power supply on"):
        make(patience_s=0.3).connect()


def test_another_kind_of_servo(servos, make):
    servos.servos[2].word(3, 1284)
    with pytest.raises(DriverError, match=r"shoulder_lift is of model 1284, expected 777 \(sts3215\)"):
        make().connect()


def test_a_cable_that_is_pulled_and_plugged_in_again(servos, make):
    arm = make()
    arm.connect()
    servos.unplug()
    for act in (arm.read, lambda: arm.write(np.zeros(6)), lambda: arm.torque_on(np.zeros(6))):
        with pytest.raises(LinkError, match=f"on port {servos.path} failed"):
            act()
    arm.drop()
    with pytest.raises(
        LinkError, match=r"Is the USB cable plugged in\? Find the port with: ros2 run vla_drivers find_port"
    ):
        arm.connect()
    servos.plug()
    arm.connect()
    assert arm.read()[0] == pytest.approx(0.0, abs=STEP)


def test_two_programs_on_one_port(servos, make):
    make().connect()
    with pytest.raises(LinkError, match=r"Another program uses this port"):
        make().connect()


def test_a_servo_that_protects_itself(servos, make):
    arm = make()
    arm.connect()
    servos.servos[6].error = 0x20
    with pytest.raises(LinkError, match=r"turning torque on .* Overload error!.* take away the load"):
        arm.torque_on(arm.read())


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("[Errno 13] Permission denied: '/dev/ttyACM0'", "usermod -aG dialout"), ("?", "Check the USB cable")],
)
def test_remedies(text, remedy):
    assert remedy in _remedy(text)


def test_calibrations_are_where_lerobot_keeps_them():
    from lerobot.utils.constants import HF_LEROBOT_CALIBRATION, ROBOTS, TELEOPERATORS

    assert folder("follower") == HF_LEROBOT_CALIBRATION / ROBOTS / "so_follower"
    assert folder("leader") == HF_LEROBOT_CALIBRATION / TELEOPERATORS / "so_leader"
