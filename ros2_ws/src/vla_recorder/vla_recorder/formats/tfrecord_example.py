# SPDX-License-Identifier: Apache-2.0

"""tf.train.Example in protobuf's wire format, written in pieces so that images need not be in memory, and read back.

``Example { Features features = 1 }``, ``Features { map<string, Feature> feature = 1 }``, ``Feature { oneof: BytesList
bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3 }``, each with one repeated ``value = 1``; numbers are
packed. After TensorFlow's ``tensorflow/core/example/feature.proto`` and protobuf's encoding document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_recorder.formats.tfrecord import FilePart, Part, TfrecordError, part_size

_DELIMITED = 2
_BYTES, _FLOATS, _INTS = 1, 2, 3
_64_BITS = (1 << 64) - 1


class Entry(NamedTuple):
    """One named list of an Example, in the pieces that its bytes consist of."""

    name: str
    parts: list[Part]


Values = list[bytes] | NDArray[np.float32] | NDArray[np.int64]


def varint(value: int) -> bytes:
    """Return a whole number, negative ones as their 64-bit two's complement."""
    value &= _64_BITS
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def delimited(number: int, length: int) -> bytes:
    """Return what stands before a field of `length` bytes."""
    return varint(number << 3 | _DELIMITED) + varint(length)


def field(number: int, content: bytes) -> bytes:
    """Return a whole field of bytes."""
    return delimited(number, len(content)) + content


def bytes_values(values: Iterable[bytes]) -> bytes:
    """Return the inside of a BytesList."""
    return b"".join(field(1, value) for value in values)


def floats(name: str, values: ArrayLike) -> Entry:
    """Return the entry of a list of float32 values."""
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return _entry(name, _FLOATS, [field(1, content)])


def ints(name: str, values: ArrayLike) -> Entry:
    """Return the entry of a list of int64 values."""
    content = b"".join(varint(int(value)) for value in np.asarray(values).reshape(-1))
    return _entry(name, _INTS, [field(1, content)])


def texts(name: str, values: Iterable[str]) -> Entry:
    """Return the entry of a list of texts."""
    return _entry(name, _BYTES, [bytes_values(value.encode() for value in values)])


def spooled(name: str, part: FilePart) -> Entry:
    """Return the entry of a list of bytes whose inside (`bytes_values`) lies in a file."""
    return _entry(name, _BYTES, [part])


def spooled_floats(name: str, part: FilePart) -> Entry:
    """Return the entry of a list of float32 values that lie in a file, little-endian."""
    return _entry(name, _FLOATS, [delimited(1, part.size), part])


def example(entries: Iterable[Entry]) -> list[Part]:
    """Return a whole Example; the entries go by name, so that the same values always give the same bytes."""
    parts = [part for entry in sorted(entries, key=lambda entry: entry.name) for part in entry.parts]
    return [delimited(1, sum(part_size(part) for part in parts)), *parts]


def _entry(name: str, kind: int, content: Sequence[Part]) -> Entry:
    size = sum(part_size(part) for part in content)
    kind_head = delimited(kind, size)
    value_head = delimited(2, len(kind_head) + size) + kind_head
    key = field(1, name.encode())
    return Entry(name, [delimited(1, len(key) + len(value_head) + size) + key + value_head, *content])


def parse_example(data: bytes) -> dict[str, Values]:
    """Return the entries of an Example by name: lists of bytes, or arrays (n,) of float32 or int64.

    Raises:
        TfrecordError: The bytes are no Example.
    """
    found: dict[str, Values] = {}
    for _, features in _fields(memoryview(data)):
        for _, entry in _fields(features):
            parts: Mapping[int, memoryview] = dict(_fields(entry))
            found[bytes(parts[1]).decode()] = _values(parts.get(2, memoryview(b"")))
    return found


def _values(feature: memoryview) -> Values:
    for kind, content in _fields(feature):
        if kind == _BYTES:
            return [bytes(value) for _, value in _fields(content)]
        packed = b"".join(bytes(value) for _, value in _fields(content))
        if kind == _FLOATS:
            return np.frombuffer(packed, "<f4")
        return _unpacked_ints(packed)
    return []


def _unpacked_ints(packed: bytes) -> NDArray[np.int64]:
    values, position = [], 0
    view = memoryview(packed)
    while position < len(view):
        value, position = _read_varint(view, position)
        values.append(value)
    return np.array(values, np.uint64).astype(np.int64)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        if tag & 7 != _DELIMITED:
            raise TfrecordError(f"no tf.train.Example: a field of wire type {tag & 7} at byte {position}")
        length, position = _read_varint(data, position)
        if position + length > len(data):
            raise TfrecordError(f"no tf.train.Example: a field of {length} bytes at byte {position} goes past the end")
        yield tag >> 3, data[position : position + length]
        position += length


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise TfrecordError(f"no tf.train.Example: a number at byte {position} does not end")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value & _64_BITS, position
