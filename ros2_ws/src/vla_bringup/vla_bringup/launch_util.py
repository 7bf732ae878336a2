# SPDX-License-Identifier: Apache-2.0

"""What the launch files share: arguments, profile look-up before any process starts, the node entries.

A launch file declares its arguments by section (`declare`), checks their combination, and names its nodes.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from vla_core.errors import BagError, VlaError
from vla_core.profile import Profile, load_profile, parse_profile
from vla_policy.policies.checkpoint import PROFILE_FILE, choose_profile, find_checkpoint
from vla_recorder.bags.reader import open_episode

TRUE_WORDS, FALSE_WORDS = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


SCENES_WITH_SENTENCES = ("pick", "pick_rotated", "pick_which")


def share(package: str = "vla_bringup") -> Path:
    """The installed share folder of a package."""
    return Path(get_package_share_directory(package))


def robots() -> list[str]:
    """Names of the shipped robot profiles."""
    return sorted(path.stem for path in (share() / "robots").glob("*.yaml"))


def declare(*sections: str) -> list[DeclareLaunchArgument]:
    """Declare the launch arguments of sections of config/arguments.yaml, where every default has its one home."""
    table = yaml.safe_load((share() / "config" / "arguments.yaml").read_text(encoding="utf-8"))
    return [
        DeclareLaunchArgument(
            name,
            description=entry["description"],
            **({"default_value": entry["default"]} if "default" in entry else {}),
            **({"choices": entry["choices"]} if "choices" in entry else {}),
        )
        for section in sections
        for name, entry in table[section].items()
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


def sentence(context: LaunchContext, task: str) -> str:
    """What the scripted operator or the trial is given as the sentence; empty: it takes the scene's own.

    Args:
        context: Of the launch.
        task: The user's text or the profile's.
    """
    own = value(context, "scene") in SCENES_WITH_SENTENCES
    changed = context.launch_configurations.get("sentence", "own") != "own"
    return value(context, "task") if own or changed else task


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
            raise RuntimeError(
                f"launch argument robot:={robot}: no such profile. Shipped ones are {', '.join(robots())}; name a file of your own with profile:="
            )
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


def node(
    context: LaunchContext, package: str, executable: str, name: str, parameters: dict[str, object], **kwargs: Any
) -> Node:
    """A node with the user's parameter file first and what the launch arguments say over it; output on the screen.

    Raises:
        RuntimeError: the parameter file does not exist.
    """
    files: list[Any] = []
    if given := value(context, "params_file"):
        path = Path(given).expanduser().resolve()
        require(path.is_file(), f"params_file:={given}: no such file")
        files.append(str(path))
    return Node(
        package=package,
        executable=executable,
        name=name,
        namespace=value(context, "namespace"),
        parameters=[*files, parameters],
        remappings=_own_clock(context, package, parameters),
        arguments=["--ros-args", "--log-level", value(context, "log_level")],
        output="screen",
        emulate_tty=False,
        **kwargs,
    )


def _own_clock(context: LaunchContext, package: str, parameters: dict[str, object]) -> list[tuple[str, str]]:
    """A simulated cell in a namespace keeps its clock there, so that a second one can run beside it."""
    beside_a_cell = "clock" in context.launch_configurations
    simulated = beside_a_cell and (package == "vla_sim" or bool(parameters.get("use_sim_time")))
    return [("/clock", "clock")] if simulated and value(context, "namespace") else []


def require(condition: bool, message: str) -> None:
    """Refuse a combination of launch arguments before anything starts.

    Raises:
        RuntimeError: with `message`, when the condition does not hold.
    """
    if not condition:
        raise RuntimeError(message)


def given_file(context: LaunchContext, name: str) -> Path | None:
    """The file that a launch argument names; None where it is empty.

    Raises:
        RuntimeError: there is no such file.
    """
    given = value(context, name)
    path = Path(given).expanduser().resolve()
    require(not given or path.is_file(), f"{name}:={given}: no such file")
    return path if given else None


def forwarded(context: LaunchContext, **replaced: str) -> list[tuple[str, str]]:
    """Arguments for an included robot.launch.py: this launch's own values, some of them replaced."""
    names = [argument.name for argument in declare("robot", "sim")]
    return list({**{name: value(context, name) for name in names}, **replaced}.items())


def checkpoint_profile(context: LaunchContext) -> tuple[Path, Profile]:
    """The robot profile that a checkpoint brings along.

    Raises:
        RuntimeError: no such checkpoint, or it carries no profile; the text lists what there is.
    """
    try:
        found = find_checkpoint(Path(value(context, "checkpoint")))
        return found.path / PROFILE_FILE, choose_profile(found, None)
    except VlaError as error:
        raise RuntimeError(str(error)) from error


def bag_profile(context: LaunchContext) -> tuple[Path, Profile]:
    """A recorded episode and the robot profile that it carries in its metadata.

    Raises:
        RuntimeError: not a folder with a readable metadata.yaml that holds a profile.
    """
    folder = Path(value(context, "bag")).expanduser().resolve()
    try:
        bag = open_episode(folder)
        if not bag.get("profile"):
            raise BagError(
                f"{folder}: no robot profile in its metadata, so vla_recorder did not record it; use ros2 bag play"
            )
        return folder, parse_profile(bag.get("profile"), f"{folder / 'metadata.yaml'}: custom_data.profile")
    except VlaError as error:
        raise RuntimeError(str(error)) from error
