# SPDX-License-Identifier: Apache-2.0

"""`SequentialReader`: the messages of a bag in time order, with filters and seeking."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from rosbag2_py._checks import check_readable, check_serialization
from rosbag2_py._file_metadata import file_metadata
from rosbag2_py._mcap_read import McapFile
from rosbag2_py._merge import Position, StoredMessage
from rosbag2_py._metadata import MetadataIo
from rosbag2_py._sqlite_read import SqliteFile, open_file
from rosbag2_py._storage import (
    BagMetadata,
    ConverterOptions,
    MessageDefinition,
    ReadOrder,
    ReadOrderSortBy,
    StorageFilter,
    StorageOptions,
    TopicMetadata,
)

_LOG = logging.getLogger("rosbag2_py")
_SERVICE_EVENT = "/_service_event"


def get_registered_readers() -> set[str]:
    """Return the storages that can be read."""
    return {"mcap", "sqlite3"}


class SequentialReader:
    """Reads one bag, file after file; within a file messages come by time of reception.

    A file without an end (its writer was killed) or without an index is read up to the last complete record, and a
    warning says so.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._file: McapFile | SqliteFile | None = None
        self._paths: list[Path] = []
        self._current = 0
        self._order = ReadOrder()
        self._filter = StorageFilter()
        self._bound_ns = 0
        self._after: Position | None = None
        self._messages: Iterator[StoredMessage] = iter(())
        self._next: StoredMessage | None = None

    def open_uri(self, uri: str, /) -> None:
        """Open a folder or a single file; see `open`."""
        self.open(StorageOptions(uri), ConverterOptions())

    def open(self, storage_options: StorageOptions, converter_options: ConverterOptions, /) -> None:
        """Open a folder with `metadata.yaml`, or a single file.

        Raises:
            RuntimeError: there is no such bag, or it is stored in a way that cannot be read here.
        """
        check_serialization(converter_options)
        uri = Path(storage_options.uri)
        check_readable(storage_options.storage_id)
        self._reset()
        if MetadataIo().metadata_file_exists(str(uri)):
            self._metadata = MetadataIo().read_metadata(str(uri))
            self._paths = _listed_files(uri, self._metadata)
            self._load(0)
        else:
            self._paths = [single_file(uri)]
            self._metadata = file_metadata(self._load(0))

    def _load(self, number: int) -> McapFile | SqliteFile:
        """Open the file of this number and go to the place that was sought."""
        if self._file is not None:
            self._messages = iter(())
            self._next = None
        self._current = number
        self._file = open_file(self._paths[number])
        self._after = None
        self._restart()
        return self._file

    def _opened(self, method: str) -> McapFile | SqliteFile:
        if self._file is None:
            raise RuntimeError(f"{method}: the bag is not open; call open() before")
        return self._file

    def _restart(self) -> None:
        """Begin to iterate again after the last message read, or at the place that was sought."""
        file = self._opened("read")
        chosen = frozenset(
            number for number, channel in file.channels.items() if _selected(channel.topic, self._filter)
        )
        self._next = None
        self._messages = file.messages(
            chosen,
            bound_ns=self._bound_ns,
            reverse=self._order.reverse,
            file_order=self._order.sort_by == ReadOrderSortBy.File,
            after=self._after,
        )

    def set_read_order(self, order: ReadOrder, /) -> bool:
        """Choose the order; False (and no change) where it is not available.

        Going backwards begins at the place that was last sought, so `seek` to the end of the bag first or after.
        """
        self._opened("set_read_order")
        if order.sort_by == ReadOrderSortBy.PublishedTimestamp:
            _LOG.warning("set_read_order: reading by time of publication is not available")
            return False
        if order.sort_by == ReadOrderSortBy.File and order.reverse:
            _LOG.warning("set_read_order: reading a file backwards in file order is not available")
            return False
        self._order = order
        self._restart()
        return True

    def has_next(self) -> bool:
        """Whether `read_next` has another message.

        Raises:
            RuntimeError: the bag is not open.
        """
        self._opened("has_next")
        step = -1 if self._order.reverse else 1
        while self._next is None:
            self._next = next(self._messages, None)
            if self._next is None:
                if not 0 <= self._current + step < len(self._paths):
                    return False
                self._load(self._current + step)
        return True

    def read_next(self) -> tuple[str, bytes, int]:
        """Return topic, serialized message and time of reception (ns).

        Raises:
            RuntimeError: the bag is not open, or is at its end.
        """
        file = self._opened("read_next")
        if not self.has_next():
            raise RuntimeError("read_next: the bag is at its end; ask has_next() before")
        file = self._opened("read_next")
        message, self._next = self._next, None
        if message is None:
            raise RuntimeError(f"read_next: {file.path}: the file changed while it was read")
        self._after = message.position
        return file.channels[message.channel].topic, message.data, message.position.log_ns

    def get_metadata(self) -> BagMetadata:
        """Return the metadata of the bag."""
        self._opened("get_metadata")
        return self._metadata

    def get_all_topics_and_types(self) -> list[TopicMetadata]:
        """Return all topics of the bag, whatever the filter."""
        self._opened("get_all_topics_and_types")
        return [info.topic_metadata for info in self._metadata.topics_with_message_count]

    def get_all_message_definitions(self) -> list[MessageDefinition]:
        """Return the types of the current file with their texts."""
        file = self._opened("get_all_message_definitions")
        return [
            MessageDefinition(schema.name, schema.encoding, schema.data.decode("utf-8"), "")
            for schema in file.schemas.values()
        ]

    def set_filter(self, storage_filter: StorageFilter, /) -> None:
        """Choose topics; reading goes on after the last message read.

        Raises:
            RuntimeError: the bag is not open, or a regular expression is not valid.
        """
        self._opened("set_filter")
        for name in ("regex", "regex_to_exclude"):
            try:
                re.compile(getattr(storage_filter, name))
            except re.error as error:
                text = getattr(storage_filter, name)
                raise RuntimeError(f"set_filter: {name}: '{text}' is not a regular expression: {error}") from error
        self._filter = storage_filter
        self._restart()

    def reset_filter(self) -> None:
        """Read all topics again."""
        self.set_filter(StorageFilter())

    def seek(self, timestamp: int, /) -> None:
        """Go on with the first message received at `timestamp` (ns) or later; backwards: at it or earlier.

        Raises:
            RuntimeError: the bag is not open.
        """
        self._opened("seek")
        self._bound_ns = int(timestamp)
        self._after = None
        number = self._current
        file = self._opened("seek")
        while timestamp < file.span_ns[0] and number > 0:
            number -= 1
            file = self._load(number)
        while timestamp > file.span_ns[1] and number < len(self._paths) - 1:
            number += 1
            file = self._load(number)
        self._restart()


