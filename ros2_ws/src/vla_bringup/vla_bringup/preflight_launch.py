# SPDX-License-Identifier: Apache-2.0

"""The checks of a real robot's start, as launch files start them, and who waits for them."""

from pathlib import Path

from launch import LaunchContext
from launch_ros.actions import Node

from vla_bringup.launch_util import flag, node, value


def checked(context: LaunchContext) -> bool:
    """Whether the start of this robot is checked: not a simulated one, nor mock hardware, none, or where the user wants it not."""
    there = value(context, "robot") != "none" and not flag(context, "sim") and not flag(context, "use_mock_hardware")
    return there and flag(context, "check_robot")


def preflight(context: LaunchContext, path: Path) -> list[Node]:
    """The node that looks at the robot after its start; none where nothing is checked."""
    if not checked(context):
        return []
    settings = value(context, "camera_settings")
    parameters: dict[str, object] = {
        "profile": str(path),
        "camera_settings": str(Path(settings).expanduser().resolve()) if settings else "",
    }
    return [node(context, "vla_bringup", "preflight", "preflight", parameters)]
