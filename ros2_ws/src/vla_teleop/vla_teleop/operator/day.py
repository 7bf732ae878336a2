# SPDX-License-Identifier: Apache-2.0

"""The operator's day: which button leads to what, from the first approach to the corrected grasp. Knows no ROS.

The recorder owns the phases (vla_core.episode): the first motion in ARMED makes TELEOP, or CORRECTION after a failed
skill. The day owns everything else: who has the arm, which skill runs, what the episode is saved as. Everything that it
does not do it refuses with a reason, and every failure ends with the arm at rest and a text that says how to go on.
"""

from __future__ import annotations

from collections.abc import Callable

from vla_core.episode import CORRECTION, IDLE, SKILL, SKILL_RESUME, TELEOP

from vla_teleop.operator.intents import (
    INTERRUPTED,
    NONE,
    NOT_READY,
    UNKNOWN_SKILL,
    UNREACHABLE,
    CancelSkill,
    Forget,
    Freedrive,
    Home,
    Intent,
    Label,
    RunSkill,
    SetPhase,
    SkillEnd,
    Speed,
    Start,
    Still,
    Stop,
    Teleop,
    TeleopView,
    Tell,
)
from vla_teleop.operator.moves import CLOSED, FAILURE, SUCCESS, UNKNOWN, DayOptions, Plan, State, refuse, warn
from vla_teleop.operator.takeover import POLICY_HELD, TakeoverMoves

LABEL_DISCARD = 3  # of LabelEpisode
SKILL_PREFIX = "skill/"
_BEFORE_MOTION = (UNKNOWN_SKILL, UNREACHABLE, NOT_READY)
_REPAIR = "ros2 run vla_recorder repair <folder of the episode>"
_LABELS = ("unknown", "success", "failure")
_BUSY = (State.OPENING, State.ENDING, *POLICY_HELD)
_NEED_RECORDER = ("record", "discard", "success", "failure")


