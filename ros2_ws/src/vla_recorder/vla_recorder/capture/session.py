# SPDX-License-Identifier: Apache-2.0

"""One open episode: a folder that grows while recording and appears under its final name when it is complete.

Messages are handed over by the executor's thread and written by a thread of their own, so a slow disk never holds up a
subscription. The queue between them is bounded; a message that does not fit is counted and makes the episode fail,
because a bag with holes that nobody knows of is worse than none.

A message is in the file after half a second at the latest, where a killed process cannot lose it, and a third thread
brings the file to the disk itself once a second, where a power cut cannot.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from vla_core.errors import BagError

from vla_recorder.bags.writer import BagWriter, TopicCount, TopicInfo, writing

OPEN_SUFFIX = ".open"
FINISH_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 2.5  # a launcher kills a node 5 s after asking it to stop
SYNC_PERIOD_S = 1.0
_CYCLE_S = 0.05


class _Item(NamedTuple):
    topic: str
    data: bytes
    log_ns: int
    publish_ns: int


class _Attachment(NamedTuple):
    name: str
    media_type: str
    data: bytes


def _by_log_time(item: _Item) -> int:
    return item.log_ns


def episode_name(uuid: str, now: datetime | None = None) -> str:
    """Return the folder name of an episode: ``episode_<UTC time>_<first 8 of the uuid>``."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return f"episode_{stamp}_{uuid.replace('-', '')[:8]}"


def leftovers(output_dir: Path) -> list[Path]:
    """Return the folders of episodes that were never closed, because their recorder was killed."""
    return sorted(path for path in output_dir.glob(f"episode_*{OPEN_SUFFIX}") if path.is_dir())


def check_free_space(output_dir: Path, needed: int) -> None:
    """Refuse to write where the disk is nearly full.

    Args:
        output_dir: Need not exist yet.
        needed: Free space [B].

    Raises:
        BagError: Less is free.
    """
    folder = output_dir
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BagError(
            f"{folder}: only {free / 1e9:.1f} GB are free, recording needs {needed / 1e9:.1f} GB (parameter "
            "min_free_gb): free space or choose another output_dir"
        )


