# SPDX-License-Identifier: Apache-2.0

"""Write the LeRobot v2.1 layout: one parquet file and one video per camera and episode, metadata as JSON lines.

LeRobot wrote it up to version 0.3; OpenPI still reads it. LeRobot's own converter from v2.1 to v3.0 is the oracle in the
tests. The layout knows no depth, and no quantiles: those are in ``meta/vla/stats.json``, exact over the whole dataset.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vla_recorder.formats.base import DatasetError, Layout
from vla_recorder.formats.histogram_log import HISTOGRAMS_PATH, HistogramLog
from vla_recorder.formats.image_episode import is_depth
from vla_recorder.formats.lerobot_tables import (
    IMAGES_FILE,
    automatic_columns,
    check_episode,
    complete_features,
    row_schema,
    row_tables,
    stored_statistics,
    write_json,
    write_json_lines,
)
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import Statistics, vector_statistics
from vla_recorder.formats.video_episode import VideoEpisodeWriter
from vla_recorder.media.video import VideoSettings, video_info

CODEBASE_VERSION = "v2.1"
CHUNK_EPISODES = 1000
DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"

_STATISTICS = ("min", "max", "mean", "std", "count")
_VIDEO_INFO = {
    "video.height": "video.height",
    "video.width": "video.width",
    "video.codec": "video.codec",
    "video.pix_fmt": "video.pix_fmt",
    "video.is_depth_map": "is_depth_map",
    "video.fps": "video.fps",
    "video.channels": "video.channels",
    "has_audio": "has_audio",
}
"""Entry of ``info`` of a video feature in v2.1 -> what it is called in v3.0."""


@dataclass(frozen=True, slots=True)
class LeRobotV21:
    """The format; it has no options."""

    name: str = "lerobot-v2.1"

    def episode_writer(self, layout: Layout, work_dir: Path) -> VideoEpisodeWriter:
        """Return the writer of one episode.

        Raises:
            DatasetError: A camera is a depth camera.
        """
        refuse_depth(layout, self.name)
        return VideoEpisodeWriter(layout, work_dir)

    def dataset_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return the writer of the dataset.

        Raises:
            DatasetError: A camera is a depth camera.
        """
        refuse_depth(layout, self.name)
        return DatasetWriter(
            root, features=layout.features, fps=layout.fps, robot_type=layout.profile.robot, video=layout.video
        )


def refuse_depth(layout: Layout, name: str) -> None:
    """Refuse depth cameras, of which this version of the layout has no notion.

    Raises:
        DatasetError: There is one.
    """
    depth = [key for key, spec in layout.features.items() if is_depth(spec)]
    if depth:
        raise DatasetError(
            f"--format {name}: LeRobot v2.1 cannot hold depth ({', '.join(depth)}); take the camera out of the profile or "
            "convert to lerobot-v3"
        )


class DatasetWriter:
    """Collects episodes in order; every episode is complete on the disk when `add` returns."""

    def __init__(
        self, root: Path, *, features: Mapping[str, Mapping[str, Any]], fps: int, robot_type: str, video: VideoSettings
    ) -> None:
        """Prepare an empty dataset.

        Args:
            root: Folder to fill; must be empty or absent.
            features: LeRobot features of the frames, without the automatic ones. Those with dtype ``video`` are
                taken from ``Episode.videos``, ``image`` from ``Episode.files``, all others from ``Episode.columns``.
            fps: Rows per second.
            robot_type: Stored in ``info.json``.
            video: How the videos of the episodes were encoded.
        """
        self._root = root
        self._fps = fps
        self._robot_type = robot_type
        self._video = video
        self._features = complete_features(features)
        self._video_keys = tuple(name for name, spec in self._features.items() if spec["dtype"] == "video")
        self._image_keys = tuple(name for name, spec in self._features.items() if spec["dtype"] == "image")
        self._schema = row_schema(self._features)
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._statistics: list[dict[str, Any]] = []
        self._histograms = HistogramLog(root / HISTOGRAMS_PATH)
        self._frames = 0

    def add(self, episode: Episode) -> int:
        """Append one episode and return its index.

        Raises:
            DatasetError: Columns are missing or too many, or differ in length, type or shape from the features, or there
                is another number of pictures than of rows.
        """
        check_episode(episode, self._features)
        index = len(self._episodes)
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        columns = {
            **episode.columns,
            **automatic_columns(
                episode.length, fps=self._fps, episode=index, first_index=self._frames, task_index=task_index
            ),
        }
        histograms = {key: episode.histograms[key] for key in (*self._video_keys, *self._image_keys)}
        self._histograms.add(index, histograms)
        path = self._path(DATA_PATH, index)
        with pq.ParquetWriter(path, self._schema, compression="snappy") as writer:
            for table in row_tables(
                columns, self._schema, episode.files.get(IMAGES_FILE) if self._image_keys else None
            ):
                writer.write_table(table)
        for key in self._video_keys:
            shutil.move(episode.videos[key], self._path(VIDEO_PATH, index, key))
        statistics = {name: vector_statistics(values) for name, values in columns.items()}
        statistics.update({key: histogram.statistics() for key, histogram in histograms.items()})
        kept = {name: {key: values[key] for key in _STATISTICS} for name, values in statistics.items()}
        self._statistics.append({"episode_index": index, "stats": kept})
        self._episodes.append({"episode_index": index, "tasks": [episode.task], "length": episode.length})
        self._frames += episode.length
        return index

    def finish(self) -> None:
        """Write the metadata; the dataset is complete afterwards.

        Raises:
            DatasetError: There is no episode.
        """
        if not self._episodes:
            raise DatasetError(f"{self._root}: no episode was converted, so there is no dataset to write")
        meta = self._root / "meta"
        write_json_lines(meta / "episodes.jsonl", self._episodes)
        write_json_lines(meta / "episodes_stats.jsonl", self._statistics)
        tasks = [{"task_index": index, "task": task} for task, index in self._tasks.items()]
        write_json_lines(meta / "tasks.jsonl", tasks)
        self._histograms.close()
        write_json(meta / "vla/stats.json", self._exact_statistics())
        # Written last: a folder with info.json is a complete dataset.
        write_json(meta / "info.json", self._info())

    def _path(self, template: str, episode: int, video_key: str = "") -> Path:
        path = self._root / template.format(
            episode_chunk=episode // CHUNK_EPISODES, episode_index=episode, video_key=video_key
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _exact_statistics(self) -> dict[str, Statistics]:
        files = [self._path(DATA_PATH, index) for index in range(len(self._episodes))]
        result = stored_statistics(files, self._schema)
        result.update(self._histograms.statistics())
        return result

    def _info(self) -> dict[str, Any]:
        features = {name: dict(spec) for name, spec in self._features.items()}
        for key in self._video_keys:
            info = video_info(self._path(VIDEO_PATH, 0, key), self._video, self._fps)
            features[key]["info"] = {name: info[source] for name, source in _VIDEO_INFO.items()}
        count = len(self._episodes)
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self._robot_type,
            "total_episodes": count,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "total_videos": count * len(self._video_keys),
            "total_chunks": (count - 1) // CHUNK_EPISODES + 1,
            "chunks_size": CHUNK_EPISODES,
            "fps": self._fps,
            "splits": {"train": f"0:{count}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._video_keys else None,
            "features": features,
        }
