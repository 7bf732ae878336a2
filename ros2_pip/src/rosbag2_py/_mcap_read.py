# SPDX-License-Identifier: Apache-2.0

"""One MCAP file being read: with its summary, or by a linear scan where it has none or is cut off.

The file is mapped, so that messages of unwanted topics are never copied. Both ways of opening give the same list of
blocks (chunks, and runs of messages outside chunks), which are merged by time of reception. Layout: MCAP
specification, version 0.
"""

from __future__ import annotations

import io
import logging
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError, UnsupportedCompressionError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, Metadata, MetadataIndex, Schema, Statistics
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from rosbag2_py._merge import Entry, Position, StoredMessage, merge

_LOG = logging.getLogger("rosbag2_py")
_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQII")
_FOOTER = struct.Struct("<BQQQI")
_RUN_MAX = 4 * 1024 * 1024
_DAMAGE = (McapError, struct.error, ValueError, KeyError, zstandard.ZstdError)


@dataclass
class _Block:
    """A chunk, or a run of records outside chunks (`compression` is None).

    Attributes:
        start: offset in the file of the stored records.
        length: bytes stored.
        span_ns: first and last time of reception.
        compression: name of the codec, "" for none.
        size: bytes when unpacked.
        channels: channels with messages in it; None where that is not known.
    """

    start: int
    length: int
    span_ns: tuple[int, int]
    compression: str | None
    size: int
    channels: frozenset[int] | None = None


@dataclass
class _Tally:
    """What a scan counts."""

    counts: dict[int, int] = field(default_factory=dict)
    span_ns: tuple[int, int] = (2**64 - 1, 0)

    def add(self, channel: int, log_ns: int) -> None:
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.span_ns = (min(self.span_ns[0], log_ns), max(self.span_ns[1], log_ns))


