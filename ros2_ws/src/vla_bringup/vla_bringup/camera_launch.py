# SPDX-License-Identifier: Apache-2.0

"""The nodes that give cameras their settings and publish where they sit, as launch files start them."""

from pathlib import Path

from launch import LaunchContext
from launch.logging import get_logger
from launch_ros.actions import Node
from vla_core.profile import Profile

from vla_bringup.launch_util import flag, node, require, value


def camera_nodes(context: LaunchContext, path: Path, profile: Profile) -> list[Node]:
    """What the launch arguments `camera_settings` and `camera_transforms` ask for; warns where a robot has no settings.

    Args:
        context: Of the launch.
        path: Robot profile.
        profile: The same, loaded.

    Raises:
        RuntimeError: a file does not exist.
    """
    settings, transforms = (_file(context, name) for name in ("camera_settings", "camera_transforms"))
    common = {"profile": str(path), "use_sim_time": flag(context, "sim")}
    nodes = []
    if settings:
        more = {**common, "settings_file": settings}
        nodes.append(node(context, "vla_teleop", "apply_camera_settings", "camera_settings", more))
    elif not flag(context, "sim"):
        _warn(path, profile)
    if transforms or (not flag(context, "sim") and any(camera.mount for camera in profile.cameras)):
        more = {**common, "transforms_file": transforms}
        nodes.append(node(context, "vla_teleop", "camera_frames", "camera_frames", more))
    return nodes


def _file(context: LaunchContext, name: str) -> str:
    """Absolute path of a file that an argument names; empty where it is not given."""
    given = value(context, name)
    if not given:
        return ""
    path = Path(given).expanduser().resolve()
    require(path.is_file(), f"{name}:={given}: no such file")
    return str(path)


def _warn(path: Path, profile: Profile) -> None:
    cameras = [camera.name for camera in profile.cameras if camera.settings != "none" and not camera.depth]
    if not cameras:
        return
    get_logger("cameras").warning(
        f"NO CAMERA SETTINGS: exposure and white balance of {', '.join(cameras)} are automatic or those of the last "
        "session, so lighting is inconsistent between recordings, and between recording and inference. Run once: "
        f"ros2 run vla_teleop calibrate_cameras --auto --profile {path} and start with "
        "camera_settings:=camera_settings.json"
    )
