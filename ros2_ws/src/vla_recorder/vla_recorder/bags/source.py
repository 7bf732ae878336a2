# SPDX-License-Identifier: Apache-2.0

"""What a bag file is, whatever its storage: connections, raw messages, metadata records and attachments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

CDR = "cdr"
ROS2MSG = "ros2msg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One topic of a file.

    Attributes:
        topic: Its name.
        type: For example ``sensor_msgs/msg/Image``.
        encoding: Serialization of its messages; only ``cdr`` can be decoded.
        definition: Text of the type and of all types in it; empty if the file does not hold it.
        definition_encoding: ``ros2msg``, ``ros2idl`` or empty.
        qos: Offered QoS profiles as rosbag2 writes them (YAML); may be empty.
        type_hash: ``RIHS01_…`` or empty.
    """

    topic: str
    type: str
    encoding: str = CDR
    definition: str = ""
    definition_encoding: str = ""
    qos: str = ""
    type_hash: str = ""


class RawMessage(NamedTuple):
    """One serialized message.

    Attributes:
        connection: Topic and type.
        log_ns: When it was received [ns].
        publish_ns: When it was published [ns]; equal to `log_ns` where the storage does not know it.
        data: Serialized content.
    """

    connection: Connection
    log_ns: int
    publish_ns: int
    data: bytes

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.connection.topic


class Attachment(NamedTuple):
    """A file that travels with an episode."""

    name: str
    media_type: str
    data: bytes


class DamagedError(Exception):
    """A part of a file cannot be used; the text says why. Never leaves this package."""


class BagSource(Protocol):
    """One open file of a bag."""

    @property
    def path(self) -> Path:
        """Its path."""

    @property
    def connections(self) -> Mapping[int, Connection]:
        """Topics by number."""

    @property
    def counts(self) -> Mapping[int, int]:
        """Messages by number of the topic."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last time of reception [ns]; (0, 0) without messages."""

    @property
    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Metadata records by name, the last of each name."""

    @property
    def damage(self) -> str:
        """What could not be read, as far as it is known; empty while all is well."""

    def note(self, reason: str) -> None:
        """Remember a damage, unless another is known already."""

    def read(self, chosen: frozenset[int]) -> Iterator[RawMessage]:
        """Yield the messages of some topics by time of reception, up to the first damage."""

    def attachments(self) -> Iterator[Attachment]:
        """Yield the files stored inside."""

    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
