# SPDX-License-Identifier: Apache-2.0

"""The teleop node and the drivers of its device, as launch files start them."""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import LogInfo
from launch_ros.actions import Node
from vla_core.errors import VlaError
from vla_core.yamltree import Tree
from vla_teleop.devices.registry import find_config, mapping_parts
from vla_teleop.devices.settings import read_tree

from vla_bringup.launch_util import flag, node, value


def device_config(context: LaunchContext) -> Path:
    """The mapping of the launch argument `device`.

    Raises:
        RuntimeError: there is no such mapping; lists those that are shipped.
    """
    try:
        return find_config(value(context, "device"))
    except VlaError as error:
        raise RuntimeError(f"launch argument device:={value(context, 'device')}: {error}") from error


def teleop_node(context: LaunchContext, profile: Path, *, lockstep: bool, **more: Any) -> Node:
    """The teleop node with the launch arguments of the section `teleop`.

    Args:
        context: Of the launch.
        profile: Robot profile.
        lockstep: Whether the simulated cell gives the ticks.
        more: Further entries of the node, and `parameters` for further parameters.
    """
    parameters = {
        "profile": str(profile),
        "device": str(device_config(context)),
        "frame": value(context, "frame"),
        "rate_hz": float(value(context, "teleop_rate_hz")),
        "require_deadman": flag(context, "require_deadman"),
        "lockstep": lockstep,
        "use_sim_time": flag(context, "sim"),
        **more.pop("parameters", {}),
    }
    return node(context, "vla_teleop", "teleop_node", "teleop", parameters, **more)


def device_drivers(context: LaunchContext) -> list[Node | LogInfo]:
    """The nodes that publish the device's inputs; where one is not installed, what to install.

    Raises:
        RuntimeError: no such mapping, or it cannot be read.
    """
    wanted = value(context, "device_drivers")
    if wanted == "false" or (not wanted and flag(context, "sim")):
        return []
    try:
        trees = [read_tree(part) for part in mapping_parts(device_config(context))]
    except VlaError as error:
        raise RuntimeError(str(error)) from error
    return [_driver(context, driver.plain()) for tree in trees for driver in _drivers(tree)]


def _drivers(tree: Tree) -> list[Tree]:
    """Every section `driver` of a mapping: of the device itself, or of each of its inputs."""
    children = tree.value if isinstance(tree.value, dict) else {}
    inputs = children["inputs"].value if "inputs" in children else {}
    holders = [children, *(entry.value for entry in inputs.values())]
    return [holder["driver"] for holder in holders if "driver" in holder]


def _driver(context: LaunchContext, driver: dict[str, Any]) -> Node | LogInfo:
    package, executable = driver["package"], driver["executable"]
    try:
        get_package_share_directory(package)
    except LookupError:
        return LogInfo(
            msg=f"device {value(context, 'device')}: its driver {executable} is in the ROS 2 package {package}, which is not "
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
