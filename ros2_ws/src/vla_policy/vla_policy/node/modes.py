# SPDX-License-Identifier: Apache-2.0

"""Who drives in a run: the policy, a person who took over, or a skill that finishes what the policy began.

    e2e         the policy does the whole task
    planner     policy -> its stop signal -> skill; where the skill's grasp fails, correction policy -> skill goes on
    correction  correction policy -> its stop signal -> skill goes on

A person may take over in all of them; a skill that was interrupted by it goes on after the hand-back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame
from vla_msgs.action import RunPolicy
from vla_msgs.msg import EpisodeEvent, PolicyStatus

from vla_policy.execution.hooks import Stop
from vla_policy.execution.stop_detection import StopDetector
from vla_policy.node.skills_client import ACTION, SkillOutcome
from vla_policy.node.takeover import HELD

Result = RunPolicy.Result
E2E, PLANNER, CORRECTION = MODES = ("e2e", "planner", "correction")
CORRECTION_LABEL = "correction policy"


class ModeError(VlaError):
    """Parameters that do not go together."""


class Person(Protocol):
    """See `vla_policy.node.takeover.Takeover`."""

    count: int

    def begin(self) -> None:
        """A run begins."""

    def end(self) -> None:
        """The run is over."""

    def held(self) -> bool:
        """Whether a person has the arm."""


class Skills(Protocol):
    """See `vla_policy.node.skills_client.SkillsClient`."""

    @property
    def running(self) -> bool:
        """Whether a skill runs."""

    def wait_for_server(self, timeout_s: float) -> bool:
        """Whether somebody offers skills."""

    def start(self, skill: str, *, resume: bool) -> None:
        """Begin a skill."""

    def poll(self) -> SkillOutcome | None:
        """How it ended, once."""

    def cancel(self) -> str:
        """End it."""


@runtime_checkable
class Switch(Protocol):
    """See `vla_policy.node.correction_policy.SwitchRunner`."""

    def select(self, *, correction: bool) -> None:
        """Choose the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOptions:
    """How a run is divided.

    Attributes:
        mode: One of `MODES`.
        skill: Name of the skill that takes over from the policy; empty in e2e.
        max_attempts: Grasps that may fail before the run ends.
        server_timeout_s: Longest wait for the skill server [s].
    """

    mode: str = E2E
    skill: str = ""
    max_attempts: int = 3
    server_timeout_s: float = 5.0


def check_mode(mode: str, *, skill: str, correction_checkpoint: str) -> None:
    """Refuse parameters that would mean nothing.

    Raises:
        ModeError: names both and what to do.
    """
    if mode == E2E and skill:
        raise ModeError(
            f"skill:={skill} means nothing with mode:=e2e; add mode:=planner or mode:=correction, or leave it out"
        )
    if mode != E2E and not skill:
        raise ModeError(f"mode:={mode} hands over to a skill; say which one, e.g. skill:=grasp")
    if correction_checkpoint and mode != PLANNER:
        raise ModeError(
            f"correction_checkpoint:={correction_checkpoint} is for mode:=planner"
            + ("; with mode:=correction the checkpoint itself is the correction policy" if mode == CORRECTION else "")
        )


