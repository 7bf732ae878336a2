# SPDX-License-Identifier: Apache-2.0

"""Parameters about who drives: takeover by a person, skills, and the policy's stop signal."""

from dataclasses import dataclass

from vla_common.params import param

from vla_policy.execution.stop_detection import PRESETS
from vla_policy.node.modes import MODES


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeParams:
    """See the descriptions."""

    record_eval: bool = param(
        False, "Record every run as an evaluation episode, also where the goal does not ask for it."
    )
    mode: str = param(
        "e2e",
        "e2e: the policy does the whole task; planner: a skill follows it and corrections of a failed grasp; correction: "
        "start with the correction policy, then the skill goes on.",
        choices=MODES,
    )
    skill: str = param("", "Modes planner and correction: name of the skill, run by the action `skills/execute`.")
    correction_checkpoint: str = param(
        "", "Mode planner: policy that corrects a grasp which the skill could not verify; empty: the run then fails."
    )
    max_attempts: int = param(3, "Grasps that a skill may fail to verify before a run ends.", minimum=1, maximum=100)
    stop_preset: str = param(
        "default", "Stop signal of the policy: tried values by what is grasped.", choices=tuple(PRESETS)
    )
    stop_steps: int = param(
        0, "Stop signal: actions in a row that must give it; 0: the preset's.", minimum=0, maximum=1000
    )
    correction_stop_steps: int = param(
        0,
        "Stop signal of a correction policy: actions in a row that must give it; 0: as stop_steps. An arm that closes its "
        "gripper around an object stands for a few actions too, so a correction wants more of them than an approach.",
        minimum=0,
        maximum=1000,
    )
    stop_distance: float = param(
        0.0,
        "Stop signal: norm below which an action leaves the arm where it was observed, in the numbers of the action (rad "
        "for joints); 0: the preset's.",
        minimum=0.0,
        maximum=10.0,
    )
    stop_gripper: float = param(
        0.0,
        "Stop signal: closing above which the gripper counts as closed (1: closed); 0: the preset's.",
        minimum=0.0,
        maximum=1.0,
    )
    takeover_topic: str = param("", "Joystick (sensor_msgs/Joy) that takes over and hands back; empty: none.")
    takeover_button: int = param(4, "Joystick button that takes over.", minimum=0, maximum=255)
    handback_button: int = param(
        5, "Joystick button that hands back; the takeover button again: one button does both.", minimum=0, maximum=255
    )
