# SPDX-License-Identifier: Apache-2.0

"""`metadata.yaml`: written as version 9 (Jazzy), read from version 1 on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.time import Time

from rosbag2_py._qos import qos_from_node, qos_to_node, to_rclcpp_qos_vector
from rosbag2_py._storage import METADATA_VERSION, BagMetadata, FileInformation, TopicInformation, TopicMetadata
from rosbag2_py._yaml import dump, load

FILE_NAME = "metadata.yaml"
_ROOT = "rosbag2_bagfile_information"


def metadata_to_node(metadata: BagMetadata) -> dict[str, Any]:
    """Plain mapping in the key order of rosbag2."""
    if metadata.version != METADATA_VERSION:
        raise RuntimeError(
            f"metadata version {metadata.version} cannot be written, only {METADATA_VERSION}; set metadata.version to it"
        )
    return {
        "version": metadata.version,
        "storage_identifier": metadata.storage_identifier,
        "duration": {"nanoseconds": metadata.duration_ns},
        "starting_time": {"nanoseconds_since_epoch": metadata.starting_time_ns},
        "message_count": metadata.message_count,
        "topics_with_message_count": [_topic_to_node(info) for info in metadata.topics_with_message_count],
        "compression_format": metadata.compression_format,
        "compression_mode": metadata.compression_mode,
        "relative_file_paths": metadata.relative_file_paths,
        "files": [_file_to_node(info) for info in metadata.files],
        "custom_data": {str(key): str(value) for key, value in metadata.custom_data.items()} or None,
        "ros_distro": metadata.ros_distro,
    }


def _topic_to_node(info: TopicInformation) -> dict[str, Any]:
    topic = info.topic_metadata
    return {
        "topic_metadata": {
            "name": topic.name,
            "type": topic.type,
            "serialization_format": topic.serialization_format,
            "offered_qos_profiles": [qos_to_node(qos) for qos in topic.offered_qos_profiles],
            "type_description_hash": topic.type_description_hash,
        },
        "message_count": info.message_count,
    }


def _file_to_node(info: FileInformation) -> dict[str, Any]:
    return {
        "path": info.path,
        "starting_time": {"nanoseconds_since_epoch": info.starting_time_ns},
        "duration": {"nanoseconds": info.duration_ns},
        "message_count": info.message_count,
    }


def metadata_from_node(node: dict[str, Any]) -> BagMetadata:
    """Read a mapping whose scalars are texts.

    Raises:
        KeyError, TypeError, ValueError: the mapping is not that of a bag.
    """
    version = int(node["version"])
    metadata = BagMetadata(
        version=version,
        storage_identifier=node["storage_identifier"],
        relative_file_paths=node["relative_file_paths"] or [],
        message_count=int(node["message_count"]),
        compression_format=node["compression_format"] if version >= 3 else "",
        compression_mode=node["compression_mode"] if version >= 3 else "",
        ros_distro=node["ros_distro"] if version >= 8 else "",
    )
    metadata.duration_ns = int(node["duration"]["nanoseconds"])
    metadata.starting_time_ns = int(node["starting_time"]["nanoseconds_since_epoch"])
    metadata.topics_with_message_count = [_topic_from_node(n, version) for n in node["topics_with_message_count"] or []]
    if version >= 5:
        metadata.files = [_file_from_node(entry) for entry in node["files"] or []]
    custom = node["custom_data"] if version >= 6 else {}
    metadata.custom_data = custom if isinstance(custom, dict) else {}
    return metadata


def _topic_from_node(node: dict[str, Any], version: int) -> TopicInformation:
    entry = node["topic_metadata"]
    topic = TopicMetadata(0, entry["name"], entry["type"], entry["serialization_format"])
    if version >= 9:
        topic.offered_qos_profiles = [qos_from_node(qos) for qos in entry["offered_qos_profiles"] or []]
    elif version >= 4:
        topic.offered_qos_profiles = to_rclcpp_qos_vector(entry["offered_qos_profiles"], version)
    topic.type_description_hash = entry["type_description_hash"] if version >= 7 else ""
    return TopicInformation(topic, int(node["message_count"]))


def _file_from_node(node: dict[str, Any]) -> FileInformation:
    return FileInformation(
        node["path"],
        Time(nanoseconds=int(node["starting_time"]["nanoseconds_since_epoch"])),
        Duration(nanoseconds=int(node["duration"]["nanoseconds"])),
        int(node["message_count"]),
    )


class MetadataIo:
    """Reads and writes `metadata.yaml` in the folder of a bag."""

    def write_metadata(self, uri: str, metadata: BagMetadata) -> None:
        """Write the file whole or not at all; an existing one is replaced.

        Args:
            uri: folder of the bag.
            metadata: must have version 9.
        """
        path = Path(uri) / FILE_NAME
        part = path.with_suffix(".yaml.part")
        part.write_text(dump({_ROOT: metadata_to_node(metadata)}), encoding="utf-8")
        part.replace(path)

    def read_metadata(self, uri: str) -> BagMetadata:
        """Read the file; `bag_size` becomes the size of the folder in bytes.

        Raises:
            RuntimeError: there is no such file, or it does not describe a bag.
        """
        path = Path(uri) / FILE_NAME
        try:
            metadata = metadata_from_node(load(path.read_text(encoding="utf-8"))[_ROOT])
        except OSError as error:
            raise RuntimeError(f"{path}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise RuntimeError(
                f"{path}: does not describe a bag ({error!r}); rebuild it with rosbag2_py.Reindexer().reindex(...)"
            ) from error
        metadata.bag_size = sum(entry.stat().st_size for entry in Path(uri).rglob("*") if entry.is_file())
        return metadata

    def metadata_file_exists(self, uri: str) -> bool:
        """Whether the folder has a `metadata.yaml`."""
        return (Path(uri) / FILE_NAME).exists()

    def serialize_metadata(self, metadata: BagMetadata) -> str:
        """Return the YAML text that MCAP files carry in their metadata record `rosbag2`."""
        return dump(metadata_to_node(metadata)).rstrip("\n")

    def deserialize_metadata(self, serialized_metadata: str) -> BagMetadata:
        """Read the text of `serialize_metadata`.

        Raises:
            RuntimeError: the text does not describe a bag.
        """
        try:
            return metadata_from_node(load(serialized_metadata))
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise RuntimeError(f"the text does not describe a bag: {error!r}") from error
