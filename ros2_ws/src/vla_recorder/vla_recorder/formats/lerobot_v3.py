# SPDX-License-Identifier: Apache-2.0

"""Write the LeRobot v3.0 layout: parquet rows, joined videos, metadata, exact statistics.

The files are written directly rather than through LeRobot's recording API, because a conversion can give guarantees that
a live recording cannot: one row for every stored picture, quantiles over all frames, nothing visible before all is done.
LeRobot itself is the oracle in the tests: it reads every frame back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_recorder.convert.rows import Episode
from vla_recorder.formats.base import DatasetError, Layout
from vla_recorder.formats.stats import ImageHistogram, Statistics, vector_statistics
from vla_recorder.formats.video_episode import VideoEpisodeWriter
from vla_recorder.media.video import VideoSettings, count_frames, join, video_info

CODEBASE_VERSION = "v3.0"
CHUNK_FILES = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
_MB = 1024 * 1024

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"

DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


@dataclass(slots=True)
class _Place:
    """Where the next episode goes in a series of numbered files."""

    chunk: int = 0
    file: int = 0

    def advance(self) -> None:
        self.file += 1
        if self.file == CHUNK_FILES:
            self.chunk, self.file = self.chunk + 1, 0


@dataclass(frozen=True, slots=True)
class LeRobotV3:
    """The format with its options."""

    name: str = "lerobot-v3"

    def episode_writer(self, layout: Layout, work_dir: Path) -> VideoEpisodeWriter:
        """Return the writer of one episode."""
        return VideoEpisodeWriter(layout, work_dir)

    def dataset_writer(self, root: Path, layout: Layout) -> DatasetWriter:
        """Return the writer of the dataset."""
        return DatasetWriter(
            root, features=layout.features, fps=layout.fps, robot_type=layout.profile.robot, video=layout.video
        )


class DatasetWriter:
    """Collects episodes in order; ``finish`` joins the videos and writes the metadata."""

    def __init__(
        self, root: Path, *, features: Mapping[str, Mapping[str, Any]], fps: int, robot_type: str, video: VideoSettings
    ) -> None:
        """Prepare an empty dataset.

        Args:
            root: Folder to fill; must be empty or absent.
            features: LeRobot features of the frames, without the automatic ones. Those with dtype ``video`` are
                taken from ``Episode.videos``, all others from ``Episode.columns``.
            fps: Rows per second.
            robot_type: Stored in ``info.json``.
            video: How the videos of the episodes were encoded.
        """
        self._root = root
        self._fps = fps
        self._robot_type = robot_type
        self._video = video
        self._features: dict[str, dict[str, Any]] = {
            **{name: {**spec, "shape": list(spec["shape"])} for name, spec in features.items()},
            **DEFAULT_FEATURES,
        }
        self.video_keys = tuple(name for name, spec in self._features.items() if spec["dtype"] == "video")
        self._schema = self._row_schema()
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._columns: dict[str, list[NDArray[np.generic]]] = {name: [] for name in self._schema.names}
        self._histograms = {key: ImageHistogram() for key in self.video_keys}
        self._parts: dict[str, list[Path]] = {key: [] for key in self.video_keys}
        self._frames = 0
        self._place = _Place()
        self._rows: pq.ParquetWriter | None = None

    @property
    def frames(self) -> int:
        """Rows written so far."""
        return self._frames

    def add(self, episode: Episode) -> int:
        """Append one episode and return its index.

        Raises:
            DatasetError: Columns are missing or too many, or differ in length or shape from the features, or a video
                holds another number of pictures than there are rows.
        """
        self._check(episode)
        index = len(self._episodes)
        length = episode.length
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        frame_index = np.arange(length, dtype=np.int64)
        columns: dict[str, NDArray[np.generic]] = {
            **episode.columns,
            "timestamp": (frame_index / self._fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(length, index, np.int64),
            "index": frame_index + self._frames,
            "task_index": np.full(length, task_index, np.int64),
        }
        statistics: dict[str, Statistics] = {}
        for name in self._schema.names:
            self._columns[name].append(columns[name])
            statistics[name] = vector_statistics(columns[name])
        for key in self.video_keys:
            self._parts[key].append(episode.videos[key])
            self._histograms[key].merge(episode.histograms[key])
            statistics[key] = episode.histograms[key].statistics()
        self._write_rows(columns)
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
        self._write_episodes()
        self._write_tasks()
        _write_json(self._root / "meta/stats.json", self._statistics())
        # Written last: a folder with info.json is a complete dataset.
        _write_json(self._root / "meta/info.json", self._info())

    def _check(self, episode: Episode) -> None:
        wanted = set(self._schema.names) - set(DEFAULT_FEATURES)
        if set(episode.columns) != wanted:
            raise DatasetError(f"episode has columns {sorted(episode.columns)}, the features need {sorted(wanted)}")
        length = episode.length
        for name, values in episode.columns.items():
            shape = (length, *self._features[name]["shape"])
            if values.shape != shape and not (shape[1:] == (1,) and values.shape == (length,)):
                raise DatasetError(f"column {name!r} has the shape {values.shape}, the feature needs {shape}")
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise DatasetError(f"column {name!r} holds NaN or infinity; no policy can be trained on that")
        for key in self.video_keys:
            pictures = count_frames(episode.videos[key])
            if pictures != length:
                raise DatasetError(f"{episode.videos[key]}: {pictures} pictures for {length} rows of {key!r}")

    def _row_schema(self) -> pa.Schema:
        fields = []
        for name, spec in self._features.items():
            if spec["dtype"] == "video":
                continue
            kind = pa.from_numpy_dtype(np.dtype(spec["dtype"]))
            shape = spec["shape"]
            if len(shape) != 1:
                raise DatasetError(f"feature {name!r} has the shape {shape}; only vectors and videos are stored")
            fields.append(pa.field(name, kind if shape == [1] else pa.list_(kind, shape[0])))
        return pa.schema(fields)

    def _write_rows(self, columns: Mapping[str, NDArray[np.generic]]) -> None:
        path = self._root / DATA_PATH.format(chunk_index=self._place.chunk, file_index=self._place.file)
        if self._rows is not None and path.stat().st_size >= DATA_FILE_MB * _MB:
            self._rows.close()
            self._rows = None
            self._place.advance()
            path = self._root / DATA_PATH.format(chunk_index=self._place.chunk, file_index=self._place.file)
        if self._rows is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = pq.ParquetWriter(path, self._schema, compression="snappy")
        arrays = []
        for field in self._schema:
            values = np.ascontiguousarray(columns[field.name])
            if pa.types.is_fixed_size_list(field.type):
                flat = pa.array(values.reshape(-1), type=field.type.value_type)
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
            else:
                arrays.append(pa.array(values.reshape(-1), type=field.type))
        # One row group per episode, so that a reader fetches an episode without touching the others.
        self._rows.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def _join_videos(self, key: str) -> None:
        place = _Place()
        group: list[int] = []
        size = 0
        for index, part in enumerate(self._parts[key]):
            part_size = part.stat().st_size
            if group and size + part_size > VIDEO_FILE_MB * _MB:
                self._join_group(key, group, place)
                place.advance()
                group, size = [], 0
            group.append(index)
            size += part_size
        self._join_group(key, group, place)

    def _join_group(self, key: str, group: list[int], place: _Place) -> None:
        output = self._root / VIDEO_PATH.format(video_key=key, chunk_index=place.chunk, file_index=place.file)
        join([self._parts[key][index] for index in group], output, self._fps)
        position = 0
        for index in group:
            row = self._episodes[index]
            row[f"videos/{key}/chunk_index"] = place.chunk
            row[f"videos/{key}/file_index"] = place.file
            row[f"videos/{key}/from_timestamp"] = position / self._fps
            position += row["length"]
            row[f"videos/{key}/to_timestamp"] = position / self._fps
            self._parts[key][index].unlink()

    def _statistics(self) -> dict[str, Statistics]:
        result = {name: vector_statistics(np.concatenate(parts)) for name, parts in self._columns.items()}
        result.update({key: histogram.statistics() for key, histogram in self._histograms.items()})
        return result

    def _write_episodes(self) -> None:
        path = self._root / EPISODES_PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), path, compression="snappy")

    def _write_tasks(self) -> None:
        # LeRobot reads this file with pandas and expects the task as the index, which is said in the file's metadata.
        table = pa.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        described = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
        ]
        pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
        pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), self._root / "meta/tasks.parquet")

    def _info(self) -> dict[str, Any]:
        features = {name: dict(spec) for name, spec in self._features.items()}
        for key in self.video_keys:
            first = self._root / VIDEO_PATH.format(video_key=key, chunk_index=0, file_index=0)
            features[key]["info"] = video_info(first, self._video, self._fps)
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


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
