# SPDX-License-Identifier: Apache-2.0

"""What the launch files share: arguments, profile look-up before any process starts, the node entries.

Every launch argument and default of the workspace that concerns more than one file is declared here once.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile

TRUE_WORDS, FALSE_WORDS = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def share() -> Path:
    """The installed share folder of this package."""
    return Path(get_package_share_directory("vla_bringup"))


def robots() -> list[str]:
    """Names of the shipped robot profiles."""
    return sorted(path.stem for path in (share() / "robots").glob("*.yaml"))


def robot_arguments(default: str = "") -> list[DeclareLaunchArgument]:
    """Arguments that choose the robot and whether it is simulated."""
    return [
        DeclareLaunchArgument(
            "robot", default_value=default, description=f"Robot profile by name: {', '.join(robots())}. Empty: sim_ur5e with sim:=true, else ur5e_2f85_realsense."
        ),
        DeclareLaunchArgument("profile", default_value="", description="Path of a robot profile (YAML) of your own; wins over robot:=."),
        DeclareLaunchArgument("sim", default_value="false", choices=["true", "false"], description="Run the simulated cell instead of the robot's drivers."),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of all nodes, topics, services and actions."),
        DeclareLaunchArgument("log_level", default_value="info", choices=["debug", "info", "warn", "error"], description="Log level of all nodes."),
    ]


def sim_arguments() -> list[DeclareLaunchArgument]:
    """Arguments of the simulated cell; without effect on a real robot."""
    return [
        DeclareLaunchArgument("scene", default_value="lift", choices=["lift", "pick_place"], description="Simulation: what the scene asks for and how success is judged."),
        DeclareLaunchArgument("bin", default_value="fixed", choices=["fixed", "moving"], description="Simulation: whether the bin of pick_place stands still or moves by up to 4 cm per episode."),
        DeclareLaunchArgument("clock", default_value="lockstep", choices=["lockstep", "paced"], description="Simulation: lockstep (time waits for every node, nothing is dropped on a busy machine) or paced (real_time_factor)."),
        DeclareLaunchArgument("real_time_factor", default_value="1.0", description="Simulation, paced: simulated seconds per second."),
        DeclareLaunchArgument("seed", default_value="0", description="Simulation: seed of the first episode; episode i starts from seed + i."),
    ]


def flag(context: LaunchContext, name: str) -> bool:
    """A boolean launch argument.

    Raises:
        RuntimeError: the text is neither a true nor a false word; a typo is never read as false.
    """
    text = LaunchConfiguration(name).perform(context).strip().lower()
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise RuntimeError(f"launch argument {name}:={text}: expected true or false")


def value(context: LaunchContext, name: str) -> str:
    """The text of a launch argument."""
    return LaunchConfiguration(name).perform(context).strip()


def resolve_profile(context: LaunchContext) -> tuple[Path, Profile]:
    """Find and load the robot profile, so that a mistake in it is one message and not six crashing nodes.

    Raises:
        RuntimeError: no such robot, no such file, or an error in the profile (file, key, allowed values).
    """
    given, robot = value(context, "profile"), value(context, "robot")
    if given:
        path = Path(given).expanduser().resolve()
    else:
        robot = robot or ("sim_ur5e" if flag(context, "sim") else "ur5e_2f85_realsense")
        path = share() / "robots" / f"{robot}.yaml"
        if robot not in robots():
            raise RuntimeError(f"launch argument robot:={robot}: no such profile. Shipped ones are {', '.join(robots())}; name a file of your own with profile:=")
    try:
        return path, load_profile(path)
    except VlaError as error:
        raise RuntimeError(str(error)) from error


def image_transport() -> list[SetEnvironmentVariable]:
    """Make Fast DDS carry camera images whole, unless the user has a profile of his own.

    The stock shared-memory segment is smaller than one VGA image, and best-effort frames are then lost silently.
    """
    if os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE"):
        return []
    return [SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(share() / "config" / "fastdds_shm.xml"))]


def node(context: LaunchContext, package: str, executable: str, name: str, parameters: dict[str, object], **kwargs: object) -> Node:
    """A node with the package's parameter file first and the launch arguments over it; output on the screen."""
    params_file = share() / "config" / f"{name}.param.yaml"
    files: list[object] = [str(params_file)] if params_file.exists() else []
    return Node(
        package=package,
        executable=executable,
        name=name,
        namespace=value(context, "namespace"),
        parameters=[*files, parameters],
        arguments=["--ros-args", "--log-level", value(context, "log_level")],
        output="screen",
        emulate_tty=False,
        **kwargs,
    )


def installed(package: str) -> bool:
    """Whether an ament package is there."""
    try:
        get_package_prefix(package)
    except LookupError:
        return False
    return True
