# SPDX-License-Identifier: Apache-2.0

"""What the recorder is told, what is asked of an episode, and what an episode says of itself."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_core.episode import OUTCOMES, SKILL_OUTCOMES, EpisodeMeta
from vla_core.errors import BagError, EpisodeError, VlaError, listing
from vla_core.profile import Profile

NOTE_KEYS = ("skill_name", "grasp_verified", "grasp_commanded", "grasp_actual", "grasp_threshold", "drop_detected")
"""Metadata that a skill reports; other keys must begin with ``x_``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the recorder was told at its start.

    Attributes:
        output_dir: Where episodes are kept.
        compression: One of `vla_recorder.bags.mcap_file.COMPRESSIONS`.
        queue_bytes: How much may wait for the disk [B].
        sync_period_s: How often the bag is brought to the disk against a power cut [s]; 0: only at the end.
        min_free_bytes: Free disk space below which nothing is recorded [B].
        sim_time: The node clock is simulated.
        from_start: Messages are written from the start of the episode, not from the first motion.
        preroll_ns: How much of the time before the first motion is written [ns].
        on_missing: What a missing stream leads to: ``warn``, ``pause`` or ``refuse``.
        on_slow: What a slow stream leads to.
        attachments: Files that are copied into every episode.
        versions: Program or package -> version.
        extra: Further metadata of every episode.
    """

    output_dir: Path
    compression: str
    queue_bytes: int
    sync_period_s: float
    min_free_bytes: int
    sim_time: bool
    from_start: bool
    preroll_ns: int
    on_missing: str
    on_slow: str
    attachments: tuple[Path, ...]
    versions: Mapping[str, str]
    extra: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of an episode.

    Attributes:
        task: Instruction.
        seed: Of a simulated episode; 0: not set.
        operator: Who records.
        notes: Free text.
        max_duration_s: Time limit [s]; 0: none.
    """

    task: str
    seed: int = 0
    operator: str = ""
    notes: str = ""
    max_duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is known of an episode when it is opened.

    Attributes:
        uuid: Identifies it for ever.
        request: What was asked for.
        profile: As recorded.
        start_ns: Node clock.
        recorded_at: UTC time of the system, ISO 8601.
    """

    uuid: str
    request: Request
    profile: Profile
    start_ns: int
    recorded_at: str

    def meta(
        self,
        settings: Settings,
        *,
        outcome: str = OUTCOMES[0],
        termination: str = "",
        notes: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Return the metadata of the episode, as they are stored in the bag.

        Args:
            settings: Of the recorder.
            outcome: One of `OUTCOMES`.
            termination: One of `TERMINATIONS`; empty while it is open.
            notes: Free text.
            extra: Further entries.
        """
        return EpisodeMeta(
            episode_uuid=self.uuid,
            task=self.request.task,
            outcome=outcome,
            termination=termination,
            seed=int((extra or {}).get("seed") or self.request.seed) or None,
            robot=self.profile.robot,
            profile=self.profile.text,
            profile_sha256=self.profile.sha256,
            versions=settings.versions,
            extra={
                "operator": self.request.operator,
                "notes": notes,
                "start_ns": str(self.start_ns),
                "recorded_at": self.recorded_at,
                "fps": f"{self.profile.fps:g}",
                **settings.extra,
                **(extra or {}),
            },
        ).to_dict()


def checked_notes(values: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that may be added to an episode from outside.

    Raises:
        EpisodeError: A key is not one of them, or a skill outcome is unknown.
    """
    for key, value in values.items():
        if key == "skill_outcome":
            check_skill_outcome(value)
        elif key == "seed":
            _check_seed(value)
        elif key not in NOTE_KEYS and not key.startswith("x_"):
            allowed = listing((*NOTE_KEYS, "skill_outcome", "seed"))
            raise EpisodeError(
                f"'{key}' cannot be added to an episode; allowed: {allowed}, and keys that begin with x_"
            )
    return dict(values)


def _check_seed(value: str) -> None:
    if not value.isdigit():
        raise EpisodeError(f"seed '{value}' is not a number of at least 0")


def check_skill_outcome(value: str) -> None:
    """Check a reported skill outcome.

    Raises:
        EpisodeError: It is not one of `vla_core.episode.SKILL_OUTCOMES`.
    """
    if value not in SKILL_OUTCOMES:
        raise EpisodeError(f"skill_outcome '{value}' is not one of {listing(SKILL_OUTCOMES)}")


class RecordError(VlaError):
    """An episode cannot be opened or closed; `code` is an error code of RecordEpisode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """An episode that has ended."""

    uuid: str
    termination: int
    outcome: int
    error_code: int
    error_msg: str
    path: Path | None
    messages: int
    duration_s: float
    warnings: tuple[str, ...] = ()


def read_attachment(path: Path) -> tuple[str, str, bytes]:
    """Return name, media type and content of a file that is copied into an episode.

    Raises:
        BagError: It cannot be read.
    """
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    try:
        return path.name, kind, path.read_bytes()
    except OSError as error:
        raise BagError(
            f"{path}: the attachment cannot be read ({error.strerror or error}); correct the parameter attachments"
        ) from error
