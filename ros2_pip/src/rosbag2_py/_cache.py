# SPDX-License-Identifier: Apache-2.0

"""A thread that takes the writing off the caller, with a bounded number of bytes under way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class WriteBehind:
    """Hands entries to a sink in another thread, in order.

    The real rosbag2 drops messages when its cache is full and says so at the end; here `put` waits instead, so that
    nothing is lost.

    Args:
        capacity: bytes that may wait; a single entry may be larger.
        sink: called with each entry's values.
    """

    def __init__(self, capacity: int, sink: Callable[..., None]) -> None:
        self._capacity = capacity
        self._sink = sink
        self._entries: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._waiting = 0
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="rosbag2_writer", daemon=True)
        self._thread.start()

    def put(self, size: int, *entry: Any) -> None:
        """Queue an entry of `size` bytes; waits while the cache is full.

        Raises:
            RuntimeError: writing an earlier entry failed.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: self._error is not None or not self._waiting or self._waiting + size <= self._capacity
            )
            self._check()
            self._entries.append((size, entry))
            self._waiting += size
            self._condition.notify_all()

    def drain(self) -> None:
        """Wait until everything queued so far has been written.

        Raises:
            RuntimeError: writing failed.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._error is not None or (not self._entries and not self._busy))
            self._check()

    def close(self) -> None:
        """Write what is queued and end the thread.

        Raises:
            RuntimeError: writing failed.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise RuntimeError(f"the bag could not be written: {self._error}") from self._error

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._entries or self._closed)
                if not self._entries:
                    return
                batch = list(self._entries)
                self._entries.clear()
                self._busy = True
            for size, entry in batch:
                try:
                    self._sink(*entry)
                except Exception as error:  # noqa: BLE001 (thread border: every later call raises it)
                    with self._condition:
                        self._error = error
                        self._condition.notify_all()
                    return
                with self._condition:
                    self._waiting -= size
                    self._condition.notify_all()
