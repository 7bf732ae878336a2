# SPDX-License-Identifier: Apache-2.0

"""An MCAP file that is written at camera rate and that a failing disk cannot spoil.

The records come from the `mcap` library; its `Writer` copies every payload six times and goes on with a wrong index after
a write that failed. Here a payload goes from the subscription to the operating system as it is, a record is complete in
the file or not there at all, and after a failure the file accepts nothing more.

Layout: MCAP specification, version 0.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import lz4.frame
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Attachment,
    AttachmentIndex,
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from vla_recorder.bags.mcap_records import LIBRARY

COMPRESSIONS = ("auto", "none", "lz4", "zstd")
"""``auto``: zstd for chunks that it makes a quarter smaller, none for the others (JPEG, noisy pixels)."""

_MAGIC = b"\x89MCAP0\r\n"
_MESSAGE = struct.Struct("<BQHIQQ")
_MESSAGE_FIELDS = 22  # bytes of a message record besides its length and its payload
_CHUNK = struct.Struct("<BQQQQI")
_CHUNK_FIELDS = 8 + 8 + 8 + 4
_INDEX = struct.Struct("<BQHI")
_FOOTER = struct.Struct("<BQQQ")
_FOOTER_LENGTH = 8 + 8 + 4
_LARGE = 1 << 15  # from here on a payload is written from where it is instead of being copied
_SAMPLE = 1 << 16
_PAYS = 0.75
_ZSTD_LEVEL = 1

Buffer = bytes | bytearray


def record_bytes(record: McapRecord) -> bytes:
    """Return a record as it is in the file."""
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())


class _Chunk:
    """Messages on their way into one chunk record."""

    def __init__(self) -> None:
        self._parts: list[Buffer] = []
        self._small = bytearray()
        self.size = 0
        self.first_ns = 0
        self.last_ns = 0
        self.index: dict[int, list[int]] = {}

    def add(self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        if not self.index:
            self.first_ns = self.last_ns = log_ns
        self.first_ns = min(self.first_ns, log_ns)
        self.last_ns = max(self.last_ns, log_ns)
        entries = self.index.setdefault(channel, [])
        entries.append(log_ns)
        entries.append(self.size)
        length = _MESSAGE_FIELDS + len(data)
        self._small += _MESSAGE.pack(Opcode.MESSAGE, length, channel, sequence & 0xFFFFFFFF, log_ns, publish_ns)
        if len(data) < _LARGE:
            self._small += data
        else:
            self._parts += (self._small, data)
            self._small = bytearray()
        self.size += 9 + length

    def parts(self) -> list[Buffer]:
        """Return the content in pieces."""
        return [*self._parts, self._small]

    def index_records(self) -> tuple[list[bytes], dict[int, int]]:
        """Return the index records and, by channel, where each begins behind the chunk."""
        records, offsets, position = [], {}, 0
        for channel, entries in self.index.items():
            length = 8 * len(entries)
            head = _INDEX.pack(Opcode.MESSAGE_INDEX, 6 + length, channel, length)
            records.append(head + struct.pack(f"<{len(entries)}Q", *entries))
            offsets[channel] = position
            position += len(records[-1])
        return records, offsets


def _sample(parts: Sequence[Buffer]) -> bytes:
    largest = max(parts, key=len)
    start = max(0, (len(largest) - _SAMPLE) // 2)
    return bytes(memoryview(largest)[start : start + _SAMPLE])


class McapFile:
    """A new MCAP file of serialized ROS messages; not thread-safe, except `sync`.

    Every method that writes may raise OSError. What was complete before stays in the file, nothing of the failed record
    does, and every later call raises again.
    """

    def __init__(self, path: Path, *, compression: str = "auto", chunk_bytes: int = 4 << 20) -> None:
        """Create the file.

        Args:
            path: Must not exist.
            compression: One of `COMPRESSIONS`.
            chunk_bytes: A chunk is closed when it holds this much [B].
        """
        self._compression = compression
        self._chunk_bytes = chunk_bytes
        self._zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._chunk = _Chunk()
        self._end = 0
        self._failure: OSError | None = None
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._chunks: list[bytes] = []
        self._attachments: list[bytes] = []
        self._metadata: list[bytes] = []
        self._counts: dict[int, int] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            self._put([_MAGIC, record_bytes(Header(profile="ros2", library=LIBRARY))])
        except OSError:
            self.close()
            raise

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """Write a schema and return its number."""
        number = len(self._schemas) + 1
        record = record_bytes(Schema(id=number, name=name, encoding=encoding, data=data))
        self._put([record])
        self._schemas.append(record)
        return number

    def add_channel(self, topic: str, schema: int, metadata: Mapping[str, str]) -> int:
        """Write a channel of CDR messages and return its number."""
        number = len(self._channels) + 1
        record = record_bytes(
            Channel(id=number, topic=topic, message_encoding="cdr", schema_id=schema, metadata=dict(metadata))
        )
        self._put([record])
        self._channels.append(record)
        return number

    def add_message(self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Put a message into the chunk; the chunk is written when it is full."""
        self._check()
        self._chunk.add(channel, sequence, log_ns, publish_ns, data)
        if self._chunk.size >= self._chunk_bytes:
            self.flush()

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Write a metadata record."""
        self.flush()
        record, offset = record_bytes(Metadata(name=name, metadata=dict(values))), self._end
        self._put([record])
        self._metadata.append(record_bytes(MetadataIndex(offset=offset, length=len(record), name=name)))

    def add_attachment(self, attachment: Attachment) -> None:
        """Write an attachment."""
        self.flush()
        record, offset = record_bytes(attachment), self._end
        self._put([record])
        index = AttachmentIndex(
            offset=offset,
            length=len(record),
            log_time=attachment.log_time,
            create_time=attachment.create_time,
            data_size=len(attachment.data),
            name=attachment.name,
            media_type=attachment.media_type,
        )
        self._attachments.append(record_bytes(index))

    def flush(self) -> None:
        """Close the chunk and hand it to the operating system: a killed process loses nothing of it."""
        self._check()
        chunk, self._chunk = self._chunk, _Chunk()
        if not chunk.index:
            return
        parts = chunk.parts()
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        compression, stored = self._compress(parts)
        size = sum(len(part) for part in stored)
        name = compression.encode()
        length = _CHUNK_FIELDS + 4 + len(name) + 8 + size
        head = _CHUNK.pack(Opcode.CHUNK, length, chunk.first_ns, chunk.last_ns, chunk.size, checksum)
        head += struct.pack("<I", len(name)) + name + struct.pack("<Q", size)
        records, offsets = chunk.index_records()
        start, indexes_at = self._end, self._end + 9 + length
        self._put([head, *stored, *records])
        self._remember(chunk)
        index = ChunkIndex(
            message_start_time=chunk.first_ns,
            message_end_time=chunk.last_ns,
            chunk_start_offset=start,
            chunk_length=9 + length,
            message_index_offsets={channel: indexes_at + offset for channel, offset in offsets.items()},
            message_index_length=self._end - indexes_at,
            compression=compression,
            compressed_size=size,
            uncompressed_size=chunk.size,
        )
        self._chunks.append(record_bytes(index))

    def finish(self) -> None:
        """Close the chunk, write the summary and bring everything to the disk."""
        self.flush()
        end = record_bytes(DataEnd(data_section_crc=0))
        groups = (
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [record_bytes(self._statistics())]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.ATTACHMENT_INDEX, self._attachments),
            (Opcode.METADATA_INDEX, self._metadata),
        )
        summary, offsets, start = bytearray(), bytearray(), self._end + len(end)
        for opcode, records in groups:
            begin = len(summary)
            summary += b"".join(records)
            if records:
                group = SummaryOffset(group_opcode=opcode, group_start=start + begin, group_length=len(summary) - begin)
                offsets += record_bytes(group)
        offsets_at = start + len(summary)
        head = _FOOTER.pack(Opcode.FOOTER, _FOOTER_LENGTH, start, offsets_at)
        checksum = zlib.crc32(head, zlib.crc32(offsets, zlib.crc32(summary)))
        footer = Footer(summary_start=start, summary_offset_start=offsets_at, summary_crc=checksum)
        self._put([end, summary, offsets, record_bytes(footer), _MAGIC])
        os.fsync(self._file)

    def sync(self) -> None:
        """Bring what was written to the disk itself; may be called from another thread."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file. What was flushed stays readable as a stream, even without `finish`."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._failure = self._failure or OSError("the file is closed")

    def _compress(self, parts: Sequence[Buffer]) -> tuple[str, Sequence[Buffer]]:
        kind = self._compression
        if kind == "auto":
            sample = _sample(parts)
            kind = "zstd" if len(self._zstd.compress(sample)) < _PAYS * len(sample) else "none"
        if kind == "zstd":
            return "zstd", [self._zstd.compress(b"".join(parts))]
        if kind == "lz4":
            return "lz4", [lz4.frame.compress(b"".join(parts))]
        return "", parts

    def _remember(self, chunk: _Chunk) -> None:
        for channel, entries in chunk.index.items():
            self._counts[channel] = self._counts.get(channel, 0) + len(entries) // 2
        self._first_ns = chunk.first_ns if self._first_ns is None else min(self._first_ns, chunk.first_ns)
        self._last_ns = max(self._last_ns, chunk.last_ns)

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=len(self._attachments),
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            metadata_count=len(self._metadata),
            message_start_time=self._first_ns or 0,
            message_end_time=self._last_ns,
            schema_count=len(self._schemas),
        )

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _put(self, parts: Sequence[Buffer]) -> None:
        """Append to the file, all or nothing."""
        self._check()
        left = [memoryview(part) for part in parts if part]
        size = sum(len(part) for part in left)
        try:
            while left:
                written = os.writev(self._file, left[:1024])
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]
        except OSError as error:
            self._failure = error
            with suppress(OSError):  # a reader passes over half a record, too
                os.ftruncate(self._file, self._end)
            raise
        self._end += size
