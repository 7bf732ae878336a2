# SPDX-License-Identifier: Apache-2.0

"""The video of one camera in one episode: encoded, encoded as depth, or copied; its statistics and its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from vla_recorder.formats.base import Layout, PacketReference
from vla_recorder.formats.stats import ImageHistogram, depth_unit
from vla_recorder.media.depth import DepthEncoder, depth_error
from vla_recorder.media.stream_copy import CopyRefusedError, PacketCopier
from vla_recorder.media.video import VideoEncoder, VideoError


class CameraVideo(Protocol):
    """What `VideoEpisodeWriter` does with each camera.

    Attributes:
        path: The file.
        histogram: Pixels of the pictures.
    """

    path: Path
    histogram: ImageHistogram

    def add(self, image: Any) -> None:
        """Take the image of the next row."""

    def close(self) -> None:
        """Finish the file and prove that it holds every row."""

    def discard(self) -> None:
        """Delete the file."""

    def about(self) -> dict[str, Any]:
        """Return how the video came to be, JSON types only; empty for one that was encoded with the dataset's settings."""


def camera_video(key: str, layout: Layout, path: Path) -> CameraVideo:
    """Return the video of a camera.

    Raises:
        VideoError: The encoder or the size does not work.
    """
    spec = layout.features[key]
    if key in layout.copied:
        return _Copied(key, layout, path)
    if (spec.get("info") or {}).get("is_depth_map"):
        return _Depth(layout, spec["shape"][:2], path)
    return _Encoded(layout, spec["shape"][:2], path)


class _Encoded:
    def __init__(self, layout: Layout, size: tuple[int, int], path: Path) -> None:
        self.path = path
        self.histogram = ImageHistogram()
        self._encoder = VideoEncoder(path, height=size[0], width=size[1], fps=layout.fps, settings=layout.video)

    def add(self, image: Any) -> None:
        self._encoder.add(image)
        self.histogram.add(image)

    def close(self) -> None:
        self._encoder.close()

    def discard(self) -> None:
        self._encoder.discard()

    def about(self) -> dict[str, Any]:
        return {}


class _Depth:
    def __init__(self, layout: Layout, size: tuple[int, int], path: Path) -> None:
        self.path = path
        self.histogram = ImageHistogram.of_depth("mm")
        self._unit = ""
        self._encoder = DepthEncoder(path, height=size[0], width=size[1], fps=layout.fps)

    def add(self, image: Any) -> None:
        unit = depth_unit(image)
        if not self._unit:
            self._unit, self.histogram = unit, ImageHistogram.of_depth(unit)
        elif unit != self._unit:
            raise VideoError(f"{self.path}: depth changes from {self._unit} to {unit} at frame {self._encoder.frames}")
        self._encoder.add(image)
        self.histogram.add(image)

    def close(self) -> None:
        self._encoder.close()

    def discard(self) -> None:
        self._encoder.discard()

    def about(self) -> dict[str, Any]:
        return {"depth_unit": self._unit, "depth_error": depth_error(self.histogram.counts[0])}


class _Copied:
    def __init__(self, key: str, layout: Layout, path: Path) -> None:
        height, width = layout.features[key]["shape"][:2]
        self.path = path
        self.histogram = ImageHistogram()
        self._key = key
        self._copier = PacketCopier(path, height=height, width=width, fps=layout.fps)

    def add(self, image: Any) -> None:
        if not isinstance(image, PacketReference):
            raise TypeError(f"{self._key}: a copied camera gives PacketReference, not {type(image).__name__}")
        try:
            self._copier.add(image.message, image.number)
        except CopyRefusedError as error:
            raise CopyRefusedError(error.reason, self._key) from error

    def close(self) -> None:
        try:
            pictures = self._copier.close()
        except CopyRefusedError as error:
            raise CopyRefusedError(error.reason, self._key) from error
        for picture in pictures:
            self.histogram.add(picture)

    def discard(self) -> None:
        self._copier.discard()

    def about(self) -> dict[str, Any]:
        return {
            "copied": True,
            "codec": self._copier.codec,
            "key_frames": self._copier.key_frames,
            "statistics_from_frames": self.histogram.frames,
        }
