# SPDX-License-Identifier: Apache-2.0

"""The LeRobot teleoperator `ros2`: a leader arm or another node's targets, behind ``--teleop.type=ros2``."""

from importlib import import_module
from typing import Any

from lerobot_teleoperator_ros2.config_ros2 import Ros2TeleoperatorConfig

__all__ = ["Ros2Teleoperator", "Ros2TeleoperatorConfig"]


def __getattr__(name: str) -> Any:
    """The device itself, loaded when it is asked for: LeRobot imports its plug-ins also where nobody needs ROS."""
    if name == "Ros2Teleoperator":
        return import_module("lerobot_teleoperator_ros2.ros2_teleoperator").Ros2Teleoperator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
