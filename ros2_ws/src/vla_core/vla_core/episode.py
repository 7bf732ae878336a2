# SPDX-License-Identifier: Apache-2.0

"""What an episode carries besides its messages, and the phases that it goes through."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vla_core.errors import BagError, EpisodeError, listing

# The same numbers as vla_msgs/msg/EpisodeEvent.
IDLE, ARMED, TELEOP, SKILL, CORRECTION, SKILL_RESUME, POLICY = range(7)
PHASES = ("IDLE", "ARMED", "TELEOP", "SKILL", "CORRECTION", "SKILL_RESUME", "POLICY")

# The same order as the OUTCOME constants of vla_msgs/action/RecordEpisode.
OUTCOMES = ("unknown", "success", "failure")
# The same order as its TERMINATION constants.
TERMINATIONS = ("stopped", "canceled", "timeout", "discarded", "shutdown", "error")

# What became of the skill of an episode; the last four are reported by whoever ran it.
SKILL_OUTCOMES = (
    "completed",
    "completed_after_correction",
    "no_skill",
    "incomplete",
    "timeout",
    "estop",
    "correction_timeout",
    "grasp_failed_no_correction",
    "failed",
)

_DRIVEN = frozenset({TELEOP, SKILL, CORRECTION, SKILL_RESUME, POLICY})
# Any phase may end the episode. A correction follows what a person takes over from, and a skill resumes only after one,
# or after a policy that was trained to correct.
_ALLOWED: dict[int, frozenset[int]] = {
    IDLE: frozenset({ARMED}),
    TELEOP: frozenset({IDLE, ARMED, SKILL, POLICY}),
    SKILL: frozenset({IDLE, ARMED, TELEOP, CORRECTION, POLICY}),
    CORRECTION: frozenset({IDLE, ARMED, TELEOP, SKILL_RESUME, POLICY}),
    SKILL_RESUME: frozenset({IDLE, ARMED, TELEOP, CORRECTION, POLICY}),
    POLICY: frozenset({IDLE, ARMED, TELEOP, SKILL, CORRECTION, SKILL_RESUME}),
}
# Recording waits for the operator in ARMED: at the start, and again after a phase that failed or was interrupted.
_ALLOWED_ARMED: dict[int, frozenset[int]] = {
    IDLE: frozenset({IDLE, TELEOP, POLICY}),
    TELEOP: frozenset({IDLE, TELEOP, SKILL, POLICY}),
    SKILL: frozenset({IDLE, CORRECTION}),
    CORRECTION: frozenset({IDLE, CORRECTION, SKILL_RESUME}),
    SKILL_RESUME: frozenset({IDLE, CORRECTION}),
    POLICY: frozenset({IDLE, TELEOP, CORRECTION, POLICY}),
}


def phase_name(phase: int) -> str:
    """Return the name of a phase number."""
    if not 0 <= phase < len(PHASES):
        raise EpisodeError(f"there is no phase {phase}; phases: 0 to {len(PHASES) - 1}, {listing(PHASES)}")
    return PHASES[phase]


class PhaseMachine:
    """The phase of the running episode."""

    def __init__(self) -> None:
        self._phase = IDLE
        self._before = IDLE

    @property
    def phase(self) -> int:
        """The current phase."""
        return self._phase

    @property
    def driven(self) -> bool:
        """Whether somebody or something drives the arm."""
        return self._phase in _DRIVEN

    @property
    def allowed(self) -> frozenset[int]:
        """The phases that may follow; in ARMED they depend on what was driven before."""
        return _ALLOWED_ARMED[self._before] if self._phase == ARMED else _ALLOWED[self._phase]

    def allows(self, phase: int) -> bool:
        """Return whether the phase may follow the current one."""
        return phase in self.allowed

    def on_motion(self, *, policy: bool) -> int:
        """Return the phase that the first motion in ARMED leads to.

        Args:
            policy: A policy drives the arm, not a person.
        """
        if policy and self.allows(POLICY):
            return POLICY
        return TELEOP if self._before in (IDLE, TELEOP) else CORRECTION

    def to(self, phase: int) -> bool:
        """Go to a phase; False if it is the current one already.

        Raises:
            EpisodeError: the phase may not follow the current one.
        """
        name = phase_name(phase)
        if phase == self._phase:
            return False
        if not self.allows(phase):
            allowed = listing(PHASES[p] for p in sorted(self.allowed))
            after = f" after {PHASES[self._before]}" if self._phase == ARMED and self._before != IDLE else ""
            raise EpisodeError(f"phase {name} cannot follow {PHASES[self._phase]}{after}; allowed: {allowed}")
        self._before = IDLE if phase == IDLE else self._phase if self._phase in _DRIVEN else self._before
        self._phase = phase
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of an episode in one phase.

    Attributes:
        phase: Name of the phase.
        start_ns: Node clock at its begin.
        end_ns: Node clock at its end; the begin of the next one.
        messages: Messages written in it.
    """

    phase: str
    start_ns: int
    end_ns: int
    messages: int

    @property
    def seconds(self) -> float:
        """Its length [s]."""
        return (self.end_ns - self.start_ns) * 1e-9


