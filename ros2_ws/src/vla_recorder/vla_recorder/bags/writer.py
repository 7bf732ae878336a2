# SPDX-License-Identifier: Apache-2.0

"""One episode as a rosbag2 folder: an MCAP file and ``metadata.yaml``.

``rosbag2_py`` cannot do three things that an episode needs: take a publish time apart from the receive time, take
metadata that are known only at the end (the outcome), and bring everything to the disk at least once a second.
``ros2 bag info`` and ``ros2 bag play`` read the result.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from mcap.records import Attachment
from vla_core.errors import BagError

from vla_recorder.bags.mcap_file import COMPRESSIONS, McapFile

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA_RECORD = "vla"
"""Name of the MCAP metadata record with the ``custom_data``. Written at the start with what is known then, and again at
the end like that of ``metadata.yaml``; the last record of a file wins."""

METADATA_FILE = "metadata.yaml"
FLUSH_PERIOD_S = 0.4

_ROSBAG2_VERSION = 9
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free space or choose another output_dir",
    errno.EDQUOT: "the disk quota is used up; free space or choose another output_dir",
    errno.EACCES: "no permission to write there; choose an output_dir that this user may write to",
    errno.EPERM: "no permission to write there; choose an output_dir that this user may write to",
    errno.EROFS: "the file system is read-only; choose another output_dir",
    errno.ENOTDIR: "a part of the path is a file; choose another output_dir",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn operating system errors of a block that writes `path` into a `BagError` with the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check the disk")
        raise BagError(f"{path}: cannot write the episode ({error.strerror or error}): {remedy}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A recorded topic.

    Attributes:
        name: Fully resolved name.
        type: For example ``sensor_msgs/msg/Image``.
        definition: Full ``ros2msg`` text.
        qos: Offered QoS profiles of the publishers, in the layout of rosbag2's metadata.
        type_hash: ``RIHS01_…`` or empty.
    """

    name: str
    type: str
    definition: str
    qos: tuple[Mapping[str, Any], ...] = ()
    type_hash: str = ""


@dataclass(slots=True)
class TopicCount:
    """What was written of one topic. Gaps are between publish times: those reveal messages lost on the way."""

    messages: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    max_gap_ns: int = 0

    def add(self, publish_ns: int, size: int) -> None:
        """Count one message."""
        if self.messages == 0:
            self.first_ns = publish_ns
        else:
            self.max_gap_ns = max(self.max_gap_ns, publish_ns - self.last_ns)
        self.last_ns = publish_ns
        self.messages += 1
        self.bytes += size

    @property
    def rate_hz(self) -> float | None:
        """Mean rate; None with fewer than two stamps."""
        span_s = (self.last_ns - self.first_ns) * 1e-9
        return (self.messages - 1) / span_s if self.messages > 1 and span_s > 0 else None

    @property
    def max_gap_s(self) -> float:
        """Longest gap [s]."""
        return self.max_gap_ns * 1e-9

    def report(self) -> dict[str, float | None]:
        """Return messages, mean rate [Hz] and longest gap [s]."""
        rate = self.rate_hz
        return {
            "messages": self.messages,
            "rate_hz": None if rate is None else round(rate, 3),
            "max_gap_s": round(self.max_gap_s, 6),
        }


@dataclass(slots=True)
class _Channel:
    number: int
    info: TopicInfo
    count: TopicCount = field(default_factory=TopicCount)


