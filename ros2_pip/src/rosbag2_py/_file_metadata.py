# SPDX-License-Identifier: Apache-2.0

"""Metadata of a single file: of MCAP from its summary or scan and its metadata record `rosbag2`, of sqlite3 from its tables."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.time import Time

from rosbag2_py._mcap_read import McapFile
from rosbag2_py._metadata import MetadataIo
from rosbag2_py._qos import to_rclcpp_qos_vector
from rosbag2_py._sqlite_read import SqliteFile
from rosbag2_py._storage import (
    METADATA_VERSION,
    NO_TIME_NS,
    BagMetadata,
    FileInformation,
    TopicInformation,
    TopicMetadata,
)


def file_metadata(file: McapFile | SqliteFile) -> BagMetadata:
    """Return what the file says of itself.

    Counts and times are those of the messages in the file; `custom_data` and `ros_distro` come from its record.

    Raises:
        RuntimeError: the record does not describe a bag.
    """
    serialized = file.metadata.get("rosbag2", {}).get("serialized_metadata", "")
    known = MetadataIo().deserialize_metadata(serialized) if serialized else BagMetadata(version=8)
    total = sum(file.counts.values())
    start_ns = file.span_ns[0] if total else NO_TIME_NS
    metadata = BagMetadata(
        version=METADATA_VERSION,
        bag_size=file.size,
        storage_identifier=file.storage,
        relative_file_paths=[str(file.path)],
        starting_time=Time(nanoseconds=start_ns),
        duration=Duration(nanoseconds=file.span_ns[1] - file.span_ns[0]),
        message_count=total,
        custom_data=known.custom_data,
        ros_distro=known.ros_distro,
    )
    metadata.files = [FileInformation(str(file.path), metadata.starting_time, metadata.duration, total)]
    for number, channel in sorted(file.channels.items()):
        topic = TopicMetadata(
            id=number,
            name=channel.topic,
            type=file.schemas[channel.schema_id].name if channel.schema_id else "",
            serialization_format=channel.message_encoding,
            offered_qos_profiles=to_rclcpp_qos_vector(channel.metadata.get("offered_qos_profiles", ""), known.version),
            type_description_hash=channel.metadata.get("topic_type_hash", ""),
        )
        metadata.topics_with_message_count.append(TopicInformation(topic, file.counts.get(number, 0)))
    return metadata
