# SPDX-License-Identifier: Apache-2.0

"""Parameters of the operator node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorParams:
    """See the descriptions; `ros2 param describe /operator <name>` shows them too."""

    profile: str = param(description="Path of the robot profile; its section teleop is needed.")
    task: str = param("", "Instruction of the episodes; empty: the recorder's.")
    operator_name: str = param("", "Who records; stored with each episode. Empty: the recorder's.")
    max_duration_s: float = param(
        0.0, "Longest episode [s, node clock]; 0: the recorder's limit.", minimum=0.0, maximum=86400.0
    )
    enable_on_start: bool = param(
        False, "Give the person the arm at the start; else nothing moves before the button enable or record."
    )
    skills: bool = param(True, "A skill node runs; false: skill buttons are refused.")
    recorder: bool = param(True, "A recorder runs; false: buttons that need one are refused.")
    takeover: bool = param(
        False, "The interrupt button takes the arm over from a running policy; pressed again, it hands it back."
    )
    correction_speed: float = param(
        0.5,
        "Scale of the speed of teleoperation, gripper and skills from a failed grasp until the episode ends.",
        minimum=0.05,
        maximum=1.0,
    )
    correction_timeout_s: float = param(
        0.0,
        "Longest time from a failed or interrupted skill to its resumption; then the episode is saved with the skill "
        "outcome correction_timeout [s, node clock]. 0: no limit.",
        minimum=0.0,
        maximum=3600.0,
    )
    stop_timeout_s: float = param(
        2.0,
        "How long a skill may take to end after its cancel before the arm's goals are cancelled directly [s, node clock].",
        minimum=0.1,
        maximum=60.0,
    )
    device_grace_s: float = param(
        0.0,
        "How long the device may be silent, beyond its own time-out, before a running skill is stopped [s, node clock].",
        minimum=0.0,
        maximum=10.0,
    )
    home_timeout_s: float = param(
        60.0, "Longest way home [s, node clock]; then it counts as failed.", minimum=1.0, maximum=600.0
    )
    lost_s: float = param(
        3.5,
        "Silence after which the recorder or the teleoperation node counts as lost [s].",
        minimum=0.5,
        maximum=60.0,
    )
    skill_silence_s: float = param(
        1.0,
        "Silence of the arm's targets during a skill after which the skill node counts as lost [s].",
        minimum=0.1,
        maximum=60.0,
    )
    rate_hz: float = param(
        50.0, "How often the operator's day looks at what has happened [Hz].", minimum=5.0, maximum=500.0
    )
    lockstep: bool = param(False, "Answer the ticks of a simulated cell that runs in lockstep.")
