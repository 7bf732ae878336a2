# SPDX-License-Identifier: Apache-2.0

"""Convert one episode: a pure function of bag, profile and options, so that a pool can run many of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import BagError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame, Missing, features
from vla_core.profile import Profile, parse_profile

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import open_episode
from vla_recorder.convert.rows import Episode
from vla_recorder.formats.base import DatasetFormat, EpisodeWriter, Layout
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.stats import summary
from vla_recorder.media.video import VideoSettings

STAMP_KEY = "stamp_ns"
"""Column with the tick of every row on the node clock [ns]; a step larger than 1/fps shows dropped frames."""


def dataset_features(profile: Profile) -> dict[str, dict[str, Any]]:
    """Return the features of the dataset: those of the frames and the tick."""
    return {**features(profile), STAMP_KEY: {"dtype": "int64", "shape": (1,), "names": None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs for one episode.

    Attributes:
        folder: The episode.
        profile_text: Profile to read it with.
        profile_source: Its name in messages.
        fps: Rows per second.
        task: Instruction.
        work_dir: Where its videos go.
        video: How they are encoded.
        format: What is written.
        name: Name of the dataset.
    """

    folder: Path
    profile_text: str
    profile_source: str
    fps: int
    task: str
    work_dir: Path
    video: VideoSettings
    format: DatasetFormat = field(default_factory=LeRobotV3)
    name: str = "local/dataset"

    def layout(self, profile: Profile) -> Layout:
        """Return what the rows hold."""
        return Layout(
            profile=profile, fps=self.fps, features=dataset_features(profile), video=self.video, name=self.name
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a worker returns.

    Attributes:
        folder: The episode.
        episode: Rows and videos.
        dropped: ``"<stream>: <reason>"`` -> ticks without a frame.
        examples: One message per reason, for people.
        gaps: (row, ticks) for every place where rows are not adjacent in time: `ticks` are missing before `row`.
        ages_s: Stream -> age of the message used, for every row [s].
        lead_s: Time before every stream had sent something [s].
        seconds: Wall time of the conversion [s].
    """

    folder: Path
    episode: Episode
    dropped: dict[str, int]
    examples: dict[str, str]
    gaps: list[tuple[int, int]]
    ages_s: dict[str, NDArray[np.float32]]
    lead_s: float
    seconds: float

    @property
    def warnings(self) -> list[str]:
        """What a person should look at before training on the episode."""
        found = [
            f"{key}: every pixel of all {self.episode.length} frames has the same colour. Is the lens covered, or does "
            "the renderer fail?"
            for key, histogram in self.episode.histograms.items()
            if histogram.blank
        ]
        if self.gaps:
            found.append(
                f"{len(self.gaps)} gaps, {sum(ticks for _, ticks in self.gaps)} frames missing between rows; actions "
                "across a gap are farther apart than 1/fps"
            )
        return found

    def report(self) -> dict[str, Any]:
        """Return the numbers for the report."""
        return {
            "frames": self.episode.length,
            "dropped": self.dropped,
            "examples": self.examples,
            "gaps": [list(gap) for gap in self.gaps],
            "warnings": self.warnings,
            "ages_s": {key: summary(ages) for key, ages in self.ages_s.items()},
            "lead_s": round(self.lead_s, 6),
            "seconds": round(self.seconds, 3),
        }


class _Rows:
    """Collects the rows of one episode; images go straight to the writer."""

    def __init__(self, writer: EpisodeWriter) -> None:
        self._writer = writer
        self.states: list[NDArray[np.float32]] = []
        self.actions: list[NDArray[np.float32]] = []
        self.stamps: list[int] = []
        self.ages: dict[str, list[float]] = {}

    def add(self, frame: Frame) -> None:
        self._writer.add({IMAGE_PREFIX + name: image for name, image in frame.images.items()})
        self.states.append(frame.state)
        if frame.action is not None:
            self.actions.append(frame.action)
        self.stamps.append(frame.t_ns)
        for key, age in frame.ages_s.items():
            self.ages.setdefault(key, []).append(age)

    def episode(self, task: str, about: dict[str, Any]) -> Episode:
        columns: dict[str, NDArray[np.generic]] = {
            STATE_KEY: np.stack(self.states),
            ACTION_KEY: np.stack(self.actions),
            STAMP_KEY: np.array(self.stamps, dtype=np.int64),
        }
        return self._writer.finish(columns, task, about)


def convert_episode(job: Job) -> Converted:
    """Read a bag and write its videos.

    Raises:
        BagError: The bag is damaged, or not one frame can be built from it.
        VideoError: A video cannot be encoded.
    """
    started = time.perf_counter()
    profile = parse_profile(job.profile_text, job.profile_source)
    bag = open_episode(job.folder)
    frames = BagFrames(bag, profile, job.fps)
    examples: dict[str, str] = {}
    gaps: list[tuple[int, int]] = []
    missed = 0
    writer = job.format.episode_writer(job.layout(profile), job.work_dir)
    try:
        rows = _Rows(writer)
        for frame in frames:
            if isinstance(frame, Missing):
                examples.setdefault(f"{frame.stream}: {frame.reason}", frame.detail)
                missed += 1
                continue
            if missed and rows.stamps:
                gaps.append((len(rows.stamps), missed))
            missed = 0
            rows.add(frame)
        if not rows.stamps:
            raise BagError(f"{job.folder}: no frame could be built. {'; '.join(examples.values())}")
        episode = rows.episode(job.task, {"bag": bag.name, **bag.custom})
    except BaseException:
        writer.discard()
        raise
    return Converted(
        folder=job.folder,
        episode=episode,
        dropped=frames.builder.dropped,
        examples=examples,
        gaps=gaps,
        ages_s={key: np.array(ages, np.float32) for key, ages in rows.ages.items()},
        lead_s=(frames.t0_ns - frames.first_ns) * 1e-9,
        seconds=time.perf_counter() - started,
    )
