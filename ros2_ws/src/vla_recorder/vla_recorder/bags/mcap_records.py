# SPDX-License-Identifier: Apache-2.0

"""Records of an MCAP file as bytes: chunks are unpacked and verified, messages are located without being copied.

Layout: MCAP specification, version 0.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Metadata, Schema

from vla_recorder.bags.source import Attachment, Connection, DamagedError

MAGIC = b"\x89MCAP0\r\n"
LIBRARY = "vla_recorder"
"""Library in the header of the recorder's own files."""
RECORD = struct.Struct("<BQ")
FOOTER = struct.Struct("<BQQQI")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQII")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_CHUNK_MAX = 1 << 32
_WINDOW = 4 << 20
_OVERLAP = 128
_MESSAGE_OPCODE = int(Opcode.MESSAGE)
# A chunk record: opcode, length below 2**40, then times, size and checksum.
_CHUNK_START = re.compile(rb"\x06(?=.{5}\x00{3}.{28}(?:\x04\x00{3}zstd|\x03\x00{3}lz4|\x00{4}))", re.DOTALL)

Buffer = bytes | memoryview


class Located(NamedTuple):
    """A message inside an unpacked block."""

    log_ns: int
    publish_ns: int
    channel: int
    start: int
    end: int


def library(start: bytes) -> str:
    """Return which library wrote a file, from its first bytes; empty where they do not tell."""
    at = len(MAGIC) + RECORD.size
    try:
        (profile,) = _U32.unpack_from(start, at)
        (length,) = _U32.unpack_from(start, at + _U32.size + profile)
    except struct.error:
        return ""
    begin = at + 2 * _U32.size + profile
    return start[begin : begin + length].decode(errors="replace")


class ChunkHeader(NamedTuple):
    """Fields of a chunk record; `start` and `length` tell where its stored bytes are within the record's content."""

    first_ns: int
    last_ns: int
    size: int
    crc: int
    compression: str
    start: int
    length: int


def chunk_header(content: Buffer) -> ChunkHeader:
    """Parse the beginning of a chunk record.

    Raises:
        DamagedError: It is too short or makes no sense.
    """
    try:
        first_ns, last_ns, size, crc, name_length = _CHUNK.unpack_from(content)
        name_end = _CHUNK.size + name_length
        if name_length > 16:
            raise DamagedError("its header makes no sense")
        compression = bytes(content[_CHUNK.size : name_end]).decode("ascii")
        (length,) = _U64.unpack_from(content, name_end)
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedError("its header is cut off or makes no sense") from error
    if size > _CHUNK_MAX:
        raise DamagedError(f"it claims to hold {size} bytes")
    return ChunkHeader(first_ns, last_ns, size, crc, compression, name_end + 8, length)


def unpack(content: bytes) -> tuple[bytes, int, int]:
    """Return a buffer with the records of a whole chunk, and where they begin and end in it.

    Raises:
        DamagedError: The chunk cannot be unpacked, or its checksum is wrong.
    """
    header = chunk_header(content)
    end = header.start + header.length
    if end > len(content):
        raise DamagedError("it is longer than its record")
    if not header.compression:
        buffer, start = content, header.start
    else:
        buffer, start = _decompress(memoryview(content)[header.start : end], header), 0
        end = len(buffer)
    if end - start != header.size:
        raise DamagedError(f"it unpacks to {end - start} instead of {header.size} bytes")
    if header.crc and zlib.crc32(memoryview(buffer)[start:end]) != header.crc:
        raise DamagedError("its checksum is wrong")
    return buffer, start, end


def _decompress(stored: memoryview, header: ChunkHeader) -> bytes:
    try:
        if header.compression == "zstd":
            known = zstandard.frame_content_size(stored)
            if known not in (-1, header.size):
                raise DamagedError(f"it unpacks to {known} instead of {header.size} bytes")
            return zstandard.ZstdDecompressor().decompress(stored, max_output_size=header.size)
        if header.compression == "lz4":
            data: bytes = lz4.frame.decompress(stored)
            return data
    except (zstandard.ZstdError, RuntimeError, MemoryError, ValueError) as error:
        raise DamagedError(f"it cannot be unpacked ({error})") from error
    raise DamagedError(f"its compression {header.compression!r} is not known")


def unpack_partial(content: bytes) -> tuple[bytes, int, int]:
    """Like `unpack` for a chunk that ends before its length says; the result may end within a record.

    What a power cut left as zeros at the end does not count as written.

    Raises:
        DamagedError: Not even its beginning is usable.
    """
    header = chunk_header(content)
    stored = content[header.start :].rstrip(b"\0")
    try:
        if header.compression == "zstd":
            stored = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
        elif header.compression == "lz4":
            stored = lz4.frame.LZ4FrameDecompressor().decompress(stored)
        elif header.compression:
            raise DamagedError(f"its compression {header.compression!r} is not known")
    except (zstandard.ZstdError, RuntimeError, MemoryError) as error:
        raise DamagedError(f"it cannot be unpacked ({error})") from error
    return stored, 0, len(stored)


