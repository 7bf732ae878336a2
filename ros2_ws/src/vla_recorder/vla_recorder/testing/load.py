# SPDX-License-Identifier: Apache-2.0

"""Publishers of numbered messages at full rate, and what a bag holds of them; for tests and benchmarks.

Every payload carries its sequence number, so that a lost, repeated or swapped message shows whatever the middleware or
the bag say. ``python -m vla_recorder.testing.load '<JSON of Load>'`` publishes in a process of its own until SIGTERM and
then writes its log (`read_log`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rclpy
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rosidl_runtime_py.utilities import get_message

_MARK = b"\xa5NUMBER\x5a"  # eight bytes that the sequence number replaces
_MARK_DOUBLE = struct.unpack("<d", _MARK)[0]
_STAMP_AT = 4  # behind the CDR encapsulation
_PICTURES = 4
_COMPRESSED_PICTURES = 32  # no two alike within a chunk of the bag, where they would compress to nothing
_NS = 1_000_000_000
_LOG_RECORD = np.dtype([("stream", "<u2"), ("number", "<u8"), ("sent_ns", "<u8"), ("digest", "V16")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One topic.

    Attributes:
        topic: Name.
        type: sensor_msgs/msg/Image, CompressedImage or JointState, geometry_msgs/msg/WrenchStamped or PoseStamped.
        rate_hz: Messages per second.
        height: Of images.
        width: Of images.
        compressed_bytes: Size of a compressed image.
        stamp: ``now``, ``zero``, or ``back`` (every other hundred of messages 5 s earlier).
    """

    topic: str
    type: str
    rate_hz: float
    height: int = 480
    width: int = 640
    compressed_bytes: int = 100_000
    stamp: str = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one process publishes.

    Attributes:
        streams: Its topics.
        log: File that it writes at the end.
        first: Number of the first message.
        digests: Whether the log holds a digest of every payload; costs time.
        reliability: ``reliable`` or ``best_effort``.
        depth: History of the publishers.
    """

    streams: tuple[Stream, ...]
    log: str
    first: int = 0
    digests: bool = False
    reliability: str = "reliable"
    depth: int = 10

    @classmethod
    def from_json(cls, text: str) -> Load:
        """Read what ``json.dumps(asdict(load))`` wrote."""
        values = json.loads(text)
        streams = tuple(Stream(**stream) for stream in values.pop("streams"))
        return cls(streams=streams, **values)


class Sent(NamedTuple):
    """One published message."""

    topic: str
    number: int
    sent_ns: int
    digest: bytes


class Kept(NamedTuple):
    """One recorded message; `digest` is empty unless asked for."""

    number: int
    log_ns: int
    digest: bytes


def digest(data: bytes) -> bytes:
    """Return 16 bytes that stand for a payload."""
    return hashlib.sha256(data).digest()[:16]


def messages(stream: Stream) -> list[Any]:
    """Return a few different messages of a stream, each with the mark where its number goes."""
    kind = get_message(stream.type)
    name = stream.type.rpartition("/")[2]
    rng = np.random.default_rng(list(stream.topic.encode()))
    if name == "Image":
        size = stream.height * stream.width * 3
        made = []
        for noise in (rng.integers(-6, 7, size, np.int16) for _ in range(_PICTURES)):
            pixels = (128 + 90 * np.sin(np.arange(size) / 601) + noise).astype(np.uint8).tobytes()
            image = kind(height=stream.height, width=stream.width, encoding="rgb8", step=3 * stream.width)
            image.data = _MARK + pixels[len(_MARK) :]
            made.append(image)
        return made
    if name == "CompressedImage":
        body = [rng.bytes(stream.compressed_bytes - 10) for _ in range(_COMPRESSED_PICTURES)]
        return [kind(format="jpeg", data=b"\xff\xd8" + _MARK + pixels) for pixels in body]
    if name == "JointState":
        joints = [f"joint_{number}" for number in range(6)]
        return [kind(name=joints, position=[0.1] * 6, velocity=[0.0] * 6, effort=[_MARK_DOUBLE] + [0.0] * 5)]
    if name == "WrenchStamped":
        wrench = kind()
        wrench.wrench.torque.z = _MARK_DOUBLE
        return [wrench]
    pose = kind()
    pose.pose.position.x = _MARK_DOUBLE
    return [pose]


class Payloads:
    """The serialized messages of one stream."""

    def __init__(self, stream: Stream) -> None:
        """Serialize the messages of the stream once."""
        self._stamp = stream.stamp
        self._data = [bytearray(serialize_message(message)) for message in messages(stream)]
        self._at = [data.index(_MARK) for data in self._data]

    def make(self, number: int, now_ns: int) -> bytes:
        """Return the message of a number."""
        data = self._data[number % len(self._data)]
        if self._stamp == "zero":
            now_ns = 0
        elif self._stamp == "back" and number // 100 % 2:
            now_ns -= 5 * _NS
        struct.pack_into("<iI", data, _STAMP_AT, *divmod(now_ns, _NS))
        struct.pack_into("<Q", data, self._at[number % len(self._data)], number)
        return bytes(data)


def number_at(stream: Stream) -> int:
    """Return where the number is in the payloads of a stream."""
    return bytes(serialize_message(messages(stream)[0])).index(_MARK)


def publish(load: Load, stop: threading.Event) -> None:
    """Publish until `stop` is set, as fast as the streams ask and late ones at once, then write the log."""
    node = Node(f"load_{os.getpid()}")
    reliability = getattr(ReliabilityPolicy, load.reliability.upper())
    qos = QoSProfile(depth=load.depth, reliability=reliability)
    publishers = [node.create_publisher(get_message(stream.type), stream.topic, qos) for stream in load.streams]
    payloads = [Payloads(stream) for stream in load.streams]
    numbers = [load.first] * len(load.streams)
    log: list[tuple[int, int, int, bytes]] = []
    begin = time.monotonic()
    due = [begin + index / len(load.streams) / stream.rate_hz for index, stream in enumerate(load.streams)]
    while not stop.is_set():
        index = min(range(len(due)), key=due.__getitem__)
        wait = due[index] - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        now = time.time_ns()
        data = payloads[index].make(numbers[index], now)
        log.append((index, numbers[index], now, digest(data) if load.digests else b"\0" * 16))
        publishers[index].publish(data)
        numbers[index] += 1
        due[index] += 1 / load.streams[index].rate_hz
    node.destroy_node()
    np.array(log, _LOG_RECORD).tofile(load.log)


class Publisher:
    """A process that publishes a load."""

    def __init__(self, load: Load) -> None:
        """Start it."""
        self.load = load
        self.process = subprocess.Popen([sys.executable, "-m", __name__, json.dumps(asdict(load))])

    def stop(self) -> list[Sent]:
        """End it and return what it published.

        Raises:
            RuntimeError: It failed.
        """
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=30):
            raise RuntimeError(f"the publisher of {self.load.streams} ended with code {self.process.returncode}")
        return read_log(self.load)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait()


def read_log(load: Load) -> list[Sent]:
    """Return what a process that has ended published, in order."""
    rows: NDArray[Any] = np.fromfile(load.log, _LOG_RECORD)
    topics = [stream.topic for stream in load.streams]
    return [
        Sent(topics[row["stream"]], int(row["number"]), int(row["sent_ns"]), row["digest"].tobytes()) for row in rows
    ]


def kept_messages(file: Path, streams: Sequence[Stream], *, digests: bool = False) -> dict[str, list[Kept]]:
    """Return what an MCAP file holds of some streams, in file order and up to the first damage, by topic."""
    at = {f"/{stream.topic.lstrip('/')}": (stream.topic, number_at(stream)) for stream in streams}
    kept: dict[str, list[Kept]] = {stream.topic: [] for stream in streams}
    with file.open("rb") as source, suppress(McapError, struct.error):
        for _, channel, message in NonSeekingReader(source).iter_messages(log_time_order=False):
            if channel.topic in at:
                topic, offset = at[channel.topic]
                (number,) = struct.unpack_from("<Q", message.data, offset)
                kept[topic].append(Kept(number, message.log_time, digest(message.data) if digests else b""))
    return kept


@dataclass(slots=True)
class Losses:
    """What is wrong with one topic of a bag.

    Attributes:
        messages: Recorded.
        lost: Published between the limits and not recorded.
        duplicates: Recorded more than once.
        out_of_order: Recorded behind a later one.
        examples: Numbers of a few lost messages.
    """

    messages: int = 0
    lost: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    examples: list[int] = field(default_factory=list)


def compare(sent: Sequence[Sent], kept: Sequence[Kept], *, from_ns: int, to_ns: int) -> Losses:
    """Compare what was published on one topic with what was recorded.

    Args:
        sent: Published, of this topic only.
        kept: Recorded.
        from_ns: Messages sent before may be missing.
        to_ns: Messages sent later may be missing.
    """
    numbers = [message.number for message in kept]
    have = set(numbers)
    inside = {message.number for message in sent if from_ns <= message.sent_ns <= to_ns}
    if numbers:  # what lies between two recorded messages must be there whatever the clocks say
        first, last = min(numbers), max(numbers)
        inside |= {message.number for message in sent if first <= message.number <= last}
    lost = sorted(inside - have)
    swapped = sum(1 for before, after in itertools.pairwise(numbers) if after < before)
    return Losses(len(numbers), len(lost), len(numbers) - len(have), swapped, lost[:5])


def main() -> None:
    """Publish what the first argument describes until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    publish(Load.from_json(sys.argv[1]), stop)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
