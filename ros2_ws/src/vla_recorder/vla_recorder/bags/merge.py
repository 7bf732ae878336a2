# SPDX-License-Identifier: Apache-2.0

"""Runs of messages that overlap in time, as one sequence by time of reception, in bounded memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vla_recorder.bags.mcap_records import Located
from vla_recorder.bags.source import RawMessage

BUDGET_BYTES = 128 << 20
"""Unpacked blocks that are kept at once; more that overlap are unpacked again when they are due."""

_NEVER = 1 << 64


class Block(NamedTuple):
    """A block of messages, not yet read.

    Attributes:
        first_ns: No message of it is older.
        load: Returns the messages by time and the buffer that they lie in.
    """

    first_ns: int
    load: Callable[[], tuple[list[Located], bytes]]


@dataclass(slots=True)
class _Run:
    block: Block
    messages: list[Located]
    buffer: bytes | None
    size: int
    position: int = 0

    @property
    def due_ns(self) -> int:
        return self.messages[self.position].log_ns


def in_turn(blocks: Sequence[Block]) -> Iterator[tuple[Located, bytes]]:
    """Yield the messages of all blocks, one block after the other."""
    for block in blocks:
        messages, buffer = block.load()
        for message in messages:
            yield message, buffer


def merged(blocks: Sequence[Block], *, budget: int = BUDGET_BYTES) -> Iterator[tuple[Located, bytes]]:
    """Yield the messages of all blocks by time; those of equal time in the order of the blocks.

    Args:
        blocks: In the order of the file.
        budget: How many unpacked bytes are kept at once [B]; one block may be larger.
    """
    waiting = deque(sorted(enumerate(blocks), key=lambda item: (item[1].first_ns, item[0])))
    heap: list[tuple[int, int, _Run]] = []
    while heap or waiting:
        while waiting and (not heap or waiting[0][1].first_ns <= heap[0][0]):
            number, block = waiting.popleft()
            messages, buffer = block.load()
            if messages:
                run = _Run(block, messages, buffer, len(buffer))
                heapq.heappush(heap, (run.due_ns, number, run))
                _keep_within(heap, budget)
        if not heap:
            continue
        _, number, run = heapq.heappop(heap)
        limit = min(heap[0][0] if heap else _NEVER, waiting[0][1].first_ns if waiting else _NEVER)
        if run.buffer is None:
            run.buffer = run.block.load()[1]
            _keep_within(heap, budget - run.size)
        yield from _take(run, limit)
        if run.position < len(run.messages):
            heapq.heappush(heap, (run.due_ns, number, run))


def _take(run: _Run, limit_ns: int) -> Iterator[tuple[Located, bytes]]:
    """Yield the first message of a run and all that follow before `limit_ns`."""
    buffer, messages = run.buffer, run.messages
    if buffer is None:
        raise AssertionError("the block was not loaded")
    while True:
        yield messages[run.position], buffer
        run.position += 1
        if run.position == len(messages) or messages[run.position].log_ns >= limit_ns:
            return


def _keep_within(heap: list[tuple[int, int, _Run]], budget: int) -> None:
    """Let go of the buffers that are needed last."""
    kept = sum(run.size for _, _, run in heap if run.buffer is not None)
    if kept <= budget:
        return
    for _, _, run in sorted(heap, key=lambda item: item[:2], reverse=True)[:-1]:
        if run.buffer is not None and kept > budget:
            run.buffer = None
            kept -= run.size


def merged_files(files: Sequence[tuple[int, Callable[[], Iterator[RawMessage]]]]) -> Iterator[RawMessage]:
    """Yield the messages of several files by time; a file is opened when its first message is due.

    Args:
        files: First time of reception [ns] and what opens the file, in the order of the bag.
    """
    waiting = deque(sorted(enumerate(files), key=lambda item: (item[1][0], item[0])))
    heap: list[tuple[int, int, RawMessage, Iterator[RawMessage]]] = []
    while heap or waiting:
        while waiting and (not heap or waiting[0][1][0] <= heap[0][0]):
            number, (_, opened) = waiting.popleft()
            messages = opened()
            first = next(messages, None)
            if first is not None:
                heapq.heappush(heap, (first.log_ns, number, first, messages))
        if not heap:
            continue
        _, number, message, messages = heapq.heappop(heap)
        if not heap and not waiting:
            yield message
            yield from messages
            return
        limit = min(heap[0][0] if heap else _NEVER, waiting[0][1][0] if waiting else _NEVER)
        following: RawMessage | None = message
        while following is not None and (following is message or following.log_ns < limit):
            yield following
            following = next(messages, None)
        if following is not None:
            heapq.heappush(heap, (following.log_ns, number, following, messages))
