# SPDX-License-Identifier: Apache-2.0

"""States of the operator's day, and the transitions that buttons, results and failures share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vla_core.episode import ARMED, CORRECTION, IDLE, TELEOP

from vla_teleop.operator.intents import (
    DROPPED,
    NONE,
    VERIFICATION_FAILED,
    Annotate,
    CancelSkill,
    Discard,
    Forget,
    Home,
    Intent,
    RunSkill,
    SetPhase,
    SkillEnd,
    Speed,
    Stop,
    Teleop,
    TeleopView,
    Tell,
)

UNKNOWN, SUCCESS, FAILURE = range(3)  # outcomes of RecordEpisode, labels of LabelEpisode
_FAILED_AS = {VERIFICATION_FAILED: "grasp failed", DROPPED: "dropped"}

Plan = tuple[Intent, ...]


class State(Enum):
    """Where the day stands; the value is what to do next, for the status line."""

    IDLE = "press record to begin an episode"
    OPENING = "wait: the episode is being opened"
    ARMED = "move the arm: recording begins with the first motion"
    TELEOP = "approach, then press a skill button; home saves and ends"
    HANDOVER = "wait: the arm is handed to the skill"
    SKILL = "the skill runs; press interrupt to take over"
    STOPPING = "wait: the skill is being stopped"
    FAILED = "correct the grasp with the joystick: recording goes on with the first motion; home saves and ends"
    CORRECTION = "correct, then press the same skill button again; home saves and ends"
    ENDING = "wait: saved, and on the way home"
    TAKING = "wait: you are getting the arm; the policy is stopped"
    HELD = "you drive instead of the policy; press interrupt to hand back"
    RETURNING = "wait: the policy is getting the arm back; press interrupt to keep it"


CLOSED = (State.IDLE, State.OPENING, State.ENDING, State.TAKING, State.HELD, State.RETURNING)
"""States without an episode of the day's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOptions:
    """Settings of the day.

    Attributes:
        correction_speed: Scale of speeds from a failed grasp until the episode ends.
        correction_timeout_s: Longest correction before the episode is saved as ``correction_timeout`` [s]; 0: none.
        stop_timeout_s: How long a cancelled skill may take to end before the arm's goals are cancelled directly [s].
        device_grace_s: How long the device may be silent, beyond its own time-out, before a running skill is stopped [s].
        takeover: The interrupt button takes over from a running policy, and hands back.
        skills: There are skills.
        recorder: There is a recorder.
    """

    correction_speed: float = 0.5
    correction_timeout_s: float = 0.0
    stop_timeout_s: float = 2.0
    device_grace_s: float = 0.0
    takeover: bool = False
    skills: bool = True
    recorder: bool = True


def warn(text: str) -> Tell:
    """Say something that the operator must not miss."""
    return Tell(text=text, warning=True)


def refuse(what: str, why: str) -> Plan:
    """Say why a button does nothing now."""
    return (warn(f"{what} does nothing now: {why}"),)


