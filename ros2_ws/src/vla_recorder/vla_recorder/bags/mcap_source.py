# SPDX-License-Identifier: Apache-2.0

"""An MCAP file as a bag source: by its index, or by a scan where the index is missing, damaged or cut off.

Every chunk is verified by its checksum before a message of it is given out.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    AttachmentIndex,
    Channel,
    ChunkIndex,
    McapRecord,
    MetadataIndex,
    Schema,
    Statistics,
)
from mcap.stream_reader import StreamReader

from vla_recorder.bags import mcap_records as records
from vla_recorder.bags.mcap_records import MAGIC, RECORD, Located
from vla_recorder.bags.merge import Block, in_turn, merged
from vla_recorder.bags.source import Attachment, Connection, DamagedError, RawMessage

_RUN_MAX = 4 << 20
_HEADER_MAX = 1 << 10
_DAMAGE = (McapError, struct.error, ValueError, KeyError)


@dataclass(slots=True)
class _Stored:
    """A chunk, or a run of messages outside chunks, in the file.

    Attributes:
        offset: Where its content begins.
        length: Bytes of content.
        first_ns: Oldest time of reception.
        last_ns: Newest time of reception.
        chunk: It is a chunk record.
        partial: The file ends within it.
        channels: Channels with messages in it; None where that is not known.
    """

    offset: int
    length: int
    first_ns: int
    last_ns: int
    chunk: bool = True
    partial: bool = False
    channels: frozenset[int] | None = None


@dataclass(slots=True)
class _Run:
    """Messages outside chunks that follow each other."""

    start: int
    count: int = 0
    first_ns: int = 1 << 64
    last_ns: int = 0
    channels: set[int] = field(default_factory=set)


class McapSource:
    """One open MCAP file.

    Attributes:
        path: Its name in messages.
        connections: Topics by number.
        counts: Messages by number of the topic; after a scan only those that are readable.
        span_ns: First and last time of reception.
        metadata: Metadata records by name, the last of each name.
        holes: (byte, bytes, reason) of parts that were passed over, with `salvage`.
        complete: The file has its end record and an index.
    """

    def __init__(self, path: Path, stream: BinaryIO, *, salvage: bool = False) -> None:
        """Read the index, or scan the file.

        Args:
            path: Name in messages.
            stream: The content; closed by `close`.
            salvage: Pass over damaged parts instead of stopping at the first.

        Raises:
            DamagedError: It is no MCAP file.
        """
        self.path = path
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        self._salvage = salvage
        if self._at(0, len(MAGIC)) != MAGIC:
            raise DamagedError("it does not begin with the signature of MCAP")
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self.counts: dict[int, int] = {}
        self.span_ns = (0, 0)
        self.metadata: dict[str, dict[str, str]] = {}
        self.holes: list[tuple[int, int, str]] = []
        self.complete = True
        # The recorder writes in the order of reception. There, time that runs backwards is a clock that was set, and
        # sorting would put what came after the jump first.
        self._as_written = records.library(self._at(0, _HEADER_MAX)) == records.LIBRARY
        self._damage = ""
        self._blocks: list[_Stored] = []
        self._attachments: list[tuple[int, int]] = []
        if not self._read_summary():
            self._scan()
        self.connections: dict[int, Connection] = {
            number: records.connection(channel, self._schemas.get(channel.schema_id))
            for number, channel in self._channels.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    @property
    def damage(self) -> str:
        """What could not be read, as far as it is known."""
        return self._damage

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def _at(self, offset: int, length: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(length)

    # ---------------------------------------------------------------- index

    def _read_summary(self) -> bool:
        """Read the index; False where it is missing, damaged or does not lead to every message."""
        footer_at = self._size - len(MAGIC) - records.FOOTER.size
        if footer_at < len(MAGIC):
            return False
        tail = self._at(footer_at, records.FOOTER.size + len(MAGIC))
        opcode, _, start, _, crc = records.FOOTER.unpack_from(tail)
        if tail[records.FOOTER.size :] != MAGIC or opcode != Opcode.FOOTER or not len(MAGIC) <= start < footer_at:
            return False
        summary = self._at(start, footer_at - start)
        if crc and zlib.crc32(tail[: records.FOOTER.size - 4], zlib.crc32(summary)) != crc:
            return False
        try:
            found = list(StreamReader(io.BytesIO(summary + tail), skip_magic=True).records)
        except _DAMAGE:
            return False
        return self._take_summary(found)

    def _take_summary(self, found: list[McapRecord]) -> bool:
        self._schemas = {record.id: record for record in found if isinstance(record, Schema)}
        self._channels = {record.id: record for record in found if isinstance(record, Channel)}
        statistics = next((record for record in found if isinstance(record, Statistics)), None)
        chunks = [record for record in found if isinstance(record, ChunkIndex)]
        if statistics is None or len(chunks) != statistics.chunk_count:
            return False
        known = all(number in self._channels for number in statistics.channel_message_counts)
        typed = all(not channel.schema_id or channel.schema_id in self._schemas for channel in self._channels.values())
        if not known or not typed or (statistics.message_count and not chunks):
            return False
        self.counts = dict(statistics.channel_message_counts)
        self.span_ns = (statistics.message_start_time, statistics.message_end_time)
        for chunk in sorted(chunks, key=lambda record: record.chunk_start_offset):
            self._blocks.append(
                _Stored(
                    chunk.chunk_start_offset + RECORD.size,
                    chunk.chunk_length - RECORD.size,
                    chunk.message_start_time,
                    chunk.message_end_time,
                    channels=frozenset(chunk.message_index_offsets) or None,
                )
            )
        for record in found:
            if isinstance(record, MetadataIndex):
                self._take_metadata(record.offset + RECORD.size, record.length - RECORD.size)
            elif isinstance(record, AttachmentIndex):
                self._attachments.append((record.offset + RECORD.size, record.length - RECORD.size))
        return True

    def _take_metadata(self, offset: int, length: int) -> None:
        try:
            name, values = records.metadata_record(self._at(offset, length))
        except (*_DAMAGE, EOFError) as error:
            self.note(f"the metadata record at byte {offset} is damaged ({error})")
            return
        self.metadata[name] = values

    def note(self, reason: str) -> None:
        """Remember a damage, unless another is known already."""
        self._damage = self._damage or f"{self.path}: {reason}"

    # ---------------------------------------------------------------- scan

    def _scan(self) -> None:
        """Read all records up to the end or, without `salvage`, to the first damage."""
        self._schemas, self._channels, self._blocks, self._attachments = {}, {}, [], []
        self.metadata = {}
        self.complete = False
        self.counts = {}
        position, run, reason = len(MAGIC), _Run(0), "it has no end record"
        while position + RECORD.size <= self._size:
            opcode, length = RECORD.unpack(self._at(position, RECORD.size))
            content = position + RECORD.size
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                reason = ""
                break
            try:
                self._check_frame(opcode, content, length)
                run = self._scan_record(opcode, content, length, run)
                position = content + length
            except (DamagedError, *_DAMAGE, EOFError) as error:
                run = self._end_run(run, position)
                reason = f"the record at byte {position} of {self._size} cannot be used: {error}"
                if not self._salvage:
                    break
                position = self._pass_over(position, str(error))
        self._end_run(run, min(position, self._size))
        if reason and position < self._size:
            self.holes.append((position, self._size - position, reason))
        self._finish_scan(reason)

    def _check_frame(self, opcode: int, content: int, length: int) -> None:
        if not opcode:
            raise DamagedError("there are zeros where a record should begin")
        if content + length > self._size:
            if opcode == Opcode.CHUNK:
                with suppress(DamagedError):
                    self._scan_partial(content)
            raise DamagedError("the file ends within it")

    def _scan_record(self, opcode: int, content: int, length: int, run: _Run) -> _Run:
        """Take one record; returns the run of loose messages that is open afterwards."""
        if opcode != Opcode.MESSAGE and run.count:
            run = self._end_run(run, content - RECORD.size)
        if opcode == Opcode.CHUNK:
            self._scan_chunk(content, length)
        elif opcode == Opcode.MESSAGE:
            if run.count and content - run.start > _RUN_MAX:
                run = self._end_run(run, content - RECORD.size)
            run = run if run.count else _Run(content - RECORD.size)
            [message] = records.locate(
                self._at(content - RECORD.size, RECORD.size + length), 0, RECORD.size + length, None
            )
            self._check_known(message.channel)
            self._tally([message])
            run.count += 1
            run.first_ns, run.last_ns = min(run.first_ns, message.log_ns), max(run.last_ns, message.log_ns)
            run.channels.add(message.channel)
        elif opcode == Opcode.METADATA:
            self._take_metadata(content, length)
        elif opcode == Opcode.ATTACHMENT:
            self._attachments.append((content, length))
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            self._define(opcode, self._at(content, length))
        return run

    def _end_run(self, run: _Run, end: int) -> _Run:
        if run.count:
            stored = _Stored(run.start, end - run.start, run.first_ns, run.last_ns, chunk=False)
            stored.channels = frozenset(run.channels)
            self._blocks.append(stored)
        return _Run(0)

    def _scan_chunk(self, content: int, length: int) -> None:
        stored = _Stored(content, length, 0, 0)
        self._take_block(stored)

    def _scan_partial(self, content: int) -> None:
        """Take what is complete in the chunk within which the file ends."""
        stored = _Stored(content, self._size - content, 0, 0, partial=True)
        self._take_block(stored)

    def _take_block(self, stored: _Stored) -> None:
        messages, _ = self._load(stored, None, self._define)
        if not messages:
            return
        for message in messages:
            self._check_known(message.channel)
        times = [message.log_ns for message in messages]
        stored.first_ns, stored.last_ns = min(times), max(times)
        stored.channels = frozenset(message.channel for message in messages)
        self._tally(messages)
        self._blocks.append(stored)

    def _check_known(self, channel: int) -> None:
        if channel not in self._channels:
            raise DamagedError(f"it has messages of channel {channel}, whose description is lost")

    def _tally(self, messages: list[Located]) -> None:
        for message in messages:
            self.counts[message.channel] = self.counts.get(message.channel, 0) + 1

    def _define(self, opcode: int, content: bytes) -> None:
        if opcode == Opcode.SCHEMA:
            schema = records.schema_record(content)
            self._schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = records.channel_record(content)
            self._channels[channel.id] = channel

    def _pass_over(self, position: int, reason: str) -> int:
        """Return where reading can go on behind a damaged record: at the next chunk."""
        following = records.find_chunk(self._at, position + 1, self._size)
        self.holes.append((position, following - position, reason))
        return following

    def _finish_scan(self, reason: str) -> None:
        if self._blocks:
            self.span_ns = (min(b.first_ns for b in self._blocks), max(b.last_ns for b in self._blocks))
        total = sum(self.counts.values())
        if reason:
            last_s = (self.span_ns[1] - self.span_ns[0]) * 1e-9
            self.note(f"{reason}; {total} messages over {last_s:.3f} s are readable")

    # ---------------------------------------------------------------- messages

    def _load(
        self, stored: _Stored, chosen: frozenset[int] | None, define: Callable[[int, bytes], None] | None = None
    ) -> tuple[list[Located], bytes]:
        """Read and verify a block.

        Raises:
            DamagedError: It cannot be used.
        """
        content = self._at(stored.offset, stored.length)
        if len(content) < stored.length:
            raise DamagedError("the file ends within it")
        if stored.partial:
            buffer, start, end = records.unpack_partial(content)
        elif stored.chunk:
            buffer, start, end = records.unpack(content)
        else:
            buffer, start, end = content, 0, len(content)
        located = records.locate(
            buffer, start, end, chosen, define, partial=stored.partial, as_written=self._as_written
        )
        return located, buffer

    def _load_or_note(self, stored: _Stored, chosen: frozenset[int]) -> tuple[list[Located], bytes]:
        try:
            return self._load(stored, chosen)
        except DamagedError as error:
            self.note(
                f"the chunk at byte {stored.offset - RECORD.size} of {self._size} is damaged ({error}); messages before "
                f"{(stored.first_ns - self.span_ns[0]) * 1e-9:.3f} s of the recording are readable"
            )
            if not self._salvage:
                raise
            self.holes.append((stored.offset - RECORD.size, stored.length + RECORD.size, str(error)))
            return [], b""

    def read(self, chosen: frozenset[int]) -> Iterator[RawMessage]:
        """Yield the messages of some channels, up to the first damage (see `damage`).

        They come by time of reception, those of the recorder's own files in the order in which they were received.
        """
        blocks = [
            Block(stored.first_ns, partial(self._load_or_note, stored, chosen))
            for stored in self._blocks
            if stored.channels is None or stored.channels & chosen
        ]
        connections = self.connections
        try:
            for (log_ns, publish_ns, channel, start, end), buffer in (
                in_turn(blocks) if self._as_written else merged(blocks)
            ):
                yield RawMessage(connections[channel], log_ns, publish_ns, buffer[start:end])
        except DamagedError:
            return

    def attachments(self) -> Iterator[Attachment]:
        """Yield the files stored inside; damaged ones are noted in `damage` and left out."""
        for offset, length in self._attachments:
            try:
                yield records.attachment_record(self._at(offset, length))
            except DamagedError as error:
                self.note(str(error))
