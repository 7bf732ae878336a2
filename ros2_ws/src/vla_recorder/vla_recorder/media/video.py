# SPDX-License-Identifier: Apache-2.0

"""Video files of a dataset: encode frames as they come, count them back, join episodes without encoding again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError

CODECS = {"h264": "libx264", "av1": "libsvtav1"}
"""Names that ``--vcodec`` takes -> FFmpeg encoder."""

PIXEL_FORMATS = ("auto", "yuv444p", "yuv420p")

FULL_CHROMA_BELOW_PX = 256
"""Short side below which ``auto`` keeps the chroma planes whole: halving them costs 7 to 14 dB on small images with
sharp coloured edges, and decoding stays as quick."""

_PRESETS = {"h264": "ultrafast", "av1": "10"}


class VideoError(VlaError):
    """A video could not be written or does not hold what was put in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How frames are encoded.

    Attributes:
        vcodec: A key of ``CODECS``.
        pix_fmt: One of ``PIXEL_FORMATS``; ``auto`` decides by the size of the image.
        gop: Frames per key frame; 2 makes random access quick, which is how training reads.
        crf: Constant rate factor of the encoder; lower is better.
    """

    vcodec: str = "h264"
    pix_fmt: str = "auto"
    gop: int = 2
    crf: int = 18

    def __post_init__(self) -> None:
        if self.vcodec not in CODECS:
            raise VideoError(f"vcodec: {self.vcodec!r} is not one of {', '.join(CODECS)}")
        if self.pix_fmt not in PIXEL_FORMATS:
            raise VideoError(f"pix_fmt: {self.pix_fmt!r} is not one of {', '.join(PIXEL_FORMATS)}")
        if self.gop < 1:
            raise VideoError(f"gop: {self.gop} is below 1; give the number of frames per key frame")
        if not 0 <= self.crf <= 63:
            raise VideoError(f"crf: {self.crf} is outside 0..63; 18 is visually lossless for h264")

    @property
    def preset(self) -> str:
        """Speed preset of the encoder."""
        return _PRESETS[self.vcodec]

    def pixel_format(self, height: int, width: int) -> str:
        """Return the pixel format for images of this size [px].

        Raises:
            VideoError: The size cannot be encoded in the pixel format.
        """
        chosen = self.pix_fmt
        if chosen == "auto":
            small = min(height, width) < FULL_CHROMA_BELOW_PX and self.vcodec != "av1"
            chosen = "yuv444p" if small else "yuv420p"
        if chosen == "yuv420p" and (height % 2 or width % 2):
            raise VideoError(
                f"images of {height}x{width} px cannot be stored as yuv420p, which needs an even height and width: "
                "set an even `resize` for the camera in the profile, or use --pix-fmt yuv444p"
            )
        return chosen

    def options(self) -> dict[str, str]:
        """Return the encoder's private options."""
        options = {"g": str(self.gop), "crf": str(self.crf), "preset": self.preset}
        if self.vcodec == "h264":
            # Without B frames packets come out in display order with no offset, so joined files keep exact stamps.
            options["bf"] = "0"
        return options


class VideoEncoder:
    """One MP4 file, frames in at a fixed rate. A context manager: leaving it with an error deletes the file."""

    def __init__(self, path: Path, *, height: int, width: int, fps: int, settings: VideoSettings) -> None:
        """Open the file.

        Raises:
            VideoError: The encoder is not in this build of FFmpeg, or the size does not fit it.
        """
        self._path = path
        self._shape = (height, width, 3)
        self._time_base = Fraction(1, fps)
        self._frames = 0
        pix_fmt = settings.pixel_format(height, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w")
        try:
            stream: Any = self._container.add_stream(CODECS[settings.vcodec], rate=fps, options=settings.options())
        except (av.FFmpegError, ValueError) as error:
            self._container.close()
            path.unlink(missing_ok=True)
            raise VideoError(
                f"{path}: this build of PyAV has no encoder {CODECS[settings.vcodec]!r} ({error}); "
                f"use another --vcodec ({', '.join(CODECS)})"
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = self._time_base
        stream.codec_context.time_base = self._time_base
        # Episodes are converted in parallel processes; threads inside one encoder would only fight over the cores.
        stream.thread_count = 1
        self._stream = stream

    @property
    def frames(self) -> int:
        """Frames put in so far."""
        return self._frames

    def add(self, image: NDArray[np.uint8]) -> None:
        """Encode one image, (H, W, 3) uint8 RGB.

        Raises:
            VideoError: The image has another size or type than the file.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise VideoError(
                f"{self._path}: frame {self._frames} is {image.dtype} {image.shape}, the video holds uint8 {self._shape}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self._frames
        frame.time_base = self._time_base
        self._container.mux(self._stream.encode(frame))
        self._frames += 1

    def close(self) -> None:
        """Finish the file and prove that it holds every frame.

        Raises:
            VideoError: The number of packets differs from the number of frames put in.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()
        stored = count_frames(self._path)
        if stored != self._frames:
            raise VideoError(f"{self._path}: {self._frames} frames were encoded, but the file holds {stored}")

    def discard(self) -> None:
        """Close and delete the file; also allowed after it was closed, or when its folder is gone."""
        with suppress(OSError):
            self._container.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def count_frames(path: Path) -> int:
    """Return the number of encoded pictures in a file, by reading its packets."""
    container: Any = av.open(str(path))
    try:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size > 0)
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
    with av.open(str(output), "w", options={"movflags": "faststart"}) as target:
        stream: Any = None
        for part in parts:
            with av.open(str(part)) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(template, opaque=True)
                    stream.time_base = Fraction(1, fps)
                    header = bytes(template.codec_context.extradata or b"")
                elif bytes(template.codec_context.extradata or b"") != header:
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
    """Return the ``info`` entry of a video feature in ``info.json``, read from the file."""
    container: Any = av.open(str(path))
    try:
        stream = container.streams.video[0]
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.fps": fps,
            "video.channels": 3,
            "video.g": settings.gop,
            "video.crf": settings.crf,
            "video.preset": settings.preset,
            "has_audio": False,
            "is_depth_map": False,
        }
    finally:
        container.close()