def _listed_files(folder: Path, metadata: BagMetadata) -> list[Path]:
    """Paths of the files of a bag.

    Raises:
        RuntimeError: the bag cannot be read here, or a file is missing.
    """
    where = str(folder / "metadata.yaml")
    check_readable(metadata.storage_identifier, where)
    if metadata.compression_mode.lower() not in ("", "none"):
        raise RuntimeError(
            f"{where}: compression_mode '{metadata.compression_mode}' is not available here; turn the bag into one with "
            "compressed chunks ('ros2 bag convert' with storage_preset_profile: zstd_fast)"
        )
    if not metadata.relative_file_paths:
        raise RuntimeError(f"{where}: names no files; rebuild it with rosbag2_py.Reindexer().reindex(...)")
    paths = [folder / name for name in metadata.relative_file_paths]
    for path in paths:
        if not path.is_file():
            raise RuntimeError(f"{where}: names the file '{path.name}', which is not in the folder")
    return paths


def single_file(path: Path) -> Path:
    """Accept a path that may be a bag file.

    Raises:
        RuntimeError: it is a folder or is not there.
    """
    if path.is_dir():
        raise RuntimeError(
            f"{path}: has no metadata.yaml (was the writer killed?); rebuild it with rosbag2_py.Reindexer().reindex(...) "
            "or open the .mcap file itself"
        )
    if not path.exists():
        raise RuntimeError(f"{path}: there is no such bag")
    return path


def _selected(topic: str, chosen: StorageFilter) -> bool:
    """Whether the filter lets the topic through; exclusion wins."""
    service = topic.endswith(_SERVICE_EVENT) and topic != _SERVICE_EVENT
    include = chosen.services_events if service else chosen.topics
    exclude = chosen.exclude_service_events if service else chosen.exclude_topics
    if topic in exclude or (chosen.regex_to_exclude and re.fullmatch(chosen.regex_to_exclude, topic)):
        return False
    if not include and not chosen.regex:
        return True
    return topic in include or bool(chosen.regex and re.fullmatch(chosen.regex, topic))
