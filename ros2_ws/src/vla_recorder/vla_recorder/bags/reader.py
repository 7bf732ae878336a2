# SPDX-License-Identifier: Apache-2.0

"""Read recorded episodes without ROS: folders or files of any storage, metadata, decoded messages.

MCAP and sqlite3, split into files or not, compressed by chunk, message or file, with or without ``metadata.yaml``, and
ROS 1 bags. A damaged bag is read up to the damage and says so (`EpisodeBag.damage`).
"""

from __future__ import annotations

import json
import mimetypes
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
from vla_core.errors import BagError

from vla_recorder.bags.merge import merged_files
from vla_recorder.bags.metadata import ROOT, Metadata, read_metadata
from vla_recorder.bags.source import Attachment, BagSource, DamagedError, RawMessage
from vla_recorder.bags.storage import (
    bag_files,
    is_bag_file,
    is_compressed,
    open_source,
    plain,
    split_key,
    stem,
    storage_of,
)
from vla_recorder.bags.types import Decoders
from vla_recorder.bags.writer import METADATA_FILE, METADATA_RECORD

ATTACHMENTS = "attachments"
"""Folder beside the bag files with further files of the episode."""

NOT_EPISODES = (".open", ".broken", ".repair")
_BLOCK = 1 << 20


def content_uuid(content_hash: str) -> str:
    """Return the identity that follows from the hash of a bag's content (`EpisodeBag.content_hash`)."""
    return str(uuid.UUID(content_hash[:32]))


class Received(NamedTuple):
    """One message of a bag: its topic, when the recorder received it [ns, node clock], the decoded message."""

    topic: str
    log_ns: int
    message: Any


class _File(NamedTuple):
    """A file of the bag and its first time of reception [ns]."""

    path: Path
    first_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeBag:
    """An episode.

    Attributes:
        folder: Where it lies: a folder, or a single file.
        files: The bag files, in order.
        custom: Metadata of the episode (``custom_data``); empty for bags of other programs.
        counts: Topic -> number of messages.
        types: Topic -> type, for example ``sensor_msgs/msg/Image``.
        span_ns: First and last time of reception [ns].
        notes: What the reader had to correct, for people.
    """

    folder: Path
    files: tuple[Path, ...]
    custom: Mapping[str, str]
    counts: Mapping[str, int]
    types: Mapping[str, str]
    span_ns: tuple[int, int]
    notes: tuple[str, ...] = ()
    _starts: tuple[int, ...] = ()
    _damages: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the folder, or of the file without its suffix."""
        return stem(self.folder) if self.folder.is_file() else self.folder.name

    @property
    def damage(self) -> str:
        """What of the bag cannot be read, as far as it is known: some of it shows only while messages are read."""
        reasons = "; ".join(dict.fromkeys(self._damages))
        return f"{reasons}. `ros2 run vla_recorder repair` keeps what is whole" if reasons else ""

    @property
    def uuid(self) -> str:
        """Identity of the episode; of a bag of another program it follows from the content."""
        return self.get("episode_uuid") or content_uuid(self.content_hash())

    def get(self, key: str, default: str = "") -> str:
        """Return one value of the metadata."""
        return str(self.custom.get(key, default))

    def structured(self, key: str) -> Any:
        """Return a value of the metadata that is stored as JSON; None if absent.

        Raises:
            BagError: It is no JSON.
        """
        text = self.custom.get(key)
        if not text:
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise BagError(
                f"{self.folder / METADATA_FILE}: custom_data.{key} is no JSON ({error}); was it edited by hand?"
            ) from error

    def content_hash(self) -> str:
        """Return the XXH3 hash (128 bits) of the bag files, in order, as hexadecimal digits.

        It tells bags apart, also large ones at the speed of the disk; it does not protect against forgery.

        Raises:
            BagError: A file cannot be read.
        """
        digest = xxhash.xxh3_128()
        for path in self.files:
            try:
                with path.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise BagError(f"{path}: cannot be read ({error.strerror or error})") from error
        return digest.hexdigest()

    def messages(self, topics: Collection[str]) -> Iterator[Received]:
        """Yield the messages of some topics, decoded, in the order in which they were received.

        Raises:
            BagError: Nothing can be read, or the type of a topic is not known. Damage is no error, see `damage`.
        """
        decoders = Decoders(self.folder)
        for connection, log_ns, _, data in self.raw_messages(topics):
            yield Received(connection.topic, log_ns, decoders.decode(connection, data))

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Yield serialized messages of some topics (None: all) in the order in which they were received.

        Raises:
            BagError: Nothing can be read. Damage is no error, see `damage`.
        """
        files = [
            (start, partial(self._read_file, path, topics))
            for path, start in zip(self.files, self._starts, strict=True)
        ]
        return merged_files(files)

    def _read_file(self, path: Path, topics: Collection[str] | None) -> Iterator[RawMessage]:
        try:
            source = open_source(path)
        except DamagedError as error:
            self._damages.append(f"{path}: {error}")
            return
        except OSError as error:
            raise BagError(f"{path}: cannot be read ({error.strerror or error})") from error
        with source:
            chosen = frozenset(
                number for number, found in source.connections.items() if topics is None or found.topic in topics
            )
            yield from plain(source, source.read(chosen))
            if source.damage:
                self._damages.append(source.damage)

    def attachments(self) -> Iterator[Attachment]:
        """Yield the files that belong to the episode: those inside the bag, then those in its folder ``attachments``.

        Raises:
            BagError: A file cannot be read.
        """
        for path in self.files:
            try:
                with open_source(path) as source:
                    yield from source.attachments()
                    if source.damage:
                        self._damages.append(source.damage)
            except DamagedError as error:
                self._damages.append(f"{path}: {error}")
        folder = self.folder / ATTACHMENTS
        if not folder.is_dir():
            return
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            try:
                yield Attachment(path.relative_to(folder).as_posix(), media_type, path.read_bytes())
            except OSError as error:
                raise BagError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass(slots=True)
