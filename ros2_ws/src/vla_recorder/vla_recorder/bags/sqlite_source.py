# SPDX-License-Identifier: Apache-2.0

"""A ``.db3`` file of rosbag2's sqlite3 storage as a bag source."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from vla_recorder.bags.source import Attachment, Connection, DamagedError, RawMessage
from vla_recorder.bags.sqlite_pages import Pages

MAGIC = b"SQLite format 3\0"
_CUSTOM = "rosbag2_bagfile_information"


class SqliteSource:
    """One open database. Its format has no checksums: what can be read is taken as it is."""

    def __init__(self, path: Path, file: Path) -> None:
        """Open the database and count its messages.

        Args:
            path: Name in messages.
            file: Where it lies, the same unless it had to be decompressed.

        Raises:
            DamagedError: It is no readable bag.
        """
        self.path = path
        self._damage = ""
        # A log that its writer left behind holds the newest messages; without one nothing beside the file is touched.
        wal = file.with_name(f"{file.name}-wal")
        mode = "mode=ro" if wal.is_file() and wal.stat().st_size else "immutable=1"
        # Kept open, because a temporary file loses its name as soon as it is open.
        self._stream = file.open("rb")
        self._pages = Pages(self._stream)
        self._broken = cut = self._pages.present < self._pages.stated
        opened = _shortened(file, self._pages) if cut else file
        try:
            self._database = sqlite3.connect(f"{opened.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False)
            self.connections = self._read_topics()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise DamagedError(f"it is no readable sqlite3 bag ({error})") from error
        finally:
            if cut:
                opened.unlink()
        self.metadata: Mapping[str, Mapping[str, str]] = {}
        self.counts: dict[int, int] = {}
        self.span_ns = (0, 0)
        self._count()
        self._read_metadata()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def damage(self) -> str:
        """What could not be read, as far as it is known."""
        return self._damage

    def note(self, reason: str) -> None:
        """Remember a damage, unless another is known already."""
        self._damage = self._damage or f"{self.path}: {reason}"

    def close(self) -> None:
        """Release the file."""
        self._database.close()
        self._stream.close()

    def _columns(self, table: str) -> set[str]:
        return {row[1] for row in self._database.execute(f"PRAGMA table_info({table})")}

    def _read_topics(self) -> dict[int, Connection]:
        columns = self._columns("topics")
        if not columns or not self._columns("messages"):
            raise DamagedError("the database has no tables 'topics' and 'messages'; it is no bag")
        definitions: dict[str, tuple[str, str]] = {}
        if self._columns("message_definitions"):
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {kind: (encoding, text) for kind, encoding, text in self._database.execute(query)}
        optional = [name for name in ("offered_qos_profiles", "type_description_hash") if name in columns]
        query = f"SELECT {', '.join(('id', 'name', 'type', 'serialization_format', *optional))} FROM topics ORDER BY id"
        found = {}
        for number, topic, kind, encoding, *rest in self._database.execute(query):
            extra = dict(zip(optional, rest, strict=True))
            form, text = definitions.get(kind, ("", ""))
            found[number] = Connection(
                topic=topic,
                type=kind,
                encoding=encoding,
                definition=text,
                definition_encoding=form,
                qos=extra.get("offered_qos_profiles", ""),
                type_hash=extra.get("type_description_hash", ""),
            )
        return found

    def _count(self) -> None:
        if not self._broken:
            query = "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
            try:
                rows = self._database.execute(query).fetchall()
                self.counts = {topic: count for topic, count, _, _ in rows}
                self.span_ns = (min(r[2] for r in rows), max(r[3] for r in rows)) if rows else (0, 0)
            except (sqlite3.DatabaseError, TypeError, UnicodeDecodeError):
                self._broken = True
        if not self._broken:
            return
        self.counts = {}
        stamps = [0]
        for topic, stamp, _ in self._whole_rows(frozenset(self.connections)):
            self.counts[topic] = self.counts.get(topic, 0) + 1
            stamps.append(stamp)
        self.span_ns = (min(stamps[1:], default=0), stamps[-1])
        span_s = (self.span_ns[1] - self.span_ns[0]) * 1e-9
        self.note(f"the database is damaged or cut off; {len(stamps) - 1} messages over {span_s:.3f} s are readable")

    def _read_metadata(self) -> None:
        """Read what newer versions of rosbag2 keep of ``metadata.yaml`` inside the database."""
        try:
            if "metadata" not in self._columns("metadata"):
                return
            row = self._database.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchone()
            custom = yaml.safe_load(row[0]).get("custom_data") if row else None
        except (sqlite3.DatabaseError, yaml.YAMLError, AttributeError, UnicodeDecodeError):
            return
        if isinstance(custom, dict):
            self.metadata = {_CUSTOM: {str(key): _text(value) for key, value in custom.items()}}

    def _rows(self, chosen: frozenset[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield topic, time and data by time, up to the first damage."""
        numbers = ",".join(str(number) for number in sorted(chosen))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({numbers}) ORDER BY timestamp, id"
        cursor = self._database.cursor()
        try:
            for topic, stamp, data in cursor.execute(query):
                if not (isinstance(stamp, int) and isinstance(data, bytes)):
                    self.note("the database is damaged (a row makes no sense); messages before it are read")
                    return
                yield topic, stamp, data
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self.note(f"the database is damaged ({error}); messages before it are read")
        finally:
            cursor.close()

    def _whole_rows(self, chosen: frozenset[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield the same from the pages of a damaged database, up to the first message that is not whole."""
        for row in self._pages.messages(chosen):
            data = self._pages.data(row)
            if data is None:
                return
            yield row.topic, row.stamp, data

    def read(self, chosen: frozenset[int]) -> Iterator[RawMessage]:
        """Yield the messages of some topics by time of reception, up to the first damage (see `damage`)."""
        rows = self._whole_rows(chosen) if self._broken else self._rows(chosen)
        for topic, stamp, data in rows:
            yield RawMessage(self.connections[topic], stamp, stamp, data)

    def attachments(self) -> Iterator[Attachment]:
        """The storage knows no attachments."""
        return iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shortened(file: Path, pages: Pages) -> Path:
    """Return a temporary copy of a cut file whose header states its true size.

    SQLite refuses every page of a file that is shorter than its header says. The copy still gives the tables of topics and
    types, which lie at the beginning.
    """
    descriptor, name = tempfile.mkstemp(prefix="vla_bag_", suffix=".db3")
    os.close(descriptor)
    copy = Path(name)
    shutil.copyfile(file, copy)
    with copy.open("r+b") as stream:
        stream.truncate(pages.present * pages.page_size)
        stream.seek(28)
        stream.write(pages.present.to_bytes(4, "big"))
    return copy
