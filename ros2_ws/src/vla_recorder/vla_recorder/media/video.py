# SPDX-License-Identifier: Apache-2.0

"""Video files of a dataset: encode frames as they come, count them back, join episodes without encoding again."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vla_recorder.media.settings import (
    CODECS,
    DEPTH_GOP,
    DEPTH_MAX_M,
    DEPTH_MIN_M,
    DEPTH_PIX_FMT,
    DEPTH_SHIFT_M,
    DEPTH_SPEED,
    PIXEL_FORMATS,
    SOFTWARE_CODECS,
    VideoError,
    VideoSettings,
)

__all__ = [
    "CODECS",
    "COPIED",
    "DEPTH_IN",
    "ORIGIN_TAG",
    "PIXEL_FORMATS",
    "FrameEncoder",
    "VideoEncoder",
    "VideoError",
    "VideoSettings",
    "count_frames",
    "decode",
    "header",
    "join",
    "rgb_frame",
    "video_info",
    "writing",
]

ORIGIN_TAG, COPIED, DEPTH_IN = "comment", "packets copied", "depth in "
"""Metadata of an MP4 file whose packets were not encoded with the dataset's settings, and the unit of depth before it."""

_HARDWARE_FORMATS = {"qsv": "nv12", "vaapi": "nv12"}
"""What hardware encoders take instead of yuv420p; it is the same picture in another order."""


class FrameEncoder:
    """One MP4 file, frames in at a fixed rate. A context manager: leaving it with an error deletes the file."""

    def __init__(
        self, path: Path, *, encoder: str, pix_fmt: str, options: Mapping[str, str], size: tuple[int, int], fps: int
    ) -> None:
        """Open the file.

        Args:
            path: The file; its folder is made.
            encoder: Name of the FFmpeg encoder.
            pix_fmt: Pixel format in the file.
            options: Private options of the encoder.
            size: Height and width [px].
            fps: Frame rate [Hz].

        Raises:
            VideoError: The encoder is not in this build of FFmpeg.
        """
        self.path = path
        self._encoder = encoder
        self._time_base = Fraction(1, fps)
        self._frames = 0
        self._reformat = VideoReformatter()
        self._pix_fmt = pix_fmt
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w")
        try:
            stream: Any = self._container.add_stream(encoder, rate=fps, options=dict(options))
        except (av.FFmpegError, ValueError) as error:
            self._container.close()
            path.unlink(missing_ok=True)
            raise VideoError(
                f"{path}: this build of PyAV has no encoder {encoder!r} ({error}); "
                f"use another --vcodec ({', '.join(SOFTWARE_CODECS)})"
            ) from error
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.time_base = self._time_base
        stream.codec_context.time_base = self._time_base
        # Episodes are converted in parallel processes; threads inside one encoder would only fight over the cores.
        stream.thread_count = 1
        self._stream = stream

    @property
    def frames(self) -> int:
        """Frames put in so far."""
        return self._frames

    def put(self, frame: av.VideoFrame) -> None:
        """Encode one frame of the file's size; it is converted to the file's pixel format.

        Raises:
            VideoError: The encoder cannot be opened or fails, or the disk is full.
        """
        frame = self._reformat.reformat(frame, format=self._pix_fmt)
        frame.pts = self._frames
        frame.time_base = self._time_base
        try:
            packets = self._stream.encode(frame)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: the encoder {self._encoder!r} failed at frame {self._frames} ({error}); is it supported on "
                f"this machine and for this size? Use another --vcodec ({', '.join(SOFTWARE_CODECS)})"
            ) from error
        with writing(self.path):
            self._container.mux(packets)
        self._frames += 1

    def close(self) -> None:
        """Finish the file and prove that it holds every frame.

        Raises:
            VideoError: The number of packets differs from the number of frames put in, or the disk is full.
        """
        with writing(self.path):
            if self._frames:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        stored = count_frames(self.path) if self._frames else 0
        if stored != self._frames:
            raise VideoError(f"{self.path}: {self._frames} frames were encoded, but the file holds {stored}")

    def discard(self) -> None:
        """Close and delete the file; also allowed after it was closed, or when its folder is gone."""
        # What the encoder says of an end without frames does not matter for a file that is deleted.
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        except VideoError:
            self.discard()
            raise
        if kind is not None:
            self.discard()


class VideoEncoder(FrameEncoder):
    """Video of RGB images."""

    def __init__(self, path: Path, *, height: int, width: int, fps: int, settings: VideoSettings) -> None:
        """Open the file.

        Raises:
            VideoError: The encoder is not in this build of FFmpeg, or the size does not fit it.
        """
        pix_fmt = settings.pixel_format(height, width)
        super().__init__(
            path,
            encoder=settings.encoder,
            pix_fmt=_HARDWARE_FORMATS.get(settings.api, pix_fmt),
            options=settings.options(),
            size=(height, width),
            fps=fps,
        )
        self._shape = (height, width, 3)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Encode one image, (H, W, 3) uint8 RGB.

        Raises:
            VideoError: The image has another size or type than the file, or the encoder fails.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise VideoError(
                f"{self.path}: frame {self.frames} is {image.dtype} {image.shape}, the video holds uint8 {self._shape}"
            )
        self.put(rgb_frame(image))


