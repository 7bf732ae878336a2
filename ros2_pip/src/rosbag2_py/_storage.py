# SPDX-License-Identifier: Apache-2.0

"""Plain records of the interface: options, filters, topics, files and the metadata of a bag."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from enum import IntEnum

from rclpy.duration import Duration as RclpyDuration
from rclpy.time import Time

from rosbag2_py._qos import (
    Duration,
    QoS,
    rmw_qos_durability_policy_t,
    rmw_qos_history_policy_t,
    rmw_qos_liveliness_policy_t,
    rmw_qos_reliability_policy_t,
)

__all__ = [
    "BagMetadata",
    "ConverterOptions",
    "Duration",
    "FileInformation",
    "MessageDefinition",
    "QoS",
    "ReadOrder",
    "ReadOrderSortBy",
    "StorageFilter",
    "StorageOptions",
    "TopicInformation",
    "TopicMetadata",
    "get_default_storage_id",
    "rmw_qos_durability_policy_t",
    "rmw_qos_history_policy_t",
    "rmw_qos_liveliness_policy_t",
    "rmw_qos_reliability_policy_t",
]

METADATA_VERSION = 9
"""Version of the metadata that Jazzy writes."""

NO_TIME_NS = 2**63 - 1
"""Starting time (ns) of a bag without messages."""


def get_default_storage_id() -> str:
    """Return the storage that is used where `StorageOptions.storage_id` is empty."""
    return "mcap"


@dataclass
class ConverterOptions:
    """Serialization formats in memory and on disk; only `cdr` (or empty) is there."""

    input_serialization_format: str = ""
    output_serialization_format: str = ""


@dataclass
class StorageOptions:
    """Where and how a bag is stored.

    Attributes:
        uri: folder of the bag; for reading also a single `.mcap` file.
        storage_id: `mcap`, or empty for the default.
        max_bagfile_size: bytes after which a new file is begun; 0 = never.
        max_bagfile_duration: seconds after which a new file is begun; 0 = never.
        max_cache_size: bytes that may wait in memory for a writing thread; 0 = write in the caller's thread.
        storage_preset_profile: `none`, `fastwrite`, `zstd_fast` or `zstd_small`.
        storage_config_uri: YAML file of writer options (`chunkSize`, `compression`, …), applied over the preset.
        snapshot_mode: not available here; refused when set.
        start_time_ns: messages received before it are not written; -1 = no bound.
        end_time_ns: messages received after it are not written; -1 = no bound.
        custom_data: texts that are kept in the metadata of the bag and of each file.
    """

    uri: str
    storage_id: str = ""
    max_bagfile_size: int = 0
    max_bagfile_duration: int = 0
    max_cache_size: int = 0
    storage_preset_profile: str = ""
    storage_config_uri: str = ""
    snapshot_mode: bool = False
    start_time_ns: int = -1
    end_time_ns: int = -1
    custom_data: dict[str, str] = field(default_factory=dict)


@dataclass
class StorageFilter:
    """Which topics a reader yields; a regular expression must match the whole name.

    Exclusion wins over inclusion. Topics that end in `/_service_event` are chosen by the service lists.
    """

    topics: list[str] = field(default_factory=list)
    services_events: list[str] = field(default_factory=list)
    regex: str = ""
    exclude_topics: list[str] = field(default_factory=list)
    exclude_service_events: list[str] = field(default_factory=list)
    regex_to_exclude: str = ""


@dataclass
class MessageDefinition:
    """Text of a message type with all types that it contains."""

    topic_type: str
    encoding: str
    encoded_message_definition: str
    type_hash: str


@dataclass
class TopicMetadata:
    """One topic: `id` is the channel in the file when read, and free when written."""

    id: int
    name: str
    type: str
    serialization_format: str
    offered_qos_profiles: list[QoS] = field(default_factory=list)
    type_description_hash: str = ""

    def equals(self, other: TopicMetadata) -> bool:
        """Whether all fields are the same."""
        return self == other


@dataclass
class TopicInformation:
    """One topic and how many messages of it there are."""

    topic_metadata: TopicMetadata
    message_count: int


class ReadOrderSortBy(IntEnum):
    """What the messages are ordered by."""

    ReceivedTimestamp = 0
    PublishedTimestamp = 1
    File = 2


@dataclass
class ReadOrder:
    """Order of reading."""

    sort_by: ReadOrderSortBy = ReadOrderSortBy.ReceivedTimestamp
    reverse: bool = False


@dataclass(init=False)
class FileInformation:
    """One file of a bag. The times are kept in integer nanoseconds."""

    path: str
    starting_time_ns: int
    duration_ns: int
    message_count: int

    def __init__(self, path: str, starting_time: Time, duration: RclpyDuration, message_count: int) -> None:
        self.path = path
        self.starting_time_ns = starting_time.nanoseconds
        self.duration_ns = duration.nanoseconds
        self.message_count = message_count

    @property
    def starting_time(self) -> Time:
        """Time of reception of the first message."""
        return Time(nanoseconds=self.starting_time_ns)

    @starting_time.setter
    def starting_time(self, value: Time) -> None:
        self.starting_time_ns = value.nanoseconds

    @property
    def duration(self) -> datetime.timedelta:
        """Time from the first to the last message, in whole microseconds (the type is that of the real package)."""
        return datetime.timedelta(microseconds=self.duration_ns // 1000)

    @duration.setter
    def duration(self, value: datetime.timedelta) -> None:
        self.duration_ns = value // datetime.timedelta(microseconds=1) * 1000


@dataclass(init=False, repr=False)
class BagMetadata:
    """What is known of a bag without reading it. The times are kept in integer nanoseconds."""

    version: int
    bag_size: int
    storage_identifier: str
    relative_file_paths: list[str]
    files: list[FileInformation]
    duration_ns: int
    starting_time_ns: int
    message_count: int
    topics_with_message_count: list[TopicInformation]
    compression_format: str
    compression_mode: str
    custom_data: dict[str, str]
    ros_distro: str

    def __init__(
        self,
        version: int = METADATA_VERSION,
        bag_size: int = 0,
        storage_identifier: str = "",
        relative_file_paths: list[str] | None = None,
        files: list[FileInformation] | None = None,
        duration: RclpyDuration | None = None,
        starting_time: Time | None = None,
        message_count: int = 0,
        topics_with_message_count: list[TopicInformation] | None = None,
        compression_format: str = "",
        compression_mode: str = "",
        custom_data: dict[str, str] | None = None,
        ros_distro: str = "",
    ) -> None:
        self.version = version
        self.bag_size = bag_size
        self.storage_identifier = storage_identifier
        self.relative_file_paths = list(relative_file_paths or [])
        self.files = list(files or [])
        self.duration_ns = duration.nanoseconds if duration is not None else 0
        self.starting_time_ns = starting_time.nanoseconds if starting_time is not None else 0
        self.message_count = message_count
        self.topics_with_message_count = list(topics_with_message_count or [])
        self.compression_format = compression_format
        self.compression_mode = compression_mode
        self.custom_data = dict(custom_data or {})
        self.ros_distro = ros_distro

    @property
    def starting_time(self) -> Time:
        """Time of reception of the first message."""
        return Time(nanoseconds=self.starting_time_ns)

    @starting_time.setter
    def starting_time(self, value: Time) -> None:
        self.starting_time_ns = value.nanoseconds

    @property
    def duration(self) -> RclpyDuration:
        """Time from the first to the last message."""
        return RclpyDuration(nanoseconds=self.duration_ns)

    @duration.setter
    def duration(self, value: RclpyDuration) -> None:
        self.duration_ns = value.nanoseconds

    def __repr__(self) -> str:
        return _describe(self)


def _describe(metadata: BagMetadata) -> str:
    """Summary in the layout of `ros2 bag info`; times in the local zone."""

    def seconds(time_ns: int) -> str:
        return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"

    def moment(time_ns: int) -> str:
        if time_ns >= NO_TIME_NS:
            return "none (no messages)"
        local = datetime.datetime.fromtimestamp(time_ns // 10**9).astimezone()
        return f"{local:%b} {local.day:2d} {local:%Y %H:%M:%S}.{time_ns % 10**9:09d} ({seconds(time_ns)})"

    def size(count: float) -> str:
        if count < 1024:
            return f"{count:.0f} B"
        for unit in ("KiB", "MiB", "GiB"):
            count /= 1024
            if count < 1024:
                return f"{count:.1f} {unit}"
        return f"{count / 1024:.1f} TiB"

    topics = [
        f"Topic: {info.topic_metadata.name} | Type: {info.topic_metadata.type} | Count: {info.message_count} | "
        f"Serialization Format: {info.topic_metadata.serialization_format}"
        for info in metadata.topics_with_message_count
    ]
    indent = "\n" + 19 * " "
    rows = [
        ("Files:", indent.join(metadata.relative_file_paths)),
        ("Bag size:", size(metadata.bag_size)),
        ("Storage id:", metadata.storage_identifier),
        ("ROS Distro:", metadata.ros_distro or "unknown"),
        ("Duration:", seconds(metadata.duration_ns) + "s"),
        ("Start:", moment(metadata.starting_time_ns)),
        ("End:", moment(metadata.starting_time_ns + metadata.duration_ns)),
        ("Messages:", str(metadata.message_count)),
        ("Topic information:", indent.join(topics)),
    ]
    return "\n" + "".join(f"{label:<19}{value}\n" for label, value in rows)