class Moves:
    """Where the day stands, and how it goes on.

    Attributes:
        state: Where it stands.
        skill: The skill of the episode that ran last; empty before the first.
        opened_s: When the episode was opened.
    """

    def __init__(self, options: DayOptions | None = None) -> None:
        self.options = options or DayOptions()
        self.state = State.IDLE
        self.skill = ""
        self.opened_s = 0.0
        self._teleop = TeleopView()
        self._recorder_phase = IDLE
        self._policy_runs = False
        self._resume = False
        self._corrected = False
        self._ended = SkillEnd()
        self._after = ""
        self._deadline_s = 0.0
        self._correcting_since_s = 0.0
        self._silent_since_s = 0.0

    @property
    def open(self) -> bool:
        """Whether an episode of this day is open."""
        return self.state not in CLOSED

    def _skill_outcome(self) -> str:
        """What became of the skill of an episode that ends now, without its success."""
        if not self.skill:
            return "no_skill"
        failed = self._ended.code in _FAILED_AS and not self._corrected
        return "grasp_failed_no_correction" if failed else "incomplete"

    def _notes(self, end: SkillEnd) -> Plan:
        """Metadata of a skill that has ended; a part that checked no grasp leaves those of the part before."""
        self._ended = end
        dropped = {"drop_detected": "true"} if end.code == DROPPED else {}
        return (Annotate(values={"skill_name": self.skill, **end.grasp, **dropped}, soft=True),)

    def _save_and_home(self, outcome: int, skill_outcome: str) -> Plan:
        """Save, go home, and leave the arm with its own controller: between episodes no stick moves it."""
        self.state = State.ENDING
        stop = Stop(outcome=outcome, skill_outcome=skill_outcome, soft=True)
        return (stop, Speed(scale=1.0, soft=True), Home(), Teleop(enable=False, soft=True))

    def _succeeded(self) -> Plan:
        outcome = "completed_after_correction" if self._corrected else "completed"
        done = Tell(text=f"skill '{self.skill}' {outcome.replace('_', ' ')}: saved, going home")
        return (*self._save_and_home(SUCCESS, outcome), done)

    def _stop_skill(self, after: str, t: float) -> Plan:
        """Cancel the skill; `after` is correct, pause, home or discard, and the later wish wins."""
        self._after = after
        if self.state == State.STOPPING:
            return ()
        self.state, self._deadline_s = State.STOPPING, t + self.options.stop_timeout_s
        return (CancelSkill(),)

    def _stopped(self, end: SkillEnd, t: float) -> Plan:
        """The cancelled skill has ended; it may have done so by itself just before."""
        note = self._notes(end)
        if self._after == "discard":
            return (*note, *self._discard_now())
        if end.code == NONE:
            return (*note, *self._succeeded())
        if self._after == "home":
            return (*note, *self._save_and_home(UNKNOWN, self._skill_outcome()))
        if self._after == "pause":
            return (*note, *self._pause_for_correction(end, t))
        return (*note, *self._correct_now(f"skill '{self.skill}' interrupted", t))

    def _discard_now(self) -> Plan:
        self.state = State.IDLE
        return (Forget(), Discard(), Speed(scale=1.0, soft=True), Tell(text=f"discarded; {State.IDLE.value}"))

    def _correct_now(self, why: str, t: float) -> Plan:
        """The person drives at once, and it is recorded."""
        self.state, self._corrected, self._correcting_since_s = State.CORRECTION, True, t
        return (
            SetPhase(phase=CORRECTION, label="interrupted", soft=True),
            Tell(text=f"{why}; {State.CORRECTION.value}"),
            Teleop(enable=True),
        )

    def _pause_for_correction(self, end: SkillEnd, t: float) -> Plan:
        """Recording pauses until the person moves; from then on it is the correction."""
        self.state, self._correcting_since_s = State.FAILED, t
        label = _FAILED_AS.get(end.code, "skill stopped")
        return (
            SetPhase(phase=ARMED, label=label, soft=True),
            warn(f"{label.upper()}: {end.text or self.skill}. {State.FAILED.value}"),
            Speed(scale=self.options.correction_speed, soft=True),
            Teleop(enable=True),
        )

    def _back_to_person(self, why: str) -> Plan:
        """A skill that has not moved the arm leaves no trace but a phase."""
        phase = CORRECTION if self._resume else TELEOP
        self._return_state()
        return (
            SetPhase(phase=phase, label="skill not begun", soft=True),
            warn(f"{why}. {self.state.value}"),
            Teleop(enable=True),
        )

    def _return_state(self) -> None:
        self.state = State.CORRECTION if self._resume else State.TELEOP
        self.skill = self.skill if self._resume else ""

    def _handover_failed(self, intent: Intent, text: str) -> Plan:
        why = f"skill '{self.skill}' was not begun: {text}"
        if isinstance(intent, RunSkill):
            return self._back_to_person(why)
        self._return_state()
        again: Plan = () if isinstance(intent, Teleop) else (Teleop(enable=True),)
        return (warn(f"{why}. {self.state.value}"), *again)

    def _arm_lost(self, why: str, hint: str, t: float) -> Plan:
        """Teleoperation is gone: nothing is recorded until it is back."""
        text = warn(f"{why}; {hint}. The episode stays open; ctrl-c saves it")
        if self.state == State.SKILL:
            return (*self._stop_skill("pause", t), text)
        if self.state not in (State.TELEOP, State.CORRECTION):
            return (text,)
        self.state = State.ARMED if self.state == State.TELEOP else State.FAILED
        return (SetPhase(phase=ARMED, label="teleoperation lost", soft=True), text)

    def _device_lost(self, line: str, t: float) -> Plan:
        """The device has fallen silent; a running skill goes on for as long as it may be a hiccup."""
        self._silent_since_s = t
        if self.state == State.SKILL:
            return ()
        ending = "; ctrl-c saves the episode" if self.open else ""
        return (warn(f"the device is silent ({line}): the arm stands still. Plug it in again{ending}"),)

    def _unattended(self, t: float) -> Plan:
        """Stop a skill that nobody can interrupt."""
        if self.state != State.SKILL or not self._teleop.stale:
            return ()
        if t - self._silent_since_s < self.options.device_grace_s:
            return ()
        text = "nobody could interrupt the skill, so it is stopped"
        told = warn(f"the device is silent ({self._teleop.line}): {text}. Plug it in again")
        return (*self._stop_skill("pause", t), told)

    def _closed_elsewhere(self, label: str) -> Plan:
        """The recorder has closed the episode by itself, or on behalf of another program."""
        running, waiting = self.state in (State.SKILL, State.STOPPING), self.state == State.HANDOVER
        self.state = State.IDLE
        stop: Plan = (CancelSkill(),) if running else (Forget(),) if waiting else ()
        why = f"the recorder has closed the episode ({label}), and kept it unless it was discarded"
        return (*stop, Speed(scale=1.0, soft=True), warn(f"{why}. The arm stands still; {State.IDLE.value}"))
