# SPDX-License-Identifier: Apache-2.0

"""Options of the robot `ros2`. The comments are what ``--help`` shows."""

from dataclasses import dataclass

from lerobot.robots.config import RobotConfig


@RobotConfig.register_subclass("ros2")
@dataclass(kw_only=True)
class Ros2RobotConfig(RobotConfig):
    """See the comments; everything else about the robot is in its profile."""

    # Robot profile: name of a shipped one (sim_ur5e, ur5e_2f85_realsense, ...) or path of a YAML file.
    profile: str
    # Namespace that the robot's relative topics and actions live in.
    namespace: str = ""
    # Take the time from /clock, as the simulated cell publishes it.
    use_sim_time: bool = False
    # How long connecting waits for all streams, controllers and monitors [s].
    connect_timeout_s: float = 10.0
    # false: another node drives the robot, so actions are not sent. For recording a person who drives with
    # vla_teleop.
    drive: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        if not self.connect_timeout_s > 0.0:
            raise ValueError(f"--robot.connect_timeout_s must be positive, got {self.connect_timeout_s}")
