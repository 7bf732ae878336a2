# SPDX-License-Identifier: Apache-2.0

"""Merging the messages of blocks by time of reception; a block is unpacked when its first message is due."""

from __future__ import annotations

import heapq
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Position(NamedTuple):
    """Place of a message: time of reception (ns), block, and offset in the block."""

    log_ns: int
    block: int
    offset: int


class StoredMessage(NamedTuple):
    """A message and its place."""

    position: Position
    channel: int
    publish_ns: int
    data: bytes


class Entry(NamedTuple):
    """A message in an unpacked block, not yet copied."""

    place: Position
    channel: int
    publish_ns: int
    data: slice
    buffer: mmap.mmap | bytes

    def message(self) -> StoredMessage:
        """Copy the message out of the block."""
        return StoredMessage(self.place, self.channel, self.publish_ns, self.buffer[self.data])


def merge(blocks: Sequence[tuple[int, Callable[[], list[Entry]]]], *, reverse: bool = False) -> Iterator[StoredMessage]:
    """Iterate over the messages of all blocks by time, those of the same time by place in the file.

    Args:
        blocks: time of the first message (ns; of the last if `reverse`) and a function that unpacks the block.
        reverse: from late to early.
    """
    sign = -1 if reverse else 1
    waiting = sorted(blocks, key=lambda block: sign * block[0], reverse=True)
    heap: list[tuple[tuple[int, int, int], Iterator[Entry], Entry]] = []

    def key(entry: Entry) -> tuple[int, int, int]:
        return sign * entry.place.log_ns, sign * entry.place.block, sign * entry.place.offset

    while heap or waiting:
        while waiting and (not heap or sign * waiting[-1][0] <= heap[0][0][0]):
            entries = iter(sorted(waiting.pop()[1](), key=key))
            first = next(entries, None)
            if first is not None:
                heapq.heappush(heap, (key(first), entries, first))
        if not heap:
            continue
        _, entries, entry = heap[0]
        yield entry.message()
        following = next(entries, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (key(following), entries, following))
