# SPDX-License-Identifier: Apache-2.0

"""What the operator's day asks of other nodes, and what it hears from them: plain values, no ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something to do. Intents are done one after the other; a failed one drops those behind it.

    Attributes:
        soft: Where it fails, the operator is told and the next one is done all the same.
    """

    soft: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Intent):
    """Open an episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPhase(Intent):
    """Tell the recorder who drives: an EpisodeEvent constant, what caused it, and the skill."""

    phase: int
    label: str
    skill: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Intent):
    """Close and keep the episode: a RecordEpisode outcome (0 unknown, 1 success, 2 failure), skill outcome, notes."""

    outcome: int
    skill_outcome: str
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard(Intent):
    """Close the episode and put it aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Intent):
    """Label the last episode: a LabelEpisode constant."""

    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate(Intent):
    """Write metadata down."""

    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSkill(Intent):
    """Start a skill; done once it is accepted. `Day.on_skill` is told how it ends."""

    skill: str
    resume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Teleop(Intent):
    """Give the arm to the person, or take it back."""

    enable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Home(Intent):
    """Move to the ready pose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed(Intent):
    """Scale the speed of teleoperation, gripper and skills: above 0, at most 1."""

    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Freedrive(Intent):
    """Let the arm be pushed by hand, or end that."""

    enable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover(Intent):
    """Take the arm over from the running policy, or hand it back."""

    enable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSkill(Intent):
    """At once: end the running skill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Still(Intent):
    """At once: cancel every goal of the arm's controllers, whoever sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Intent):
    """At once: drop what waits to be done, and do not wait for what is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell(Intent):
    """At once: say something to the operator."""

    text: str
    warning: bool = False


AT_ONCE = (CancelSkill, Still, Forget, Tell)

# The same numbers as the error codes of vla_msgs/action/ExecuteSkill.
NONE = 0
UNKNOWN_SKILL, VERIFICATION_FAILED, UNREACHABLE, INTERRUPTED, MOTION, NOT_READY, DROPPED = range(300, 307)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillEnd:
    """How a skill ended, see ExecuteSkill.action.

    Attributes:
        code: Error code; 0: it did what it was for.
        text: What, where, why, what to do.
        waypoints: Reached, of the skill's file.
        grasp: Metadata of the grasp (grasp_verified, grasp_commanded, …); empty where none was checked.
    """

    code: int = NONE
    text: str = ""
    waypoints: int = 0
    grasp: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopView:
    """The state of the teleoperation node as the day needs it.

    Attributes:
        active: The person has the arm.
        freedrive: The arm can be pushed by hand.
        fault: A switch failed or the robot is not ready.
        stale: The device is silent.
        line: All of it in words.
    """

    active: bool = False
    freedrive: bool = False
    fault: bool = False
    stale: bool = False
    line: str = ""
