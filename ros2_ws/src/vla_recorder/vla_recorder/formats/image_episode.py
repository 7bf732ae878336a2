# SPDX-License-Identifier: Apache-2.0

"""An episode whose images are stored one by one inside the table of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_recorder.formats.base import DatasetError, EpisodeWriter, Layout, PacketReference
from vla_recorder.formats.lerobot_tables import DEPTH_UNIT_METADATA, IMAGE_TYPE, IMAGES_FILE
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import ImageHistogram, depth_unit

IMAGE_FORMATS = ("png", "jpeg")
_BATCH_BYTES = 8 * 1024 * 1024
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_TIFF = [cv2.IMWRITE_TIFF_COMPRESSION, 8]
"""Deflate, which loses nothing."""


def encode_png(image: NDArray[Any]) -> bytes:
    """Return (H, W, 3) uint8 RGB or (H, W) uint16 as PNG."""
    return _encode(".png", image, _PNG)


def encode_jpeg(image: NDArray[Any], quality: int) -> bytes:
    """Return (H, W, 3) uint8 RGB as JPEG of a quality of 1 to 100."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_depth(image: NDArray[Any]) -> tuple[bytes, str]:
    """Return (H, W) depth without loss and the suffix of its format: PNG for uint16 [mm], TIFF for float32 [m]."""
    if depth_unit(image) == "mm":
        return encode_png(image), "png"
    return _encode(".tiff", image.astype(np.float32), _TIFF), "tiff"


def _encode(suffix: str, image: NDArray[Any], options: list[int]) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(suffix, image, options)
    if not done:
        raise DatasetError(f"an image of {image.dtype} {image.shape} cannot be encoded as {suffix[1:].upper()}")
    return bytes(data)


class ImageEpisodeWriter:
    """Encodes the images of one episode and writes them batch by batch, so that memory does not grow with its length."""

    def __init__(
        self,
        layout: Layout,
        work_dir: Path,
        keys: Sequence[str],
        encode: Callable[[NDArray[Any]], bytes],
        suffix: str,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare an empty episode.

        Args:
            layout: What the rows hold.
            work_dir: Where the file goes.
            keys: Features to store, those of `layout` that are depth cameras included.
            encode: Image (H, W, 3) uint8 RGB -> file content. Depth is always stored without loss.
            suffix: Of such a file.
            names: Feature -> column in the file and key of its histogram, where they differ.
        """
        self._path = work_dir / "images.parquet"
        self._shapes = {key: tuple(layout.features[key]["shape"]) for key in keys}
        self._depth = {key for key in keys if is_depth(layout.features[key])}
        self._names = {key: (names or {}).get(key, key) for key in keys}
        self._encode = encode
        self._suffix = suffix
        self._histograms: dict[str, ImageHistogram] = {}
        self._units: dict[str, str] = {}
        self._batch: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
        self._batch_bytes = 0
        self._rows = 0
        self._file: pq.ParquetWriter | None = None

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Encode the images of one row.

        Raises:
            DatasetError: An image has another size or type than the feature.
        """
        for key, batch in self._batch.items():
            image = images[key]
            if isinstance(image, PacketReference):
                raise DatasetError(
                    f"{key}: is stored image by image, so packets of a video stream cannot be copied to it"
                )
            self._check(key, image)
            data, suffix = encode_depth(image) if key in self._depth else (self._encode(image), self._suffix)
            self._histograms[key].add(image)
            batch.append({"bytes": data, "path": f"frame_{self._rows:06d}.{suffix}"})
            self._batch_bytes += len(data)
        self._rows += 1
        if self._batch_bytes >= _BATCH_BYTES:
            self._flush()

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the file."""
        self._flush()
        if self._file is not None:
            self._file.close()
        return Episode(
            task=task,
            columns=columns,
            videos={},
            histograms={self._names[key]: histogram for key, histogram in self._histograms.items()},
            files={IMAGES_FILE: self._path},
            about=about,
        )

    def discard(self) -> None:
        """Close and delete the file."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _check(self, key: str, image: NDArray[Any]) -> None:
        shape = self._shapes[key]
        if key not in self._depth:
            if image.shape != shape or image.dtype != np.uint8:
                raise DatasetError(
                    f"{key}: row {self._rows} is {image.dtype} {image.shape}, the feature is uint8 {shape}"
                )
            self._histograms.setdefault(key, ImageHistogram())
            return
        unit = self._units.setdefault(key, depth_unit(image))
        if image.shape != shape[:2] or depth_unit(image) != unit:
            raise DatasetError(
                f"{key}: row {self._rows} is {image.dtype} {image.shape}, the feature is depth {shape[:2]} in {unit}"
            )
        self._histograms.setdefault(key, ImageHistogram.of_depth(unit))

    def _flush(self) -> None:
        if not self._rows or not any(self._batch.values()):
            return
        schema = pa.schema(
            [pa.field(self._names[key], IMAGE_TYPE) for key in self._batch],
            metadata={
                DEPTH_UNIT_METADATA + self._names[key].encode(): unit.encode() for key, unit in self._units.items()
            },
        )
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._path, schema, compression="none")
        self._file.write_table(pa.table([pa.array(rows, IMAGE_TYPE) for rows in self._batch.values()], schema=schema))
        self._batch = {key: [] for key in self._batch}
        self._batch_bytes = 0


class JointEpisodeWriter:
    """Several writers for one episode, each with cameras of its own."""

    def __init__(self, writers: Sequence[tuple[Sequence[str], EpisodeWriter]]) -> None:
        """Take (features, writer) pairs that share no feature."""
        self._writers = tuple(writers)

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Give every writer its images of one row."""
        for keys, writer in self._writers:
            writer.add({key: images[key] for key in keys})

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Return what all writers have stored as one episode."""
        parts = [writer.finish(columns, task, about) for _, writer in self._writers]
        return Episode(
            task=task,
            columns=columns,
            videos={key: path for part in parts for key, path in part.videos.items()},
            histograms={key: value for part in parts for key, value in part.histograms.items()},
            files={key: path for part in parts for key, path in part.files.items()},
            about={key: value for part in parts for key, value in part.about.items()},
        )

    def discard(self) -> None:
        """Discard what every writer has stored."""
        for _, writer in self._writers:
            writer.discard()


def is_depth(spec: Mapping[str, Any]) -> bool:
    """Return whether a feature is a depth camera."""
    return bool((spec.get("info") or {}).get("is_depth_map"))
