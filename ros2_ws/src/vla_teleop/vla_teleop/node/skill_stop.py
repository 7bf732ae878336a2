# SPDX-License-Identifier: Apache-2.0

"""How a skill ends early."""

from vla_msgs.action import ExecuteSkill

from vla_teleop.skills.errors import SkillError


class SkillStopError(SkillError):
    """A skill ends before its end; `code` is an error code of ExecuteSkill, the text says what to do."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def not_ready(message: str) -> SkillStopError:
    """The robot cannot be driven; nothing was sent."""
    return SkillStopError(ExecuteSkill.Result.NOT_READY, message)


def motion(message: str) -> SkillStopError:
    """The arm or the gripper did not do as told; the arm was stopped."""
    return SkillStopError(ExecuteSkill.Result.MOTION, message)
