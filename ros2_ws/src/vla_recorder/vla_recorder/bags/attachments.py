# SPDX-License-Identifier: Apache-2.0

"""Files that travel with an episode, and its log: from the bag into a folder beside the dataset."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from vla_core.errors import BagError
from vla_core.stamps import time_ns

from vla_recorder.bags.reader import EpisodeBag
from vla_recorder.bags.writer import writing

ROSOUT = "/rosout"
LOG_NAME = "episode.log"
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}


def rosout_log(bag: EpisodeBag) -> str:
    """Return what the nodes logged during an episode, one line per message; empty if ``/rosout`` was not recorded.

    Raises:
        BagError: The bag cannot be read.
    """
    lines = []
    for received in bag.messages({ROSOUT}):
        entry = received.message
        stamp_ns = time_ns(entry.stamp) or received.log_ns
        moment = datetime.fromtimestamp(stamp_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        level = _LEVELS.get(int(entry.level), str(entry.level))
        lines.append(f"{moment}.{stamp_ns % 1_000_000_000 // 1_000_000:03d}Z {level:<5} [{entry.name}] {entry.msg}\n")
    return "".join(lines)


def export_attachments(bag: EpisodeBag, folder: Path) -> list[str]:
    """Write the attachments of an episode, and its log as ``episode.log``, into a folder; it is made if there are any.

    Returns:
        Their names.

    Raises:
        BagError: An attachment has a name that leads out of the folder, or a file cannot be written.
    """
    found = [(attachment.name, attachment.data) for attachment in bag.attachments()]
    log = rosout_log(bag) if ROSOUT in bag.counts else ""
    if log and all(name != LOG_NAME for name, _ in found):
        found.append((LOG_NAME, log.encode()))
    for name, data in found:
        path = folder / _inside(name, bag)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return [name for name, _ in found]


def _inside(name: str, bag: EpisodeBag) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BagError(
            f"{bag.folder}: the attachment {name!r} has a name that leads out of its folder; it is not exported"
        )
    return path
