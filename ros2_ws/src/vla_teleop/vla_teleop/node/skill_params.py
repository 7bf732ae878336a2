# SPDX-License-Identifier: Apache-2.0

"""Parameters of the skill node."""

from dataclasses import dataclass

from vla_common.params import param
from vla_common.preflight import PARAMETER as PREFLIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillParams:
    """See the descriptions."""

    profile: str = param(description="Robot profile (YAML file) with a section teleop.")
    table: str = param(description="Skill table (YAML file).")
    skills_dir: str = param("", "Folder of the waypoint files, looked in before the folder of the table.")
    gripper_max_velocity: float = param(
        1.4,
        "Speed of the gripper's joint that is called 255 in skill tables [rad/s]; 0: the gripper chooses its speed.",
        minimum=0.0,
        maximum=100.0,
    )
    gripper_timeout_s: float = param(
        5.0, "Longest motion of the gripper before it counts as failed [s].", minimum=0.1, maximum=60.0
    )
    still_timeout_s: float = param(
        1.0, "How long to wait until the arm stands still, before a skill begins [s].", minimum=0.1, maximum=60.0
    )
    ready_timeout_s: float = param(
        5.0, "How long to wait for controllers, joint states and monitors [wall s].", minimum=0.1, maximum=60.0
    )
    preflight: bool = param(False, PREFLIGHT)
    lockstep: bool = param(False, "The cell runs in lockstep and lists this node as a participant.")
