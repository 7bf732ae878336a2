# SPDX-License-Identifier: Apache-2.0

"""The LeRobot robot `ros2`: any robot with a profile, behind ``--robot.type=ros2 --robot.profile=NAME|FILE``."""

from importlib import import_module
from typing import Any

from lerobot_robot_ros2.config_ros2 import Ros2RobotConfig

__all__ = ["Ros2Robot", "Ros2RobotConfig"]


def __getattr__(name: str) -> Any:
    """The device itself, loaded when it is asked for: LeRobot imports its plug-ins also where nobody needs ROS."""
    if name == "Ros2Robot":
        return import_module("lerobot_robot_ros2.ros2_robot").Ros2Robot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
