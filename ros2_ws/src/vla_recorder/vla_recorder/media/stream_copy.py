# SPDX-License-Identifier: Apache-2.0

"""Video packets of a bag into an MP4 file as they are: nothing is decoded and nothing is lost.

A packet stands for a picture only together with the ones before it, so packets may be copied only if those of the rows
follow one another without gap or repetition from a key frame on. `PacketCopier` refuses everything else with a reason;
the rows must then be decoded and encoded again.

Sources: foxglove_msgs/CompressedVideo (Annex B or low-overhead OBU, one picture per message, no B frames),
ffmpeg_image_transport_msgs/FFMPEGPacket (the packets of FFmpeg's encoder).
"""

from __future__ import annotations

import io
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray
from vla_core.codecs import COMPRESSED_VIDEO, FFMPEG_PACKET
from vla_core.errors import CodecError
from vla_core.video_packets import Continuity, Packet, packet_of

from vla_recorder.media.settings import VideoError
from vla_recorder.media.video import COPIED, ORIGIN_TAG, writing

PACKET_TYPES = (COMPRESSED_VIDEO, FFMPEG_PACKET)
"""Message types whose packets can be copied."""

SAMPLED_KEY_FRAMES = 16
"""Pictures of an episode that are decoded for the statistics of a copied video."""

_FORMATS = {"h264": "h264", "hevc": "hevc", "av1": "obu"}
"""Codec -> demuxer of its byte stream."""
_PERIOD_NS = 1


