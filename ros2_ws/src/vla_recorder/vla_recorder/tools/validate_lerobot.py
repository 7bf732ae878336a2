# SPDX-License-Identifier: Apache-2.0

"""Measure LeRobot datasets, v3.0 and v2.1: rows, videos, pictures, statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from vla_core.errors import VlaError
from vla_core.frames import IMAGE_PREFIX, STATE_KEY
from vla_core.profile import Profile, load_profile

from vla_recorder.formats.lerobot_meta import OWN_META, STATS_PATH, read_episodes, read_info
from vla_recorder.media.video import count_frames
from vla_recorder.tools.validate_rules import (
    ERROR,
    WARNING,
    EpisodeReport,
    Finding,
    ImageWatch,
    RobotRules,
    Thresholds,
    check_finite,
    check_frequency,
    check_offsets,
    check_statistics,
    check_times,
)

_FREQUENCY_TOLERANCE_PCT = 1.0
_AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_AGE = "age."
_PICTURES = ("video", "image")
_PROFILE = "profile.yaml"
_EPISODE_STATISTICS = "meta/episodes_stats.jsonl"


class LeRobotDataset:
    """A dataset on the disk; nothing of LeRobot is imported."""

    def __init__(self, root: Path) -> None:
        """Read its metadata.

        Raises:
            VlaError: It is damaged, or of another version.
        """
        self.root = root
        self.info = read_info(root)
        self.features: Mapping[str, Mapping[str, Any]] = self.info["features"]
        self.fps = float(self.info["fps"])
        self.version = str(self.info.get("codebase_version"))
        if self.version not in ("v3.0", "v2.1"):
            raise VlaError(f"{root}: a dataset of version {self.version!r}; v3.0 and v2.1 can be measured")
        profile = root / OWN_META / _PROFILE
        self.profile: Profile | None = load_profile(profile) if profile.is_file() else None
        self.episodes = read_episodes(root) if self.version == "v3.0" else _json_lines(root / "meta/episodes.jsonl")
        self._statistics: dict[int, dict[str, Any]] = {}
        if self.version == "v2.1" and (root / _EPISODE_STATISTICS).is_file():
            lines = _json_lines(root / _EPISODE_STATISTICS)
            self._statistics = {int(line["episode_index"]): line["stats"] for line in lines}

    @property
    def picture_keys(self) -> tuple[str, ...]:
        """Features that are pictures."""
        return tuple(key for key, spec in self.features.items() if spec["dtype"] in _PICTURES)

    @property
    def columns(self) -> tuple[str, ...]:
        """Features that are numbers."""
        return tuple(key for key, spec in self.features.items() if spec["dtype"] not in (*_PICTURES, "string"))

    def data_path(self, episode: Mapping[str, Any]) -> Path:
        """Return the parquet file with the rows of an episode."""
        return self.root / str(self.info["data_path"]).format(**self._place(episode, "data"))

    def video_path(self, episode: Mapping[str, Any], key: str) -> Path:
        """Return the file with the pictures of a camera of an episode."""
        place = self._place(episode, f"videos/{key}")
        return self.root / str(self.info["video_path"]).format(video_key=key, **place)

    def video_start(self, episode: Mapping[str, Any], key: str) -> int:
        """Return the number of the first picture of an episode in its file."""
        return round(float(episode.get(f"videos/{key}/from_timestamp", 0.0)) * self.fps)

    def rows(self, episode: Mapping[str, Any], columns: list[str]) -> dict[str, NDArray[Any]]:
        """Return columns (N, ...) of an episode; those that are absent are left out."""
        path = self.data_path(episode)
        stored = set(pq.read_schema(path).names)
        known = [name for name in dict.fromkeys(columns) if name in stored]
        table = pq.read_table(path, columns=known, filters=[("episode_index", "==", int(episode["episode_index"]))])
        return {name: np.array(table.column(name).to_pylist()) for name in known}

    def pictures(self, episode: Mapping[str, Any], key: str) -> Iterator[NDArray[Any]]:
        """Yield the pictures of a camera of an episode, in the order of the rows."""
        if self.features[key]["dtype"] == "video":
            first = self.video_start(episode, key)
            yield from decoded(self.video_path(episode, key), first, int(episode["length"]), self.fps)
            return
        for cell in self.rows(episode, [key])[key]:
            data = cell["bytes"] or (self.root / cell["path"]).read_bytes()
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if picture is None:
                raise ValueError(f"a picture of {key} is damaged")
            yield picture

    def statistics(self, episode: Mapping[str, Any], column: str) -> dict[str, Any]:
        """Return the stored statistics of a column of an episode; empty where there are none."""
        if self.version == "v2.1":
            found: dict[str, Any] = self._statistics.get(int(episode["episode_index"]), {}).get(column, {})
            return found
        prefix = f"stats/{column}/"
        return {key.removeprefix(prefix): value for key, value in episode.items() if key.startswith(prefix)}

    def about(self, episode: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the converter knew of an episode; nothing for a dataset of another program."""
        path = self.root / OWN_META / "episodes" / f"episode_{int(episode['episode_index']):06d}.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return content

    def _place(self, episode: Mapping[str, Any], prefix: str) -> dict[str, int]:
        index = int(episode["episode_index"])
        if self.version == "v2.1":
            return {"episode_chunk": index // int(self.info["chunks_size"]), "episode_index": index}
        return {part: int(episode[f"{prefix}/{part}"]) for part in ("chunk_index", "file_index")}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def decoded(path: Path, first: int, count: int, fps: float) -> Iterator[NDArray[Any]]:
    """Yield pictures `first` to `first + count` of a video; fewer where it ends before."""
    container: Any = av.open(str(path))
    try:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start = Fraction(first) / Fraction(fps).limit_denominator(1000)
        container.seek(int(start / stream.time_base), stream=stream)
        left = count
        for frame in container.decode(stream):
            if left == 0:
                return
            if round(float(frame.pts * stream.time_base) * fps) < first:
                continue
            left -= 1
            deep = frame.format.name.startswith("gray")
            yield frame.to_ndarray() if deep else frame.to_ndarray(format="rgb24")
    finally:
        container.close()


def validate_lerobot(
    root: Path, thresholds: Thresholds, *, max_episodes: int | None, images: bool
) -> Iterator[EpisodeReport]:
    """Yield a report per episode, and one of the dataset as a whole.

    Args:
        root: The dataset.
        thresholds: What is still all right.
        max_episodes: How many are looked at; all if None.
        images: Whether pictures are decoded.

    Raises:
        VlaError: It is no dataset.
    """
    dataset = LeRobotDataset(root)
    whole = _Whole(dataset)
    for episode in dataset.episodes[:max_episodes]:
        report = EpisodeReport(f"episode {int(episode['episode_index'])}")
        try:
            _check_episode(dataset, episode, thresholds, report, whole, images)
        except (OSError, KeyError, ValueError, av.error.FFmpegError) as error:
            text = f"cannot be read ({type(error).__name__}: {error}); was the dataset copied completely?"
            report.add([Finding("readable", ERROR, text)])
        yield report
    yield whole.report(thresholds, complete=max_episodes is None or max_episodes >= len(dataset.episodes))


@dataclass(slots=True)
class _Whole:
    """What must hold of all episodes together."""

    dataset: LeRobotDataset
    columns: dict[str, list[NDArray[Any]]]
    rows: int

    def __init__(self, dataset: LeRobotDataset) -> None:
        self.dataset = dataset
        self.columns = {}
        self.rows = 0

    def add(self, columns: Mapping[str, NDArray[Any]], rows: int) -> None:
        self.rows += rows
        for name, values in columns.items():
            if name not in _AUTOMATIC:
                self.columns.setdefault(name, []).append(values)

    def report(self, thresholds: Thresholds, *, complete: bool) -> EpisodeReport:
        report = EpisodeReport("dataset", self.rows)
        if not complete:
            report.unchecked = dict.fromkeys(("statistics", "shape"), "not all episodes were looked at")
        else:
            self._check_totals(report)
            self._check_statistics(thresholds, report)
        self._check_videos(report)
        return report

    def _check_totals(self, report: EpisodeReport) -> None:
        info = self.dataset.info
        for key, found in (("total_frames", self.rows), ("total_episodes", len(self.dataset.episodes))):
            if int(info[key]) != found:
                report.add([Finding("shape", ERROR, f"info.json says {key} {info[key]}, there are {found}")])

    def _check_statistics(self, thresholds: Thresholds, report: EpisodeReport) -> None:
        path = self.dataset.root / STATS_PATH
        if self.dataset.version == "v2.1":
            return  # v2.1 keeps statistics per episode only
        if not path.is_file():
            report.unchecked["statistics"] = f"there is no {STATS_PATH}"
            return
        stored = json.loads(path.read_text(encoding="utf-8"))
        for name, parts in self.columns.items():
            if name in stored:
                report.add(check_statistics(name, stored[name], np.concatenate(parts), thresholds))

    def _check_videos(self, report: EpisodeReport) -> None:
        """Compare every video file with the rows of all episodes that lie in it."""
        wanted: dict[Path, int] = {}
        for episode in self.dataset.episodes:
            for key in self.dataset.picture_keys:
                if self.dataset.features[key]["dtype"] == "video":
                    path = self.dataset.video_path(episode, key)
                    wanted[path] = wanted.get(path, 0) + int(episode["length"])
        for path, rows in wanted.items():
            name = path.relative_to(self.dataset.root)
            try:
                found = count_frames(path)
            except (VlaError, OSError, av.error.FFmpegError) as error:
                report.add([Finding("video_length", ERROR, f"{name} cannot be read: {error}")])
                continue
            if found != rows:
                report.add(
                    [Finding("video_length", ERROR, f"{name} holds {found} pictures, its episodes have {rows} rows")]
                )


def _check_episode(
    dataset: LeRobotDataset,
    episode: Mapping[str, Any],
    thresholds: Thresholds,
    report: EpisodeReport,
    whole: _Whole,
    images: bool,
) -> None:
    columns = dataset.rows(episode, list(dataset.columns))
    report.rows = len(next(iter(columns.values())))
    whole.add(columns, report.rows)
    if report.rows != int(episode["length"]):
        report.add([Finding("shape", ERROR, f"{report.rows} rows, its length is said to be {episode['length']}")])
    report.add(
        Finding("missing_key", ERROR, f"'{name}' is in info.json but not in {dataset.data_path(episode).name}")
        for name in dataset.columns
        if name not in columns
    )
    for name, values in columns.items():
        report.add(check_finite(name, values))
        width = tuple(dataset.features[name]["shape"])
        if values.shape[1:] != width and (values.shape[1:], width) != ((), (1,)):
            report.add([Finding("shape", ERROR, f"'{name}' is {values.shape[1:]} wide, info.json says {width}")])
        stored = dataset.statistics(episode, name)
        if stored and name not in _AUTOMATIC:
            report.add(check_statistics(name, stored, values, thresholds))
    _check_clock(dataset, episode, columns, thresholds, report)
    joints = _check_robot(dataset, columns, thresholds, report)
    if images:
        for key in dataset.picture_keys:
            _check_pictures(dataset, episode, key, joints, thresholds, report)
    else:
        report.unchecked |= dict.fromkeys(("frozen_image", "black_image"), "--no-images")


def _check_clock(
    dataset: LeRobotDataset,
    episode: Mapping[str, Any],
    columns: Mapping[str, NDArray[Any]],
    thresholds: Thresholds,
    report: EpisodeReport,
) -> None:
    if "timestamp" in columns:
        t_s = np.asarray(columns["timestamp"], np.float64).reshape(-1)
        report.add(check_times(t_s, dataset.fps, thresholds, ERROR))
        report.add(check_frequency(t_s, dataset.fps, _FREQUENCY_TOLERANCE_PCT))
    gaps = dataset.about(episode).get("gaps") or []
    if gaps:
        lost = sum(int(ticks) for _, ticks in gaps)
        text = f"{lost} frames are missing in {len(gaps)} places; actions across them are farther apart than 1/fps"
        report.add([Finding("missing_frame", WARNING, text, lost, int(gaps[0][0]))])
    ages = {name.removeprefix(_AGE): values.reshape(-1) for name, values in columns.items() if name.startswith(_AGE)}
    robot = next((values for name, values in ages.items() if name.startswith(STATE_KEY)), None)
    cameras = {name: values for name, values in ages.items() if name.startswith(IMAGE_PREFIX)}
    if robot is None or not cameras:
        report.unchecked["camera_offset"] = "no age columns; convert with --age-columns, or validate the bags"
        return
    for name, values in cameras.items():
        offsets = values.astype(np.float64) - robot
        report.add(check_offsets(name.removeprefix(IMAGE_PREFIX), offsets, thresholds))


def _check_robot(
    dataset: LeRobotDataset, columns: Mapping[str, NDArray[Any]], thresholds: Thresholds, report: EpisodeReport
) -> NDArray[np.float64] | None:
    """Check the joints and return those of the arm (N, k), where the dataset says what its numbers are."""
    if dataset.profile is None or STATE_KEY not in columns:
        why = f"no column {STATE_KEY}" if dataset.profile else f"no {OWN_META}/{_PROFILE} says what the numbers mean"
        report.unchecked |= dict.fromkeys(("range", "joint_jump", "tcp_jump"), why)
        return None
    rules = RobotRules(dataset.profile)
    states = columns[STATE_KEY]
    report.unchecked |= rules.unchecked
    report.add(rules.check(states, thresholds))
    return rules.positions(states)


def _check_pictures(
    dataset: LeRobotDataset,
    episode: Mapping[str, Any],
    key: str,
    joints: NDArray[np.float64] | None,
    thresholds: Thresholds,
    report: EpisodeReport,
) -> None:
    name = key.removeprefix(IMAGE_PREFIX)
    watch = ImageWatch(name, thresholds)
    for picture in dataset.pictures(episode, key):
        watch.add(picture)
    if watch.rows != report.rows:
        text = f"{name}: {watch.rows} pictures can be decoded for {report.rows} rows"
        report.add([Finding("video_length", ERROR, text)])
        return
    report.add(watch.findings(joints))
