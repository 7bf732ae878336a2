# SPDX-License-Identifier: Apache-2.0

"""What became of one episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import summary


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What one target made of an episode.

    Attributes:
        episode: Rows and files; None if it was left out.
        skipped: Why it was left out; empty if it was not.
        removed: Reason -> rows that the target does not want.
        gaps: (row, ticks) for every place where frames are missing in the recording: `ticks` before `row`.
    """

    episode: Episode | None
    skipped: str
    removed: dict[str, int]
    gaps: list[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a worker returns.

    Attributes:
        folder: The episode.
        bag_xxh128: Hash of its content.
        targets: Target -> what it made.
        frames: Frames that were built.
        dropped: ``"<stream>: <reason>"`` -> ticks without a frame.
        examples: One message per reason, for people.
        warnings: What a person should look at before training on the episode.
        damage: What of the bag could not be read; empty if all could.
        streams: Stream -> counts of its messages, ages and measured rate.
        attachments: Names of the files that travel with the episode.
        ages_s: Stream -> age of the message used, for every frame [s].
        skew_s: Newest minus oldest observation of every frame [s].
        lead_s: Time before every stream had sent something [s].
        seconds: Wall time of the conversion [s].
    """

    folder: Path
    bag_xxh128: str
    targets: dict[str, TargetResult]
    frames: int
    dropped: dict[str, int]
    examples: dict[str, str]
    warnings: list[str]
    damage: str
    streams: dict[str, dict[str, float]]
    attachments: list[str]
    ages_s: dict[str, NDArray[np.float32]]
    skew_s: NDArray[np.float32]
    lead_s: float
    seconds: float

    def report(self, target: str) -> dict[str, Any]:
        """Return the numbers of one target for the report."""
        result = self.targets[target]
        return {
            "frames": result.episode.length if result.episode else 0,
            "skipped": result.skipped,
            "removed": result.removed,
            "recorded_frames": self.frames,
            "dropped": self.dropped,
            "examples": self.examples,
            "gaps": [list(gap) for gap in result.gaps],
            "warnings": self.warnings_of(target),
            "ages_s": {key: summary(ages) for key, ages in self.ages_s.items()},
            "skew_s": summary(self.skew_s),
            "streams": self.streams,
            "attachments": self.attachments,
            "lead_s": round(self.lead_s, 6),
            "seconds": round(self.seconds, 3),
        }

    def warnings_of(self, target: str) -> list[str]:
        """Return what a person should look at before training on this target."""
        result = self.targets[target]
        found = list(self.warnings)
        if result.episode is not None:
            found += [
                f"{key}: every pixel of all {result.episode.length} frames has the same colour. Is the lens covered, or "
                "does the renderer fail?"
                for key, histogram in result.episode.histograms.items()
                if histogram.blank
            ]
        if result.gaps:
            found.append(
                f"{len(result.gaps)} gaps, {sum(ticks for _, ticks in result.gaps)} frames missing between rows; actions "
                "across a gap are farther apart than 1/fps"
            )
        return found
