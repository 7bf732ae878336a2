# SPDX-License-Identifier: Apache-2.0

"""LeRobot's calibration file and LeRobot's units; a missing or damaged file is refused with the command that makes one."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from vla_drivers.errors import DriverError
from vla_drivers.so101 import calibration as files
from vla_drivers.so101.units import Units

UNITS = Units(gripper_closed=0.0, gripper_open=1.7453)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    folder = tmp_path / "robots" / "so_follower"
    folder.mkdir(parents=True)
    return folder


def test_a_file_is_read_as_it_was_written(home):
    files.write(home / "blue.json", files.NOMINAL)
    path = files.find("follower", given="", name="blue", port="")
    assert path == home / "blue.json"
    assert files.read(path, "follower") == files.NOMINAL
    assert list(files.read(path, "follower")) == list(files.JOINTS)


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        ("follower", "lerobot-calibrate --robot.type=so101_follower --robot.port=/dev/ttyACM7 --robot.id=red"),
        ("leader", "lerobot-calibrate --teleop.type=so101_leader --teleop.port=/dev/ttyACM7 --teleop.id=red"),
    ],
)
def test_a_missing_one_is_refused_with_the_command(home, role, remedy):
    files.write(home / "blue.json", files.NOMINAL)
    with pytest.raises(DriverError) as error:
        files.find(role, given="", name="red", port="/dev/ttyACM7")
    assert str(error.value).endswith(f"Calibrate the arm once with: {remedy}")
    assert "(there are: blue)" in str(error.value) or role == "leader"


def test_neither_file_nor_id():
    with pytest.raises(DriverError, match=r"neither calibration_file nor id is given.*--robot\.id=my_follower"):
        files.find("follower", given="", name="", port="")


def changed(**changes):
    content = {name: asdict(joint) for name, joint in files.NOMINAL.items()}
    content["elbow_flex"] |= changes
    return content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "cannot be read"),
        ([], "its joints are no object"),
        ({"shoulder_pan": {}}, "its joints are shoulder_pan, expected shoulder_pan, shoulder_lift"),
        (changed(range_min="1"), "joint elbow_flex: expected whole numbers"),
        (changed(range_min=3250), "joint elbow_flex: range 3250 to 3250 must grow within 0 to 4095 steps"),
        (changed(range_max=5000), "joint elbow_flex: range 850 to 5000 must grow"),
        (changed(id=1), r"servo ids \[1, 2, 1, 4, 5, 6\] are not different"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, text):
    path = tmp_path / "blue.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DriverError, match=text) as error:
        files.read(path, "leader")
    assert "lerobot-calibrate --teleop.type=so101_leader --teleop.port=/dev/ttyACM0 --teleop.id=blue" in str(
        error.value
    )


def test_degrees_and_percent_to_radians_and_back():
    values = dict.fromkeys(files.JOINTS, 0.0) | {"shoulder_pan": 90.0, "wrist_roll": -180.0, "gripper": 50.0}
    angles = UNITS.to_radians(values)
    assert angles == pytest.approx([math.pi / 2, 0.0, 0.0, 0.0, -math.pi, 0.87265])
    assert UNITS.from_radians(angles) == pytest.approx(values)


def test_a_gripper_that_closes_the_other_way():
    units = Units(gripper_closed=1.0, gripper_open=-1.0)
    assert units.to_radians(dict.fromkeys(files.JOINTS, 0.0))[5] == 1.0
    assert units.from_radians(np.array([0.0] * 5 + [-1.0]))["gripper"] == pytest.approx(100.0)
    low, high = units.limits(files.NOMINAL)
    assert (low[5], high[5]) == (-1.0, 1.0)


def test_limits_are_the_calibrated_ranges():
    low, high = UNITS.limits(files.NOMINAL)
    half = math.radians((3300 - 800) / 2 * 360 / 4095)
    assert (low[0], high[0]) == pytest.approx((-half, half))
    assert (low[5], high[5]) == pytest.approx((0.0, 1.7453))