class _Content:
    """What the files of a bag hold."""

    counts: dict[str, int] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    files: list[_File] = field(default_factory=list)
    first_ns: int = 1 << 64
    last_ns: int = 0
    damages: list[str] = field(default_factory=list)

    def add(self, path: Path, source: BagSource) -> None:
        """Take what one file says."""
        for number, connection in source.connections.items():
            self.types.setdefault(connection.topic, connection.type)
            self.counts[connection.topic] = self.counts.get(connection.topic, 0) + source.counts.get(number, 0)
        if any(source.counts.values()):
            self.first_ns, self.last_ns = min(self.first_ns, source.span_ns[0]), max(self.last_ns, source.span_ns[1])
        self.files.append(_File(path, source.span_ns[0]))
        self.custom.update(_custom(source))
        if source.damage:
            self.damages.append(source.damage)

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last time of reception."""
        return (self.first_ns, self.last_ns) if any(self.counts.values()) else (0, 0)


def _custom(source: BagSource) -> dict[str, str]:
    if METADATA_RECORD in source.metadata:
        return dict(source.metadata[METADATA_RECORD])
    return dict(source.metadata.get(ROOT, {}))


def open_episode(folder: Path) -> EpisodeBag:
    """Open one episode: a bag folder, or a single bag file.

    What ``metadata.yaml`` says is checked against the files; where it is absent or wrong, the files count.

    Raises:
        BagError: There is no bag file that can be read.
    """
    notes: list[str] = []
    metadata = _metadata(folder, notes)
    paths = _paths(folder, metadata, notes)
    if metadata is not None and metadata.files and all(is_compressed(path) for path in paths) and not notes:
        return _trusting(folder, paths, metadata)
    content = _Content()
    for path in paths:
        try:
            with open_source(path) as source:
                content.add(path, source)
        except DamagedError as error:
            content.damages.append(f"{path}: nothing in it can be read: {error}")
    if not content.files:
        raise BagError(f"{'; '.join(content.damages)}. Copy it again from its source, or take it out of the folder")
    custom = content.custom
    if metadata is not None:
        custom = {**custom, **metadata.custom}
        _compare(folder, metadata, content, notes)
    return EpisodeBag(
        folder=folder,
        files=tuple(path for path, _ in content.files),
        custom=custom,
        counts=content.counts,
        types=content.types,
        span_ns=content.span_ns,
        notes=tuple(notes),
        _starts=tuple(first for _, first in content.files),
        _damages=content.damages,
    )


def _metadata(folder: Path, notes: list[str]) -> Metadata | None:
    if folder.is_file():
        return None
    if not folder.is_dir():
        raise BagError(f"{folder}: no such bag")
    try:
        return read_metadata(folder)
    except BagError as error:
        notes.append(f"{error}; the files were read instead")
        return None


def _paths(folder: Path, metadata: Metadata | None, notes: list[str]) -> list[Path]:
    if folder.is_file():
        return [folder]
    present = bag_files(folder)
    listed = [folder / name for name in metadata.files] if metadata is not None else []
    absent = [path.name for path in listed if not path.is_file()]
    if listed and not absent:
        return listed
    if not present:
        detail = f": {', '.join(absent)}, named in {METADATA_FILE}, is not there" if absent else ""
        raise BagError(
            f"{folder}: no readable bag file{detail}. An episode is a folder with {METADATA_FILE} and an MCAP or sqlite3 "
            "file; was it copied completely?"
        )
    if absent:
        notes.append(
            f"{folder / METADATA_FILE} names {', '.join(absent)}, which is not there; what is there was read: "
            f"{', '.join(path.name for path in present)}"
        )
    return present


def _compare(folder: Path, metadata: Metadata, content: _Content, notes: list[str]) -> None:
    found = {storage for path, _ in content.files if (storage := storage_of(path))} - {metadata.storage}
    if found:
        notes.append(f"{folder / METADATA_FILE} says {metadata.storage!r}, the files are {', '.join(sorted(found))}")
    if content.damages or dict(metadata.counts) == content.counts:
        return
    notes.append(
        f"{folder / METADATA_FILE} speaks of {sum(metadata.counts.values())} messages on {len(metadata.counts)} topics, the "
        f"files hold {sum(content.counts.values())} on {len(content.counts)}; the files count"
    )


def _trusting(folder: Path, paths: list[Path], metadata: Metadata) -> EpisodeBag:
    """A bag whose files are compressed as a whole: unpacking them only to count would double the time."""
    order = range(len(paths))
    return EpisodeBag(
        folder=folder,
        files=tuple(paths),
        custom=metadata.custom,
        counts=metadata.counts,
        types=metadata.types,
        span_ns=metadata.span_ns,
        _starts=tuple(metadata.span_ns[0] + number for number in order),
    )


def find_episodes(folder: Path) -> list[Path]:
    """Return the episodes in (or at) a folder, by name: bag folders and single bag files, also one level deeper.

    Folders of open or broken episodes (``.open``, ``.broken``) are left out.

    Raises:
        BagError: The folder does not exist or holds no episode.
    """
    if is_bag_file(folder):
        return [folder]
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder; give the recorder's output_dir with --bags")
    found = _episodes(folder, depth=2)
    if not found:
        raise BagError(
            f"{folder}: no episode in it (a folder with {METADATA_FILE} and an MCAP file). Record one with "
            "`ros2 launch vla_bringup record.launch.py output_dir:=...`, or give another folder with --bags"
        )
    return found


def _episodes(folder: Path, depth: int) -> list[Path]:
    if (folder / METADATA_FILE).is_file():
        return [folder]
    files = bag_files(folder)
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not _is_passed(path))
    nested = [episode for path in inner for episode in _episodes(path, depth - 1)] if depth else []
    if files and not nested and _is_one_bag(folder, files):
        return [folder]
    return sorted([*files, *nested])


def _is_one_bag(folder: Path, files: list[Path]) -> bool:
    """Whether the files are the parts of one bag that lost its ``metadata.yaml``, rather than bags of their own."""
    names = {split_key(path)[0] for path in files}
    if len(names) != 1 or any(path.suffix == ".bag" for path in files):
        return False
    return len(files) > 1 or stem(files[0]) != names.pop() or stem(files[0]) == folder.name


def _is_passed(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.suffix in NOT_EPISODES or folder.name == ATTACHMENTS
