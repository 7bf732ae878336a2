# SPDX-License-Identifier: Apache-2.0

"""One stream of a frame: its messages, its decoder, and why it has no value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core import codecs
from vla_core.errors import CodecError, DecoderError, FieldError, FrameError, LostReferenceError, listing
from vla_core.fields import FieldReader
from vla_core.images import resize, to_rgb
from vla_core.images_depth import decode_compressed_depth, resize_depth, to_depth
from vla_core.images_video import VideoDecoder, VideoPacket
from vla_core.specs import CameraSpec, RecordSpec, Scale, StateSpec
from vla_core.states import apply_scale
from vla_core.sync import Found, StreamBuffer

STATE_KEY = "observation.state"
IMAGE_PREFIX = "observation.images."
ACTION_KEY = "action"

# Why a frame is missing, beside ``empty`` and ``stale``.
PARTIAL = "partial"  # the message lacks some of the wanted fields
SIZE = "size"  # the camera delivers another size than the profile says
UNSUPPORTED = "unsupported"  # no decoder, or not a colour image
DAMAGED = "damaged"  # the data cannot be decoded
LOST = "lost"  # a video picture refers to one that was not received
NOT_FINITE = "not_finite"
# Of a video without keyframes, what is kept: a minute at 30 pictures per second.
_MOST_PACKETS = 1800
# These do not go away by waiting: the profile or a driver must change.
_LASTING = frozenset({PARTIAL, SIZE, UNSUPPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream that frames are built from; several may read the same topic.

    Attributes:
        key: ``observation.images.<camera>``, ``observation.state.<index>`` or ``action.<name>``.
        topic: Topic as the profile spells it.
        type: Full message type.
        rate_hz: Expected rate.
        max_age_s: No message farther than this from a tick is used.
        strategy: hold, nearest or interpolate.
        stamp: Timeline: header or receive.
        lookahead_s: How far past a tick messages must have been pushed before the tick is sampled.
    """

    key: str
    topic: str
    type: str
    rate_hz: float
    max_age_s: float
    strategy: str
    stamp: str
    lookahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no frame.

    Attributes:
        stream: Key of the stream.
        reason: empty, stale, partial, size, unsupported, damaged, lost or not_finite.
        detail: What, where, why and what to do, for people.
    """

    stream: str
    reason: str
    detail: str

    @property
    def lasting(self) -> bool:
        """Whether waiting does not help."""
        return self.reason in _LASTING


class Entry:
    """A message and what it decoded to; decoding happens once, when the message is first used."""

    __slots__ = ("msg", "value")

    def __init__(self, msg: Any) -> None:
        self.msg = msg
        self.value: NDArray[Any] | Missing | None = None


class Source:
    """One stream with its buffer and its decoder."""

    def __init__(
        self,
        stream: Stream,
        decode: Callable[[Any], NDArray[Any]],
        reader: FieldReader | None = None,
        wanted: tuple[str, ...] = (),
    ) -> None:
        self.buffer: StreamBuffer[Entry] = StreamBuffer(
            strategy=stream.strategy, max_age_s=stream.max_age_s, rate_hz=stream.rate_hz
        )
        self.stream = replace(stream, lookahead_s=self.buffer.lookahead_s)
        self.by_header = stream.stamp == "header"
        self.carries = reader.carries if reader else None
        self.decode = decode
        self.wanted = wanted
        self.ignored = self.unstamped = 0
        self.last_ignored: Any = None

    def why_silent(self) -> str:
        """Return why messages came but none was for this stream; empty if none came."""
        topic = self.stream.topic
        if self.unstamped:
            return f"all {self.unstamped} messages on {topic} came without a header stamp and were dropped"
        if self.last_ignored is None:
            return ""
        carried: tuple[str, ...] = tuple(getattr(self.last_ignored, "name", ())) or tuple(self.last_ignored.joint_names)
        return (
            f"{self.ignored} messages on {topic}, but none carries {listing(self.wanted)}; the last one carries {listing(carried)}. "
            "Is that driver running, and are the names in the profile the driver's?"
        )

    def push(self, t_ns: int, msg: Any) -> bool:
        """Keep a message; False if it is too old to be asked for."""
        return self.buffer.push(t_ns, Entry(msg))

    def clear(self) -> None:
        """Forget all messages."""
        self.buffer.clear()

    def value(self, entry: Entry) -> NDArray[Any] | Missing:
        """Return the decoded value of a message; it is decoded once."""
        msg = entry.msg
        # Another thread that samples may be here as well: it sets the value before it drops the message.
        if entry.value is None and msg is not None:
            entry.value = self.attempt(lambda: self.decode(msg))
            entry.msg = None
        value = entry.value
        assert value is not None
        return value

    def attempt(self, decode: Callable[[], NDArray[Any]]) -> NDArray[Any] | Missing:
        """Return what `decode` gives, or why it gives nothing."""
        key, topic = self.stream.key, self.stream.topic
        try:
            value = decode()
        except _WrongSizeError as error:
            return Missing(key, SIZE, str(error))
        except FieldError as error:
            return Missing(key, PARTIAL, f"{key}: {error} (topic {topic})")
        except LostReferenceError as error:
            return Missing(key, LOST, f"{key}: {error} (topic {topic})")
        except DecoderError as error:
            return Missing(key, UNSUPPORTED, f"{key}: {error} (topic {topic})")
        except CodecError as error:
            return Missing(key, DAMAGED, f"{key}: {error} (topic {topic})")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return Missing(key, NOT_FINITE, f"{key}: a value on topic {topic} is not finite: {value.tolist()}")
        return value

    def pick(self, found: Found[Entry]) -> NDArray[Any] | Missing:
        """Return the decoded value of an answer of the buffer."""
        if found.item is None:  # pragma: no cover - only asked for answers that have one
            raise FrameError(f"{self.stream.key}: no message to decode")
        first = self.value(found.item)
        if found.after is None or isinstance(first, Missing):
            return first
        second = self.value(found.after)
        if isinstance(second, Missing):
            return second
        between: NDArray[Any] = first + (second - first) * found.weight
        return between


class _WrongSizeError(CodecError):
    """A camera delivers another size than the profile says."""


def camera_source(camera: CameraSpec, *, decoded: bool = True) -> Source:
    """Return the source of a camera's frames.

    Args:
        camera: The camera.
        decoded: Whether its pictures are wanted, or just the messages.
    """
    found = codecs.codec(camera.type)
    stream = _stream(f"{IMAGE_PREFIX}{camera.name}", camera)
    if found.video and decoded:
        return VideoSource(stream, camera)
    decode_image = decode_compressed_depth if camera.depth and camera.type == codecs.COMPRESSED_IMAGE else found.image

    def decode(msg: Any) -> NDArray[Any]:
        if decode_image is None:
            raise DecoderError(f"camera '{camera.name}': {camera.type} is no image type")
        return _frame_image(camera, decode_image(msg))

    return Source(stream, decode)


class VideoSource(Source):
    """A camera that sends an encoded video: keeps the packets back to a keyframe, and decodes them in order.

    Packets count by their stamps, so the order in which they arrive does not matter. Nothing is decoded before a picture
    is asked for.
    """

    def __init__(self, stream: Stream, camera: CameraSpec) -> None:
        super().__init__(stream, lambda msg: msg)
        self._camera = camera
        self._decoder = VideoDecoder(camera.rate_hz)
        self._lock = Lock()
        self._times: list[int] = []
        self._packets: list[VideoPacket] = []
        self._count = 0

    def push(self, t_ns: int, msg: Any) -> bool:
        """Keep a packet; of two with the same stamp the later counts."""
        self._count += 1
        packet = VideoPacket(t_ns, self._count, msg)
        if not self.buffer.push(t_ns, Entry(packet)):
            return False
        with self._lock:
            index = bisect_left(self._times, t_ns)
            same = index < len(self._times) and self._times[index] == t_ns
            self._times[index : index + same] = [t_ns]
            self._packets[index : index + same] = [packet]
            if packet.keyframe or len(self._packets) > _MOST_PACKETS:
                self._forget()
        return True

    def _forget(self) -> None:
        """Drop what is before the last keyframe that is older than all that can be asked for; bound the memory."""
        oldest = self.buffer.oldest_ns or 0
        keep = max(0, len(self._packets) - _MOST_PACKETS)
        for i in range(bisect_right(self._times, oldest) - 1, keep, -1):
            if self._packets[i].keyframe:
                keep = i
                break
        del self._times[:keep], self._packets[:keep]

    def clear(self) -> None:
        """Forget all packets."""
        super().clear()
        with self._lock:
            self._times.clear()
            self._packets.clear()

    def value(self, entry: Entry) -> NDArray[Any] | Missing:
        """Return the picture of a packet; it is decoded once."""
        packet: VideoPacket = entry.msg
        if entry.value is None:
            value = self.attempt(lambda: self._picture(packet))
            # A packet that came late may still close a gap, so this answer is not kept.
            if isinstance(value, Missing) and value.reason == LOST:
                return value
            entry.value = value
        return entry.value

    def _picture(self, packet: VideoPacket) -> NDArray[Any]:
        with self._lock:
            run = self._packets[: bisect_right(self._times, packet.t_ns)]
        if not run or run[-1] is not packet:
            raise LostReferenceError("the packets that this picture refers to are not kept any more")
        return _frame_image(self._camera, self._decoder.picture(run))


def _frame_image(camera: CameraSpec, image: NDArray[Any]) -> NDArray[Any]:
    """Return a decoded image as frames hold it: checked, converted, resized and read-only."""
    if image.shape[:2] != camera.size:
        height, width = image.shape[:2]
        raise _WrongSizeError(
            f"camera '{camera.name}' sends [{height}, {width}] (height, width) on {camera.topic}, but the profile "
            f"says size: {list(camera.size)}. Set the driver to that size, or set 'size: [{height}, {width}]' and "
            f"'resize: {list(camera.frame_size)}' in the profile"
        )
    if camera.depth:
        depth = to_depth(image)
        finished = resize_depth(depth, camera.resize) if camera.resize else depth
    else:
        if image.dtype != np.uint8:
            raise DecoderError(
                f"{image.dtype} pixels are no colour; name the colour topic in the profile, or set 'depth: true'"
            )
        rgb = to_rgb(image)
        finished = resize(rgb, camera.resize) if camera.resize else rgb
    finished.flags.writeable = False
    return finished


def vector_source(key: str, spec: StateSpec | RecordSpec, scale: Scale | None) -> Source:
    """Return the source of one part of the state, or of one recorded action."""
    reader = codecs.reader(spec.type, spec.fields, spec.point)

    def decode(msg: Any) -> NDArray[np.float64]:
        return apply_scale(scale, reader.read(msg))

    return Source(_stream(key, spec), decode, reader, spec.fields)


def _stream(key: str, spec: CameraSpec | StateSpec | RecordSpec) -> Stream:
    return Stream(
        key=key,
        topic=spec.topic,
        type=spec.type,
        rate_hz=spec.rate_hz,
        max_age_s=spec.max_age_s,
        strategy=spec.strategy,
        stamp=spec.stamp,
    )