class McapFile:
    """Opens a file and gives its topics, counts, metadata records and messages.

    Attributes:
        storage: name of the storage.
        channels: topics by number.
        schemas: types by number.
        counts: messages by channel.
        span_ns: first and last time of reception; (0, 0) without messages.
        metadata: metadata records by name, the last of each name.
        complete: False if the end of the file is missing or damaged.

    Raises:
        RuntimeError: the file cannot be read at all or is not MCAP.
    """

    storage = "mcap"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise RuntimeError(f"{path}: cannot be opened: {error.strerror}") from error
        except ValueError as error:
            raise RuntimeError(f"{path}: the file is empty; nothing was recorded in it") from error
        self.size = len(self._map)
        if self._map[: len(_MAGIC)] != _MAGIC:
            raise RuntimeError(f"{path}: is not an MCAP file (it does not begin with the MCAP signature)")
        self.channels: dict[int, Channel] = {}
        self.schemas: dict[int, Schema] = {}
        self.counts: dict[int, int] = {}
        self.span_ns = (0, 0)
        self.metadata: dict[str, dict[str, str]] = {}
        self.complete = True
        self._blocks: list[_Block] = []
        if not self._read_summary():
            self._scan()

    def close(self) -> None:
        """Release the file."""
        self._map.close()

    def _read_summary(self) -> bool:
        """Read the summary; False where it is missing or does not suffice to find all messages."""
        footer_at = self.size - len(_MAGIC) - _FOOTER.size
        if footer_at < len(_MAGIC) or self._map[-len(_MAGIC) :] != _MAGIC:
            return False
        opcode, _, start, _, _ = _FOOTER.unpack_from(self._map, footer_at)
        if opcode != Opcode.FOOTER or not 0 < start < footer_at:
            return False
        try:
            records = list(StreamReader(io.BytesIO(self._map[start:]), skip_magic=True).records)
        except _DAMAGE:
            return False
        self.schemas = {record.id: record for record in records if isinstance(record, Schema)}
        self.channels = {record.id: record for record in records if isinstance(record, Channel)}
        statistics = next((record for record in records if isinstance(record, Statistics)), None)
        chunks = [record for record in records if isinstance(record, ChunkIndex)]
        if statistics is None or not self._summary_suffices(statistics, len(chunks)):
            return False
        self.counts = dict(statistics.channel_message_counts)
        self.span_ns = (statistics.message_start_time, statistics.message_end_time)
        for record in records:
            if isinstance(record, MetadataIndex):
                self._take_metadata(record.offset + _RECORD.size, record.length - _RECORD.size)
        self._blocks = [self._indexed_block(chunk) for chunk in sorted(chunks, key=lambda c: c.chunk_start_offset)]
        return True

    def _summary_suffices(self, statistics: Statistics, chunks: int) -> bool:
        known = all(channel in self.channels for channel in statistics.channel_message_counts)
        typed = all(not channel.schema_id or channel.schema_id in self.schemas for channel in self.channels.values())
        all_chunked = bool(statistics.chunk_count) or not statistics.message_count
        return known and typed and all_chunked and chunks == statistics.chunk_count

    def _indexed_block(self, chunk: ChunkIndex) -> _Block:
        content = chunk.chunk_start_offset + chunk.chunk_length - chunk.compressed_size
        span = (chunk.message_start_time, chunk.message_end_time)
        channels = frozenset(chunk.message_index_offsets) or None
        return _Block(content, chunk.compressed_size, span, chunk.compression, chunk.uncompressed_size, channels)

    def _scan(self) -> None:
        """Read all records up to the end or to the first that is cut off or damaged."""
        self.channels, self.schemas, self.metadata = {}, {}, {}
        tally, run = _Tally(), _Tally()
        position, run_start = len(_MAGIC), 0
        reason = "it has no end record"
        while position + _RECORD.size <= self.size:
            opcode, length = _RECORD.unpack_from(self._map, position)
            content = position + _RECORD.size
            if opcode in (Opcode.FOOTER, Opcode.DATA_END):
                reason = ""
                break
            if not 0 < opcode <= Opcode.DATA_END or content + length > self.size:
                reason = "its last record is cut off"
                break
            if run.counts and (opcode == Opcode.CHUNK or position - run_start > _RUN_MAX):
                self._end_run(run, run_start, position)
                run = _Tally()
            try:
                if opcode == Opcode.CHUNK:
                    self._scan_chunk(content, tally)
                elif opcode == Opcode.MESSAGE:
                    run_start = run_start if run.counts else position
                    channel, _, log_ns, _ = _MESSAGE.unpack_from(self._map, content)
                    tally.add(channel, log_ns)
                    run.add(channel, log_ns)
                elif opcode == Opcode.METADATA:
                    self._take_metadata(content, length)
                else:
                    self._take_definition(opcode, self._map[content : content + length])
            except _DAMAGE as error:
                reason = f"a record is damaged ({error!r})"
                break
            position = content + length
        if run.counts:
            self._end_run(run, run_start, position)
        self.counts = tally.counts
        self.span_ns = tally.span_ns if tally.counts else (0, 0)
        self._report(reason, position)

    def _report(self, reason: str, position: int) -> None:
        total = sum(self.counts.values())
        if reason:
            self.complete = False
            _LOG.warning(
                "%s: the file is incomplete (%s); read linearly, %d messages up to byte %d of %d are there",
                self.path, reason, total, position, self.size,
            )  # fmt: skip
        else:
            _LOG.warning("%s: the file has no usable index; read linearly, %d messages", self.path, total)

    def _end_run(self, run: _Tally, start: int, end: int) -> None:
        self._blocks.append(_Block(start, end - start, run.span_ns, None, end - start, frozenset(run.counts)))

    def _scan_chunk(self, content: int, tally: _Tally) -> None:
        first_ns, last_ns, size, _, name_length = _CHUNK.unpack_from(self._map, content)
        name_at = content + _CHUNK.size
        compression = self._map[name_at : name_at + name_length].decode()
        (length,) = struct.unpack_from("<Q", self._map, name_at + name_length)
        block = _Block(name_at + name_length + 8, length, (first_ns, last_ns), compression, size)
        buffer, start, end = self._unpack(block)
        channels = set()
        for position, opcode, record_length in _walk(buffer, start, end):
            if opcode == Opcode.MESSAGE:
                channel, _, log_ns, _ = _MESSAGE.unpack_from(buffer, position)
                tally.add(channel, log_ns)
                channels.add(channel)
            else:
                self._take_definition(opcode, bytes(buffer[position : position + record_length]))
        block.channels = frozenset(channels)
        self._blocks.append(block)

    def _take_definition(self, opcode: int, data: bytes) -> None:
        stream = ReadDataStream(io.BytesIO(data))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            self.channels[channel.id] = channel

    def _take_metadata(self, content: int, length: int) -> None:
        record = Metadata.read(ReadDataStream(io.BytesIO(self._map[content : content + length])))
        self.metadata[record.name] = record.metadata

    def _unpack(self, block: _Block) -> tuple[mmap.mmap | bytes, int, int]:
        """Buffer with the records of a block, and where they begin and end in it."""
        if not block.compression:
            return self._map, block.start, block.start + block.length
        stored = self._map[block.start : block.start + block.length]
        chunk = Chunk(block.compression, stored, block.span_ns[1], block.span_ns[0], 0, block.size)
        try:
            stream, length = get_chunk_data_stream(chunk)
        except UnsupportedCompressionError as error:
            raise RuntimeError(
                f"{self.path}: chunks with compression '{block.compression}' cannot be read; install the Python package "
                "for it (lz4, zstandard)"
            ) from error
        data = stream.read(length)
        return data, 0, len(data)

    def messages(
        self,
        channels: frozenset[int],
        *,
        bound_ns: int = 0,
        reverse: bool = False,
        file_order: bool = False,
        after: Position | None = None,
    ) -> Iterator[StoredMessage]:
        """Iterate over messages by time of reception, those of the same time in the order of the file.

        Args:
            channels: numbers of the wanted channels.
            bound_ns: earliest time; with `reverse` the latest.
            reverse: from late to early.
            file_order: in the order of the file; `reverse` is then ignored.
            after: leave out everything up to and including this place.
        """
        blocks = [
            (number, block)
            for number, block in enumerate(self._blocks)
            if (block.channels is None or block.channels & channels)
            and (block.span_ns[0] <= bound_ns if reverse else block.span_ns[1] >= bound_ns)
        ]

        def wanted(place: Position) -> bool:
            if after is not None and (place >= after if reverse else place <= after):
                return False
            return place.log_ns <= bound_ns if reverse else place.log_ns >= bound_ns

        if file_order:
            for number, block in blocks:
                for entry in self._entries(number, block, channels):
                    if entry.place.log_ns >= bound_ns and (after is None or entry.place[1:] > after[1:]):
                        yield entry.message()
            return

        def load(number: int, block: _Block) -> list[Entry]:
            return [entry for entry in self._entries(number, block, channels) if wanted(entry.place)]

        edge = 1 if reverse else 0
        due = [(block.span_ns[edge], partial(load, number, block)) for number, block in blocks]
        yield from merge(due, reverse=reverse)

    def _entries(self, number: int, block: _Block, channels: frozenset[int]) -> list[Entry]:
        """Wanted messages of a block in the order of the file, not yet copied."""
        entries = []
        try:
            buffer, start, end = self._unpack(block)
            for position, opcode, length in _walk(buffer, start, end):
                if opcode != Opcode.MESSAGE:
                    continue
                channel, _, log_ns, publish_ns = _MESSAGE.unpack_from(buffer, position)
                if channel in channels:
                    data = slice(position + _MESSAGE.size, position + length)
                    entries.append(Entry(Position(log_ns, number, position), channel, publish_ns, data, buffer))
        except _DAMAGE as error:
            raise RuntimeError(
                f"{self.path}: the chunk at byte {block.start} is damaged ({error!r}); 'mcap recover' saves the others"
            ) from error
        return entries


def _walk(buffer: mmap.mmap | bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Offset of the content, opcode and length of each record.

    Raises:
        ValueError: a record is longer than the buffer.
    """
    position = start
    while position < end:
        opcode, length = _RECORD.unpack_from(buffer, position)
        content = position + _RECORD.size
        if content + length > end:
            raise ValueError("a record in a chunk is longer than the chunk")
        yield content, opcode, length
        position = content + length
