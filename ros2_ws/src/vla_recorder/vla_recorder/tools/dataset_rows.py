# SPDX-License-Identifier: Apache-2.0

"""Rows and pictures of the episodes of a LeRobot v3.0 dataset, one episode at a time, pictures one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from vla_core.frames import IMAGE_PREFIX
from vla_core.images_compressed import decode_compressed

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.lerobot_meta import (
    CODEBASE_VERSION,
    OWN_META,
    TASKS_PATH,
    read_episodes,
    read_info,
    read_tasks,
)
from vla_recorder.media.depth import depth_metres

_PICTURES = ("video", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEpisode:
    """The rows of one episode.

    Attributes:
        index: Its number.
        task: Instruction.
        columns: Feature -> (N, k) or (N,) values; pictures are apart.
        about: What the converter knew of it (``meta/vla/episodes``); empty for datasets of other programs.
    """

    index: int
    task: str
    columns: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]


class DatasetRows:
    """Reads a dataset."""

    def __init__(self, root: Path) -> None:
        """Read the metadata.

        Raises:
            DatasetError: It is no complete LeRobot v3.0 dataset.
        """
        self.root = root
        self.info = read_info(root)
        if self.info.get("codebase_version") != CODEBASE_VERSION:
            raise DatasetError(
                f"{root}: is LeRobot {self.info.get('codebase_version')}; only {CODEBASE_VERSION} datasets are read here"
            )
        self.fps = int(self.info["fps"])
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self._episodes = read_episodes(root)
        self._tasks = {index: task for task, index in read_tasks(root / TASKS_PATH).items()}

    def __len__(self) -> int:
        return len(self._episodes)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(
            key.removeprefix(IMAGE_PREFIX) for key, spec in self.features.items() if spec["dtype"] in _PICTURES
        )

    def is_depth(self, camera: str) -> bool:
        """Whether a camera gives depth."""
        return bool((self.features[IMAGE_PREFIX + camera].get("info") or {}).get("is_depth_map"))

    def episode(self, index: int) -> DatasetEpisode:
        """Return the rows of one episode.

        Raises:
            DatasetError: The files do not hold what the table of episodes says.
        """
        wanted = [name for name, spec in self.features.items() if spec["dtype"] not in _PICTURES]
        table = self._table(index, wanted)
        columns = {name: np.array(table.column(name).to_pylist()) for name in wanted}
        task = int(columns["task_index"].reshape(-1)[0])
        return DatasetEpisode(index=index, task=self._tasks[task], columns=columns, about=self._about(index))

    def _table(self, index: int, columns: Sequence[str]) -> Any:
        row = self._episodes[index]
        path = self.root / self.info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        if not path.is_file():
            raise DatasetError(f"{path}: is missing; it holds episode {index}")
        table = pq.read_table(path, columns=list(columns), filters=[("episode_index", "==", index)])
        if table.num_rows != row["length"]:
            raise DatasetError(f"{path}: holds {table.num_rows} of {row['length']} rows of episode {index}")
        return table

    def _about(self, index: int) -> dict[str, Any]:
        path = self.root / OWN_META / "episodes" / f"episode_{index:06d}.json"
        if not path.is_file():
            return {}
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def pictures(self, index: int, camera: str) -> Iterator[NDArray[Any]]:
        """Yield the picture of every row.

        Returns:
            (H, W, 3) uint8 RGB; depth (H, W) float32 [m], or uint16 [mm] where the dataset holds lossless pictures.

        Raises:
            DatasetError: Pictures are missing.
        """
        key = IMAGE_PREFIX + camera
        if self.features[key]["dtype"] == "image":
            for entry in self._table(index, [key]).column(key).to_pylist():
                yield self._decode(entry["bytes"], index, key)
            return
        yield from self._video(index, key, depth=self.is_depth(camera))

    def _decode(self, data: bytes | None, index: int, key: str) -> NDArray[Any]:
        """Return one stored picture; depth is PNG with 16 bits or TIFF with floating point numbers."""
        if not data:
            raise DatasetError(f"{self.root}: episode {index} has a row of {key!r} without a picture in the table")
        if not self.is_depth(key.removeprefix(IMAGE_PREFIX)):
            return decode_compressed(SimpleNamespace(format="png", data=data))
        depth: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if depth is None:
            raise DatasetError(f"{self.root}: episode {index} has a depth picture of {key!r} that cannot be decoded")
        return depth

    def _video(self, index: int, key: str, *, depth: bool) -> Iterator[NDArray[Any]]:
        row = self._episodes[index]
        path = self.root / self.info["video_path"].format(
            video_key=key, chunk_index=row[f"videos/{key}/chunk_index"], file_index=row[f"videos/{key}/file_index"]
        )
        if not path.is_file():
            raise DatasetError(f"{path}: is missing; it holds episode {index}")
        first, length, found = round(row[f"videos/{key}/from_timestamp"] * self.fps), int(row["length"]), 0
        with av.open(str(path)) as container:
            stream: Any = container.streams.video[0]
            container.seek(round(first / self.fps / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                number = round(frame.pts * stream.time_base * self.fps)
                if number < first:
                    continue
                if number != first + found:
                    raise DatasetError(f"{path}: picture {number} comes where picture {first + found} should be")
                yield depth_metres(frame.to_ndarray()).astype(np.float32) if depth else frame.to_ndarray(format="rgb24")
                found += 1
                if found == length:
                    return
        raise DatasetError(f"{path}: holds {found} of {length} pictures of episode {index}")