class CopyRefusedError(VideoError):
    """These packets cannot be copied; the text says why. The rows can be decoded and encoded instead.

    Attributes:
        key: Image feature of the camera, where it is known.
        reason: Why, without the name of the camera.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(f"{key}: {reason}" if key else reason)
        self.reason = reason
        self.key = key


class PacketCopier:
    """One MP4 file of copied packets. A context manager: leaving it with an error deletes the file."""

    def __init__(self, path: Path, *, height: int, width: int, fps: int) -> None:
        """Prepare; the file is made when the first packet is known.

        Args:
            path: The file.
            height: Of the picture that the rows promise [px].
            width: Likewise [px].
            fps: Rows per second: packet i gets the stamp i / fps.
        """
        self.path = path
        self.codec = ""
        self._size = (height, width)
        self._time_base = Fraction(1, fps)
        self._container: Any = None
        self._stream: Any = None
        self._number = 0
        self._keys: list[int] = []
        self._frames = 0
        self._continuity = Continuity(_PERIOD_NS)
        self._parameters = b""

    @property
    def frames(self) -> int:
        """Packets put in so far."""
        return self._frames

    @property
    def key_frames(self) -> int:
        """How many of them are key frames."""
        return len(self._keys)

    def add(self, message: Any, number: int) -> None:
        """Copy the packet of one row.

        Args:
            message: CompressedVideo or FFMPEGPacket.
            number: Its number among the messages of its topic (see `PacketNumbers`).

        Raises:
            CopyRefusedError: It does not continue the packets before it, or the first is no key frame, or codec or size
                differ from what the file holds.
        """
        self._follows(number)
        packet = self._packet(message)
        if self._container is None:
            self._open(packet)
        if packet.keyframe:
            if self._frames:
                self._check_parameters(packet)
            self._keys.append(self._frames)
        out = av.Packet(packet.data)
        out.stream = self._stream
        out.time_base = self._time_base
        out.pts = out.dts = self._frames
        out.duration = 1
        out.is_keyframe = packet.keyframe
        with writing(self.path):
            self._container.mux(out)
        self._number = number
        self._frames += 1

    def _follows(self, number: int) -> None:
        if self._container is None or number == self._number + 1:
            return
        if number == self._number:
            raise CopyRefusedError(f"row {self._frames} shows the same picture as the row before it")
        if number < self._number:
            raise CopyRefusedError(
                f"row {self._frames} shows a picture that was sent before that of row {self._frames - 1}"
            )
        raise CopyRefusedError(
            f"{number - self._number - 1} pictures between the rows {self._frames - 1} and {self._frames} belong to no row "
            "(removed rows, or a camera that is faster than the dataset)"
        )

    def _packet(self, message: Any) -> Packet:
        try:
            packet = packet_of(message)
        except CodecError as error:
            raise CopyRefusedError(f"row {self._frames}: {error}") from error
        if packet.codec not in _FORMATS:
            raise CopyRefusedError(f"{packet.codec} cannot be copied, only {', '.join(_FORMATS)}")
        if self._frames and packet.codec != self.codec:
            raise CopyRefusedError(f"row {self._frames}: the codec changes from {self.codec} to {packet.codec}")
        if not self._frames and not packet.keyframe:
            raise CopyRefusedError("the first row is no key frame")
        if packet.reordered:
            raise CopyRefusedError(f"row {self._frames}: the picture is sent out of order (B frames)")
        # The time stands for the number, which is known to be the next one; what is left to find are losses before the bag.
        why = self._continuity.add(packet, self._frames * _PERIOD_NS)
        if why:
            raise CopyRefusedError(f"row {self._frames}: {why}")
        return packet

    def _open(self, packet: Packet) -> None:
        source = _demuxer(packet)
        template = source.streams.video[0]
        context = template.codec_context
        found, reorders = (context.height, context.width), bool(context.has_b_frames)
        self._parameters = bytes(context.extradata or b"")
        if 0 in found:
            raise CopyRefusedError("the first key frame comes without its parameter sets")
        if found != self._size:
            raise CopyRefusedError(
                f"the pictures are {found[0]}x{found[1]} px and the rows {self._size[0]}x{self._size[1]} (resize)"
            )
        if reorders:
            raise CopyRefusedError("its pictures are sent out of order (B frames)")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self.path), "w")
        self._container.metadata[ORIGIN_TAG] = COPIED
        self._stream = self._container.add_stream_from_template(template, opaque=True)
        self._stream.time_base = self._time_base
        self.codec = packet.codec
        source.close()

    def _check_parameters(self, packet: Packet) -> None:
        """Refuse a key frame whose parameter sets are not those of the first: it begins another stream."""
        if self._parameters in packet.data:
            return
        source = _demuxer(packet)
        context = source.streams.video[0].codec_context
        size, parameters = (context.height, context.width), bytes(context.extradata or b"")
        source.close()
        if parameters != self._parameters:
            raise CopyRefusedError(
                f"row {self._frames}: the camera sends another stream from here on, {size[0]}x{size[1]} px; its pictures "
                "cannot be in the same file"
            )

    def close(self) -> list[NDArray[np.uint8]]:
        """Finish the file, read every packet back, and return some decoded key frames, evenly spread, for statistics.

        Returns:
            Up to ``SAMPLED_KEY_FRAMES`` pictures, (H, W, 3) uint8 RGB.

        Raises:
            CopyRefusedError: A key frame cannot be decoded.
            VideoError: The file holds another number of pictures than were put in, or the disk is full.
        """
        if self._container is None:
            return []
        with writing(self.path):
            self._container.close()
        pick = np.linspace(0, len(self._keys) - 1, min(SAMPLED_KEY_FRAMES, len(self._keys))).round().astype(int)
        try:
            stored, pictures = _read_back(self.path, {self._keys[index] for index in pick})
        except av.FFmpegError as error:
            raise CopyRefusedError(f"a key frame cannot be decoded ({error})") from error
        if stored != self._frames:
            raise VideoError(f"{self.path}: {self._frames} packets were copied, but the file holds {stored}")
        return pictures

    def discard(self) -> None:
        """Close and delete the file; also allowed after it was closed, or when its folder is gone."""
        if self._container is not None:
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


def _demuxer(packet: Packet) -> Any:
    """Open a key frame as a stream of its own, to read its parameter sets.

    Raises:
        CopyRefusedError: It cannot be read.
    """
    try:
        source = av.open(io.BytesIO(packet.data), format=_FORMATS[packet.codec])
    except av.FFmpegError as error:
        raise CopyRefusedError(f"a {packet.codec} key frame cannot be read ({error})") from error
    if not source.streams.video:
        raise CopyRefusedError(f"a {packet.codec} key frame cannot be read")
    return source


def _read_back(path: Path, wanted: set[int]) -> tuple[int, list[NDArray[np.uint8]]]:
    """Return the number of packets in a file, and the pictures of some of its key frames."""
    pictures: list[NDArray[np.uint8]] = []
    count = 0
    container: Any = av.open(str(path))
    try:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if count in wanted:
                # Flushed, because the decoder may wait for pictures that are not asked for.
                frames = packet.decode() + stream.codec_context.decode(None)
                stream.codec_context.flush_buffers()
                pictures += [frame.to_ndarray(format="rgb24") for frame in frames]
            count += 1
    finally:
        container.close()
    return count, pictures
