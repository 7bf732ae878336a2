# SPDX-License-Identifier: Apache-2.0

"""The LeRobot teleoperator `ros2`: a leader arm or another node's targets, behind ``--teleop.type=ros2``."""

from lerobot_teleoperator_ros2.config_ros2 import Ros2TeleoperatorConfig
from lerobot_teleoperator_ros2.ros2_teleoperator import Ros2Teleoperator

__all__ = ["Ros2Teleoperator", "Ros2TeleoperatorConfig"]
