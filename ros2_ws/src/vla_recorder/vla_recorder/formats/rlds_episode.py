# SPDX-License-Identifier: Apache-2.0

"""The images of an RLDS episode: encoded row by row into one file per camera, in the bytes that the record will hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

from vla_recorder.formats.base import DatasetError, PacketReference
from vla_recorder.formats.crc32c import crc32c
from vla_recorder.formats.rlds_schema import JPEG, PNG, RAW, Camera
from vla_recorder.formats.rows import Episode
from vla_recorder.formats.stats import ImageHistogram, depth_unit
from vla_recorder.formats.tfrecord_example import field
from vla_recorder.media.stream_copy import CopyRefusedError

SPOOLS = "spools"
MAX_RECORD = (1 << 31) - (1 << 24)
"""Protobuf refuses a message of 2 GiB; what is left is for the numbers."""


_PIECE = 1 << 20
"""Checksums of a megabyte take little longer than those of one picture."""


class _Spool:
    """One camera's file."""

    def __init__(self, path: Path, camera: Camera, quality: int, stream: BinaryIO) -> None:
        self.path = path
        self.camera = camera
        self.size = self.crc = 0
        self.stored = ""
        self.histogram = ImageHistogram()
        self._waiting = bytearray()
        self._quality = quality
        self._stream = stream

    def add(self, image: NDArray[Any]) -> None:
        if image.shape[:2] != tuple(self.camera.shape[:2]):
            raise DatasetError(
                f"{self.camera.feature}: an image of {image.shape[:2]} pixels came, the dataset has "
                f"{tuple(self.camera.shape[:2])}; all images of a camera have one size"
            )
        if not self.stored:
            self.stored = _way(image, self.camera)
            if self.camera.depth:
                self.histogram = ImageHistogram.of_depth(depth_unit(image))
        data = self._encoded(image)
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= _PIECE:
            self.flush()
        if self.size > MAX_RECORD:
            raise DatasetError(
                f"{self.camera.feature}: the images of this episode take more than 2 GiB, and an RLDS episode is one "
                "protobuf message, which cannot be larger. Use a smaller --image-size, a lower --format-option "
                "jpeg_quality, or shorter episodes"
            )
        self.histogram.add(image)

    def flush(self) -> None:
        """Write what waits."""
        self._stream.write(self._waiting)
        self.crc = crc32c(self._waiting, self.crc)
        self._waiting = bytearray()

    def _encoded(self, image: NDArray[Any]) -> bytes:
        if self.stored == RAW:
            return np.ascontiguousarray(image, "<f4").tobytes()
        if self.stored == PNG:
            return field(1, _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1]))
        # 4:4:4: policies get small images, and halved colour blurs the very edges that they look for
        options = [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        return field(1, _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options))


def _way(image: NDArray[Any], camera: Camera) -> str:
    if not camera.depth:
        return JPEG
    return RAW if depth_unit(image) == "m" else PNG


def _encode(suffix: str, image: NDArray[Any], options: Sequence[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, list(options))
    if not done:
        raise VlaError(f"OpenCV cannot encode an image of shape {image.shape}, {image.dtype} as {suffix}")
    return bytes(data)


class RldsEpisodeWriter:
    """Encodes the images of one episode as they come; memory does not grow with its length."""

    def __init__(self, cameras: Sequence[Camera], work_dir: Path, quality: int) -> None:
        """Open one file per camera in `work_dir`."""
        work_dir.mkdir(parents=True, exist_ok=True)
        self._index = work_dir / f"{SPOOLS}.json"
        self._spools: list[_Spool] = []
        self._open = ExitStack()
        with ExitStack() as stack:
            for number, camera in enumerate(cameras):
                path = work_dir / f"camera_{number}.{SPOOLS}"
                stream = stack.enter_context(path.open("wb"))
                self._spools.append(_Spool(path, camera, quality, stream))
            self._open = stack.pop_all()

    def add(self, images: Mapping[str, NDArray[Any] | PacketReference]) -> None:
        """Encode the images of one row: (H, W, 3) uint8 RGB, or (H, W) depth as uint16 [mm] or float32 [m].

        Raises:
            DatasetError: An image has another size than the dataset, or the episode becomes too large.
            CopyRefusedError: A packet came instead of an image.
        """
        for spool in self._spools:
            image = images[spool.camera.feature]
            if isinstance(image, PacketReference):
                raise CopyRefusedError("RLDS holds single pictures, no packets of a video", spool.camera.feature)
            spool.add(image)

    def finish(self, columns: Mapping[str, NDArray[np.generic]], task: str, about: Mapping[str, Any]) -> Episode:
        """Close the files and say what they hold.

        Raises:
            DatasetError: Together they are too large for one record.
        """
        for spool in self._spools:
            spool.flush()
        self._open.close()
        total = sum(spool.size for spool in self._spools)
        if total > MAX_RECORD:
            raise DatasetError(
                f"the images of this episode take {total / 1e9:.1f} GB, and an RLDS episode is one protobuf message of at "
                "most 2 GiB. Use a smaller --image-size, a lower --format-option jpeg_quality, or shorter episodes"
            )
        index = {
            spool.camera.feature: {"size": spool.size, "crc": spool.crc, "stored": spool.stored}
            for spool in self._spools
        }
        self._index.write_text(json.dumps(index), encoding="utf-8")
        return Episode(
            task=task,
            columns=columns,
            videos={},
            histograms={spool.camera.feature: spool.histogram for spool in self._spools},
            files={SPOOLS: self._index, **{spool.camera.feature: spool.path for spool in self._spools}},
            about=about,
        )

    def discard(self) -> None:
        """Close and delete the files."""
        self._open.close()
        for path in (self._index, *(spool.path for spool in self._spools)):
            path.unlink(missing_ok=True)
