# SPDX-License-Identifier: Apache-2.0

"""Take episodes out of a LeRobot v3.0 dataset again: rows, video packets as they are, and the counted pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.histogram_log import HISTOGRAMS_PATH, counted_episodes, read_histograms
from vla_recorder.formats.image_episode import is_depth
from vla_recorder.formats.lerobot_meta import (
    CODEBASE_VERSION,
    DATA_PATH,
    OWN_META,
    TASKS_PATH,
    VIDEO_PATH,
    read_episodes,
    read_info,
    read_tasks,
)
from vla_recorder.formats.lerobot_tables import (
    DEFAULT_FEATURES,
    DEPTH_UNIT_METADATA,
    IMAGE_TYPE,
    IMAGES_FILE,
)
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import ImageHistogram
from vla_recorder.media.video import ORIGIN_TAG


class DatasetSource:
    """A finished dataset whose episodes can be written into another one without a loss."""

    def __init__(self, root: Path) -> None:
        """Read the metadata.

        Raises:
            DatasetError: It is no complete LeRobot v3.0 dataset, or its metadata contradict each other.
        """
        self.root = root
        self.info = read_info(root)
        version = self.info.get("codebase_version")
        if version != CODEBASE_VERSION:
            raise DatasetError(f"{root}: is LeRobot {version}; only {CODEBASE_VERSION} datasets can be taken apart")
        self.features: dict[str, dict[str, Any]] = {
            name: spec for name, spec in self.info["features"].items() if name not in DEFAULT_FEATURES
        }
        self.episodes = read_episodes(root)
        self.tasks = {index: task for task, index in read_tasks(root / TASKS_PATH).items()}
        if len(self.episodes) != self.info["total_episodes"]:
            raise DatasetError(
                f"{root}: info.json counts {self.info['total_episodes']} episodes, the table of episodes "
                f"{len(self.episodes)}; convert it again"
            )
        self._counted = counted_episodes(root / HISTOGRAMS_PATH)

    @property
    def counted(self) -> bool:
        """Whether the pixels of every episode are known; otherwise `read` decodes the pictures to count them."""
        return all(
            (episode, name) in self._counted
            for episode in range(len(self.episodes))
            for name, spec in self.features.items()
            if spec["dtype"] in ("video", "image")
        )

    def read(self, index: int, work_dir: Path) -> Episode:
        """Return one episode; its files are copies in `work_dir`.

        Raises:
            DatasetError: The files lack a row or a picture, or the episode has several tasks.
        """
        row = self.episodes[index]
        work_dir.mkdir(parents=True, exist_ok=True)
        table = self._rows(row)
        tasks = pc.unique(table["task_index"]).to_pylist()
        if len(tasks) != 1:
            raise DatasetError(f"{self.root}: episode {index} has {len(tasks)} tasks; only one per episode is kept")
        columns: dict[str, NDArray[np.generic]] = {}
        images = [name for name, spec in self.features.items() if spec["dtype"] == "image"]
        for name, spec in self.features.items():
            if spec["dtype"] not in ("video", "image"):
                columns[name] = _values(table[name], spec)
        videos = {}
        for name, spec in self.features.items():
            if spec["dtype"] == "video":
                videos[name] = work_dir / f"{name}.mp4"
                self._cut(row, name, videos[name])
        files = {}
        if images:
            files[IMAGES_FILE] = work_dir / "images.parquet"
            self._write_images(table.select(images), files[IMAGES_FILE])
        path = self.root / HISTOGRAMS_PATH
        known = {name: histogram for _, name, histogram in read_histograms(path, index)} if self._counted else {}
        histograms = {name: known.get(name) or self._count(index, name, videos) for name in (*videos, *images)}
        return Episode(
            task=self.tasks[tasks[0]], columns=columns, videos=videos, histograms=histograms, files=files, about={}
        )

    def own_files(self, index: int) -> list[Path]:
        """Return the files and folders below ``meta/vla`` that belong to one episode: their name has its number."""
        return sorted((self.root / OWN_META).rglob(f"episode_{index:06d}*"))

    def _rows(self, row: Mapping[str, Any]) -> pa.Table:
        path = self.root / DATA_PATH.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        table = pq.read_table(path, filters=[("episode_index", "==", row["episode_index"])])
        if table.num_rows != row["length"]:
            raise DatasetError(
                f"{path}: holds {table.num_rows} rows of episode {row['episode_index']}, the table of episodes says "
                f"{row['length']}"
            )
        return table

    def _cut(self, row: Mapping[str, Any], name: str, output: Path) -> None:
        fps = int(self.info["fps"])
        path = self.root / VIDEO_PATH.format(
            video_key=name,
            chunk_index=row[f"videos/{name}/chunk_index"],
            file_index=row[f"videos/{name}/file_index"],
        )
        if not path.exists():
            raise DatasetError(f"{path}: is missing; it holds episode {row['episode_index']}")
        cut_video(path, round(row[f"videos/{name}/from_timestamp"] * fps), row["length"], output, fps)

    def _write_images(self, table: pa.Table, path: Path) -> None:
        units = {
            DEPTH_UNIT_METADATA + name.encode(): (self.features[name].get("info") or {})
            .get("depth_unit", "mm")
            .encode()
            for name in table.column_names
            if is_depth(self.features[name])
        }
        schema = pa.schema([pa.field(name, IMAGE_TYPE) for name in table.column_names], metadata=units)
        pq.write_table(table.cast(schema), path, compression="none")

    def _count(self, index: int, name: str, videos: Mapping[str, Path]) -> ImageHistogram:
        if name not in videos or is_depth(self.features[name]):
            raise DatasetError(
                f"{self.root}: {HISTOGRAMS_PATH} lacks the pixels of {name!r} in episode {index}, and only those of RGB "
                "videos can be counted again; convert the bags again"
            )
        histogram = ImageHistogram()
        with av.open(str(videos[name])) as container:
            for frame in container.decode(video=0):
                histogram.add(frame.to_ndarray(format="rgb24"))
        return histogram


def cut_video(source: Path, first: int, count: int, output: Path, fps: int) -> None:
    """Copy the packets of `count` pictures from picture `first` on into a file of their own.

    Args:
        source: Video whose pictures have the stamps i / fps, in order of display.
        first: Number of the first picture; must be a key frame.
        count: Number of pictures.
        output: The new file.
        fps: Pictures per second [Hz].

    Raises:
        DatasetError: The range does not begin with a key frame, has pictures out of order, or is too short.
    """
    written = 0
    with av.open(str(source)) as reader, av.open(str(output), "w") as writer:
        template: Any = reader.streams.video[0]
        stream: Any = writer.add_stream_from_template(template, opaque=True)
        stream.time_base = Fraction(1, fps)
        if ORIGIN_TAG in reader.metadata:
            writer.metadata[ORIGIN_TAG] = reader.metadata[ORIGIN_TAG]
        reader.seek(round(first / fps / template.time_base), stream=template)
        for packet in reader.demux(template):
            if packet.size == 0 or packet.pts is None:
                continue
            number = round(packet.pts * template.time_base * fps)
            if number < first:
                continue
            if number != first + written or (written == 0 and not packet.is_keyframe):
                raise DatasetError(
                    f"{source}: picture {first + written} cannot be cut out without decoding: "
                    + ("it is no key frame" if number == first else f"picture {number} comes in its place")
                    + "; use lerobot-edit-dataset, which encodes again"
                )
            packet.stream = stream
            packet.time_base = Fraction(1, fps)
            packet.pts = packet.dts = written
            packet.duration = 1
            writer.mux(packet)
            written += 1
            if written == count:
                break
    if written != count:
        raise DatasetError(f"{source}: ends after {written} of {count} pictures from picture {first} on")


def _values(column: pa.ChunkedArray, spec: Mapping[str, Any]) -> NDArray[np.generic]:
    array = column.combine_chunks()
    shape: Sequence[int] = spec["shape"]
    values = (
        array.to_numpy(zero_copy_only=False) if list(shape) == [1] else array.flatten().to_numpy(zero_copy_only=False)
    )
    result: NDArray[np.generic] = np.ascontiguousarray(values).astype(np.dtype(spec["dtype"]), copy=False)
    return result if list(shape) == [1] else result.reshape(-1, *shape)
