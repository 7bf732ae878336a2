# SPDX-License-Identifier: Apache-2.0

"""One open episode: a folder that grows while recording and appears under its final name when it is complete.

Messages are handed over by the executor's thread and written by a thread of their own, so a slow disk never holds up a
subscription. The queue between them is bounded; a message that does not fit is counted and makes the episode fail,
because a bag with holes that nobody knows of is worse than none.
"""

from __future__ import annotations

import os
import shutil
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from vla_core.errors import BagError

from vla_recorder.bags.writer import BagWriter, TopicCount, TopicInfo, writing

OPEN_SUFFIX = ".open"
FINISH_TIMEOUT_S = 4.0  # a launcher kills a node 5 s after asking it to stop
_IDLE_S = 0.25


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


_Item = tuple[str, bytes, int, int]


class _Attachment(NamedTuple):
    name: str
    media_type: str
    data: bytes


class Session:
    """Records one episode. ``write`` is called from one thread, ``finish`` or ``discard`` ends it from any."""

    def __init__(
        self,
        output_dir: Path,
        name: str,
        *,
        compression: str = "zstd",
        queue_bytes: int = 256 << 20,
        custom_data: Mapping[str, str] | None = None,
    ) -> None:
        """Open the episode.

        Args:
            output_dir: Where episodes are kept; made if absent.
            name: Final folder name (`episode_name`).
            compression: ``none``, ``lz4`` or ``zstd``.
            queue_bytes: How much may wait for the disk [B].
            custom_data: Metadata that are known now; they survive if the recorder is killed.

        Raises:
            BagError: The folder cannot be written.
        """
        self.final = output_dir / name
        self.folder = output_dir / f"{name}{OPEN_SUFFIX}"
        if self.final.exists():
            raise BagError(f"{self.final}: exists already; an episode never overwrites another")
        self._bag = BagWriter(self.folder, name, compression=compression, custom_data=custom_data)
        self._limit = queue_bytes
        self._condition = threading.Condition()
        self._queue: deque[_Item | TopicInfo | _Attachment] = deque()
        self._waiting = 0
        self._dropped = 0
        self._error: BagError | None = None
        self._stopping = False
        self._messages = 0
        self._bytes = 0
        self._thread = threading.Thread(target=self._work, name="bag writer", daemon=True)
        self._thread.start()

    @property
    def messages(self) -> int:
        """Messages accepted."""
        return self._messages

    @property
    def payload_bytes(self) -> int:
        """Payload accepted [B]."""
        return self._bytes

    @property
    def error(self) -> str:
        """Why the episode cannot be trusted; empty while all is well."""
        if self._error is not None:
            return str(self._error)
        if self._dropped:
            return (
                f"{self.folder}: {self._dropped} messages were not recorded because the disk is slower than the topics "
                f"(more than {self._limit >> 20} MiB waiting): use a faster disk, compressed images, or "
                "compression:=none"
            )
        return ""

    def add_topic(self, info: TopicInfo) -> None:
        """Announce a topic before its first message."""
        with self._condition:
            self._queue.append(info)

    def attach(self, name: str, media_type: str, data: bytes) -> None:
        """Hand over a file that belongs to the episode (see `BagWriter.attach`)."""
        with self._condition:
            self._queue.append(_Attachment(name, media_type, data))

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Hand over one serialized message (see `BagWriter.write`); never blocks on the disk."""
        with self._condition:
            if self._error is not None or self._waiting + len(data) > self._limit:
                self._dropped += 1
                return
            self._queue.append((topic, data, log_ns, publish_ns))
            self._waiting += len(data)
            self._condition.notify()
        self._messages += 1
        self._bytes += len(data)

    def finish(self, custom_data: Mapping[str, str]) -> Path:
        """Write what waits, close the bag and give the folder its final name.

        Raises:
            BagError: The disk refused it, or did not take what was waiting in time; the folder keeps its ``.open``
                name then.
        """
        self._join()
        if self._error is not None:
            self._bag.abandon()
            raise self._error
        if self._thread.is_alive():
            raise BagError(
                f"{self.folder}: the disk did not take the last {self._waiting >> 20} MiB within {FINISH_TIMEOUT_S:g} s; "
                "the episode stays unfinished. Use a faster disk"
            )
        self._bag.close(custom_data)
        with writing(self.final):
            self.folder.rename(self.final)
            parent = os.open(self.final.parent, os.O_RDONLY)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        return self.final

    def discard(self) -> None:
        """Stop and delete what was written.

        Raises:
            BagError: The folder cannot be deleted.
        """
        with self._condition:
            self._queue.clear()
        self._join()
        self._bag.abandon()
        with writing(self.folder):
            shutil.rmtree(self.folder)

    def counts(self) -> dict[str, TopicCount]:
        """Return what was written per topic; complete only after ``finish``."""
        return self._bag.counts()

    def drain(self) -> None:
        """Stop accepting and wait until all is written, so that ``counts`` is complete."""
        self._join()

    def _join(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(FINISH_TIMEOUT_S)

    def _work(self) -> None:
        try:
            while self._write_pending():
                self._bag.flush_if_due()
        except BagError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001  (border of a thread)
            self._fail(BagError(f"{self.folder}: writing the episode failed\n{traceback.format_exc()}"))

    def _fail(self, error: BagError) -> None:
        with self._condition:
            self._error = error
            self._queue.clear()

    def _write_pending(self) -> bool:
        """Write what waits; returns False when the session ends and nothing is left."""
        with self._condition:
            if not self._queue and not self._stopping:
                self._condition.wait(_IDLE_S)
            if not self._queue:
                return not self._stopping
            items = list(self._queue)
            self._queue.clear()
        for item in items:
            if isinstance(item, TopicInfo):
                self._bag.add_topic(item)
                continue
            if isinstance(item, _Attachment):
                self._bag.attach(*item)
                continue
            self._bag.write(*item)
            with self._condition:
                self._waiting -= len(item[1])
        return True
