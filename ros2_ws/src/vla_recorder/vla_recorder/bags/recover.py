# SPDX-License-Identifier: Apache-2.0

"""Finish what a killed recorder, a full disk or a broken copy left behind: every message that is whole goes into a new bag.

The new bag grows in a folder ``<name>.repair`` and takes its final name when it is complete and on the disk; the old one
becomes ``<name>.broken``. Killed at any moment, the next run goes on or starts anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml
from vla_core.errors import BagError

from vla_recorder.bags.mcap_source import McapSource
from vla_recorder.bags.merge import merged_files
from vla_recorder.bags.metadata import read_metadata
from vla_recorder.bags.reader import ATTACHMENTS, NOT_EPISODES, find_episodes, open_episode
from vla_recorder.bags.source import BagSource, Connection, DamagedError, RawMessage
from vla_recorder.bags.storage import bag_files, is_bag_file, open_source, plain, stem
from vla_recorder.bags.types import definition_of
from vla_recorder.bags.writer import METADATA_FILE, BagWriter, TopicInfo

OPEN, BROKEN, REPAIR = ".open", ".broken", ".repair"
_BROKEN_END = "error"


@dataclass(slots=True)
class Repaired:
    """What was found at one place and what became of it.

    Attributes:
        folder: Where it lay.
        action: ``repaired``, ``finished`` (an interrupted repair), ``cleaned`` (the remains of one), ``sound``,
            ``recording`` (left alone), ``nothing left`` or ``failed``; with ``dry_run`` what would be done.
        messages: Whole messages.
        seconds: From the first to the last of them.
        lost: Bytes that could not be used.
        detail: Why, for people.
    """

    folder: Path
    action: str
    messages: int = 0
    seconds: float = 0.0
    lost: int = 0
    detail: str = ""


@dataclass(slots=True)
class _Remains:
    """The readable part of a bag."""

    sources: list[BagSource] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def connections(self) -> Iterator[Connection]:
        return (connection for source in self.sources for connection in source.connections.values())

    def messages(self) -> Iterator[RawMessage]:
        """Yield everything that is whole, by time of reception."""
        files = [(source.span_ns[0], partial(self._read, source)) for source in self.sources]
        return merged_files(files)

    @staticmethod
    def _read(source: BagSource) -> Iterator[RawMessage]:
        return plain(source, source.read(frozenset(source.connections)))

    @property
    def custom(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self.sources:
            found.update(source.metadata.get("vla", {}))
        return found

    @property
    def damage(self) -> str:
        reasons = [source.damage for source in self.sources if source.damage]
        return "; ".join([*reasons, *(f"{path}: {reason}" for path, reason in self.unreadable)])

    @property
    def lost(self) -> int:
        holes = [
            size
            for source in self.sources
            if isinstance(source, McapSource)
            for size in {h[0]: h[1] for h in source.holes}.values()
        ]
        return sum(holes) + sum(path.stat().st_size for path, _ in self.unreadable)


def find_broken(folder: Path) -> list[Path]:
    """Return what may need repair in (or at) a folder: open episodes, unfinished repairs, and all closed episodes.

    Raises:
        BagError: The folder does not exist.
    """
    if is_bag_file(folder) or folder.suffix == OPEN:
        return [folder]
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder; give the recorder's output_dir")
    inner = [path for path in [*folder.glob("*"), *folder.glob("*/*")] if path.is_dir()]
    left = [path for path in inner if path.suffix in (OPEN, REPAIR)]
    try:
        closed = [path for path in find_episodes(folder) if path.suffix != REPAIR]
    except BagError:
        closed = []
    whole = [path for path in closed if not any(parent in left for parent in path.parents)]
    # Interrupted repairs first: what becomes of them decides whether their original is repaired again.
    return sorted([*left, *whole], key=lambda path: (path.suffix != REPAIR, path))


def repair(folder: Path, *, dry_run: bool = False, delete_original: bool = False, verify: bool = False) -> Repaired:
    """Repair one episode if it needs it.

    Args:
        folder: One of `find_broken`.
        dry_run: Only say what would be done.
        delete_original: Do not keep the damaged one.
        verify: Read closed episodes to the end, so that damage in the middle is found too.
    """
    try:
        if folder.suffix == REPAIR:
            return _finish_interrupted(folder, dry_run=dry_run)
        if _is_locked(folder):
            return Repaired(folder, "recording", detail="a recorder writes it now")
        if folder.suffix != OPEN and (sound := _sound(folder, verify=verify)):
            return sound
        return _rebuild(folder, dry_run=dry_run, delete_original=delete_original)
    except BagError as error:
        return Repaired(folder, "failed", detail=str(error))
    except OSError as error:
        return Repaired(folder, "failed", detail=f"{error.filename or folder}: {error.strerror or error}")


def _is_locked(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _sound(folder: Path, *, verify: bool) -> Repaired | None:
    """Return the row of a closed episode that needs nothing."""
    try:
        bag = open_episode(folder)
    except BagError:
        return None
    if verify and not bag.damage and not bag.notes:
        for _ in bag.raw_messages():
            pass
    if bag.damage or bag.notes:
        return None
    return Repaired(folder, "sound", sum(bag.counts.values()), _seconds(bag.span_ns))


def _seconds(span_ns: tuple[int, int]) -> float:
    return (span_ns[1] - span_ns[0]) * 1e-9


def _final(folder: Path) -> Path:
    """Return the name that the episode has when it is whole."""
    name = stem(folder) if folder.is_file() else folder.name
    for suffix in (OPEN, REPAIR):
        name = name.removesuffix(suffix)
    return folder.with_name(name)


def _finish_interrupted(folder: Path, *, dry_run: bool) -> Repaired:
    """Complete or undo a repair that was killed: ``metadata.yaml`` is written last."""
    final = _final(folder)
    whole = (folder / METADATA_FILE).is_file()
    waiting = final.exists() or final.with_name(final.name + OPEN).exists()
    if waiting:
        if not dry_run:
            shutil.rmtree(folder)
        return Repaired(folder, "cleaned", detail="an interrupted repair; its episode is repaired from the original")
    if not whole:
        raise BagError(f"{folder}: an interrupted repair whose original is gone; open the .mcap file in it by itself")
    if not dry_run:
        folder.rename(final)
        _sync(final.parent)
    bag = open_episode(folder if dry_run else final)
    return Repaired(
        folder, "finished", sum(bag.counts.values()), _seconds(bag.span_ns), detail="the repair was interrupted"
    )


def _rebuild(folder: Path, *, dry_run: bool, delete_original: bool) -> Repaired:
    final = _final(folder)
    if folder.suffix == OPEN and final.exists():
        raise BagError(f"{folder}: {final.name} exists beside it; move one of them away")
    paths = [folder] if folder.is_file() else _files(folder)
    with ExitStack() as stack:
        remains = _Remains()
        for path in paths:
            try:
                remains.sources.append(stack.enter_context(open_source(path, salvage=True)))
            except DamagedError as error:
                remains.unreadable.append((path, str(error)))
        if dry_run:
            return _counted(folder, remains)
        target = final.with_name(final.name + REPAIR)
        if target.exists():
            shutil.rmtree(target)
        row = _write(folder, target, final.name, remains)
    if row.action == "nothing left":
        shutil.rmtree(target)
        return row
    _swap(folder, target, final, delete_original=delete_original)
    return row


def _files(folder: Path) -> list[Path]:
    found = bag_files(folder)
    if not found:
        raise BagError(f"{folder}: no bag file in it, nothing can be recovered")
    return found


def _counted(folder: Path, remains: _Remains) -> Repaired:
    first, last, count = 0, 0, 0
    for message in remains.messages():
        first = min(first or message.log_ns, message.log_ns)
        last, count = max(last, message.log_ns), count + 1
    action = "repaired" if count else "nothing left"
    return Repaired(folder, action, count, (last - first) * 1e-9, remains.lost, remains.damage)


def _write(folder: Path, target: Path, name: str, remains: _Remains) -> Repaired:
    """Write what is readable as a new bag."""
    custom = {**remains.custom, **_described(folder)}
    writer = BagWriter(target, name, custom_data=custom)
    first, last, count = 0, 0, 0
    try:
        for connection in remains.connections:
            if connection.type:
                writer.add_topic(topic_info(connection))
        for message in remains.messages():
            if not message.connection.type:
                raise BagError(f"{folder}: the type of {message.topic} is not known, so the bag cannot be written anew")
            writer.write(message.topic, message.data, message.log_ns, message.publish_ns)
            first = min(first or message.log_ns, message.log_ns)
            last, count = max(last, message.log_ns), count + 1
        for source in remains.sources:
            for attachment in source.attachments():
                writer.attach(*attachment)
        _copy_others(folder, target)
        row = Repaired(folder, "repaired", count, (last - first) * 1e-9, remains.lost, remains.damage)
        if not count:
            row.action = "nothing left"
            writer.abandon()
            return row
        writer.close(_final_custom(custom, row))
    except BaseException:
        writer.abandon()
        shutil.rmtree(target, ignore_errors=True)
        raise
    stored = open_episode(target)
    if sum(stored.counts.values()) != count:
        raise BagError(f"{target}: holds {sum(stored.counts.values())} of {count} messages; check the disk")
    return row


def _described(folder: Path) -> Mapping[str, str]:
    """Return what ``metadata.yaml`` knows of the episode, if there is one."""
    try:
        return read_metadata(folder).custom
    except BagError:
        return {}


def _final_custom(custom: Mapping[str, str], row: Repaired) -> dict[str, str]:
    if not row.detail and (custom.get("termination") or row.folder.suffix != OPEN):
        return dict(custom)
    why = row.detail or "the recorder was killed before it closed the episode"
    error = f"incomplete: {row.messages} messages were recovered, {row.lost} bytes were not ({why})"
    return {"outcome": "unknown", **custom, "termination": _BROKEN_END, "error": error}


def topic_info(connection: Connection) -> TopicInfo:
    """Return a recorded topic as the writer takes it.

    Raises:
        BagError: The definition of its type is not known.
    """
    try:
        offered = yaml.safe_load(connection.qos) if connection.qos else []
    except yaml.YAMLError:
        offered = []
    return TopicInfo(
        name=connection.topic,
        type=connection.type,
        definition=definition_of(connection),
        qos=tuple(entry for entry in offered if isinstance(entry, dict)) if isinstance(offered, list) else (),
        type_hash=connection.type_hash,
    )


def _copy_others(folder: Path, target: Path) -> None:
    """Copy attachments and other files that lie beside the bag."""
    if folder.is_file():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.suffix not in NOT_EPISODES:
            shutil.copytree(path, target / path.name)
        elif path.is_file() and not is_bag_file(path) and path.name != METADATA_FILE and path.suffix != ".tmp":
            shutil.copy2(path, target / path.name)
    attached = target / ATTACHMENTS
    if attached.is_dir():
        for path in attached.rglob("*"):
            _sync(path)


def _swap(folder: Path, target: Path, final: Path, *, delete_original: bool) -> None:
    """Put the new bag in the place of the old one; see `_finish_interrupted` for a kill in between."""
    _sync(target)
    broken = final.with_name(final.name + BROKEN)
    number = 1
    while broken.exists():
        broken = final.with_name(f"{final.name}.{number}{BROKEN}")
        number += 1
    folder.rename(broken)
    target.rename(final)
    _sync(final.parent)
    if delete_original:
        if broken.is_dir():
            shutil.rmtree(broken)
        else:
            broken.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
