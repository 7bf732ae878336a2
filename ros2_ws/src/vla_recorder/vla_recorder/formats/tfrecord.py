# SPDX-License-Identifier: Apache-2.0

"""TFRecord files: records with a length and two checksums each, written from pieces and read back.

A record is ``uint64 length, uint32 masked_crc32c(length), data, uint32 masked_crc32c(data)``, little-endian, after
TensorFlow's ``tensorflow/core/lib/io/record_writer.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vla_recorder.formats.base import DatasetError
from vla_recorder.formats.crc32c import combine, crc32c

_MASK_DELTA = 0xA282EAD8
_CHUNK = 1 << 20
_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
FRAMING_BYTES = _HEAD.size + _CRC.size
"""What a record takes beyond its data."""


class TfrecordError(DatasetError):
    """A TFRecord file is damaged."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that is a piece of a record: its size [bytes] and the CRC-32C of its content."""

    path: Path
    size: int
    crc: int


Part = bytes | FilePart


def masked(crc: int) -> int:
    """Return a checksum as TFRecord files store it."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def part_size(part: Part) -> int:
    """Return the length of a piece [bytes]."""
    return part.size if isinstance(part, FilePart) else len(part)


def write_record(stream: BinaryIO, parts: Sequence[Part]) -> int:
    """Append one record that consists of pieces and return its data's length [bytes].

    The pieces that are files are copied in chunks; their checksums are trusted here and proven when the file is read back.
    """
    size = sum(part_size(part) for part in parts)
    crc = 0
    for part in parts:
        crc = combine(crc, part.crc, part.size) if isinstance(part, FilePart) else crc32c(part, crc)
    length = struct.pack("<Q", size)
    stream.write(_HEAD.pack(size, masked(crc32c(length))))
    for part in parts:
        if isinstance(part, FilePart):
            _copy(part, stream)
        else:
            stream.write(part)
    stream.write(_CRC.pack(masked(crc)))
    return size


def _copy(part: FilePart, stream: BinaryIO) -> None:
    copied = 0
    with part.path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            stream.write(chunk)
            copied += len(chunk)
    if copied != part.size:
        raise TfrecordError(
            f"{part.path}: has {copied} bytes, {part.size} were written to it. Is the disk full, or did another program "
            "change the file?"
        )


def count_records(path: Path) -> int:
    """Return the number of records of a file after proving every checksum, in bounded memory.

    Raises:
        TfrecordError: The file is cut off or a checksum is wrong.
    """
    count = 0
    with path.open("rb") as stream:
        while (length := _head(stream, path, count)) is not None:
            crc, left = 0, length
            while left:
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise _cut(path, count)
                crc = crc32c(chunk, crc)
                left -= len(chunk)
            _check(stream, path, count, crc)
            count += 1
    return count


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of every record; checksums are proven.

    Raises:
        TfrecordError: The file is cut off or a checksum is wrong.
    """
    count = 0
    with path.open("rb") as stream:
        while (length := _head(stream, path, count)) is not None:
            data = stream.read(length)
            if len(data) != length:
                raise _cut(path, count)
            _check(stream, path, count, crc32c(data))
            yield data
            count += 1


def _head(stream: BinaryIO, path: Path, count: int) -> int | None:
    head = stream.read(_HEAD.size)
    if not head:
        return None
    if len(head) != _HEAD.size:
        raise _cut(path, count)
    length, crc = _HEAD.unpack(head)
    if crc != masked(crc32c(head[:8])):
        raise TfrecordError(f"{path}: the length of record {count} does not match its checksum; copy the file again")
    return int(length)


def _check(stream: BinaryIO, path: Path, count: int, crc: int) -> None:
    tail = stream.read(_CRC.size)
    if len(tail) != _CRC.size:
        raise _cut(path, count)
    if _CRC.unpack(tail)[0] != masked(crc):
        raise TfrecordError(f"{path}: the data of record {count} do not match their checksum; copy the file again")


def _cut(path: Path, count: int) -> TfrecordError:
    return TfrecordError(f"{path}: the file ends within record {count}; was it copied completely?")
