# SPDX-License-Identifier: Apache-2.0

"""Convert one episode: a pure function of bag, profile and options, so that a pool can run many of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import BagError
from vla_core.frames import ACTION_KEY, IMAGE_PREFIX, STATE_KEY, Frame, FrameBuilder, Missing, features, skew_s
from vla_core.profile import Profile, parse_profile

from vla_recorder.bags.frames import BagFrames
from vla_recorder.bags.reader import EpisodeBag, open_episode
from vla_recorder.convert.joints import Robot
from vla_recorder.convert.rows import Episode
from vla_recorder.convert.targets import NOOP_THRESHOLD, Row, Target, pipeline, segments, targets_of
from vla_recorder.formats.base import DatasetFormat, EpisodeWriter, Layout
from vla_recorder.formats.lerobot_v3 import LeRobotV3
from vla_recorder.formats.stats import summary
from vla_recorder.media.video import VideoSettings

STAMP_KEY = "stamp_ns"
"""Column with the tick of every row on the node clock [ns]; a step larger than 1/fps shows dropped or removed frames."""
PHASE_KEY = "phase"
"""Column with the phase of every row, a constant of vla_msgs/msg/EpisodeEvent."""
SYNTHETIC_KEY = "synthetic"
"""Column that marks rows which the conversion added: stop frames, copies of the last row with the gripper closed."""
AGE_PREFIX = "age."
"""Optional columns: signed age of the message that a row was built from, per stream [s]."""
SKEW_KEY = "skew"
"""Optional column: newest minus oldest stamp of the observations of a row [s]."""

MIN_ROWS = 2
ACTIONS = ("commanded", "next_state", "delta")


def dataset_features(profile: Profile, age_columns: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the features of the dataset: those of the frames, and what tells where a row comes from.

    Args:
        profile: Profile of the dataset.
        age_columns: Streams whose ages are stored; none means no age columns and no skew.
    """
    extra = {STAMP_KEY: "int64", PHASE_KEY: "int64", SYNTHETIC_KEY: "bool"}
    extra |= {f"{AGE_PREFIX}{stream}": "float32" for stream in age_columns}
    extra |= {SKEW_KEY: "float32"} if age_columns else {}
    return {**features(profile), **{key: {"dtype": kind, "shape": (1,), "names": None} for key, kind in extra.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs for one episode.

    Attributes:
        folder: The episode.
        profile_text: Profile to read it with.
        profile_source: Its name in messages.
        fps: Rows per second.
        task: Instruction.
        work_dir: Where its files go, one folder per target.
        video: How images are encoded.
        format: What is written.
        name: Name of the dataset.
        targets: Training sets to make, all in one pass over the bag.
        action: One of `ACTIONS`. ``delta`` differs from ``next_state`` only by the action space of the profile.
        noop_rule: What must move for a row to be kept; see `Robot.position`.
        noop_threshold: By how much.
        gripper_closed: Joint position of a closed gripper, where the profile has no scale for it.
        age_columns: Whether the ages of the messages are stored with every row.
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
    targets: tuple[Target, ...] = targets_of("recorded")
    action: str = "commanded"
    noop_rule: str = "all"
    noop_threshold: float = NOOP_THRESHOLD
    gripper_closed: float | None = None
    age_columns: bool = False

    def age_streams(self, profile: Profile) -> tuple[str, ...]:
        """Return the streams whose ages are stored."""
        if not self.age_columns:
            return ()
        return tuple(stream.key for stream in FrameBuilder(profile, actions=self.action == "commanded").streams)

    def layout(self, profile: Profile, target: Target) -> Layout:
        """Return what the rows of a target hold."""
        return Layout(
            profile=profile,
            fps=self.fps,
            features=dataset_features(profile, self.age_streams(profile)),
            video=self.video,
            name=self.name,
            target=target.name,
        )


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
        targets: Target -> what it made.
        frames: Frames that were built.
        dropped: ``"<stream>: <reason>"`` -> ticks without a frame.
        examples: One message per reason, for people.
        warnings: What a person should look at before training on the episode.
        ages_s: Stream -> age of the message used, for every frame [s].
        skew_s: Newest minus oldest observation of every frame [s].
        lead_s: Time before every stream had sent something [s].
        seconds: Wall time of the conversion [s].
    """

    folder: Path
    targets: dict[str, TargetResult]
    frames: int
    dropped: dict[str, int]
    examples: dict[str, str]
    warnings: list[str]
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


class _TargetRows:
    """Collects the rows of one target; images go straight to its writer, which opens with the first row."""

    def __init__(self, job: Job, target: Target, layout: Layout, robot: Robot) -> None:
        self._job = job
        self._layout = layout
        self._robot = robot
        self._work_dir = job.work_dir / target.name
        self._writer: EpisodeWriter | None = None
        keep = target.remove_noops
        self._pipeline = pipeline(
            target,
            position=robot.position(job.noop_rule) if keep else np.asarray,
            threshold=job.noop_threshold,
            close=robot.close,
        )
        self._rows: list[Row] = []
        self._missed = 0
        self.gaps: list[tuple[int, int]] = []

    def miss(self) -> None:
        """There is no frame at this tick."""
        self._missed += 1

    def push(self, row: Row) -> None:
        for kept in self._pipeline.push(row):
            if self._missed and self._rows:
                self.gaps.append((len(self._rows), self._missed))
            self._missed = 0
            self._add(kept)

    def _add(self, row: Row) -> None:
        if self._writer is None:
            self._writer = self._job.format.episode_writer(self._layout, self._work_dir)
        self._writer.add(row.images)
        self._rows.append(replace(row, images={}))

    def finish(self, task: str, about: Mapping[str, Any]) -> TargetResult:
        rows = len(self._rows)
        if rows >= MIN_ROWS:
            for row in self._pipeline.end():
                self._add(row)
        removed = self._pipeline.removed
        if self._writer is None or rows < MIN_ROWS:
            self.discard()
            why = "".join(f"; {count} left out: {reason}" for reason, count in removed.items())
            skipped = f"{rows} rows are left, at least {MIN_ROWS} are needed{why}"
            return TargetResult(episode=None, skipped=skipped, removed=removed, gaps=[])
        episode = self._writer.finish(self._columns(), task, {**about, **self._about()})
        return TargetResult(episode=episode, skipped="", removed=removed, gaps=self.gaps)

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()

    def _columns(self) -> dict[str, NDArray[np.generic]]:
        states = np.stack([row.state for row in self._rows])
        if self._job.action == "commanded":
            actions = np.stack([row.action for row in self._rows if row.action is not None])
        else:
            actions = self._robot.next_state_actions(states)
        columns: dict[str, NDArray[np.generic]] = {
            STATE_KEY: states.astype(np.float32),
            ACTION_KEY: actions,
            STAMP_KEY: np.array([row.t_ns for row in self._rows], np.int64),
            PHASE_KEY: np.array([row.phase for row in self._rows], np.int64),
            SYNTHETIC_KEY: np.array([row.synthetic for row in self._rows], np.bool_),
        }
        for key in self._layout.features:
            if key.startswith(AGE_PREFIX):
                stream = key.removeprefix(AGE_PREFIX)
                columns[key] = np.array([row.ages_s[stream] for row in self._rows], np.float32)
        if SKEW_KEY in self._layout.features:
            columns[SKEW_KEY] = np.array([row.skew_s for row in self._rows], np.float32)
        return columns

    def _about(self) -> dict[str, Any]:
        found = segments([row.phase for row in self._rows])
        counts: dict[str, int] = {}
        for part in found:
            counts[part["phase"]] = counts.get(part["phase"], 0) + part["end"] - part["start"] + 1
        return {"num_frames": len(self._rows), "phase_counts": counts, "phase_segments": found}


def convert_episode(job: Job) -> Converted:
    """Read a bag once and write the files of every target.

    Raises:
        BagError: Not one frame can be built from the bag.
        VlaError: A target cannot be made of it, or its files cannot be written.
    """
    started = time.perf_counter()
    profile = parse_profile(job.profile_text, job.profile_source)
    bag = open_episode(job.folder)
    frames = BagFrames(bag, profile, job.fps, actions=job.action == "commanded")
    robot = Robot(profile, job.gripper_closed)
    outputs = {target.name: _TargetRows(job, target, job.layout(profile, target), robot) for target in job.targets}
    read = _Read()
    try:
        for frame in frames:
            if isinstance(frame, Missing):
                read.miss(frame)
                for output in outputs.values():
                    output.miss()
                continue
            row = _row(frame, frames.phase_at(frame.t_ns))
            read.add(row)
            for output in outputs.values():
                output.push(row)
        if not read.stamps:
            raise BagError(f"{job.folder}: no frame could be built. {'; '.join(read.examples.values())}")
        about = _about(bag, job, read)
        results = {name: output.finish(job.task, about) for name, output in outputs.items()}
    except BaseException:
        for output in outputs.values():
            output.discard()
        raise
    return Converted(
        folder=job.folder,
        targets=results,
        frames=len(read.stamps),
        dropped=frames.builder.dropped,
        examples=read.examples,
        warnings=[*bag.notes, *([bag.damage] if bag.damage else [])],
        ages_s={key: np.array(ages, np.float32) for key, ages in read.ages.items()},
        skew_s=np.array(read.skews, np.float32),
        lead_s=(frames.t0_ns - frames.first_ns) * 1e-9,
        seconds=time.perf_counter() - started,
    )


class _Read:
    """What was read of the bag, whatever the targets keep of it."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.phases: set[int] = set()
        self.ages: dict[str, list[float]] = {}
        self.skews: list[float] = []
        self.examples: dict[str, str] = {}

    def add(self, row: Row) -> None:
        self.stamps.append(row.t_ns)
        self.phases.add(row.phase)
        self.skews.append(row.skew_s)
        for key, age in row.ages_s.items():
            self.ages.setdefault(key, []).append(age)

    def miss(self, missing: Missing) -> None:
        self.examples.setdefault(f"{missing.stream}: {missing.reason}", missing.detail)


def _row(frame: Frame, phase: int) -> Row:
    return Row(
        t_ns=frame.t_ns,
        phase=phase,
        state=frame.state64,
        action=frame.action,
        images={IMAGE_PREFIX + name: image for name, image in frame.images.items()},
        ages_s=frame.ages_s,
        skew_s=skew_s(frame),
    )


def _about(bag: EpisodeBag, job: Job, read: _Read) -> dict[str, Any]:
    """Return where the episode comes from."""
    span_s = (read.stamps[-1] - read.stamps[0]) * 1e-9
    return {
        "bag": bag.name,
        **bag.custom,
        "fps": job.fps,
        "measured_fps": round((len(read.stamps) - 1) / span_s, 3) if span_s > 0 else 0.0,
    }
