# SPDX-License-Identifier: Apache-2.0

"""Which port is which arm: the list, the one that goes, and the one on which servos answer."""

from dataclasses import replace
from types import SimpleNamespace as Ns

import pytest
import serial
from vla_drivers import find_port
from vla_drivers.emulators.feetech import FeetechEmulator
from vla_drivers.errors import DriverError
from vla_drivers.find_port import main, ports, scan, unplugged
from vla_drivers.so101 import calibration as files
from vla_drivers.so101.packets import Packet, take

PATIENT_S = 5.0
BLUE = {name: replace(joint, homing_offset=100 * joint.id - 350) for name, joint in files.NOMINAL.items()}


@pytest.fixture
def plugged(monkeypatch):
    """The ports that pyserial reports; a test may take some away."""
    found = [
        Ns(device="/dev/ttyACM0", vid=0x1A86, manufacturer=None, product="USB Single Serial", serial_number="58FA"),
        Ns(device="/dev/ttyACM1", vid=0x1A86, manufacturer="1a86", product="USB Single Serial", serial_number="58FB"),
        Ns(device="/dev/ttyS0", vid=None, manufacturer=None, product=None, serial_number=None),
    ]
    monkeypatch.setattr(find_port.list_ports, "comports", lambda: list(found))
    return found


@pytest.fixture
def arm(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    emulator = FeetechEmulator(BLUE)
    yield emulator
    emulator.close()


def test_list(plugged, capsys):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out == (
        "/dev/ttyACM0  (USB Single Serial, serial 58FA)\n/dev/ttyACM1  (1a86, USB Single Serial, serial 58FB)\n"
    )


def test_the_name_that_stays(plugged, tmp_path, monkeypatch):
    device = tmp_path / "ttyACM5"
    device.touch()
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-leader").symlink_to(device)
    plugged[0].device = str(device)
    assert str(ports(tmp_path / "by-id")[str(device)]).endswith(f"  stays the same: {tmp_path}/by-id/usb-leader")


def test_the_one_that_goes_is_the_arm(plugged, capsys):
    assert main([], lambda _: plugged.pop(1)) == 0
    assert capsys.readouterr().out.startswith(
        "the arm is on /dev/ttyACM1  (1a86, USB Single Serial, serial 58FB)\nPlug it in"
    )


def test_what_cannot_be_told(plugged, capsys):
    before = ports()
    with pytest.raises(
        DriverError, match=r"no port went away; still there: /dev/ttyACM0, /dev/ttyACM1\. Was the cable"
    ):
        unplugged(before, lambda: before, wait_s=0.0)
    with pytest.raises(DriverError, match="went away together; unplug one arm only"):
        unplugged(before, dict)

    def closed(_):
        raise EOFError

    assert main([], closed) == 1
    assert "standard input is no terminal; use --list or --scan" in capsys.readouterr().err
    assert main(["--port", "/dev/ttyACM0"]) == 1
    assert "--port goes with --scan" in capsys.readouterr().err
    plugged.clear()
    assert main(["--list"]) == 1
    assert "no USB serial port. Is the arm plugged in" in capsys.readouterr().err


def test_scan_names_the_calibration_that_fits(arm, tmp_path, capsys):
    found = scan(str(arm.path), PATIENT_S)
    assert found.offsets == {1: -250, 2: -150, 3: -50, 4: 50, 5: 150, 6: 250}
    assert found.voltage == 12.0
    assert find_port.known_as(found.offsets) == []
    folder = tmp_path / "teleoperators" / "so_leader"
    folder.mkdir(parents=True)
    files.write(folder / "blue.json", BLUE)
    files.write(folder / "red.json", files.NOMINAL)
    (folder / "gello.json").write_text("{}")
    assert find_port._verdict(found) == "an SO-101 at 12.0 V; calibrated as leader blue"
    assert not any(servo.torque for servo in arm.servos.values())
    assert arm.writes == []


def test_scan_of_an_arm_with_a_loose_cable(arm, monkeypatch, capsys):
    for number in (4, 5, 6):
        arm.servos[number].silent = True
    assert "servos 1, 2, 3 answer, 4, 5, 6 do not: check the cables" in find_port._verdict(
        scan(str(arm.path), 0.2, tries=3)
    )
    assert main(["--scan", "--port", str(arm.path)]) == 0
    assert capsys.readouterr().out.startswith(f"{arm.path}\n    ")


def test_scan_of_ports_without_an_arm(arm, tmp_path, monkeypatch):
    for servo in arm.servos.values():
        servo.silent = True
    assert "no servo answers; no SO-101" in find_port._verdict(scan(str(arm.path), 0.01))
    assert "could not be asked" in find_port._verdict(scan(str(tmp_path / "absent")))

    def denied(*_, **__):
        raise serial.SerialException("[Errno 13] could not open port: Permission denied")

    monkeypatch.setattr(serial, "Serial", denied)
    assert "sudo usermod -aG dialout $USER" in find_port._verdict(scan("/dev/ttyACM0"))


def test_packets_are_found_among_damaged_bytes():
    whole = Packet(3, 0, b"\x10\x20").encode()
    assert whole == b"\xff\xff\x03\x04\x00\x10\x20\xc8"
    buffer = bytearray(b"\x00\xff\xff\xff\x03\x04\x00\x10\x21\xc8" + whole + whole[:5])
    assert take(buffer) == Packet(3, 0, b"\x10\x20")
    assert take(buffer) is None
    buffer += whole[5:]
    assert take(buffer) == Packet(3, 0, b"\x10\x20")


def test_help_has_a_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ros2 run vla_drivers find_port --scan" in capsys.readouterr().out
