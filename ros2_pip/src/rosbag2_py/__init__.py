# SPDX-License-Identifier: Apache-2.0

"""Bags in MCAP files, and sqlite3 ones to read, with the Python interface of rosbag2 (Jazzy), where the real one is absent.

Same names, signatures and files as the real `rosbag2_py`; the part that recorders, converters and players use.
Left out: writing sqlite3, file compression, snapshots, `Player`, `Recorder` and `bag_rewrite`. What is left out is
refused by name.
"""

from rosbag2_py._definitions import LocalMessageDefinitionSource
from rosbag2_py._info import Info, Reindexer
from rosbag2_py._metadata import MetadataIo
from rosbag2_py._qos import convert_rclcpp_qos_to_rclpy_qos, to_rclcpp_qos_vector
from rosbag2_py._reader import SequentialReader, get_registered_readers
from rosbag2_py._storage import (
    BagMetadata,
    ConverterOptions,
    FileInformation,
    MessageDefinition,
    ReadOrder,
    ReadOrderSortBy,
    StorageFilter,
    StorageOptions,
    TopicInformation,
    TopicMetadata,
    get_default_storage_id,
)
from rosbag2_py._writer import (
    SequentialWriter,
    get_registered_compressors,
    get_registered_serializers,
    get_registered_writers,
)

__all__ = [
    "BagMetadata",
    "ConverterOptions",
    "FileInformation",
    "Info",
    "LocalMessageDefinitionSource",
    "MessageDefinition",
    "MetadataIo",
    "ReadOrder",
    "ReadOrderSortBy",
    "Reindexer",
    "SequentialReader",
    "SequentialWriter",
    "StorageFilter",
    "StorageOptions",
    "TopicInformation",
    "TopicMetadata",
    "convert_rclcpp_qos_to_rclpy_qos",
    "get_default_storage_id",
    "get_registered_compressors",
    "get_registered_readers",
    "get_registered_serializers",
    "get_registered_writers",
    "to_rclcpp_qos_vector",
]
