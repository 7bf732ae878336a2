# SPDX-License-Identifier: Apache-2.0

"""Cameras that send video: foxglove_msgs/CompressedVideo and ffmpeg_image_transport_msgs/FFMPEGPacket to arrays.

A packet is a picture only together with the packets before it, so a camera has one `PacketDecoder`, which takes every
packet as it comes, whether its picture will be asked for or not. It gives one picture per packet; streams that send their
pictures out of order (B frames) are refused, because live they would come late.

The decoder is PyAV (FFmpeg), imported when the first packet comes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.bitstream import packet_kind
from vla_core.errors import CodecError, DamagedError, DecoderError
from vla_core.images import as_bytes

COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
PACKET_TYPES = (COMPRESSED_VIDEO, FFMPEG_PACKET)

PACKET_CODECS = ("h264", "hevc", "av1")
_CODEC_WORDS = {"264": "h264", "265": "hevc", "hevc": "hevc", "av1": "av1"}
_DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d"}


@lru_cache(maxsize=1)
def _pyav() -> ModuleType:
    try:
        return importlib.import_module("av")
    except ImportError:
        raise DecoderError(
            "video packets need PyAV, which cannot be imported; install it with 'pip install av', or use the raw image topic"
        ) from None


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """One encoded picture: a codec of ``PACKET_CODECS`` and the bytes."""

    codec: str
    data: bytes


def video_packet(msg: Any) -> VideoPacket:
    """Return the packet of a CompressedVideo (``format``) or FFMPEGPacket (``encoding``) message.

    Raises:
        DecoderError: the codec is another one.
    """
    named = str(getattr(msg, "format", "") or getattr(msg, "encoding", ""))
    # FFMPEGPacket may name the encoder ("libx264"), or pixel formats behind a semicolon.
    word = named.lower().partition(";")[0]
    for part, codec in _CODEC_WORDS.items():
        if part in word:
            return VideoPacket(codec, bytes(as_bytes(msg.data)))
    raise DecoderError(f"video packets are {named!r}; only {', '.join(PACKET_CODECS)} can be read")


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """What a packet became: the decoder's frame, or why there is none. Has the stamp of its message.

    Attributes:
        timestamp: Stamp of the message (``builtin_interfaces/Time``).
        frame: Frame of PyAV; converted to an array only when it is asked for.
        error: Raised when the picture is asked for.
    """

    timestamp: Any
    frame: Any = None
    error: CodecError | None = None


class PacketDecoder:
    """Decodes the packets of one camera in the order in which they come."""

    def __init__(self) -> None:
        """Wait for the first key frame; it says what the stream is."""
        self._codec = ""
        self._context: Any = None

    def push(self, msg: Any) -> DecodedPacket:
        """Take the next packet. Errors are kept for when the picture is asked for."""
        stamp = msg.header.stamp if hasattr(msg, "header") else msg.timestamp
        try:
            return DecodedPacket(stamp, frame=self._decode(video_packet(msg)))
        except CodecError as error:
            return DecodedPacket(stamp, error=error)

    def _decode(self, packet: VideoPacket) -> Any:
        av = _pyav()
        try:
            kind = packet_kind(packet.codec, packet.data)
        except ValueError as error:
            raise DamagedError(f"the {packet.codec} packet {error}; the message is damaged") from error
        if kind.key and packet.codec != self._codec:
            self._context = av.CodecContext.create(_DECODERS[packet.codec], "r")
            # Threads would give each picture some packets later.
            self._context.thread_count = 1
            self._codec = packet.codec
        if self._context is None or packet.codec != self._codec:
            raise DamagedError(f"no {packet.codec} key frame has come yet, so this picture cannot be decoded")
        try:
            frames = self._context.decode(av.Packet(packet.data))
        except av.FFmpegError as error:
            self._context, self._codec = None, ""
            raise DamagedError(
                f"the {packet.codec} packet cannot be decoded ({error}); is a packet missing?"
            ) from error
        if len(frames) != 1 or kind.reordered:
            raise DecoderError(
                f"{len(frames)} pictures came out for one {packet.codec} packet; let the camera encode without B frames"
            )
        return frames[0]


def decoded_picture(msg: Any) -> NDArray[np.uint8]:
    """Return the picture of a `DecodedPacket`, (H, W, 3) uint8 RGB.

    Raises:
        DamagedError: packets are missing or damaged.
        DecoderError: the stream cannot be decoded, or the message was not given to a `PacketDecoder` before.
    """
    if not isinstance(msg, DecodedPacket):
        raise DecoderError(
            f"a {type(msg).__name__} is no picture by itself: it needs the packets before it. Give them to a PacketDecoder in order"
        )
    if msg.error is not None:
        raise msg.error
    picture: NDArray[np.uint8] = msg.frame.to_ndarray(format="rgb24")
    return picture
