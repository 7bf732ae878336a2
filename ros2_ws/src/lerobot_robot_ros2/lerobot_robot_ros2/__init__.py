# SPDX-License-Identifier: Apache-2.0

"""The LeRobot robot `ros2`: any robot with a profile, behind ``--robot.type=ros2 --robot.profile=NAME|FILE``."""

from lerobot_robot_ros2.config_ros2 import Ros2RobotConfig
from lerobot_robot_ros2.ros2_robot import Ros2Robot

__all__ = ["Ros2Robot", "Ros2RobotConfig"]
