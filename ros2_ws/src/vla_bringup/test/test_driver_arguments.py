# SPDX-License-Identifier: Apache-2.0

"""Launch arguments reach the launch arguments of the drivers; what is missing or given twice is refused with the remedy."""

from pathlib import Path

import pytest
from launch import LaunchContext
from launch_ros.actions import PushRosNamespace
from vla_bringup.driver_launch import drivers_of
from vla_core.profile import load_profile, parse_profile

ROBOTS = Path(__file__).resolve().parents[1] / "robots"
ARGUMENTS = ("drivers", "robot_ip", "left_robot_ip", "right_robot_ip", "robot_port", "robot_id", "calibration_file",
             "camera_serials", "driver_args")  # fmt: skip
PACKAGES = (
    "ur_robot_driver",
    "robotiq_description",
    "realsense2_camera",
    "depthai_ros_driver",
    "vla_drivers",
    "vla_bringup",
)


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """Every driver is installed, as far as the index of packages says."""
    for package in PACKAGES:
        marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / package
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        (tmp_path / "share" / package).mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def started(robot, **given):
    """What the launch file would start, by name."""
    profile = load_profile(ROBOTS / f"{robot}.yaml") if isinstance(robot, str) else robot
    context = LaunchContext()
    context.launch_configurations.update(dict.fromkeys(ARGUMENTS, "") | {"use_mock_hardware": "false"} | given)
    return {driver.name: driver for driver in drivers_of(context, profile)}


def refused(robot, **given):
    with pytest.raises(RuntimeError) as caught:
        started(robot, **given)
    return str(caught.value)


def test_the_address_and_serial_numbers_of_one_arm_reach_its_drivers():
    found = started("ur5e_2f85_realsense", robot_ip="10.0.0.1", camera_serials="front:831612073525,wrist_camera:_9")
    assert found["arm"].arguments["robot_ip"] == "10.0.0.1"
    assert found["arm"].arguments["ur_type"] == "ur5e"
    assert found["front_camera"].arguments["serial_no"] == "_831612073525", "digits alone would be read as a number"
    assert found["wrist_camera"].arguments["serial_no"] == "_9"
    assert found["arm"].file.parts[-4:] == ("share", "ur_robot_driver", "launch", "ur_control.launch.py")


def test_two_arms_get_their_own_addresses_prefixes_namespaces_and_ports():
    found = started(
        "ur5e_bimanual", left_robot_ip="10.0.0.1", right_robot_ip="10.0.0.2",
        camera_serials="front:1 left_wrist:2 right_wrist:3",
    )  # fmt: skip
    for side, address in (("left", "10.0.0.1"), ("right", "10.0.0.2")):
        arm, gripper = found[f"{side}_arm"], found[f"{side}_gripper"]
        assert (arm.namespace, arm.arguments["tf_prefix"]) == (side, f"{side}_")
        assert arm.arguments["robot_ip"] == gripper.arguments["robot_ip"] == address
        assert gripper.arguments["joint_prefix"] == f"{side}_"
    ports = [found["right_arm"].arguments[key] for key in ("reverse_port", "script_sender_port", "trajectory_port")]
    assert len(set(ports)) == 3
    assert "reverse_port" not in found["left_arm"].arguments, "the left one has the driver's own"


def test_an_so101_gets_port_id_and_calibration(tmp_path):
    file = tmp_path / "arm.json"
    file.write_text("{}")
    given = {"robot_port": "/dev/ttyACM3", "robot_id": "blue", "calibration_file": str(file), "drivers": "arm"}
    own = started("so101", **given)["arm"].arguments
    assert (own["port"], own["id"], own["calibration_file"]) == ("/dev/ttyACM3", "blue", str(file))
    assert (own["role"], own["use_mock_hardware"]) == ("follower", "false")


def test_mock_hardware_needs_neither_address_nor_port():
    found = started("ur5e_bimanual", use_mock_hardware="true", drivers="left_arm,right_arm,left_gripper")
    assert list(found) == ["left_arm", "left_gripper", "right_arm"]
    assert {driver.arguments["use_mock_hardware"] for driver in found.values()} == {"true"}
    assert started("so101", use_mock_hardware="true", drivers="arm")["arm"].arguments["use_mock_hardware"] == "true"


