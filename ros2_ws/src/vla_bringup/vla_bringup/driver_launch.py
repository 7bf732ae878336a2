# SPDX-License-Identifier: Apache-2.0

"""The drivers that a profile names, with the arguments of the command line, checked before anything starts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace
from vla_core.errors import nearest_name
from vla_core.profile import Profile
from vla_core.specs import DriverSpec

from vla_bringup.launch_util import flag, given_file, require, value

SIDES = ("left", "right")
SERIALS = ("serial_no", "serial", "i_mx_id", "usb_port_id")
"""Arguments by which camera drivers tell one camera from another: realsense2_camera, others, depthai_ros_driver."""
_PLACEHOLDER_IPS = ("", "0.0.0.0")
_PLACEHOLDER_SERIAL = re.compile(r"^_?0*$")
# How drivers name what they start without hardware: argument, and its value for mock hardware.
_MOCK = {"use_mock_hardware": "true", "ros2_control_hardware_type": "mock_components"}
# Launch argument of ours to the driver's argument that it sets, for all drivers that have it.
_FORWARDED = {"robot_ip": "robot_ip", "robot_port": "port", "robot_id": "id", "calibration_file": "calibration_file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A driver's launch file with its arguments, and the namespace that it runs in."""

    name: str
    file: Path
    arguments: dict[str, str]
    namespace: str

    def action(self, outer: str) -> GroupAction:
        """Include it in a scope of its own: launch arguments would otherwise leak from one driver into the next."""
        source = PythonLaunchDescriptionSource(str(self.file))
        included = IncludeLaunchDescription(source, launch_arguments=self.arguments.items())
        inside = "/".join(part.strip("/") for part in (outer, self.namespace) if part.strip("/"))
        pushed = [PushRosNamespace(inside)] if inside else []
        return GroupAction([*pushed, included], scoped=True, forwarding=False)


def drivers_of(context: LaunchContext, profile: Profile) -> list[Driver]:
    """The drivers to start, with the launch arguments that are meant for them.

    Raises:
        RuntimeError: a driver's package is not installed; an argument is for a driver that there is not; an address, a
            serial number, a port or a calibration file is missing, or given twice.
    """
    specs = _chosen(context, profile)
    arguments = {spec.name: dict(spec.args) for spec in specs}
    mock = flag(context, "use_mock_hardware")
    _forward(context, profile, arguments)
    _serial_numbers(value(context, "camera_serials"), profile, arguments)
    _free(value(context, "driver_args"), profile, arguments)
    if mock:
        for given in arguments.values():
            given.update({key: text for key, text in _MOCK.items() if key in given})
    for spec in specs:
        if not any(arguments[spec.name].get(key) == text for key, text in _MOCK.items()):
            _check_complete(profile, spec, arguments[spec.name])
    _check_different(profile, specs, arguments)
    return [
        Driver(
            name=spec.name,
            file=_folder(profile, spec) / spec.launch,
            arguments=arguments[spec.name],
            namespace=spec.namespace,
        )
        for spec in specs
    ]


def _chosen(context: LaunchContext, profile: Profile) -> list[DriverSpec]:
    wanted = [name for name in re.split(r"[,\s]+", value(context, "drivers")) if name]
    names = [spec.name for spec in profile.drivers]
    for name in wanted:
        require(
            name in names,
            f"drivers:={','.join(wanted)}: profile {profile.robot} has no driver '{name}'; it has: "
            f"{', '.join(names) or 'none'}{nearest_name(name, names)}",
        )
    return [spec for spec in profile.drivers if not wanted or spec.name in wanted]


def _forward(context: LaunchContext, profile: Profile, arguments: dict[str, dict[str, str]]) -> None:
    """Set what launch arguments say for every driver that has it."""
    given_file(context, "calibration_file")  # refuses a file that is not there
    for ours, key in _FORWARDED.items():
        if given := value(context, ours):
            takers = [name for name, own in arguments.items() if key in own]
            sides = {name.split("_")[0] for name in takers} & set(SIDES)
            require(
                len(sides) < 2,
                f"{ours}:={given}: profile {profile.robot} has two arms. Give each its own: "
                + (
                    f"left_{ours}:=… right_{ours}:=…"
                    if ours == "robot_ip"
                    else f'driver_args:="left_arm.{key}=… right_arm.{key}=…"'
                ),
            )
            _set(ours, given, key, takers, profile, arguments)
    for side in SIDES:
        ours = f"{side}_robot_ip"
        if given := value(context, ours):
            takers = [name for name, own in arguments.items() if name.startswith(f"{side}_") and "robot_ip" in own]
            _set(ours, given, "robot_ip", takers, profile, arguments)


def _set(
    ours: str, given: str, key: str, takers: list[str], profile: Profile, arguments: dict[str, dict[str, str]]
) -> None:
    require(
        bool(takers),
        f"{ours}:={given}: no driver that profile {profile.robot} starts takes it; leave it out, or name the argument "
        f"'{key}' under drivers.<name>.args of {profile.source}",
    )
    for name in takers:
        arguments[name][key] = given