class Session:
    """Records one episode. ``write`` is called from one thread, ``finish`` or ``discard`` ends it from any."""

    def __init__(
        self,
        output_dir: Path,
        name: str,
        *,
        compression: str = "auto",
        queue_bytes: int = 256 << 20,
        sync_period_s: float = SYNC_PERIOD_S,
        custom_data: Mapping[str, str] | None = None,
    ) -> None:
        """Open the episode.

        Args:
            output_dir: Where episodes are kept; made if absent.
            name: Final folder name (`episode_name`).
            compression: One of `vla_recorder.bags.mcap_file.COMPRESSIONS`.
            queue_bytes: How much may wait for the disk [B].
            sync_period_s: How often the file is brought to the disk against a power cut [s]; 0: only at the end.
            custom_data: Metadata that are known now; they are in the file if it is never closed.

        Raises:
            BagError: The folder cannot be written.
        """
        self.final = output_dir / name
        self.folder = output_dir / f"{name}{OPEN_SUFFIX}"
        if self.final.exists():
            raise BagError(f"{self.final}: exists already; an episode never overwrites another")
        self._bag = BagWriter(self.folder, name, compression=compression, custom_data=custom_data)
        self._limit = queue_bytes
        self._sync_period_s = sync_period_s
        self._lock = threading.Lock()
        self._queue: list[_Item] = []
        self._others: list[TopicInfo | _Attachment] = []
        self._waiting = 0
        self._dropped: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._error: BagError | None = None
        self._stopping = threading.Event()
        self._written = threading.Event()
        self._deadline = math.inf
        self._timeout_s = FINISH_TIMEOUT_S
        self._messages = 0
        self._bytes = 0
        self._threads = [
            threading.Thread(target=self._guarded(work), name=name, daemon=True)
            for name, work in (("bag writer", self._write_all), ("bag sync", self._sync_all))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def messages(self) -> int:
        """Messages accepted."""
        return self._messages

    @property
    def payload_bytes(self) -> int:
        """Payload accepted [B]."""
        return self._bytes

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that were not recorded, by topic."""
        with self._lock:
            return dict(self._dropped + self._late)

    @property
    def error(self) -> str:
        """Why the episode cannot be trusted; empty while all is well."""
        with self._lock:
            if self._error is not None:
                return str(self._error)
            faults = []
            if self._dropped:
                faults.append(
                    f"{self._dropped.total()} messages were not recorded because the disk is slower than the topics "
                    f"(more than {self._limit >> 20} MiB waiting): {_listed(self._dropped)}"
                )
            if self._late:
                faults.append(
                    f"the disk did not take the last {self._late.total()} messages within {self._timeout_s:g} s of the "
                    f"end: {_listed(self._late)}"
                )
        return f"{self.folder}: {'; '.join(faults)}. Use a faster disk or compressed images" if faults else ""

    def add_topic(self, info: TopicInfo) -> None:
        """Announce a topic before its first message."""
        with self._lock:
            self._others.append(info)

    def attach(self, name: str, media_type: str, data: bytes) -> None:
        """Hand over a file that belongs to the episode (see `BagWriter.attach`)."""
        with self._lock:
            self._others.append(_Attachment(name, media_type, data))

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Hand over one serialized message (see `BagWriter.write`); never blocks on the disk."""
        with self._lock:
            if self._error is not None or self._waiting + len(data) > self._limit:
                self._dropped[topic] += 1
                return
            self._queue.append(_Item(topic, data, log_ns, publish_ns))
            self._waiting += len(data)
            self._messages += 1
            self._bytes += len(data)

    def finish(self, custom_data: Mapping[str, str]) -> Path:
        """Write what waits, close the bag and give the folder its final name.

        Raises:
            BagError: The disk refused it, or stood still; the folder keeps its ``.open`` name then, and what was written
                stays readable.
        """
        self.drain()
        try:
            if self._error is not None:
                raise self._error
            self._bag.close(custom_data)
            with writing(self.final):
                self.folder.rename(self.final)
                _sync_folder(self.final.parent)
        except BagError as error:
            self._bag.abandon()
            raise BagError(
                f"{error}. What was written before stays readable: `ros2 run vla_recorder repair {self.folder}` makes an "
                "episode of it"
            ) from error
        return self.final

    def discard(self) -> None:
        """Stop and delete what was written.

        Raises:
            BagError: The folder cannot be deleted.
        """
        with self._lock:
            self._queue.clear()
        self.drain()
        self._bag.abandon()
        with writing(self.folder):
            shutil.rmtree(self.folder)

    def counts(self) -> dict[str, TopicCount]:
        """Return what was written per topic; complete only after ``drain`` or ``finish``."""
        return self._bag.counts()

    def drain(self, timeout_s: float = FINISH_TIMEOUT_S) -> None:
        """Stop accepting and wait until all is written, so that ``counts`` is complete.

        Args:
            timeout_s: What the disk has not taken by then is given up, counted, and named in `error` [s].

        Raises:
            BagError: The disk stands still: a write has not returned.
        """
        if not self._stopping.is_set():
            self._timeout_s = timeout_s
            self._deadline = time.monotonic() + timeout_s
            self._stopping.set()
        for thread in self._threads:
            thread.join(max(0.0, self._deadline - time.monotonic()) + 1.0)
            if thread.is_alive():
                raise BagError(
                    f"{self.folder}: the disk stands still, a write has not returned for {self._timeout_s + 1:g} s; the "
                    "episode stays unfinished, what was written is readable. Check the disk"
                )

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except BagError as error:
                self._fail(error)
            except Exception:  # noqa: BLE001  (border of a thread)
                self._fail(BagError(f"{self.folder}: writing the episode failed\n{traceback.format_exc()}"))

        return guarded

    def _fail(self, error: BagError) -> None:
        with self._lock:
            self._error = self._error or error
            self._queue.clear()
        self._written.set()

    def _sync_all(self) -> None:
        if self._sync_period_s <= 0:
            return
        with writing(self.folder):
            _sync_folder(self.folder)
            _sync_folder(self.folder.parent)
        while not self._written.wait(self._sync_period_s):
            self._bag.sync()

    def _write_all(self) -> None:
        held: list[_Item] = []
        while not self._stopping.wait(_CYCLE_S):
            held = self._write_cycle(held)
        self._write_cycle(self._write_cycle(held))
        self._written.set()

    def _write_cycle(self, held: Sequence[_Item]) -> list[_Item]:
        """Write what was held back and what belongs between; returns what is held back until the next cycle.

        A topic is served after another, so that messages arrive here out of order by a few milliseconds. Held back for a
        cycle, they get into the file in the order in which they were received.
        """
        with self._lock:
            others, self._others = self._others, []
            fresh, self._queue = self._queue, []
        for other in others:
            if isinstance(other, TopicInfo):
                self._bag.add_topic(other)
            else:
                self._bag.attach(*other)
        limit = max(map(_by_log_time, held), default=-1)
        ready = sorted([*held, *(item for item in fresh if item.log_ns <= limit)], key=_by_log_time)
        for item in ready:
            if time.monotonic() < self._deadline:
                self._bag.write(*item)
            else:
                self._late[item.topic] += 1
            with self._lock:
                self._waiting -= len(item.data)
        self._bag.flush_if_due()
        return [item for item in fresh if item.log_ns > limit]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{topic} {count}" for topic, count in counts.most_common())


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
