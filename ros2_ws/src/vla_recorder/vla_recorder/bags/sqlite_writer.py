# SPDX-License-Identifier: Apache-2.0

"""One episode as a rosbag2 folder with sqlite3 storage, for programs that read nothing else. Recording uses MCAP."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import yaml
from vla_core.errors import BagError

from vla_recorder.bags.writer import METADATA_FILE, TopicCount, TopicInfo, bag_metadata, writing

_SCHEMA = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
    offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
    encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'jazzy');
"""


class SqliteBagWriter:
    """Writes one database with the interface of `vla_recorder.bags.writer.BagWriter`; the storage knows no publish time."""

    def __init__(self, folder: Path, name: str, *, custom_data: Mapping[str, str] | None = None) -> None:
        """Create the folder and the file ``<name>_0.db3`` in it.

        Raises:
            BagError: The folder exists or cannot be written.
        """
        self.folder = folder
        self.path = folder / f"{name}_0.db3"
        self._topics: dict[str, tuple[int, TopicInfo]] = {}
        self._counts: dict[str, TopicCount] = {}
        self._custom = dict(custom_data or {})
        self._span = (1 << 63, 0)
        if folder.exists():
            raise BagError(f"{folder}: exists already; an episode never overwrites another")
        with writing(folder):
            folder.mkdir(parents=True)
        with self._writing():
            self._database = sqlite3.connect(self.path)
            self._database.executescript(_SCHEMA)

    def add_topic(self, info: TopicInfo) -> None:
        """Announce a topic; a second call with the same name does nothing."""
        if info.name in self._topics:
            return
        number = len(self._topics) + 1
        qos = yaml.safe_dump([dict(entry) for entry in info.qos], sort_keys=False)
        with self._writing():
            self._database.execute(
                "INSERT INTO topics VALUES (?, ?, ?, 'cdr', ?, ?)", (number, info.name, info.type, qos, info.type_hash)
            )
            if all(known.type != info.type for _, known in self._topics.values()):
                self._database.execute(
                    "INSERT INTO message_definitions VALUES (?, ?, 'ros2msg', ?, ?)",
                    (number, info.type, info.definition, info.type_hash),
                )
        self._topics[info.name] = (number, info)
        self._counts[info.name] = TopicCount()

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int) -> None:
        """Write one serialized message; see `vla_recorder.bags.writer.BagWriter.write`."""
        with self._writing():
            self._database.execute(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)",
                (self._topics[topic][0], log_ns, data),
            )
        self._counts[topic].add(publish_ns, len(data))
        self._span = (min(self._span[0], log_ns), max(self._span[1], log_ns))

    def close(self, custom_data: Mapping[str, str]) -> None:
        """Finish the database and write ``metadata.yaml``.

        Raises:
            BagError: The disk refuses it.
        """
        topics = [(info, self._counts[name].messages) for name, (_, info) in self._topics.items()]
        span = self._span if any(count for _, count in topics) else (0, 0)
        content = bag_metadata("sqlite3", self.path.name, topics, span, {**self._custom, **custom_data})
        inner = yaml.safe_dump(content["rosbag2_bagfile_information"], sort_keys=False, allow_unicode=True)
        with self._writing():
            self._database.execute("INSERT INTO metadata(metadata_version, metadata) VALUES (9, ?)", (inner,))
            self._database.commit()
            self._database.close()
        target = self.folder / METADATA_FILE
        with writing(target):
            target.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def abandon(self) -> None:
        """Let go of the file without finishing it."""
        with suppress(sqlite3.Error):
            self._database.close()

    def _writing(self) -> _Writing:
        return _Writing(self.path)


class _Writing:
    """Turns errors of the database into a `BagError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise BagError(f"{self._path}: cannot write the bag ({error}); check the disk") from error
