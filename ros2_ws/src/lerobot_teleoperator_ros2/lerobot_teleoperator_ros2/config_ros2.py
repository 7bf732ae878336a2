# SPDX-License-Identifier: Apache-2.0

"""Options of the teleoperator `ros2`. The comments are what ``--help`` shows."""

from dataclasses import dataclass, field

from lerobot.teleoperators.config import TeleoperatorConfig

TARGETS, LEADER = "targets", "leader"
SOURCES = (TARGETS, LEADER)


@TeleoperatorConfig.register_subclass("ros2")
@dataclass(kw_only=True)
class Ros2TeleoperatorConfig(TeleoperatorConfig):
    """See the comments."""

    # Profile of the robot that is driven: name of a shipped one or path of a YAML file.
    profile: str
    # targets: the joint targets in force that whoever drives publishes on the profile's record topics (vla_teleop, a skill,
    # a policy); the robot then needs --robot.drive=false. leader: the joints of a leader arm.
    source: str = TARGETS
    # leader: topic of its sensor_msgs/JointState; empty: the topics of the profile's own joint states, for a leader that is
    # the same robot in another namespace, or the robot itself pushed by hand (with --robot.drive=false).
    topic: str = ""
    # leader: joint of the robot -> joint of the leader; joints left out have the same name.
    joints: dict[str, str] = field(default_factory=dict)
    # leader: joint of the robot -> factor; target = factor * leader + offset. -1 turns a joint round, 0.0174533 makes
    # radians of degrees.
    factors: dict[str, float] = field(default_factory=dict)
    # leader: joint of the robot -> offset [rad or m].
    offsets: dict[str, float] = field(default_factory=dict)
    # Namespace that the relative topics live in.
    namespace: str = ""
    # Take the time from /clock, as the simulated cell publishes it.
    use_sim_time: bool = False
    # How long connecting waits for the first target or leader message [s].
    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.source not in SOURCES:
            raise ValueError(f"--teleop.source must be one of {', '.join(SOURCES)}, got '{self.source}'")
        if not self.connect_timeout_s > 0.0:
            raise ValueError(f"--teleop.connect_timeout_s must be positive, got {self.connect_timeout_s}")
        given = [name for name in ("topic", "joints", "factors", "offsets") if getattr(self, name)]
        if given and self.source != LEADER:
            raise ValueError(f"--teleop.{given[0]} belongs to --teleop.source={LEADER}; leave it out")