def walk(buffer: Buffer, start: int, end: int, *, partial: bool = False) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, begin and end of the content of every record.

    Args:
        buffer: Unpacked records.
        start: Where they begin.
        end: Where they end.
        partial: The last record may be cut off.

    Raises:
        DamagedError: A record is longer than the buffer, unless `partial`.
    """
    position = start
    while position + RECORD.size <= end:
        opcode, length = RECORD.unpack_from(buffer, position)
        content = position + RECORD.size
        position = content + length
        if position > end:
            break
        yield opcode, content, position
    if position != end and not partial:
        raise DamagedError("a record in it is cut off")


def locate(
    buffer: Buffer,
    start: int,
    end: int,
    chosen: frozenset[int] | None,
    define: Callable[[int, bytes], None] | None = None,
    *,
    partial: bool = False,
    as_written: bool = False,
) -> list[Located]:
    """Return the messages of some channels (None: all) by time of reception, in the order of the file where equal.

    Args:
        buffer: Unpacked records.
        start: Where they begin.
        end: Where they end.
        chosen: Numbers of channels.
        define: Called with opcode and content of every other record.
        partial: The last record may be cut off.
        as_written: Keep the order of the file.

    Raises:
        DamagedError: A record is cut off.
    """
    found: list[Located] = []
    newest, ordered = -1, True
    for opcode, content, stop in walk(buffer, start, end, partial=partial):
        if opcode != _MESSAGE_OPCODE:
            if define is not None:
                define(opcode, bytes(buffer[content:stop]))
            continue
        if stop - content < _MESSAGE.size:
            raise DamagedError("a message in it is cut off")
        channel, _, log_ns, publish_ns = _MESSAGE.unpack_from(buffer, content)
        if chosen is None or channel in chosen:
            ordered = ordered and log_ns >= newest
            newest = log_ns
            found.append(Located(log_ns, publish_ns, channel, content + _MESSAGE.size, stop))
    if not ordered and not as_written:
        found.sort(key=lambda message: message.log_ns)
    return found


def next_chunk(window: bytes, start: int) -> int:
    """Return where in a window the next thing that looks like a chunk record begins; -1 if there is none."""
    for match in _CHUNK_START.finditer(window, start):
        at = match.start()
        (length,) = _U64.unpack_from(window, at + 1)
        try:
            header = chunk_header(window[at + RECORD.size : at + RECORD.size + 64])
        except DamagedError:
            continue
        if header.start + header.length == length and header.first_ns <= header.last_ns:
            return at
    return -1


def find_chunk(at: Callable[[int, int], bytes], start: int, size: int) -> int:
    """Return where the next usable chunk of a file begins; the size of the file if there is none.

    Args:
        at: Reads bytes: offset, length.
        start: Where to begin to search.
        size: Size of the file.
    """
    while start < size:
        window = at(start, _WINDOW)
        found = next_chunk(window, 0)
        while found >= 0:
            if _is_chunk(at, start + found):
                return start + found
            found = next_chunk(window, found + 1)
        # Windows overlap, because a header may lie across their border.
        start += len(window) - _OVERLAP if len(window) == _WINDOW else len(window)
    return size


def _is_chunk(at: Callable[[int, int], bytes], offset: int) -> bool:
    """Whether a whole chunk with a right checksum, or the last and unfinished one, begins here."""
    _, length = RECORD.unpack(at(offset, RECORD.size))
    content = at(offset + RECORD.size, length)
    if len(content) < length:
        return True
    try:
        unpack(content)
    except DamagedError:
        return False
    return True


def schema_record(content: bytes) -> Schema:
    """Parse a schema."""
    schema: Schema = Schema.read(ReadDataStream(io.BytesIO(content)))
    return schema


def channel_record(content: bytes) -> Channel:
    """Parse a channel."""
    channel: Channel = Channel.read(ReadDataStream(io.BytesIO(content)))
    return channel


def metadata_record(content: bytes) -> tuple[str, dict[str, str]]:
    """Parse a metadata record: its name and content."""
    record = Metadata.read(ReadDataStream(io.BytesIO(content)))
    return record.name, record.metadata


def attachment_record(content: bytes) -> Attachment:
    """Parse and verify an attachment.

    Raises:
        DamagedError: Its checksum is wrong or it is cut off.
    """
    try:
        name, position = _text(content, 16)
        media_type, position = _text(content, position)
        (length,) = _U64.unpack_from(content, position)
        end = position + 8 + length
        (crc,) = _U32.unpack_from(content, end)
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedError(f"an attachment is damaged ({error})") from error
    if crc and zlib.crc32(memoryview(content)[:end]) != crc:
        raise DamagedError(f"the attachment {name!r} has a wrong checksum")
    return Attachment(name, media_type, content[position + 8 : end])


def _text(content: bytes, at: int) -> tuple[str, int]:
    (length,) = _U32.unpack_from(content, at)
    return content[at + 4 : at + 4 + length].decode(), at + 4 + length


def connection(channel: Channel, schema: Schema | None) -> Connection:
    """Return what the two records say of a topic."""
    return Connection(
        topic=channel.topic,
        type="" if schema is None else schema.name,
        encoding=channel.message_encoding,
        definition="" if schema is None else schema.data.decode("utf-8", "replace"),
        definition_encoding="" if schema is None else schema.encoding,
        qos=channel.metadata.get("offered_qos_profiles", ""),
        type_hash=channel.metadata.get("topic_type_hash", ""),
    )