class Day(TakeoverMoves):
    """The state machine. Every method returns what is to be done; times are seconds of the node clock."""

    def __init__(self, options: DayOptions | None = None) -> None:
        super().__init__(options)
        self._buttons: dict[str, Callable[[float], Plan]] = {
            "record": self._record,
            "home": self._home,
            "interrupt": self._interrupt,
            "enable": self._enable,
            "freedrive": self._freedrive,
            "discard": self._discard,
            "success": lambda t: self._labelled(SUCCESS),
            "failure": lambda t: self._labelled(FAILURE),
        }

    # --- what is heard ------------------------------------------------------------------------------------------------

    def on_button(self, name: str, t: float) -> Plan:
        """A button was pressed; names that others act on (rotations, reorient, waypoints) are ignored."""
        if self._policy_runs and self.state == State.IDLE and name != "interrupt":
            known = name in self._buttons or name.startswith(SKILL_PREFIX)
            hint = "press interrupt to take over" if self.options.takeover else "wait for its end, or cancel its run"
            return refuse(name, f"a policy drives; {hint}") if known else ()
        if name in _NEED_RECORDER and not self.options.recorder:
            return refuse(name, "there is no recorder; infer.launch.py starts one with record_eval:=true")
        if name.startswith(SKILL_PREFIX):
            return self._skill_button(name.removeprefix(SKILL_PREFIX))
        action = self._buttons.get(name)
        return action(t) if action else ()

    def on_phase(self, phase: int, stamp_s: float, *, label: str = "", paused: bool = False) -> Plan:
        """The recorder has entered a phase; `stamp_s` is when."""
        self._recorder_phase = phase
        if self.state in CLOSED or stamp_s < self.opened_s:
            return ()
        if paused:
            return (warn(f"recording is {label}; it goes on by itself when the stream is back"),)
        if phase == TELEOP and self.state == State.ARMED:
            self.state = State.TELEOP
            return (Tell(text=f"recording (teleop); {State.TELEOP.value}"),)
        if phase == CORRECTION and self.state == State.FAILED:
            self.state, self._corrected = State.CORRECTION, True
            return (Tell(text=f"recording (correction); {State.CORRECTION.value}"),)
        return self._closed_elsewhere(label) if phase == IDLE else ()

    def on_teleop(self, view: TeleopView, t: float) -> Plan:
        """The teleoperation node has said how it is."""
        before, self._teleop = self._teleop, view
        if view.fault and not before.fault and self.state in POLICY_HELD:
            return self._held_fault(view)
        if view.fault and not before.fault:
            return self._arm_lost(f"teleoperation has stopped: {view.line}", "mend that, then press enable", t)
        if view.stale and not before.stale:
            return self._device_lost(view.line, t)
        if before.stale and not view.stale:
            return (Tell(text=f"the device is back ({view.line}); {self.advice}"),)
        return ()

    def on_skill(self, end: SkillEnd, t: float) -> Plan:
        """The skill has ended."""
        if self.state == State.STOPPING:
            return self._stopped(end, t)
        if self.state != State.SKILL:
            return ()
        if end.code in _BEFORE_MOTION and not end.waypoints:
            return self._back_to_person(f"skill '{self.skill}' was not begun: {end.text}")
        note = self._notes(end)
        if end.code == NONE:
            return (*note, *self._succeeded())
        if end.code == INTERRUPTED:
            return (*note, *self._correct_now(f"skill '{self.skill}' was ended by another program", t))
        return (*note, *self._pause_for_correction(end, t))

    def on_done(self, intent: Intent, t: float) -> Plan:
        """An intent was carried out."""
        if isinstance(intent, Start) and self.state == State.OPENING:
            self.state, self.opened_s, self.skill = State.ARMED, t, ""
            self._resume = self._corrected = False
            self._ended = SkillEnd()
            return (Tell(text=f"armed: {State.ARMED.value}"),)
        if isinstance(intent, RunSkill) and self.state == State.HANDOVER:
            self.state = State.SKILL
            return (Tell(text=f"skill '{intent.skill}' {'goes on' if intent.resume else 'runs'}"),)
        if isinstance(intent, Home) and self.state == State.ENDING:
            self.state = State.IDLE
            return (Tell(text=f"home; {State.IDLE.value}"),)
        return self._takeover_done(intent)

    def on_failed(self, intent: Intent, text: str, t: float) -> Plan:
        """An intent was refused or not answered; those behind it are dropped unless it was soft."""
        if isinstance(intent, Home) and self.state == State.ENDING:
            self.state = State.IDLE
            return (warn(f"not home: {text}. The episode is saved; press home again, or enable and drive"),)
        if self.state == State.OPENING:
            self.state = State.IDLE
            return (warn(f"no episode was begun: {text}"),)
        if self.state == State.HANDOVER:
            return self._handover_failed(intent, text)
        return self._takeover_failed(intent, text) if self.state in POLICY_HELD else (warn(text),)

    def on_lost(self, who: str, seconds: float, t: float) -> Plan:
        """A node has been silent: ``recorder``, ``teleop`` or ``skills``."""
        since = f"nothing heard of the {who} node for {seconds:.1f} s"
        if who == "recorder":
            return self._recorder_lost(since)
        if who == "skills":
            if self.state not in (State.SKILL, State.STOPPING):
                return ()
            lost = SkillEnd(code=NOT_READY, text=f"{since}; start it again, or correct and press home", waypoints=1)
            return (Forget(), CancelSkill(), Still(), *self._pause_for_correction(lost, t))
        if self.state in POLICY_HELD:
            self.state = State.HELD
            return (Forget(), self._refused(f"{since}; start it again"))
        return self._arm_lost(since, "start it again, then press enable", t)

    def _recorder_lost(self, since: str) -> Plan:
        was_open, self._recorder_phase = self.open, IDLE
        if not was_open:
            return ()
        still: Plan = (CancelSkill(), Still()) if self.state in (State.SKILL, State.STOPPING) else ()
        self.state = State.IDLE
        hint = f"what was recorded up to then is kept; close it with `{_REPAIR}`, then start the recorder again"
        return (Forget(), *still, warn(f"{since}: {hint}"), Teleop(enable=False, soft=True))

    def on_time(self, t: float) -> Plan:
        """Time has passed."""
        if self.state == State.STOPPING and t > self._deadline_s:
            late = f"skill '{self.skill}' has not ended {self.options.stop_timeout_s:g} s after its cancel"
            end = SkillEnd(code=INTERRUPTED, text=late)
            return (Still(), warn(f"{late}: the arm's goals are cancelled"), *self._stopped(end, t))
        if unattended := self._unattended(t):
            return unattended
        limit = self.options.correction_timeout_s
        if limit and self.state in (State.FAILED, State.CORRECTION) and t - self._correcting_since_s > limit:
            self.state = State.IDLE
            text = f"no resume within {limit:g} s of the failure: saved as correction_timeout; press home"
            return (Stop(outcome=FAILURE, skill_outcome="correction_timeout"), Speed(scale=1.0, soft=True), warn(text))
        return ()

    def on_shutdown(self) -> Plan:
        """The program ends: save what there is, arm at rest, controller returned; every step by itself."""
        running = self.state in (State.SKILL, State.STOPPING, State.HANDOVER)
        stop = Stop(outcome=UNKNOWN, skill_outcome="incomplete", notes="ended by the operator", soft=True)
        taken = self._teleop.active or self._teleop.freedrive or self._teleop.fault or self.state != State.IDLE
        return (
            Forget(),
            *((CancelSkill(), Still()) if running else ()),
            *((stop,) if self.open else ()),
            *((Teleop(enable=False, soft=True),) if taken else ()),
        )

    # --- buttons ------------------------------------------------------------------------------------------------------

    def _record(self, t: float) -> Plan:
        if self.state != State.IDLE:
            doing = "recording already" if self.open else "busy"
            since = f" for {t - self.opened_s:.0f} s" if self.open else ""
            return (Tell(text=f"{doing}{since}; {self.state.value}"),)
        if self._recorder_phase != IDLE:
            return refuse("record", "another program's episode is open; home saves it, discard puts it aside")
        self.state = State.OPENING
        return (Speed(scale=1.0, soft=True), Teleop(enable=True), Start())

    def _skill_button(self, skill: str) -> Plan:
        if not self.options.skills:
            return refuse(f"skill '{skill}'", "no skills are loaded; launch with skill_table:=FILE")
        if self.state == State.TELEOP:
            return self._hand_over(skill, resume=False)
        if self.state != State.CORRECTION:
            return refuse(f"skill '{skill}'", f"it begins from teleop only; {self.state.value}")
        if skill != self.skill:
            return refuse(
                f"skill '{skill}'",
                f"'{self.skill}' was begun in this episode; press its button to go on, or home to save and end",
            )
        return self._hand_over(skill, resume=True)

    def _hand_over(self, skill: str, *, resume: bool) -> Plan:
        self.state, self.skill, self._resume = State.HANDOVER, skill, resume
        phase, label = (SKILL_RESUME, "skill button, again") if resume else (SKILL, "skill button")
        return (
            Teleop(enable=False),
            SetPhase(phase=phase, label=label, skill=skill),
            RunSkill(skill=skill, resume=resume),
        )

    def _interrupt(self, t: float) -> Plan:
        if self.state == State.SKILL:
            return self._stop_skill("correct", t)
        if self.state == State.HANDOVER:
            skill = self.skill
            self._return_state()
            return (Forget(), Teleop(enable=True), Tell(text=f"skill '{skill}' not begun; {self.state.value}"))
        if self.state == State.ENDING:
            self.state = State.IDLE
            text = f"stopped on the way home; {State.IDLE.value}, or home to go on"
            return (Forget(), Still(), Tell(text=text), Teleop(enable=False, soft=True))
        if self.state in POLICY_HELD:
            return self._interrupt_policy()
        if self.state == State.IDLE and self.options.takeover and (self._policy_runs or self._teleop.active):
            return self._interrupt_policy()
        return refuse("interrupt", f"no skill runs; {self.state.value}")

    def _home(self, t: float) -> Plan:
        if self.state in (State.SKILL, State.STOPPING):
            return self._stop_skill("home", t)
        if self.state in _BUSY:
            return refuse("home", self.state.value)
        if not self.open:
            self.state = State.ENDING
            foreign = (Stop(outcome=UNKNOWN, skill_outcome="", soft=True),) if self._recorder_phase != IDLE else ()
            return (*foreign, Speed(scale=1.0, soft=True), Home())
        skill_outcome = self._skill_outcome()
        outcome = FAILURE if skill_outcome == "grasp_failed_no_correction" else UNKNOWN
        return (Forget(), *self._save_and_home(outcome, skill_outcome))

    def _discard(self, t: float) -> Plan:
        if self.state in (State.SKILL, State.STOPPING):
            return self._stop_skill("discard", t)
        if self.state in _BUSY:
            return refuse("discard", self.state.value)
        if not self.open and self._recorder_phase == IDLE:
            return (Label(label=LABEL_DISCARD), Tell(text="the last episode is put aside"))
        return self._discard_now()

    def _labelled(self, outcome: int) -> Plan:
        if self.state == State.IDLE:
            return (Label(label=outcome), Tell(text=f"the last episode: {_LABELS[outcome]}"))
        if self.state in (State.TELEOP, State.FAILED, State.CORRECTION):
            return (Forget(), *self._save_and_home(outcome, self._skill_outcome()))
        return refuse(_LABELS[outcome], self.state.value)

    def _enable(self, t: float) -> Plan:
        if self.state == State.HELD:
            return self._hand_back()
        if self.state not in (State.IDLE, State.ARMED, State.TELEOP, State.FAILED, State.CORRECTION):
            return refuse("enable", self.state.value)
        return (Teleop(enable=not self._teleop.active),)

    def _freedrive(self, t: float) -> Plan:
        if self.state != State.IDLE:
            return refuse("freedrive", f"only between episodes; {self.state.value}")
        return (Freedrive(enable=not self._teleop.freedrive),)
