# SPDX-License-Identifier: Apache-2.0

"""What an episode carries besides its messages, and the phases that it goes through."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_core.errors import BagError, EpisodeError, listing

# The same numbers as vla_msgs/msg/EpisodeEvent.
IDLE, ARMED, TELEOP, SKILL, CORRECTION, SKILL_RESUME, POLICY = range(7)
PHASES = ("IDLE", "ARMED", "TELEOP", "SKILL", "CORRECTION", "SKILL_RESUME", "POLICY")

# The same order as the OUTCOME constants of vla_msgs/action/RecordEpisode.
OUTCOMES = ("unknown", "success", "failure")
# The same order as its TERMINATION constants.
TERMINATIONS = ("stopped", "canceled", "timeout", "discarded", "shutdown", "error")

_DRIVEN = frozenset({TELEOP, SKILL, CORRECTION, SKILL_RESUME, POLICY})
# Any phase may end the episode. A correction follows what a person takes over from, and a skill resumes only after one.
_ALLOWED: dict[int, frozenset[int]] = {
    IDLE: frozenset({ARMED}),
    ARMED: frozenset({IDLE, TELEOP, SKILL, POLICY}),
    TELEOP: frozenset({IDLE, ARMED, SKILL, POLICY}),
    SKILL: frozenset({IDLE, ARMED, TELEOP, CORRECTION, POLICY}),
    CORRECTION: frozenset({IDLE, ARMED, TELEOP, SKILL_RESUME, POLICY}),
    SKILL_RESUME: frozenset({IDLE, ARMED, TELEOP, CORRECTION, POLICY}),
    POLICY: frozenset({IDLE, ARMED, TELEOP, SKILL, CORRECTION}),
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

    @property
    def phase(self) -> int:
        """The current phase."""
        return self._phase

    @property
    def driven(self) -> bool:
        """Whether somebody or something drives the arm."""
        return self._phase in _DRIVEN

    def allows(self, phase: int) -> bool:
        """Return whether the phase may follow the current one."""
        return phase in _ALLOWED[self._phase]

    def to(self, phase: int) -> bool:
        """Go to a phase; False if it is the current one already.

        Raises:
            EpisodeError: the phase may not follow the current one.
        """
        name = phase_name(phase)
        if phase == self._phase:
            return False
        if not self.allows(phase):
            allowed = listing(PHASES[p] for p in sorted(_ALLOWED[self._phase]))
            raise EpisodeError(f"phase {name} cannot follow {PHASES[self._phase]}; allowed: {allowed}")
        self._phase = phase
        return True


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