def rgb_frame(image: NDArray[np.uint8]) -> av.VideoFrame:
    """Return an image, (H, W, 3) uint8 RGB, as a frame that borrows the array's memory."""
    return av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file and what to do when it cannot be written.

    Raises:
        VideoError: The disk is full, or the file cannot be written for another reason.
    """
    try:
        yield
    except av.FFmpegError as error:
        advice = "free some space, or give another --output" if error.errno == errno.ENOSPC else "is the disk in order?"
        raise VideoError(f"{path}: cannot be written ({error.strerror}); {advice}") from error


def count_frames(path: Path) -> int:
    """Return the number of encoded pictures in a file, by reading its packets."""
    container: Any = av.open(str(path))
    try:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size > 0)
    finally:
        container.close()


def decode(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of a file as (H, W, 3) uint8 RGB.

    Raises:
        VideoError: It cannot be read.
    """
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                image: NDArray[Any] = frame.to_ndarray(format="rgb24")
                yield image
    except av.FFmpegError as error:
        raise VideoError(f"{path}: cannot be decoded ({error}); is it a complete video file?") from error


def header(path: Path) -> tuple[str, int, int, bytes]:
    """Return what the pictures of joined files must share: codec, height and width [px], parameter sets."""
    container: Any = av.open(str(path))
    try:
        context = container.streams.video[0].codec_context
        return context.name, context.height, context.width, bytes(context.extradata or b"")
    finally:
        container.close()


def join(parts: Sequence[Path], output: Path, fps: int) -> None:
    """Join videos of equal settings into one, packet by packet.

    Frame i of the result has the stamp i / fps, whatever the parts said, so rounding never adds up over episodes.

    Args:
        parts: Files in order.
        output: The joined file.
        fps: Frame rate [Hz].

    Raises:
        VideoError: The parts were encoded with different settings, or pictures are missing in the result.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    position = 0
    with writing(output), av.open(str(output), "w", options={"movflags": "faststart"}) as target:
        stream: Any = None
        for part in parts:
            with av.open(str(part)) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(template, opaque=True)
                    stream.time_base = Fraction(1, fps)
                    if ORIGIN_TAG in source.metadata:
                        target.metadata[ORIGIN_TAG] = source.metadata[ORIGIN_TAG]
                    parameters = bytes(template.codec_context.extradata or b"")
                elif bytes(template.codec_context.extradata or b"") != parameters:
                    raise VideoError(f"{part}: encoded with other settings than {parts[0]}, cannot be joined to it")
                for packet in source.demux(template):
                    if packet.size == 0:
                        continue
                    packet.stream = stream
                    packet.time_base = Fraction(1, fps)
                    packet.pts = packet.dts = position
                    packet.duration = 1
                    target.mux(packet)
                    position += 1
    stored = count_frames(output)
    if stored != position:
        raise VideoError(f"{output}: {position} pictures were joined, but the file holds {stored}")


def video_info(path: Path, settings: VideoSettings, fps: int) -> dict[str, Any]:
    """Return the ``info`` entry of a video feature in ``info.json``, read from the file.

    `settings` are those of the dataset; depth has its own, and of copied packets nobody knows them.
    """
    container: Any = av.open(str(path))
    try:
        stream = container.streams.video[0]
        depth = stream.pix_fmt == DEPTH_PIX_FMT
        info: dict[str, Any] = {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.fps": fps,
            "video.channels": 1 if depth else 3,
            "has_audio": False,
            "is_depth_map": depth,
        }
        origin = container.metadata.get(ORIGIN_TAG, "")
        if origin == COPIED:
            return info
        if origin.startswith(DEPTH_IN):
            info["depth_unit"] = origin.removeprefix(DEPTH_IN)
    finally:
        container.close()
    return info | (_DEPTH_INFO if depth else _encoding_info(settings))


_DEPTH_INFO: dict[str, Any] = {
    "video.g": DEPTH_GOP,
    "video.preset": DEPTH_SPEED,
    "video.extra_options": {"x265-params": "lossless=1"},
    "video.depth_min": DEPTH_MIN_M,
    "video.depth_max": DEPTH_MAX_M,
    "video.shift": DEPTH_SHIFT_M,
    "video.use_log": True,
}


def _encoding_info(settings: VideoSettings) -> dict[str, Any]:
    preset = int(settings.preset) if settings.preset.isdigit() else settings.preset
    return {"video.g": settings.gop, "video.crf": settings.crf, "video.preset": preset}
