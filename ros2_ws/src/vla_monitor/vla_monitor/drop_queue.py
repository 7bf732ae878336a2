# SPDX-License-Identifier: Apache-2.0

"""A queue that never holds up who fills it: when it is full, what comes is dropped and counted."""

import queue
from collections.abc import Callable


class DropQueue:
    """Work for one other thread.

    Attributes:
        dropped: Pieces of work that did not fit.
        done: Pieces that were carried out.
    """

    def __init__(self, size: int) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(size)
        self.dropped = self.done = 0

    def put(self, work: Callable[[], None]) -> None:
        """Add work without waiting."""
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            self.dropped += 1

    def serve(self) -> None:
        """Carry the work out until `end`; in the other thread."""
        while (work := self._queue.get()) is not None:
            work()
            self.done += 1

    def end(self, timeout_s: float) -> bool:
        """Let `serve` return after what is queued; False where there was no room to say so within `timeout_s`."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        return True