class BagWriter:
    """Writes one MCAP file; not thread-safe, one thread owns it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        compression: str = "auto",
        chunk_bytes: int = 4 << 20,
        custom_data: Mapping[str, str] | None = None,
    ) -> None:
        """Create the folder and the file ``<name>_0.mcap`` in it.

        Args:
            folder: Must not exist.
            name: Stem of the file.
            compression: One of `COMPRESSIONS`, per chunk.
            chunk_bytes: Size of a chunk before compression [B].
            custom_data: Metadata that are known now; they survive if the file is never closed.

        Raises:
            BagError: The folder exists or cannot be written.
        """
        if compression not in COMPRESSIONS:
            raise BagError(f"compression: {compression!r} is not one of {', '.join(COMPRESSIONS)}")
        self.folder = folder
        self.path = folder / f"{name}_0.mcap"
        self._channels: dict[str, _Channel] = {}
        self._schemas: dict[str, int] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._next_flush = 0.0
        if folder.exists():
            raise BagError(f"{folder}: exists already; an episode never overwrites another")
        with writing(folder):
            folder.mkdir(parents=True)
            # Held until this process ends or closes the bag: `repair` leaves a folder alone in which somebody records.
            self._lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                self._file = McapFile(self.path, compression=compression, chunk_bytes=chunk_bytes)
                if custom_data:
                    self._file.add_metadata(METADATA_RECORD, custom_data)
            except OSError:
                self._unlock()
                self.path.unlink(missing_ok=True)
                folder.rmdir()
                raise

    @property
    def messages(self) -> int:
        """Messages written."""
        return sum(channel.count.messages for channel in self._channels.values())

    @property
    def payload_bytes(self) -> int:
        """Payload written [B]."""
        return sum(channel.count.bytes for channel in self._channels.values())

    def counts(self) -> dict[str, TopicCount]:
        """Return what was written per topic."""
        return {name: channel.count for name, channel in self._channels.items()}

    def add_topic(self, info: TopicInfo) -> None:
        """Announce a topic; a second call with the same name does nothing."""
        if info.name in self._channels:
            return
        metadata = {"offered_qos_profiles": yaml.safe_dump([dict(qos) for qos in info.qos], sort_keys=False)}
        if info.type_hash:
            metadata["topic_type_hash"] = info.type_hash
        with writing(self.path):
            if info.type not in self._schemas:
                self._schemas[info.type] = self._file.add_schema(info.type, "ros2msg", info.definition.encode())
            number = self._file.add_channel(info.name, self._schemas[info.type], metadata)
        self._channels[info.name] = _Channel(number, info)

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Write one serialized message.

        Args:
            topic: Announced before.
            data: CDR bytes.
            log_ns: When it was received, on the node clock.
            publish_ns: Its header stamp, or ``log_ns`` where there is none. MCAP holds no time before 1970; of such a
                message ``log_ns`` is taken, and its stamp is in the bytes only.

        Raises:
            BagError: The disk refuses it.
        """
        channel = self._channels[topic]
        publish_ns = publish_ns if publish_ns >= 0 else log_ns
        with writing(self.path):
            self._file.add_message(channel.number, channel.count.messages, log_ns, publish_ns, data)
        channel.count.add(publish_ns, len(data))
        self._first_ns = log_ns if self._first_ns is None else min(self._first_ns, log_ns)
        self._last_ns = max(self._last_ns, log_ns)
        self.flush_if_due()

    def attach(self, name: str, media_type: str, data: bytes, *, created_ns: int = 0) -> None:
        """Store a file that belongs to the episode: scene, task plan, conditioning image, log.

        Args:
            name: File name, for example ``scene.yaml``.
            media_type: For example ``application/yaml``.
            data: Content.
            created_ns: When the file was made [ns]; 0 if that is not known.

        Raises:
            BagError: The disk refuses it.
        """
        with writing(self.path):
            self._file.add_attachment(
                Attachment(create_time=created_ns, log_time=self._last_ns, name=name, media_type=media_type, data=data)
            )

    def flush_if_due(self) -> None:
        """Bring what was written to the operating system twice a second, so that a killed process loses little.

        Raises:
            BagError: The disk refuses it.
        """
        now = time.monotonic()
        if now >= self._next_flush:
            with writing(self.path):
                self._file.flush()
            self._next_flush = now + FLUSH_PERIOD_S

    def sync(self) -> None:
        """Bring what was flushed to the disk itself, against a power cut; may be called from another thread.

        Raises:
            BagError: The disk refuses it.
        """
        with writing(self.path):
            self._file.sync()

    def close(self, custom_data: Mapping[str, str]) -> None:
        """Finish the file, bring it to the disk and write ``metadata.yaml``.

        Args:
            custom_data: Metadata of the episode.

        Raises:
            BagError: The disk refuses it.
        """
        with writing(self.path):
            self._file.add_metadata(METADATA_RECORD, custom_data)
            self._file.finish()
            self._file.close()
        target = self.folder / METADATA_FILE
        temporary = target.with_suffix(".tmp")
        topics = [(channel.info, channel.count.messages) for channel in self._channels.values()]
        content = bag_metadata("mcap", self.path.name, topics, (self._first_ns or 0, self._last_ns), custom_data)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        with writing(target):
            try:
                with temporary.open("w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.rename(target)
                os.fsync(self._lock)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        self._unlock()

    def abandon(self) -> None:
        """Let go of the file without finishing it; what was flushed stays readable as a stream."""
        with suppress(OSError):
            self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def bag_metadata(
    storage: str,
    file: str,
    topics: Sequence[tuple[TopicInfo, int]],
    span_ns: tuple[int, int],
    custom_data: Mapping[str, str],
) -> dict[str, Any]:
    """Return the content of ``metadata.yaml`` of a bag of one file, version 9.

    Args:
        storage: ``mcap`` or ``sqlite3``.
        file: Name of the file.
        topics: Topics with their numbers of messages.
        span_ns: First and last time of reception [ns].
        custom_data: Metadata of the episode.
    """
    span = {"nanoseconds": max(0, span_ns[1] - span_ns[0])}
    start = {"nanoseconds_since_epoch": span_ns[0]}
    total = sum(count for _, count in topics)
    described = [
        {
            "topic_metadata": {
                "name": info.name,
                "type": info.type,
                "serialization_format": "cdr",
                "offered_qos_profiles": [dict(qos) for qos in info.qos],
                "type_description_hash": info.type_hash,
            },
            "message_count": count,
        }
        for info, count in topics
    ]
    return {
        "rosbag2_bagfile_information": {
            "version": _ROSBAG2_VERSION,
            "storage_identifier": storage,
            "duration": dict(span),
            "starting_time": dict(start),
            "message_count": total,
            "topics_with_message_count": described,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file],
            "files": [{"path": file, "starting_time": start, "duration": span, "message_count": total}],
            "custom_data": dict(custom_data),
            "ros_distro": os.environ.get("ROS_DISTRO", "jazzy"),
        }
    }
