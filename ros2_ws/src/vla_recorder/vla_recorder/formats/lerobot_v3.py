# SPDX-License-Identifier: Apache-2.0

"""Write the LeRobot v3.0 layout: parquet rows, joined videos, metadata, exact statistics.

The files are written directly rather than through LeRobot's recording API, because a conversion can give guarantees that
a live recording cannot: one row for every stored picture, quantiles over all frames, nothing visible before all is done.
LeRobot itself is the oracle in the tests: it reads every frame back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_recorder.formats.base import DatasetError, EpisodeWriter, Layout
from vla_recorder.formats.histogram_log import HISTOGRAMS_PATH, HistogramLog, counted_episodes, read_histograms
from vla_recorder.formats.image_episode import ImageEpisodeWriter, JointEpisodeWriter, encode_png, is_depth
from vla_recorder.formats.lerobot_meta import (
    CHUNK_FILES,
    CODEBASE_VERSION,
    DATA_FILE_MB,
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_FILE_MB,
    VIDEO_FILE_S,
    VIDEO_PATH,
    Place,
    encoding_differences,
    info_differences,
    read_episodes,
    read_info,
    read_tasks,
    write_tasks,
)
from vla_recorder.formats.lerobot_tables import (
    IMAGES_FILE,
    automatic_columns,
    check_episode,
    complete_features,
    depth_units,
    replacing,
    row_schema,
    row_tables,
    stored_statistics,
    write_json,
)
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import Statistics, vector_statistics
from vla_recorder.formats.video_episode import VideoEpisodeWriter
from vla_recorder.media.video import VideoSettings, header, join, video_info

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LeRobotV3:
    """The format; it has no options. Depth is stored as ``VideoSettings.depth`` says."""

    name: str = "lerobot-v3"

    def episode_writer(self, layout: Layout, work_dir: Path) -> EpisodeWriter:
        """Return the writer of one episode."""
        exact = [key for key, spec in _features(layout).items() if spec["dtype"] == "image"]
        if not exact:
            return VideoEpisodeWriter(layout, work_dir)
        videos = [key for key in layout.image_keys if key not in exact]
        images = ImageEpisodeWriter(layout, work_dir, exact, encode_png, "png")
        return JointEpisodeWriter([(videos, VideoEpisodeWriter(layout, work_dir, videos)), (exact, images)])

    def dataset_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return the writer of the dataset."""
        return self._writer(root, layout)

    def append_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return a writer that goes on behind the last episode of the dataset in `root`.

        New episodes go into new files; the metadata and the statistics of the whole are written again. No existing file
        is written into, so `root` may consist of hard links.

        Raises:
            DatasetError: The dataset holds something else than `layout` says.
        """
        writer = self._writer(root, layout)
        writer.take_over()
        return writer

    def _writer(self, root: Path, layout: Layout) -> DatasetWriter:
        return DatasetWriter(
            root,
            features=_features(layout),
            fps=layout.fps,
            robot_type=layout.profile.robot,
            video=layout.video,
        )


def _features(layout: Layout) -> Mapping[str, Mapping[str, Any]]:
    """Return the features as they are stored."""
    if layout.video.depth != "image":
        return layout.features
    return {
        key: {**spec, "dtype": "image"} if spec["dtype"] == "video" and is_depth(spec) else spec
        for key, spec in layout.features.items()
    }


class DatasetWriter:
    """Collects episodes in order; ``finish`` joins the videos and writes the metadata."""

    def __init__(
        self, root: Path, *, features: Mapping[str, Mapping[str, Any]], fps: int, robot_type: str, video: VideoSettings
    ) -> None:
        """Prepare an empty dataset.

        Args:
            root: Folder to fill; must be empty or absent, unless `take_over` is called.
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
        self.video_keys = tuple(name for name, spec in self._features.items() if spec["dtype"] == "video")
        self._image_keys = tuple(name for name, spec in self._features.items() if spec["dtype"] == "image")
        self._schema = row_schema(self._features)
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._histograms = HistogramLog(root / HISTOGRAMS_PATH)
        self._parts: dict[str, list[tuple[int, Path]]] = {key: [] for key in self.video_keys}
        self._video_places = {key: Place() for key in self.video_keys}
        self._frames = 0
        self._place = Place()
        self._rows: pq.ParquetWriter | None = None
        self._stored_video: dict[str, dict[str, Any]] = {}

    @property
    def frames(self) -> int:
        """Rows written so far."""
        return self._frames

    def take_over(self) -> None:
        """Continue the dataset in the folder instead of starting one.

        Raises:
            DatasetError: It is no LeRobot v3.0 dataset, or holds something else.
        """
        info = read_info(self._root)
        differences = info_differences(info, self._features, fps=self._fps, robot_type=self._robot_type)
        if differences:
            raise DatasetError(f"{self._root}: cannot be appended to: {'; '.join(differences)}")
        self._stored_video = {key: info["features"][key].get("info") or {} for key in self.video_keys}
        for key in self._image_keys:
            self._features[key] = info["features"][key]
        self._tasks = read_tasks(self._root / TASKS_PATH)
        self._episodes = read_episodes(self._root)
        self._frames = int(info["total_frames"])
        known = counted_episodes(self._root / HISTOGRAMS_PATH)
        cameras = (*self.video_keys, *self._image_keys)
        missing = sorted({e for e in range(len(self._episodes)) for key in cameras if (e, key) not in known})
        if missing:
            raise DatasetError(
                f"{self._root}: {HISTOGRAMS_PATH} lacks the pixels of episodes {missing[:5]}, so statistics over the whole "
                "cannot be exact; make a dataset of your own from it with `ros2 run vla_recorder merge`, and append to that"
            )
        for episode, name, histogram in read_histograms(self._root / HISTOGRAMS_PATH):
            if name in cameras and episode < len(self._episodes):
                self._histograms.add(episode, {name: histogram})
        self._place = Place.after((row["data/chunk_index"], row["data/file_index"]) for row in self._episodes)
        for key in self.video_keys:
            self._video_places[key] = Place.after(
                (row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]) for row in self._episodes
            )

    def add(self, episode: Episode) -> int:
        """Append one episode and return its index.

        Raises:
            DatasetError: Columns are missing or too many, or differ in length, type or shape from the features, or there
                is another number of pictures than of rows.
        """
        check_episode(episode, self._features)
        index = len(self._episodes)
        length = episode.length
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        columns = {
            **episode.columns,
            **automatic_columns(length, fps=self._fps, episode=index, first_index=self._frames, task_index=task_index),
        }
        histograms = {key: episode.histograms[key] for key in (*self.video_keys, *self._image_keys)}
        self._histograms.add(index, histograms)
        images = episode.files.get(IMAGES_FILE) if self._image_keys else None
        if images is not None:
            self._note_depth_units(images)
        self._write_rows(columns, images)
        statistics = {name: vector_statistics(columns[name]) for name in columns}
        statistics.update({key: histogram.statistics() for key, histogram in histograms.items()})
        for key in self.video_keys:
            if self._stored_video:
                self._check_encoding(key, episode.videos[key])
            self._parts[key].append((index, episode.videos[key]))
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [episode.task],
            "length": length,
            "data/chunk_index": self._place.chunk,
            "data/file_index": self._place.file,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }
        row.update({f"stats/{name}/{key}": value for name, stat in statistics.items() for key, value in stat.items()})
        self._episodes.append(row)
        self._frames += length
        return index

    def finish(self) -> None:
        """Join the videos and write the metadata; the dataset is complete afterwards.

        Raises:
            DatasetError: There is no episode.
        """
        if not self._episodes:
            raise DatasetError(f"{self._root}: no episode was converted, so there is no dataset to write")
        if self._rows is not None:
            self._rows.close()
            self._rows = None
        for key in self.video_keys:
            self._join_videos(key)
        for row in self._episodes:
            row["meta/episodes/chunk_index"] = 0
            row["meta/episodes/file_index"] = 0
        with replacing(self._root / EPISODES_PATH) as new:
            pq.write_table(pa.Table.from_pylist(self._episodes), new, compression="snappy")
        write_tasks(self._root / TASKS_PATH, self._tasks)
        self._histograms.close()
        write_json(self._root / STATS_PATH, self._statistics())
        # Written last: a folder with info.json is a complete dataset.
        write_json(self._root / INFO_PATH, self._info())

    def _check_encoding(self, key: str, path: Path) -> None:
        """Refuse a video that decodes otherwise than what the dataset holds; ``info.json`` describes all of them."""
        differences = encoding_differences(self._stored_video[key], video_info(path, self._video, self._fps))
        if differences:
            raise DatasetError(
                f"{self._root}: {key} was encoded otherwise: {'; '.join(differences)}; append with the same encoder "
                "settings, or make a dataset of its own"
            )

    def _note_depth_units(self, images: Path) -> None:
        for key, unit in depth_units(images).items():
            info = self._features[key].get("info") or {}
            self._features[key]["info"] = {"depth_unit": unit, **info}

    def _data_path(self) -> Path:
        return self._root / DATA_PATH.format(chunk_index=self._place.chunk, file_index=self._place.file)

    def _write_rows(self, columns: Mapping[str, NDArray[np.generic]], images: Path | None) -> None:
        if self._rows is not None and self._data_path().stat().st_size >= DATA_FILE_MB * _MB:
            self._rows.close()
            self._rows = None
            self._place.advance()
        if self._rows is None:
            self._data_path().parent.mkdir(parents=True, exist_ok=True)
            self._rows = pq.ParquetWriter(self._data_path(), self._schema, compression="snappy")
        # Every episode starts a row group, so that a reader fetches it without touching the others.
        for table in row_tables(columns, self._schema, images):
            self._rows.write_table(table)

    def _join_videos(self, key: str) -> None:
        place = self._video_places[key]
        group: list[tuple[int, Path]] = []
        size, frames, shared = 0, 0, None
        for index, part in self._parts[key]:
            length = self._episodes[index]["length"]
            part_size, part_header = part.stat().st_size, header(part)
            full = size + part_size > VIDEO_FILE_MB * _MB or frames + length > VIDEO_FILE_S * self._fps
            if group and (full or part_header != shared):
                self._join_group(key, group, place)
                place.advance()
                group, size, frames = [], 0, 0
            group.append((index, part))
            size, frames, shared = size + part_size, frames + length, part_header
        if group:
            self._join_group(key, group, place)

    def _join_group(self, key: str, group: list[tuple[int, Path]], place: Place) -> None:
        output = self._root / VIDEO_PATH.format(video_key=key, chunk_index=place.chunk, file_index=place.file)
        join([part for _, part in group], output, self._fps)
        position = 0
        for index, part in group:
            row = self._episodes[index]
            row[f"videos/{key}/chunk_index"] = place.chunk
            row[f"videos/{key}/file_index"] = place.file
            row[f"videos/{key}/from_timestamp"] = position / self._fps
            position += row["length"]
            row[f"videos/{key}/to_timestamp"] = position / self._fps
            part.unlink()

    def _statistics(self) -> dict[str, Statistics]:
        paths = sorted({(row["data/chunk_index"], row["data/file_index"]) for row in self._episodes})
        files = [self._root / DATA_PATH.format(chunk_index=chunk, file_index=file) for chunk, file in paths]
        result = stored_statistics(files, self._schema)
        result.update(self._histograms.statistics())
        return result

    def _info(self) -> dict[str, Any]:
        features = {name: dict(spec) for name, spec in self._features.items()}
        for key in self.video_keys:
            if self._stored_video:
                features[key]["info"] = self._stored_video[key]
                continue
            chunk, file = (self._episodes[0][f"videos/{key}/{part}_index"] for part in ("chunk", "file"))
            first = self._root / VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
            features[key]["info"] = {
                **video_info(first, self._video, self._fps),
                **(self._features[key].get("info") or {}),
            }
        return {
            "codebase_version": CODEBASE_VERSION,
            "fps": self._fps,
            "features": features,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.video_keys else None,
            "robot_type": self._robot_type,
            "splits": {"train": f"0:{len(self._episodes)}"},
        }