def test_any_other_argument_can_be_given():
    own = started(
        "so101", use_mock_hardware="true", driver_args="arm.rate_hz=100 wrist_camera.video_device=/dev/video7"
    )
    assert own["arm"].arguments["rate_hz"] == "100"
    assert own["wrist_camera"].arguments["video_device"] == "/dev/video7"


SERIALS = {"camera_serials": "front:1,wrist:2"}


@pytest.mark.parametrize(
    ("robot", "given", "texts"),
    [
        ("ur5e_2f85_realsense", SERIALS, ["driver 'arm' has no address", "robot_ip:=", "use_mock_hardware:=true"]),
        ("ur5e_2f85_realsense", {"robot_ip": "0.0.0.0", **SERIALS}, ["has no address of a robot ('0.0.0.0')"]),
        ("ur5e_2f85_realsense", {"robot_ip": "10.0.0.1"}, ["'front_camera' has no serial number", "camera_serials:=front:"]),
        (
            "ur5e_2f85_realsense",
            {"robot_ip": "10.0.0.1", "camera_serials": "front:7,wrist:7"},
            ["'front_camera' and 'wrist_camera' are given the same serial number, _7", "camera_serials:="],
        ),
        ("ur5e_2f85_realsense", {"camera_serials": "frnt:1"}, ["no camera 'frnt'", "did you mean 'front'"]),
        ("ur5e_2f85_realsense", {"camera_serials": "front"}, ["not of the form camera:serial"]),
        ("ur5e_bimanual", {"robot_ip": "10.0.0.1"}, ["has two arms", "left_robot_ip:=… right_robot_ip:=…"]),
        ("ur5e_bimanual", {"left_robot_ip": "10.0.0.1"}, ["driver 'right_arm' has no address", "right_robot_ip:="]),
        (
            "ur5e_bimanual",
            {"left_robot_ip": "10.0.0.1", "right_robot_ip": "10.0.0.1", "camera_serials": "front:1,left_wrist:2,right_wrist:3"},
            ["'left_arm' and 'right_arm' are given the same address for ur_robot_driver, 10.0.0.1"],
        ),
        ("tatbot_bimanual", {"left_robot_ip": "10.0.0.1"}, ["left_robot_ip:=10.0.0.1: no driver", "takes it"]),
        ("so101", {}, ["driver 'arm' has no serial port", "find_port", "robot_port:="]),
        ("so101", {"calibration_file": "/nowhere/arm.json"}, ["calibration_file:=/nowhere/arm.json: no such file"]),
        ("so101", {"drivers": "amr"}, ["has no driver 'amr'", "did you mean 'arm'"]),
        ("so101", {"driver_args": "arm:rate=3"}, ["not of the form driver.argument=value"]),
        (
            "so101",
            {"robot_port": "/dev/ttyACM0", "driver_args": "arm.calibration_file=/nowhere.json arm.id=blue"},
            ["calibration_file /nowhere.json does not exist", "lerobot-calibrate", "--robot.id=blue"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_remedy(robot, given, texts):
    message = refused(robot, **given)
    for text in texts:
        assert text in message, message


def test_a_driver_that_is_not_installed_is_named_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "empty"))
    message = refused("so101", use_mock_hardware="true")
    assert "ros-jazzy-vla-drivers" in message
    assert "sim:=true" in message


def test_a_namespace_of_the_profile_is_inside_that_of_the_launch():
    text = (ROBOTS / "sim_ur5e.yaml").read_text()
    text += "drivers: {left_arm: {package: vla_drivers, launch: so101.launch.py, namespace: left}}\n"
    driver = started(parse_profile(text, str(ROBOTS / "own.yaml")))["left_arm"]
    inside = driver.action("cell_2").get_sub_entities()
    (pushed,) = [action for action in inside if isinstance(action, PushRosNamespace)]
    assert pushed.namespace[0].text == "cell_2/left"
