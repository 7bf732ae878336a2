# SPDX-License-Identifier: Apache-2.0

"""How goals end, and why goals are refused."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from vla_core.errors import VlaError


class GoalRefusedError(VlaError):
    """A goal that the controller does not accept; the text is what a driver would log."""


class GoalStatus(IntEnum):
    """The end states of an action goal, with the numbers of action_msgs/GoalStatus."""

    SUCCEEDED = 4
    CANCELED = 5
    ABORTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalOutcome:
    """One ended goal.

    Attributes:
        token: whatever the caller gave to `accept`.
        status: its end state.
        code: FollowJointTrajectory result code (0 for the gripper).
        text: explanation for people; empty on success where the driver says nothing.
        stalled: gripper only: it pushes on something.
        reached: gripper only: it is at the commanded position.
    """

    token: Any
    status: GoalStatus
    code: int = 0
    text: str = ""
    stalled: bool = False
    reached: bool = False
