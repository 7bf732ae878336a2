# SPDX-License-Identifier: Apache-2.0

"""One database of the sqlite3 storage being read, with the interface of `McapFile`. Layout: rosbag2's schema 1 to 4."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mcap.records import Channel, Schema

from rosbag2_py._mcap_read import McapFile
from rosbag2_py._merge import Position, StoredMessage

_SIGNATURE = b"SQLite format 3\0"


class SqliteFile:
    """Opens a database and gives its topics, counts and messages.

    Attributes:
        storage: name of the storage.
        channels: topics by number.
        schemas: types by number.
        counts: messages by channel.
        span_ns: first and last time of reception; (0, 0) without messages.
        metadata: the storage keeps none of the kind that MCAP has.

    Raises:
        RuntimeError: the file is no bag, or it is damaged.
    """

    storage = "sqlite3"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.metadata: dict[str, dict[str, str]] = {}
        try:
            # The reader may be handed to another thread, as `ros2 bag play` does; it is never used by two at once.
            self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            self.channels, self.schemas = self._topics()
            query = "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
            rows = self._database.execute(query).fetchall()
        except sqlite3.Error as error:
            raise RuntimeError(f"{path}: is no readable sqlite3 bag ({error})") from error
        self.counts = {topic: count for topic, count, _, _ in rows}
        self.span_ns = (min(row[2] for row in rows), max(row[3] for row in rows)) if rows else (0, 0)

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _topics(self) -> tuple[dict[int, Channel], dict[int, Schema]]:
        columns = self._columns("topics")
        if not columns:
            raise sqlite3.DatabaseError("there is no table 'topics'")
        texts = {}
        if self._columns("message_definitions"):
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            texts = {name: (encoding, text) for name, encoding, text in self._database.execute(query)}
        optional = {"offered_qos_profiles": "offered_qos_profiles", "type_description_hash": "topic_type_hash"}
        chosen = [name for name in optional if name in columns]
        query = f"SELECT {', '.join(('id', 'name', 'type', 'serialization_format', *chosen))} FROM topics ORDER BY id"
        schemas: dict[str, Schema] = {}
        channels = {}
        for number, topic, kind, encoding, *rest in self._database.execute(query):
            form, text = texts.get(kind, ("", ""))
            schema = schemas.setdefault(kind, Schema(id=len(schemas) + 1, name=kind, encoding=form, data=text.encode()))
            metadata = {optional[name]: value for name, value in zip(chosen, rest, strict=True)}
            channels[number] = Channel(
                id=number, topic=topic, message_encoding=encoding, metadata=metadata, schema_id=schema.id
            )
        return channels, {schema.id: schema for schema in schemas.values()}

    def messages(
        self,
        channels: frozenset[int],
        *,
        bound_ns: int = 0,
        reverse: bool = False,
        file_order: bool = False,
        after: Position | None = None,
    ) -> Iterator[StoredMessage]:
        """Iterate over messages by time of reception; see `McapFile.messages`."""
        reverse = reverse and not file_order
        bound_sign, place_sign, direction = ("<=", "<", "DESC") if reverse else (">=", ">", "ASC")
        wanted = ",".join(str(number) for number in sorted(channels))
        where = [f"topic_id IN ({wanted})", f"timestamp {bound_sign} ?"]
        values = [bound_ns]
        if after is not None and file_order:
            where.append("id > ?")
            values.append(after.offset)
        elif after is not None:
            where.append(f"(timestamp, id) {place_sign} (?, ?)")
            values += [after.log_ns, after.offset]
        order = "id" if file_order else f"timestamp {direction}, id {direction}"
        query = f"SELECT topic_id, timestamp, id, data FROM messages WHERE {' AND '.join(where)} ORDER BY {order}"
        try:
            for topic, stamp, number, data in self._database.execute(query, values):
                yield StoredMessage(Position(stamp, 0, number), topic, stamp, data)
        except sqlite3.Error as error:
            raise RuntimeError(f"{self.path}: the database is damaged ({error})") from error


def open_file(path: Path) -> McapFile | SqliteFile:
    """Open a file of either storage, by what it begins with.

    Raises:
        RuntimeError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            begin = stream.read(len(_SIGNATURE))
    except OSError as error:
        raise RuntimeError(f"{path}: cannot be opened: {error.strerror}") from error
    return SqliteFile(path) if begin == _SIGNATURE else McapFile(path)
