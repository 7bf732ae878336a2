# SPDX-License-Identifier: Apache-2.0

"""A ROS 1 ``.bag`` as a bag source: messages come out as CDR with ROS 2 type names and definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from rosbags.interfaces import Connection as RosbagsConnection
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from vla_recorder.bags.source import ROS2MSG, Attachment, Connection, DamagedError, RawMessage

MAGIC = b"#ROSBAG V"
_OF_ROS2 = ("std_msgs/msg/Header", "builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")
_DAMAGE = (ReaderError, SerdeError, ValueError, KeyError, AssertionError, OSError, EOFError)


class Ros1Source:
    """One open ROS 1 bag. A bag without an index must be reindexed with ROS 1's ``rosbag reindex`` first."""

    def __init__(self, path: Path, file: Path) -> None:
        """Open the bag.

        Args:
            path: Name in messages.
            file: Where it lies, the same unless it had to be decompressed.

        Raises:
            DamagedError: It cannot be read.
        """
        self.path = path
        self.damage = ""
        self.metadata: Mapping[str, Mapping[str, str]] = {}
        self._reader = Reader(file)
        try:
            self._reader.open()
        except _DAMAGE as error:
            raise DamagedError(f"it is no readable ROS 1 bag ({error}); try `rosbag reindex`") from error
        self._types = get_typestore(Stores.EMPTY)
        # ROS 1's header has a sequence number that ROS 2 dropped; with ROS 2's definition the conversion leaves it out.
        newer = get_typestore(Stores.ROS2_JAZZY).fielddefs
        self._types.register({name: newer[name] for name in _OF_ROS2})
        self.connections: dict[int, Connection] = {}
        self.counts: dict[int, int] = {}
        self._readable: dict[int, RosbagsConnection] = {}
        for number, stored in enumerate(self._reader.connections):
            self._readable[number] = stored
            self.connections[number] = self._describe(stored)
            self.counts[number] = stored.msgcount
        total = sum(self.counts.values())
        self.span_ns = (self._reader.start_time, self._reader.end_time - 1) if total else (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def note(self, reason: str) -> None:
        """Remember a damage, unless another is known already."""
        self.damage = self.damage or f"{self.path}: {reason}"

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def _describe(self, stored: RosbagsConnection) -> Connection:
        try:
            types = get_types_from_msg(stored.msgdef.data, stored.msgtype)
            self._types.register({name: spec for name, spec in types.items() if name not in _OF_ROS2})
            text, _ = self._types.generate_msgdef(stored.msgtype, ros_version=2)
        except (TypesysError, KeyError, ValueError):
            return Connection(topic=stored.topic, type=stored.msgtype, encoding="ros1")
        return Connection(topic=stored.topic, type=stored.msgtype, definition=text, definition_encoding=ROS2MSG)

    def read(self, chosen: frozenset[int]) -> Iterator[RawMessage]:
        """Yield the messages of some topics by time of reception, up to the first damage (see `damage`)."""
        wanted = [self._readable[number] for number in sorted(chosen)]
        if not wanted:
            return
        described = {stored.id: self.connections[number] for number, stored in self._readable.items()}
        try:
            for stored, stamp, data in self._reader.messages(wanted):
                connection = described[stored.id]
                content = bytes(self._types.ros1_to_cdr(data, stored.msgtype)) if connection.definition else data
                yield RawMessage(connection, stamp, stamp, content)
        except _DAMAGE as error:
            self.note(f"the bag is damaged ({error}); messages before it are read")

    def attachments(self) -> Iterator[Attachment]:
        """The format knows no attachments."""
        return iter(())