class Modes:
    """Guard, gate and chunk watcher of a run in one, because all three look at who drives.

    Attributes:
        state: PolicyStatus constant: RUNNING, TAKEOVER or SKILL.
        failed_grasps: Grasps of the present run that the skill could not verify.
    """

    def __init__(
        self,
        options: ModeOptions,
        *,
        person: Person,
        skills: Skills | None = None,
        detector: StopDetector | None = None,
        correction_detector: StopDetector | None = None,
        runner: Callable[[], object] = lambda: None,
        announce: Callable[[int, str, str], None],
        log: Callable[[str], None],
        dry_run: bool = False,
    ) -> None:
        """Prepare; `accept` begins a run.

        Args:
            options: See `ModeOptions`.
            person: Who may take over.
            skills: The skill server; not needed in e2e.
            detector: Finds the policy's stop signal; not needed in e2e.
            correction_detector: Finds that of a correction policy; None: the same.
            runner: The loaded policy; where it is a `Switch`, it holds the correction policy too.
            announce: Told of every change of who drives: phase (EpisodeEvent constant), what caused it, skill.
            log: Takes lines for people.
            dry_run: No run may move anything.
        """
        self._options = options
        self._person = person
        self._skills = skills
        self._approach_detector = detector
        self._correction_detector = correction_detector or detector
        self._announce = announce
        self._log = log
        self._runner = runner
        self._never_moves = self._dry_run = dry_run
        self._switch: Switch | None = None
        self._clear()

    def _clear(self) -> None:
        self.state = PolicyStatus.RUNNING
        self.failed_grasps = 0
        self._stop: Stop | None = None
        self._now_ns = 0
        self._done_ns: int | None = None
        self._wanted = self._standing = False
        self._resume = self._options.mode == CORRECTION
        self._corrects = self._options.mode == CORRECTION
        self._skill_done = False

    @property
    def interventions(self) -> int:
        """Times that a person took over in the present run."""
        return self._person.count

    @property
    def mode(self) -> str:
        """One of `MODES`."""
        return self._options.mode

    @property
    def _detector(self) -> StopDetector | None:
        return self._correction_detector if self._corrects else self._approach_detector

    @property
    def skill_outcome(self) -> str:
        """What became of the skill (see `vla_core.episode.SKILL_OUTCOMES`); empty in e2e."""
        if self._options.mode == E2E:
            return ""
        if self._skill_done:
            return "completed_after_correction" if self._resume else "completed"
        if self.failed_grasps:
            return "grasp_failed_no_correction" if self._switch is None else "failed"
        return "incomplete"

    @property
    def skill_done(self) -> bool:
        """Whether the skill has succeeded."""
        return self._skill_done

    def accept(self, goal: RunPolicy.Goal) -> Stop | None:
        """See `Participant.accept`: a run that could not go on after the policy is refused before the arm moves."""
        self._dry_run = self._never_moves or goal.dry_run
        self._clear()
        self._person.begin()
        if self._options.mode == E2E or self._dry_run or self._skills is None:
            return None
        if self._skills.wait_for_server(self._options.server_timeout_s):
            return None
        return _failed(
            f"nobody offers {ACTION} after {self._options.server_timeout_s:g} s, so skill '{self._options.skill}' cannot "
            f"follow the policy. Start a skill server, or run with mode:=e2e"
        )

    def start(self, goal: RunPolicy.Goal, task: str) -> Stop | None:
        """See `Participant.start`: choose the policy that begins."""
        runner = self._runner()
        self._switch = runner if isinstance(runner, Switch) else None
        if self._switch is not None:
            self._switch.select(correction=False)
        for detector in (self._approach_detector, self._correction_detector):
            if detector is not None:
                detector.reset()
        return None

    def finish(self, stop: Stop, result: RunPolicy.Result) -> None:
        """See `Participant.finish`."""
        self.end()

    def end(self) -> None:
        """See `Gate.end`: whatever ended the run, the skill ends too."""
        self._person.end()
        if self._skills is not None and self._skills.running:
            problem = self._skills.cancel()
            if problem:
                self._log(problem)
        self.state = PolicyStatus.RUNNING

    def begin(self, t_ns: int) -> None:
        """See `Guard.begin`."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`: follow the skill."""
        if self._stop is None and self._wanted and self._standing and self._skills is not None:
            if self.state == PolicyStatus.SKILL:
                outcome = self._skills.poll()
                if outcome is not None:
                    self._ended(outcome)
            elif not self._person.held():
                self._start(self._skills)
        return self._stop

    def holding(self, t_ns: int) -> str | None:
        """See `Gate.holding`."""
        if self._person.held():
            self._standing, self._done_ns = True, None  # standing by the next tick
            if self.state != PolicyStatus.TAKEOVER:
                self._taken_over()
            return HELD
        if self.state == PolicyStatus.TAKEOVER:
            self.state = PolicyStatus.RUNNING
            if not self._wanted:
                self._announce(EpisodeEvent.POLICY, "hand-back", "")
        self._now_ns = t_ns
        if self._done_ns is not None and t_ns >= self._done_ns:
            self._signalled()
        if not self._wanted:
            self._standing = False
            return None
        self._standing = True
        return f"skill '{self._options.skill}' drives"

    def look(self, chunk: ActionChunk, observed: Frame) -> bool:
        """See `ChunkWatcher.look`: find when the policy is done; what the newest chunk says counts.

        The actions before the signal are still executed. Those of the signal itself only of a correction, because the
        gripper that they close is to hold the object; a skill that grasps by itself wants it open.
        """
        if self._detector is None or self._wanted:
            return True
        first = self._detector.find(chunk, observed)
        if first is None:
            self._done_ns = None
            return True
        last = min(first + self._detector.steps, len(chunk)) - 1
        self._done_ns = chunk.time_ns(last if self._corrects else first)
        return self._done_ns > self._now_ns

    def _signalled(self) -> None:
        """The policy is done: a skill follows."""
        self._done_ns = None
        if self._detector is not None:
            self._detector.reset()
        who = CORRECTION_LABEL if self._corrects else "policy"
        if self._dry_run:
            self._stop = Stop(
                termination=Result.TERMINATION_COMPLETED,
                message=f"the {who} signalled its end; a dry run starts no skill ('{self._options.skill}' would follow)",
            )
            return
        self._log(f"the {who} signalled its end; skill '{self._options.skill}' follows")
        self._wanted = True

    def _taken_over(self) -> None:
        if self.state == PolicyStatus.SKILL and self._skills is not None:
            problem = self._skills.cancel()
            if problem:
                self._log(problem)
            self._resume = True  # a person has corrected the grasp
        self.state = PolicyStatus.TAKEOVER
        self._announce(EpisodeEvent.CORRECTION, "takeover", "")

    def _start(self, skills: Skills) -> None:
        self.state = PolicyStatus.SKILL
        phase = EpisodeEvent.SKILL_RESUME if self._resume else EpisodeEvent.SKILL
        self._announce(phase, "stop signal", self._options.skill)
        skills.start(self._options.skill, resume=self._resume)

    def _ended(self, outcome: SkillOutcome) -> None:
        self.state = PolicyStatus.RUNNING
        if outcome.succeeded:
            self._skill_done = True
            self._stop = Stop(
                termination=Result.TERMINATION_COMPLETED, message=f"skill '{self._options.skill}' succeeded"
            )
            return
        self._log(outcome.message)
        self.failed_grasps += outcome.verification_failed
        if not outcome.verification_failed:
            self._stop = _failed(outcome.message)
        elif not self._corrects and self._switch is None:
            self._stop = _failed(f"{outcome.message}; there is no correction policy (parameter correction_checkpoint)")
        elif self.failed_grasps >= self._options.max_attempts:
            self._stop = _failed(
                f"{outcome.message}; that was attempt {self.failed_grasps} of {self._options.max_attempts}"
            )
        else:
            self._correct()

    def _correct(self) -> None:
        """Let the correction policy drive; the skill goes on from where it leaves the arm."""
        if self._switch is not None:
            self._switch.select(correction=True)
        self._corrects = self._resume = True
        self._wanted = self._standing = False
        self._announce(EpisodeEvent.POLICY, CORRECTION_LABEL, "")


def _failed(message: str) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.SKILL, message=message)
