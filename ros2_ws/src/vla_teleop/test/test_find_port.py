# SPDX-License-Identifier: Apache-2.0

"""The port of an arm is the one that goes when the cable is unplugged."""

import pytest
from vla_teleop.devices.device import DeviceError
from vla_teleop.devices.find_port import main, ports, unplugged


@pytest.fixture
def dev(tmp_path):
    (tmp_path / "serial" / "by-id").mkdir(parents=True)
    for name in ("ttyACM0", "ttyUSB0", "ttyS0"):
        (tmp_path / name).touch()
    (tmp_path / "serial" / "by-id" / "usb-leader").symlink_to(tmp_path / "ttyACM0")
    return tmp_path


def test_ports_with_the_name_that_stays(dev, capsys):
    assert list(ports(dev)) == ["ttyACM0", "ttyUSB0"]
    assert main(["--list"], dev) == 0
    out = capsys.readouterr().out
    assert f"{dev}/ttyACM0  stays the same: {dev}/serial/by-id/usb-leader\n" in out
    assert f"{dev}/ttyUSB0\n" in out
    assert "ttyS0" not in out


def test_the_one_that_goes_is_the_arm(dev, capsys):
    asked = []

    def unplug(text):
        asked.append(text)
        (dev / "ttyACM0").unlink()
        return ""

    assert main([], dev, unplug) == 0
    assert asked == ["ports: ttyACM0, ttyUSB0\nUnplug the USB cable of the arm, then press enter. "]
    out = capsys.readouterr().out
    assert out.startswith(f"the arm is on {dev}/ttyACM0  stays the same: {dev}/serial/by-id/usb-leader")


def test_a_port_may_take_a_moment_to_go(dev):
    before = ports(dev)
    looks = [before, before, {"ttyACM0": before["ttyACM0"]}]
    assert unplugged(before, lambda: looks.pop(0)).path.name == "ttyUSB0"


def test_what_cannot_be_told(dev, tmp_path, capsys):
    before = ports(dev)
    with pytest.raises(DeviceError, match=r"no port went away; still there: ttyACM0, ttyUSB0\. Was the cable"):
        unplugged(before, lambda: before, wait_s=0.0)
    with pytest.raises(DeviceError, match="ttyACM0, ttyUSB0 went away together; unplug one arm only"):
        unplugged(before, dict)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([], empty) == 1
    assert f"no USB serial port ({empty}/ttyACM*, {empty}/ttyUSB*). Is the arm plugged in" in capsys.readouterr().err

    def closed(_):
        raise EOFError

    assert main([], dev, closed) == 1
    assert "standard input is no terminal; use --list" in capsys.readouterr().err


def test_a_port_without_permission_says_so(dev, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "NOT ALLOWED: sudo usermod -aG dialout $USER" in ports(dev)["ttyACM0"].text()


def test_help_has_a_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ros2 run vla_teleop find_port --list" in capsys.readouterr().out
