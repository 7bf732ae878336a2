# SPDX-License-Identifier: Apache-2.0

"""Pictures of encoded video streams: packets are decoded in order, from a keyframe on, and only when a picture is asked for.

The decoder is libav through PyAV, one thread, without delay: every packet gives its own picture at once. It is imported
when the first packet is decoded; nothing else needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import CodecError, DamagedError, DecoderError, LostReferenceError
from vla_core.stamps import to_ns
from vla_core.video_packets import Continuity, Packet, packet_of

_NO_B_FRAMES = "let the camera's encoder send none (max_b_frames 0)"
# Matrix coefficients of ITU-T H.273 to the names of swscale: RGB, BT.709, unspecified, FCC, two spellings of BT.601.
_MATRICES = {0: "DEFAULT", 1: "ITU709", 2: "DEFAULT", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M"}
_FULL_RANGE = 2


@lru_cache(maxsize=1)
def _av() -> ModuleType:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise DecoderError(
            "encoded video needs PyAV, which cannot be imported; install it with 'pip install av', or use the raw or "
            "compressed image topic"
        ) from None


class VideoPacket:
    """A packet in its place in the stream; ``packet`` is its content, or why it has none."""

    __slots__ = ("after", "number", "packet", "t_ns", "unreadable")

    def __init__(self, t_ns: int, number: int, msg: Any) -> None:
        self.t_ns = t_ns
        self.number = number
        self.after: int | None = None  # number of the packet that was decoded right before this one
        self.packet: Packet | None = None
        self.unreadable: CodecError | None = None
        try:
            self.packet = packet_of(msg)
        except CodecError as error:
            self.unreadable = error

    @property
    def keyframe(self) -> bool:
        """Whether decoding can start here."""
        return self.packet is not None and self.packet.keyframe


class VideoDecoder:
    """Decodes one picture of a stream after the other.

    Args:
        rate_hz: Rate of the camera as the profile states it.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = to_ns(1.0 / rate_hz)
        self._lock = Lock()
        self._context: Any = None
        self._codec = ""
        self._at: int | None = None  # number of the last packet decoded
        self._continuity = Continuity(self._period_ns)

    def picture(self, run: Sequence[VideoPacket]) -> NDArray[np.uint8]:
        """Return the picture ``(H, W, 3)`` uint8 RGB of the last packet of a run.

        Args:
            run: Packets in the order of their stamps, none left out; the last keyframe is among them, or the packet that
                was decoded last.

        Raises:
            LostReferenceError: no keyframe came before, or a packet in between is missing.
            DamagedError: the packet, or one that it refers to, is damaged.
            DecoderError: PyAV is absent, or the codec is not supported.
        """
        with self._lock:
            start = next((i for i in range(len(run) - 1, -1, -1) if run[i].keyframe), None)
            following = self._next(run)
            if following is None or (start is not None and start >= following):
                if start is None:
                    raise self._lost("no keyframe came before it")
                self._reset()
                following = start
            for item in run[following:-1]:
                if item.unreadable is not None:
                    raise self._lost(f"a packet that it refers to is unreadable: {item.unreadable}")
            picture = None
            for item in run[following:]:
                picture = self._decode(item)
            if picture is None:  # pragma: no cover - callers remember pictures and do not ask twice
                raise LostReferenceError("this picture was decoded before")
            return _rgb(picture)

    def _next(self, run: Sequence[VideoPacket]) -> int | None:
        """Return the index of the first packet that is not decoded yet; None if the decoder did something else."""
        at = next((i for i in range(len(run) - 2, -1, -1) if run[i].number == self._at), None)
        if at is None:
            return None
        for i in range(at, 0, -1):
            if run[i].after is None:
                break
            if run[i].after != run[i - 1].number:
                return None  # a packet came late, in between
        return at + 1

    def _reset(self) -> None:
        self._at = None
        self._continuity = Continuity(self._period_ns)

    def _damaged(self, item: VideoPacket, packet: Packet, why: str) -> DamagedError:
        """Forget the decoder, because nobody knows what it holds after an error, and remember the packet."""
        self._context = None
        self._reset()
        item.unreadable = DamagedError(f"{packet.codec} packet of {len(packet.data)} bytes cannot be decoded: {why}")
        return item.unreadable

    def _decode(self, item: VideoPacket) -> Any:
        """Decode the packet that follows the last one; return its picture."""
        packet = item.packet
        if item.unreadable is not None:
            raise item.unreadable
        assert packet is not None
        if packet.reordered:
            raise DecoderError(f"the {packet.codec} stream sends pictures out of order (B-frames); {_NO_B_FRAMES}")
        if why := self._continuity.add(packet, item.t_ns):
            raise self._lost(why)
        if self._context is None or self._codec != packet.codec:
            self._context, self._codec = _open(packet.codec), packet.codec
        elif self._at is None:
            self._context.flush_buffers()
        av_packet = _av().Packet(packet.data)
        av_packet.pts = item.number
        try:
            pictures = self._context.decode(av_packet)
        except _av().error.FFmpegError as error:
            raise self._damaged(item, packet, str(error)) from None
        if len(pictures) != 1 or pictures[0].pts != item.number or pictures[0].is_corrupt:
            raise self._damaged(
                item,
                packet,
                f"it gives {len(pictures)} pictures instead of its own; where the encoder uses B-frames, {_NO_B_FRAMES}",
            )
        item.after, self._at = self._at, item.number
        return pictures[0]

    def _lost(self, why: str) -> LostReferenceError:
        return LostReferenceError(f"the picture cannot be decoded until the next keyframe: {why}")


def _rgb(picture: Any) -> NDArray[np.uint8]:
    """Return a decoded picture as ``(H, W, 3)`` uint8 RGB, by the matrix and range that the stream states.

    A stream that states none is BT.601 in limited range, as libav's encoders take it.
    """
    if picture.colorspace not in _MATRICES:
        raise DecoderError(
            f"the video's colour matrix {picture.colorspace} (ITU-T H.273) is not supported; let the camera send BT.601 or BT.709"
        )
    # PyAV takes the source's matrix and range for the target too where that is not named, and then applies neither.
    pixels: NDArray[np.uint8] = picture.to_ndarray(
        format="rgb24",
        src_colorspace=_MATRICES[picture.colorspace],
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if picture.color_range == _FULL_RANGE else "MPEG",
        dst_color_range="MPEG",
    )
    return pixels


def _open(codec: str) -> Any:
    av = _av()
    context = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.low_delay.value
    return context