def _serial_numbers(text: str, profile: Profile, arguments: dict[str, dict[str, str]]) -> None:
    """Set serial numbers, `front:831612073525,wrist:…` by camera."""
    cameras = {name.removesuffix("_camera"): name for name, own in arguments.items() if set(own) & set(SERIALS)}
    for pair in filter(None, re.split(r"[,\s]+", text)):
        camera, _, serial = pair.partition(":")
        require(
            bool(serial), f"camera_serials:={text}: '{pair}' is not of the form camera:serial, as front:831612073525"
        )
        name = cameras.get(camera.removesuffix("_camera"))
        require(
            name is not None,
            f"camera_serials:={text}: profile {profile.robot} starts no camera '{camera}' that takes a serial number; it "
            f"has: {', '.join(cameras) or 'none'}{nearest_name(camera, list(cameras))}",
        )
        assert name is not None
        own = arguments[name]
        key = next(key for key in SERIALS if key in own)
        # rs_launch.py would read digits as a number; its serial numbers begin with an underscore.
        own[key] = f"_{serial}" if key == "serial_no" and serial.isdigit() else serial


def _free(text: str, profile: Profile, arguments: dict[str, dict[str, str]]) -> None:
    """Set any argument of any driver: words `driver.argument=value`."""
    for word in text.split():
        target, equals, given = word.partition("=")
        name, dot, key = target.partition(".")
        require(
            bool(equals and dot and key) and name in arguments,
            f"driver_args:={text}: '{word}' is not of the form driver.argument=value with a driver of profile "
            f"{profile.robot}: {', '.join(arguments) or 'none'}{nearest_name(name, list(arguments))}",
        )
        arguments[name][key] = given


def _check_complete(profile: Profile, spec: DriverSpec, own: dict[str, str]) -> None:
    """Refuse a driver of hardware that has no address, serial number, port or calibration."""
    where = f"profile {profile.robot}: driver '{spec.name}'"
    side = next((f"{side}_" for side in SIDES if spec.name.startswith(f"{side}_")), "")
    if "robot_ip" in own:
        require(
            own["robot_ip"] not in _PLACEHOLDER_IPS,
            f"{where} has no address of a robot ('{own['robot_ip']}'); give it with {side}robot_ip:=…, as the teach "
            "pendant shows it under Settings, System, Network. Without a robot: sim:=true or use_mock_hardware:=true",
        )
    for key in SERIALS:
        if key in own and _PLACEHOLDER_SERIAL.match(own[key]):
            camera = spec.name.removesuffix("_camera")
            raise RuntimeError(
                f"{where} has no serial number ('{own[key]}'); give it with camera_serials:={camera}:…, as "
                "rs-enumerate-devices or the camera's label shows it, or write it into a profile of your own"
            )
    if "port" in own:
        require(
            bool(own["port"]),
            f"{where} has no serial port; `ros2 run vla_drivers find_port` finds it, then give it with robot_port:=… . "
            "Without an arm: use_mock_hardware:=true",
        )
    if file := own.get("calibration_file"):
        robot = own.get("id") or "my_arm"
        require(
            Path(file).expanduser().is_file(),
            f"{where}: calibration_file {file} does not exist; make it with `lerobot-calibrate "
            f"--robot.type=so101_follower --robot.port={own.get('port') or '/dev/ttyACM0'} --robot.id={robot}`",
        )


def _check_different(profile: Profile, specs: list[DriverSpec], arguments: dict[str, dict[str, str]]) -> None:
    """Refuse one device for two drivers."""
    seen: dict[tuple[str, str], str] = {}
    for spec in specs:
        for kind, given, remedy in _devices(spec, arguments[spec.name]):
            other = seen.setdefault((kind, given), spec.name)
            require(
                other == spec.name,
                f"profile {profile.robot}: drivers '{other}' and '{spec.name}' are given the same {kind}, {given}; {remedy}",
            )


def _devices(spec: DriverSpec, own: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    if any(own.get(key) == text for key, text in _MOCK.items()):
        return
    for key in SERIALS:
        if own.get(key):
            yield "serial number", own[key], "camera_serials:=… gives each camera its own"
    if own.get("port"):
        yield "serial port", own["port"], "driver_args:=… gives each arm its own"
    if own.get("robot_ip"):
        # An arm and the gripper behind its address are two drivers of one robot.
        yield (
            f"address for {spec.package}",
            own["robot_ip"],
            "left_robot_ip:=… and right_robot_ip:=… give each arm its own",
        )


def _folder(profile: Profile, spec: DriverSpec) -> Path:
    try:
        return Path(get_package_share_directory(spec.package)) / "launch"
    except LookupError as error:
        raise RuntimeError(
            f"profile {profile.robot}: driver {spec.name!r} needs the ROS 2 package {spec.package}, which is not installed. "
            f"Install it (sudo apt-get install ros-jazzy-{spec.package.replace('_', '-')}), start only others with "
            "drivers:=…, or try the simulated cell with sim:=true"
        ) from error
