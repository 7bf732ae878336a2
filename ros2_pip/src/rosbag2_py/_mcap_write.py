# SPDX-License-Identifier: Apache-2.0

"""One MCAP file being written.

Messages are not copied: a chunk is a list of references until the kernel takes it in one gathering write. Schemas
and channels are written in front of the chunks, so that a file whose writer died still names all its topics, and
an open chunk never spans more than `CHUNK_SPAN_NS`, so that little is lost. Layout: MCAP specification, version 0.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from rosbag2_py._yaml import load

MAGIC = b"\x89MCAP0\r\n"
CHUNK_SPAN_NS = 1_000_000_000
"""Longest time of reception (ns) that one chunk may cover."""

_MESSAGE = struct.Struct("<BQHIQQ")
_CHUNK = struct.Struct("<BQQQQI")
_LONG = struct.Struct("<Q")
_RECORD_HEAD = 9
_PIECES_MAX = 1000
_LEVELS = {"Fastest": -5, "Fast": -3, "Default": 1, "Slow": 5, "Slowest": 19}
_CODECS = {"None": "", "Zstd": "zstd"}
_SWITCHES = {"true": True, "false": False}


@dataclass
class WriterOptions:
    """Settings of the file, named as in the writer options of the mcap storage.

    Attributes:
        chunk_size: bytes of messages after which a chunk is written.
        compression: `""` or `zstd`.
        level: level of zstd.
        force_compression: compress chunks even where that makes them larger.
        chunking: group messages in chunks with an index.
        chunk_crc: checksum of every chunk.
        summary_crc: checksum of the summary.
    """

    chunk_size: int = 768 * 1024
    compression: str = ""
    level: int = _LEVELS["Default"]
    force_compression: bool = False
    chunking: bool = True
    chunk_crc: bool = False
    summary_crc: bool = True


def preset_options(profile: str) -> WriterOptions:
    """Return the settings of a storage preset profile.

    Raises:
        RuntimeError: there is no such profile.
    """
    presets = {
        "": WriterOptions(),
        "none": WriterOptions(),
        "fastwrite": WriterOptions(chunking=False, summary_crc=False),
        "zstd_fast": WriterOptions(compression="zstd", level=_LEVELS["Fastest"]),
        "zstd_small": WriterOptions(
            compression="zstd", level=_LEVELS["Slowest"], chunk_size=4 * 1024 * 1024, chunk_crc=True
        ),
    }
    if profile not in presets:
        names = ", ".join(name for name in presets if name)
        raise RuntimeError(f"storage_preset_profile: unknown MCAP profile '{profile}'; use one of {names}")
    return presets[profile]


def apply_config(options: WriterOptions, uri: str) -> None:
    """Overlay the settings of a YAML file, as `ros2 bag record --storage-config-file` takes it.

    Raises:
        RuntimeError: the file cannot be read, or holds a setting or value that is not available here.
    """
    try:
        entries = load(Path(uri.removeprefix("file://")).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise RuntimeError(f"storage_config_uri: {uri} cannot be read as YAML: {error}") from error
    settings = {
        "chunkSize": ("chunk_size", None),
        "compression": ("compression", _CODECS),
        "compressionLevel": ("level", _LEVELS),
        "forceCompression": ("force_compression", _SWITCHES),
        "noChunking": ("chunking", {"true": False, "false": True}),
        "noChunkCRC": ("chunk_crc", {"true": False, "false": True}),
        "noSummaryCRC": ("summary_crc", {"true": False, "false": True}),
    }
    if not isinstance(entries, dict):
        raise RuntimeError(f"storage_config_uri: {uri} must be a mapping such as 'chunkSize: 4194304'")
    for key, value in entries.items():
        if key not in settings:
            raise RuntimeError(
                f"storage_config_uri: {uri}: '{key}' is not available here; remove it or use one of {', '.join(settings)}"
            )
        name, values = settings[key]
        if values is None:
            if not str(value).isdigit() or int(value) < 1:
                raise RuntimeError(f"storage_config_uri: {uri}: {key}: '{value}' is not a positive number of bytes")
            setattr(options, name, int(value))
        elif value not in values:
            raise RuntimeError(f"storage_config_uri: {uri}: {key}: '{value}' is not one of {', '.join(values)}")
        else:
            setattr(options, name, values[value])


class McapWriter:
    """Writes one file. Not thread-safe.

    Args:
        path: file to create; it must not exist.
        options: settings of the file.
    """

    def __init__(self, path: Path, options: WriterOptions) -> None:
        self.path = path
        self.size = 0
        self._options = options
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._compressor = zstandard.ZstdCompressor(level=options.level) if options.compression == "zstd" else None
        self._schemas: dict[str, Schema] = {}
        self._channels: dict[str, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: dict[int, int] = {}
        self._range_ns = [2**64 - 1, 0]
        self._reset_chunk()
        self._write([MAGIC])
        self._write_record(Header("ros2", "rosbag2_py over mcap"))

    def _reset_chunk(self) -> None:
        self._pieces: list[bytes] = []
        self._fill = 0
        self._chunk_range_ns = [2**64 - 1, 0]
        self._indexes: dict[int, array[int]] = {}

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        total = sum(map(len, pieces))
        if len(pieces) > _PIECES_MAX:
            pieces = [b"".join(pieces)]
        done = os.writev(self._file, pieces)
        if done < total:
            rest = memoryview(b"".join(pieces))[done:]
            while rest:
                rest = rest[os.write(self._file, rest) :]
        self.size += total

    def _write_record(self, record: Header | Schema | Channel | Metadata | DataEnd | Footer) -> int:
        builder = RecordBuilder()
        record.write(builder)
        data: bytes = builder.end()  # type: ignore[no-untyped-call]
        self._write([data])
        return len(data)

    def add_channel(
        self, topic: str, message_encoding: str, schema: tuple[str, str, str], metadata: dict[str, str]
    ) -> int:
        """Announce a topic.

        Args:
            topic: name.
            message_encoding: for example `cdr`.
            schema: name, encoding and text of the type.
            metadata: texts of the channel.

        Returns:
            Number of the channel.
        """
        name, encoding, text = schema
        if name not in self._schemas:
            self._schemas[name] = Schema(
                id=len(self._schemas) + 1, data=text.encode("utf-8"), encoding=encoding, name=name
            )
            self._write_record(self._schemas[name])
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding=message_encoding,
            metadata=metadata,
            schema_id=self._schemas[name].id,
        )
        self._channels[topic] = channel
        self._counts[channel.id] = 0
        self._write_record(channel)
        return channel.id

    def add_message(self, channel: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Append a message; `data` is kept by reference until its chunk is written.

        Raises:
            OSError: the chunk could not be written.
        """
        head = _MESSAGE.pack(Opcode.MESSAGE, 22 + len(data), channel, 0, log_ns, publish_ns)
        if not self._options.chunking:
            self._write([head, data])
        else:
            first_ns, last_ns = self._chunk_range_ns
            if self._pieces and (log_ns - first_ns >= CHUNK_SPAN_NS or last_ns - log_ns >= CHUNK_SPAN_NS):
                self.flush()
            self._add_to_chunk(channel, log_ns, head, data)
        self._counts[channel] += 1
        _widen(self._range_ns, log_ns)

    def _add_to_chunk(self, channel: int, log_ns: int, head: bytes, data: bytes) -> None:
        index = self._indexes.setdefault(channel, array("Q"))
        index.append(log_ns)
        index.append(self._fill)
        self._pieces += (head, data)
        self._fill += len(head) + len(data)
        _widen(self._chunk_range_ns, log_ns)
        if self._fill >= self._options.chunk_size:
            self.flush()

    def flush(self) -> None:
        """Write the open chunk and its index to the file.

        Raises:
            OSError: the disk is full or failed.
        """
        if not self._pieces:
            return
        first_ns, last_ns = self._chunk_range_ns
        codec, body, crc = self._encode_chunk()
        stored = sum(map(len, body))
        tail = struct.pack("<I", len(codec)) + codec.encode() + _LONG.pack(stored)
        length = _CHUNK.size - _RECORD_HEAD + len(tail) + stored
        head = _CHUNK.pack(Opcode.CHUNK, length, first_ns, last_ns, self._fill, crc) + tail
        start = self.size
        self._write([head, *body])
        offsets, index_length = self._write_indexes()
        self._chunks.append(
            ChunkIndex(
                chunk_length=len(head) + stored,
                chunk_start_offset=start,
                compression=codec,
                compressed_size=stored,
                message_end_time=last_ns,
                message_index_length=index_length,
                message_index_offsets=offsets,
                message_start_time=first_ns,
                uncompressed_size=self._fill,
            )
        )
        self._reset_chunk()

    def _encode_chunk(self) -> tuple[str, list[bytes], int]:
        """Codec, stored pieces and checksum of the open chunk."""
        crc = 0
        if self._options.chunk_crc:
            for piece in self._pieces:
                crc = zlib.crc32(piece, crc)
        if self._compressor is not None:
            packed = self._compressor.compress(b"".join(self._pieces))
            if len(packed) < self._fill or self._options.force_compression:
                return "zstd", [packed], crc
        return "", self._pieces, crc

    def _write_indexes(self) -> tuple[dict[int, int], int]:
        """Offsets of the message indexes by channel, and their length in bytes."""
        start = self.size
        offsets: dict[int, int] = {}
        pieces: list[bytes] = []
        position = start
        for channel, index in self._indexes.items():
            if sys.byteorder == "big":
                index.byteswap()
            entries = index.tobytes()
            record = struct.pack("<BQHI", Opcode.MESSAGE_INDEX, 6 + len(entries), channel, len(entries)) + entries
            offsets[channel] = position
            position += len(record)
            pieces.append(record)
        self._write(pieces)
        return offsets, position - start

    def add_metadata(self, name: str, entries: dict[str, str]) -> None:
        """Append a metadata record with named texts."""
        offset = self.size
        length = self._write_record(Metadata(name=name, metadata=entries))
        self._metadata.append(MetadataIndex(offset=offset, length=length, name=name))

    def close(self) -> None:
        """Write the open chunk, the summary and the end of the file.

        Raises:
            OSError: the disk is full or failed.
        """
        if self._file < 0:
            return
        try:
            self.flush()
            self._write_record(DataEnd(0))
            self._write_summary()
            self._write([MAGIC])
        finally:
            os.close(self._file)
            self._file = -1

    def _write_summary(self) -> None:
        start = self.size
        builder = RecordBuilder()
        offsets: list[SummaryOffset] = []
        groups = {
            Opcode.SCHEMA: self._schemas.values(),
            Opcode.CHANNEL: self._channels.values(),
            Opcode.STATISTICS: (self._statistics(),),
            Opcode.CHUNK_INDEX: self._chunks,
            Opcode.METADATA_INDEX: self._metadata,
        }
        for opcode, records in groups.items():
            begin = builder.count
            for record in records:
                record.write(builder)
            if builder.count > begin:
                offsets.append(SummaryOffset(opcode, start + begin, builder.count - begin))
        offset_start = start + builder.count
        for offset in offsets:
            offset.write(builder)
        data: bytes = builder.end()  # type: ignore[no-untyped-call]
        crc = 0
        if self._options.summary_crc:
            crc = zlib.crc32(struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offset_start), zlib.crc32(data))
        self._write([data])
        self._write_record(Footer(summary_start=start, summary_offset_start=offset_start, summary_crc=crc))

    def _statistics(self) -> Statistics:
        count = sum(self._counts.values())
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=len(self._chunks),
            message_count=count,
            message_end_time=self._range_ns[1],
            message_start_time=self._range_ns[0] if count else 0,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )


def _widen(span: list[int], value: int) -> None:
    if value < span[0]:
        span[0] = value
    if value > span[1]:
        span[1] = value