class PhaseLog:
    """The stretches of an episode one after the other, without gaps: each begins where the one before ends."""

    def __init__(self) -> None:
        self._done: list[Segment] = []
        self._open: tuple[str, int, int] | None = None

    def begin(self, phase: str, t_ns: int, messages: int) -> None:
        """End the current stretch and begin another.

        Args:
            phase: Its name.
            t_ns: Now, on the node clock.
            messages: Written since the episode was opened.
        """
        self.end(t_ns, messages)
        self._open = (phase, t_ns, messages)

    def end(self, t_ns: int, messages: int) -> None:
        """End the current stretch, if there is one."""
        if self._open is not None:
            phase, start_ns, before = self._open
            self._done.append(Segment(phase=phase, start_ns=start_ns, end_ns=t_ns, messages=messages - before))
            self._open = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Stretches that have ended, in order."""
        return tuple(self._done)

    @property
    def phases(self) -> frozenset[str]:
        """Names of all phases so far."""
        return frozenset(segment.phase for segment in self._done) | ({self._open[0]} if self._open else frozenset())

    def messages(self) -> dict[str, int]:
        """Return how many messages were written in each phase; their sum is that of the episode."""
        counts: dict[str, int] = {}
        for segment in self._done:
            counts[segment.phase] = counts.get(segment.phase, 0) + segment.messages
        return counts

    def seconds(self) -> dict[str, float]:
        """Return how long each phase lasted [s]."""
        lengths: dict[str, float] = {}
        for segment in self._done:
            lengths[segment.phase] = lengths.get(segment.phase, 0.0) + segment.seconds
        return lengths


def skill_outcome(phases: Collection[str], last: str, termination: str) -> str:
    """Return what became of the skill, as far as the phases tell.

    Args:
        phases: Names of the phases that the episode went through.
        last: Name of the last one in which the arm was driven; empty if there was none.
        termination: Why the episode ended, one of `TERMINATIONS`.

    Returns:
        One of `SKILL_OUTCOMES`. An episode that was cut short is ``incomplete`` or ``timeout`` whatever it went through.
        A skill that was corrected but not resumed is ``incomplete``.
    """
    if termination == "timeout":
        return "timeout"
    if termination in ("shutdown", "error", "canceled"):
        return "incomplete"
    if not {"SKILL", "SKILL_RESUME"} & set(phases):
        return "no_skill"
    if not {"CORRECTION", "SKILL_RESUME"} & set(phases):
        return "completed"
    return "incomplete" if last == "CORRECTION" else "completed_after_correction"


_REQUIRED = ("episode_uuid", "task", "outcome", "robot", "profile_sha256", "profile")
_KEYS = (*_REQUIRED, "seed", "termination", "versions")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeMeta:
    """Metadata of one episode, as stored in the bag (``custom_data`` of metadata.yaml: text to text).

    Attributes:
        episode_uuid: Identifies the episode for ever.
        task: Instruction.
        outcome: unknown, success or failure.
        robot: Name of the robot.
        profile: Full text of the robot profile.
        profile_sha256: Its hash.
        seed: Seed of a simulated episode, or None.
        termination: Why recording ended: stopped, canceled, timeout, discarded, shutdown, error, or empty while open.
        versions: Name of a program or package to its version.
        extra: Other entries, kept as they are.
    """

    episode_uuid: str
    task: str
    outcome: str
    robot: str
    profile: str
    profile_sha256: str
    seed: int | None = None
    termination: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise EpisodeError(f"outcome '{self.outcome}' is not one of {listing(OUTCOMES)}")
        if self.termination and self.termination not in TERMINATIONS:
            raise EpisodeError(f"termination '{self.termination}' is not one of {listing(TERMINATIONS)}")

    def to_dict(self) -> dict[str, str]:
        """Return the metadata as text to text."""
        return {
            **self.extra,
            "episode_uuid": self.episode_uuid,
            "task": self.task,
            "outcome": self.outcome,
            "seed": "" if self.seed is None else str(self.seed),
            "robot": self.robot,
            "profile_sha256": self.profile_sha256,
            "profile": self.profile,
            "versions": json.dumps(dict(self.versions)),
            "termination": self.termination,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, str], source: str = "metadata.yaml") -> EpisodeMeta:
        """Return the metadata in a text-to-text dictionary.

        Raises:
            BagError: a key is missing or its text cannot be read; `source` is named.
        """
        absent = [key for key in _REQUIRED if key not in data]
        if absent:
            raise BagError(
                f"{source}: the episode's metadata lack {listing(absent)}; was the bag recorded by another program? "
                "Give the profile on the command line instead"
            )
        try:
            seed = int(data["seed"]) if data.get("seed") else None
            versions = {str(k): str(v) for k, v in json.loads(data.get("versions") or "{}").items()}
            return cls(
                episode_uuid=data["episode_uuid"],
                task=data["task"],
                outcome=data["outcome"],
                robot=data["robot"],
                profile=data["profile"],
                profile_sha256=data["profile_sha256"],
                seed=seed,
                termination=data.get("termination", ""),
                versions=versions,
                extra={key: value for key, value in data.items() if key not in _KEYS},
            )
        except (ValueError, AttributeError, EpisodeError) as error:
            raise BagError(f"{source}: the episode's metadata cannot be read: {error}") from None
