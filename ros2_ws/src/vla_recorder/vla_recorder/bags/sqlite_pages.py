# SPDX-License-Identifier: Apache-2.0

"""Rows of the table ``messages`` straight from the pages of a damaged sqlite3 file, without its tree.

Where the file is cut off, the tree above the pages is usually lost, because SQLite writes its upper parts late; the pages
with the rows are all there. Layout: https://www.sqlite.org/fileformat2.html, sections 1.5, 1.6 and 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_HEADER = 100
_LEAF = 0x0D
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_COLUMNS = 4


class Row(NamedTuple):
    """Where a message lies.

    Attributes:
        stamp: Time of reception [ns].
        number: Its row number.
        topic: Number of the topic.
        head: Offset and length of the part of its data that lies in the leaf page.
        overflow: First page with the rest of the data, 0 if there is none.
        rest: Length of the rest.
    """

    stamp: int
    number: int
    topic: int
    head: tuple[int, int]
    overflow: int
    rest: int


class Pages:
    """The pages of one file."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the header of the file; `stream` stays in use."""
        self._stream = stream
        header = self._at(0, _HEADER)
        size = int.from_bytes(header[16:18], "big")
        # The field has two bytes, and 1 stands for the size that does not fit.
        self.page_size = 65536 if size == 1 else max(size, 512)
        self._usable = self.page_size - header[20]
        self.stated = int.from_bytes(header[28:32], "big")
        self.present = stream.seek(0, 2) // self.page_size

    def _at(self, offset: int, length: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(length)

    def messages(self, topics: frozenset[int]) -> list[Row]:
        """Return the rows of some topics by time; each row once."""
        found: dict[int, Row] = {}
        for page in range(self.present):
            base = page * self.page_size
            start = base + (_HEADER if page == 0 else 0)
            if self._at(start, 1)[:1] != bytes([_LEAF]):
                continue
            content = self._at(base, self.page_size)
            for row in self._leaf(content, base, start - base):
                if row.topic in topics:
                    found.setdefault(row.number, row)
        return sorted(found.values())

    def _leaf(self, content: bytes, base: int, start: int) -> Iterator[Row]:
        count = int.from_bytes(content[start + 3 : start + 5], "big")
        for index in range(count):
            at = start + 8 + 2 * index
            cell = int.from_bytes(content[at : at + 2], "big")
            row = self._cell(content, base, cell)
            if row is not None:
                yield row

    def _cell(self, content: bytes, base: int, at: int) -> Row | None:
        """Parse a cell; None unless it is a row of four columns: its number, two integers and a blob."""
        payload, at = _varint(content, at)
        number, at = _varint(content, at)
        local = self._local(payload)
        length, column = _varint(content, at)
        kinds: list[int] = []
        while column < at + length and len(kinds) <= _COLUMNS:
            kind, column = _varint(content, column)
            kinds.append(kind)
        if len(kinds) != _COLUMNS or kinds[0] != 0 or kinds[3] < 12 or kinds[3] % 2 or at + local > len(content):
            return None
        values = []
        for kind in kinds[1:3]:
            size = _INTEGERS.get(kind, 0)
            if not size and kind not in (8, 9):
                return None
            values.append(int.from_bytes(content[column : column + size], "big", signed=True) if size else kind - 8)
            column += size
        blob, here = (kinds[3] - 12) // 2, at + local - column
        if column - at + blob != payload or here < 0:
            return None
        overflow = int.from_bytes(content[at + local : at + local + 4], "big") if local < payload else 0
        return Row(values[1], number, values[0], (base + column, min(here, blob)), overflow, blob - min(here, blob))

    def _local(self, payload: int) -> int:
        """Return how much of a payload lies in the leaf page."""
        if payload <= self._usable - 35:
            return payload
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (payload - least) % (self._usable - 4)
        return local if local <= self._usable - 35 else least

    def data(self, row: Row) -> bytes | None:
        """Return the data of a message; None if a part of it lies behind the end of the file."""
        parts = [self._at(*row.head)]
        page, rest = row.overflow, row.rest
        while rest:
            if not 0 < page <= self.present:
                return None
            content = self._at((page - 1) * self.page_size, self._usable)
            parts.append(content[4 : 4 + rest])
            rest -= len(parts[-1])
            page = int.from_bytes(content[:4], "big")
        return b"".join(parts)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and where it ends; behind the end of the page it is 0."""
    value = 0
    for length in range(8):
        byte = content[at + length] if at + length < len(content) else 0
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length + 1
    last = content[at + 8] if at + 8 < len(content) else 0
    return value << 8 | last, at + 9
