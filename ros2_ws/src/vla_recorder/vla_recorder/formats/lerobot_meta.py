# SPDX-License-Identifier: Apache-2.0

"""Metadata files of the LeRobot v3.0 layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_tables import replacing

CODEBASE_VERSION = "v3.0"
CHUNK_FILES = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
VIDEO_FILE_S = 1000.0
"""Longest video of several episodes [s]. LeRobot compares stamps in float32 with a tolerance of 1e-4 s; above 1024 s the
numbers of float32 are farther apart than that, and rows of later episodes fail to load. One episode alone may be longer:
it begins at 0, where stamp and row are rounded alike."""

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
TASKS_PATH = "meta/tasks.parquet"
STATS_PATH = "meta/stats.json"
INFO_PATH = "meta/info.json"
OWN_META = "meta/vla"
"""Folder of what LeRobot does not know: provenance, profile, image histograms."""

_VIDEO_IDENTITY = (
    "video.codec",
    "video.pix_fmt",
    "video.height",
    "video.width",
    "video.g",
    "video.crf",
    "video.preset",
    "depth_unit",
)


@dataclass(slots=True)
class Place:
    """Where the next episode goes in a series of numbered files."""

    chunk: int = 0
    file: int = 0

    def advance(self) -> None:
        """Go on to the next file."""
        self.file += 1
        if self.file == CHUNK_FILES:
            self.chunk, self.file = self.chunk + 1, 0

    @classmethod
    def after(cls, used: Iterable[tuple[int, int]]) -> Self:
        """Return the place behind the last of the (chunk, file) pairs in use."""
        place = cls(*max(used))
        place.advance()
        return place


def read_info(root: Path) -> dict[str, Any]:
    """Return ``info.json`` of a dataset.

    Raises:
        DatasetError: There is none, or it is no JSON: the dataset is incomplete or damaged.
    """
    path = root / INFO_PATH
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{root}: has no {INFO_PATH}, so it is no complete LeRobot dataset; convert it again"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path}: is damaged ({error})") from error
    return info


def info_differences(
    info: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]], *, fps: int, robot_type: str
) -> list[str]:
    """Return what keeps episodes with these features from being added to a dataset, for people.

    Args:
        info: ``info.json`` of the dataset.
        features: Of the episodes, with the automatic columns.
        fps: Rows per second of the episodes.
        robot_type: Robot of the episodes.
    """
    wanted = {"codebase_version": CODEBASE_VERSION, "fps": fps, "robot_type": robot_type}
    found = [
        f"{key} is {info.get(key)!r} there, {value!r} here" for key, value in wanted.items() if info.get(key) != value
    ]
    there = info["features"]
    found += [f"feature {name!r} is only there" for name in sorted(set(there) - set(features))]
    found += [f"feature {name!r} is only here" for name in sorted(set(features) - set(there))]
    for name in sorted(set(features) & set(there)):
        for key in ("dtype", "shape", "names"):
            old, new = _plain(there[name].get(key)), _plain(features[name].get(key))
            if old != new:
                found.append(f"{key} of {name!r} is {old} there, {new} here")
    return found


def encoding_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return how the videos of two datasets differ, for people.

    Args:
        there: ``info`` of a video feature.
        here: The same of the other dataset. Videos copied from a camera name no encoder settings and go with all others,
            as an episode that could not be copied is encoded.
    """
    if "video.g" not in there or "video.g" not in here:
        return []
    return [
        f"{name} is {there.get(name)!r} there, {here.get(name)!r} here"
        for name in _VIDEO_IDENTITY
        if there.get(name) != here.get(name)
    ]


def _plain(value: Any) -> Any:
    """Return a value as it looks after a trip through JSON."""
    return list(value) if isinstance(value, tuple) else value


def read_episodes(root: Path) -> list[dict[str, Any]]:
    """Return the rows of the table of episodes of a LeRobot v3.0 dataset, in order."""
    paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: int(row["episode_index"]))


def write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write task -> number as LeRobot v3 keeps it.

    LeRobot reads this file with pandas and expects the task as the index, which is said in the file's metadata.
    """
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
    with replacing(path) as new:
        pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), new)


def read_tasks(path: Path) -> dict[str, int]:
    """Return task -> number of a LeRobot v3 dataset, in order of the numbers."""
    table = pq.read_table(path)
    name = "task" if "task" in table.column_names else "__index_level_0__"
    pairs = sorted(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
    return {task: index for index, task in pairs}
