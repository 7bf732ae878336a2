# SPDX-License-Identifier: Apache-2.0

"""The teleop node, the drivers of its device and the operator node, as launch files start them."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import LogInfo
from launch_ros.actions import Node
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile
from vla_core.yamltree import Tree
from vla_teleop.devices.registry import find_config, mapping_parts
from vla_teleop.devices.settings import read_tree

from vla_bringup.ended import arm_hint, ended
from vla_bringup.launch_util import flag, node, require, value
from vla_bringup.preflight_launch import checked


def device_config(context: LaunchContext, argument: str = "device") -> Path:
    """The mapping that a launch argument names.

    Raises:
        RuntimeError: there is no such mapping; lists those that are shipped.
    """
    try:
        return find_config(value(context, argument))
    except VlaError as error:
        raise RuntimeError(f"launch argument {argument}:={value(context, argument)}: {error}") from error


def person(
    context: LaunchContext, profile: Path, *, lockstep: bool, day: dict[str, object], argument: str = "device"
) -> list[Node | LogInfo]:
    """Everything through which a person at a device drives: its drivers, the teleop node, the operator node.

    Whatever ends, all end: the operator node then saves what there is and brings the arm to rest.

    Args:
        context: Of the launch.
        profile: Robot profile.
        lockstep: Whether the simulated cell gives the ticks.
        day: Parameters of the operator node.
        argument: Launch argument that names the device.
    """
    common = {"profile": str(profile), "lockstep": lockstep, "use_sim_time": flag(context, "sim")}
    hint = arm_hint(load_profile(profile))
    return [
        *device_drivers(context, argument),
        teleop_node(context, profile, lockstep=lockstep, argument=argument, on_exit=ended("teleop", hint)),
        node(
            context,
            "vla_teleop",
            "operator_node",
            "operator",
            {**common, **day},
            on_exit=ended("operator", hint),
        ),
    ]


def teleop_nodes(
    context: LaunchContext, path: Path, profile: Profile, *, lockstep: bool, **more: Any
) -> list[Node | LogInfo]:
    """The teleop node, or one for each of several arms, with the drivers of their devices.

    Args:
        context: Of the launch.
        path: Of the profile.
        profile: Robot.
        lockstep: Whether the simulated cell gives the ticks.
        more: As for `teleop_node`.

    Raises:
        RuntimeError: there are not as many devices as arms, or there is no such mapping.
    """
    names = teleop_names(profile)
    if len(names) == 1:
        return [*device_drivers(context), teleop_node(context, path, lockstep=lockstep, **more)]
    devices = [part.strip() for part in value(context, "device").split(",")]
    arms = [spec.arm for spec in profile.teleops]
    require(
        len(devices) == len(arms),
        f"launch argument device:={value(context, 'device')}: {profile.robot} has {len(arms)} arms ({', '.join(arms)}), and "
        f"each needs a device of its own, in this order with a comma between them, as in device:=gello_left,gello_right",
    )
    found: list[Node | LogInfo] = []
    for name, arm, device in zip(names, arms, devices, strict=True):
        context.launch_configurations["device"] = device
        own = {**more, "parameters": {**more.get("parameters", {}), "arm": arm}, "name": name}
        found += [*device_drivers(context), teleop_node(context, path, lockstep=lockstep, **own)]
    context.launch_configurations["device"] = ",".join(devices)
    return found


def teleop_names(profile: Profile) -> list[str]:
    """Names of the teleop nodes: `teleop`, or `left_teleop` for the arm `left_arm` of several."""
    if len(profile.teleops) < 2:
        return ["teleop"]
    return [f"{spec.arm.removesuffix('_arm')}_teleop" for spec in profile.teleops]


def teleop_node(
    context: LaunchContext, profile: Path, *, lockstep: bool, argument: str = "device", **more: Any
) -> Node:
    """The teleop node with the launch arguments of the section `teleop`.

    Args:
        context: Of the launch.
        profile: Robot profile.
        lockstep: Whether the simulated cell gives the ticks.
        argument: Launch argument that names the device.
        more: Further entries of the node, `name` in place of `teleop`, and `parameters` for further parameters.
    """
    parameters = {
        "profile": str(profile),
        "device": str(device_config(context, argument)),
        "frame": value(context, "frame"),
        "rate_hz": float(value(context, "teleop_rate_hz")),
        "require_deadman": flag(context, "require_deadman"),
        "preflight": checked(context),
        "lockstep": lockstep,
        "use_sim_time": flag(context, "sim"),
        **more.pop("parameters", {}),
    }
    return node(context, "vla_teleop", "teleop_node", more.pop("name", "teleop"), parameters, **more)


def device_drivers(context: LaunchContext, argument: str = "device") -> list[Node | LogInfo]:
    """The nodes that publish the device's inputs; where one is not installed, what to install.

    Raises:
        RuntimeError: no such mapping, or it cannot be read.
    """
    wanted = value(context, "device_drivers")
    if wanted == "false" or (not wanted and flag(context, "sim")):
        return []
    trees = _mappings(context, argument)
    name = value(context, argument)
    return [_driver(context, driver.plain(), name) for tree in trees for driver in _drivers(tree)]


def without_button(context: LaunchContext, event: str, argument: str = "device") -> list[LogInfo]:
    """What to do where a device has no button for an event that is needed.

    Raises:
        RuntimeError: no such mapping, or it cannot be read.
    """
    parts = [tree.plain() for tree in _mappings(context, argument)]
    if any(button.get("event") == event for part in parts for button in part.get("buttons") or ()):
        return []
    by_hand = f'ros2 topic pub --once /teleop/event vla_msgs/msg/TeleopEvent "{{name: {event}}}"'
    return [
        LogInfo(
            msg=f"device {value(context, argument)}: it has no button {event}. Name one under `buttons` of its mapping, or "
            f"press it by a command: {by_hand}"
        )
    ]


def _mappings(context: LaunchContext, argument: str) -> list[Tree]:
    try:
        return [read_tree(part) for part in mapping_parts(device_config(context, argument))]
    except VlaError as error:
        raise RuntimeError(str(error)) from error


def _drivers(tree: Tree) -> list[Tree]:
    """Every section `driver` of a mapping: of the device itself, or of each of its inputs."""
    children = tree.value if isinstance(tree.value, dict) else {}
    inputs = children["inputs"].value if "inputs" in children else {}
    holders = [children, *(entry.value for entry in inputs.values())]
    return [holder["driver"] for holder in holders if "driver" in holder]


def _driver(context: LaunchContext, driver: dict[str, Any], device: str) -> Node | LogInfo:
    package, executable = driver["package"], driver["executable"]
    try:
        get_package_share_directory(package)
    except LookupError:
        return LogInfo(
            msg=f"device {device}: its driver {executable} is in the ROS 2 package {package}, which is not "
            f"installed: sudo apt-get install ros-jazzy-{package.replace('_', '-')}"
        )
    parts = (value(context, "namespace"), driver.get("namespace", ""))
    return Node(
        package=package,
        executable=executable,
        namespace="/".join(part for part in parts if part),
        parameters=[driver.get("parameters", {})],
        output="screen",
        emulate_tty=False,
    )
