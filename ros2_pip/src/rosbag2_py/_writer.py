# SPDX-License-Identifier: Apache-2.0

"""`SequentialWriter`: a folder with MCAP files and `metadata.yaml`, as the real rosbag2 of Jazzy writes it."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from rclpy.duration import Duration
from rclpy.time import Time

from rosbag2_py._cache import WriteBehind
from rosbag2_py._checks import check_serialization, check_storage_id
from rosbag2_py._definitions import LocalMessageDefinitionSource
from rosbag2_py._mcap_write import McapWriter, apply_config, preset_options
from rosbag2_py._metadata import MetadataIo
from rosbag2_py._qos import serialize_qos_vector
from rosbag2_py._storage import (
    NO_TIME_NS,
    BagMetadata,
    ConverterOptions,
    FileInformation,
    MessageDefinition,
    StorageOptions,
    TopicInformation,
    TopicMetadata,
)

_LOG = logging.getLogger("rosbag2_py")
_SPLIT_SIZE_MIN = 1024


def get_registered_writers() -> set[str]:
    """Return the storages that can be written."""
    return {"mcap"}


def get_registered_compressors() -> set[str]:
    """Return the compressions of whole files and single messages: none here. Chunks are compressed by a preset."""
    return set()


def get_registered_serializers() -> set[str]:
    """Return the converters of serialization formats: none here."""
    return set()


class SequentialWriter:
    """Writes one bag. The methods may be called from several threads.

    Messages reach the file chunk by chunk: when a chunk is full and at the latest when it spans one second of
    reception time, so a bag whose process is killed lacks at most that and what waits in the cache.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open = False
        self._cache: WriteBehind | None = None
        self._definitions = LocalMessageDefinitionSource()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.close()

    def open(self, storage_options: StorageOptions, converter_options: ConverterOptions, /) -> None:
        """Create the folder and its first file.

        Raises:
            RuntimeError: the folder exists, or an option is not available here (its name is in the text).
        """
        with self._lock:
            if self._open:
                return
            self._check_options(storage_options, converter_options)
            self._writer_options = preset_options(storage_options.storage_preset_profile)
            if storage_options.storage_config_uri:
                apply_config(self._writer_options, storage_options.storage_config_uri)
            self._options = storage_options
            self._folder = Path(storage_options.uri)
            if self._folder.exists():
                raise RuntimeError(
                    f"{self._folder}: the bag directory already exists and is not overwritten; choose another uri"
                )
            self._folder.mkdir(parents=True)
            self._topics: dict[str, TopicInformation] = {}
            self._message_definitions: dict[str, MessageDefinition] = {}
            self._channels: dict[str, int] = {}
            self._metadata = BagMetadata(
                storage_identifier="mcap",
                custom_data=storage_options.custom_data,
                ros_distro=os.environ.get("ROS_DISTRO", ""),
            )
            self._metadata.starting_time_ns = NO_TIME_NS
            self._begin_file()
            if storage_options.max_cache_size:
                self._cache = WriteBehind(storage_options.max_cache_size, self._store)
            self._open = True

    @staticmethod
    def _check_options(storage: StorageOptions, converter: ConverterOptions) -> None:
        check_storage_id(storage.storage_id)
        check_serialization(converter)
        if storage.snapshot_mode:
            raise RuntimeError("snapshot_mode is not available here; set it to False or install the real rosbag2_py")
        if 0 < storage.max_bagfile_size < _SPLIT_SIZE_MIN:
            raise RuntimeError(
                f"max_bagfile_size: {storage.max_bagfile_size} bytes is too small; use at least {_SPLIT_SIZE_MIN}, or 0"
            )

    def _begin_file(self) -> None:
        name = f"{self._folder.name}_{len(self._metadata.relative_file_paths)}.mcap"
        self._file = McapWriter(self._folder / name, self._writer_options)
        self._metadata.relative_file_paths.append(name)
        self._metadata.files.append(FileInformation(name, Time(nanoseconds=NO_TIME_NS), Duration(), 0))
        self._write_metadata_record()
        self._channels.clear()
        for info in self._topics.values():
            self._announce(info.topic_metadata)

    def _write_metadata_record(self) -> None:
        self._file.add_metadata("rosbag2", {"serialized_metadata": MetadataIo().serialize_metadata(self._metadata)})

    def _announce(self, topic: TopicMetadata) -> None:
        definition = self._message_definitions[topic.name]
        self._channels[topic.name] = self._file.add_channel(
            topic.name,
            topic.serialization_format,
            (topic.type, definition.encoding, definition.encoded_message_definition),
            {
                "offered_qos_profiles": serialize_qos_vector(topic.offered_qos_profiles),
                "topic_type_hash": topic.type_description_hash,
            },
        )

    def create_topic(self, topic_with_type: TopicMetadata, /) -> None:
        """Announce a topic; a second time for the same name has no effect.

        Raises:
            RuntimeError: the bag is not open.
        """
        with self._lock:
            self._check_open("create_topic")
            if topic_with_type.name in self._topics:
                return
            self._message_definitions[topic_with_type.name] = self._definitions.get_full_text(topic_with_type.type)
            self._topics[topic_with_type.name] = TopicInformation(topic_with_type, 0)
            self._announce(topic_with_type)

    def remove_topic(self, topic_with_type: TopicMetadata, /) -> None:
        """Take a topic out of the metadata; messages already written stay in the file.

        Raises:
            RuntimeError: the bag is not open or has no such topic.
        """
        with self._lock:
            self._check_open("remove_topic")
            if topic_with_type.name not in self._topics:
                raise RuntimeError(f"remove_topic: there is no topic '{topic_with_type.name}' in {self._folder}")
            if self._cache is not None:
                self._release_and_drain(self._cache)
            del self._topics[topic_with_type.name]
            del self._message_definitions[topic_with_type.name]
            del self._channels[topic_with_type.name]

    def write(self, topic_name: str, message: bytes, recv_timestamp: int, send_timestamp: int | None = None, /) -> None:
        """Append one serialized message.

        Args:
            topic_name: a topic announced by `create_topic`.
            message: CDR bytes.
            recv_timestamp: time of reception (ns), not negative.
            send_timestamp: time of sending (ns); the time of reception if left out.

        Raises:
            RuntimeError: the bag is not open, the topic is not announced, or writing failed.
        """
        if not isinstance(message, bytes):
            message = memoryview(message).tobytes()
        sent = recv_timestamp if send_timestamp is None else send_timestamp
        if not self._open:
            self._check_open("write")
        if topic_name not in self._channels:
            raise RuntimeError(f"write: topic '{topic_name}' is unknown in {self._folder}; call create_topic() before")
        if recv_timestamp < 0 or sent < 0:
            raise RuntimeError(f"write: '{topic_name}': the time ({recv_timestamp}, {sent}) ns is negative")
        if self._outside(recv_timestamp):
            return
        if self._cache is not None:
            self._cache.put(len(message), topic_name, message, recv_timestamp, sent)
            return
        try:
            self._store(topic_name, message, recv_timestamp, sent)
        except OSError as error:
            raise RuntimeError(f"{self._file.path}: the bag could not be written: {error.strerror}") from error

    def _outside(self, time_ns: int) -> bool:
        start, end = self._options.start_time_ns, self._options.end_time_ns
        return (start >= 0 and time_ns < start) or (0 <= end < time_ns)

    def _store(self, topic_name: str, message: bytes, recv_ns: int, send_ns: int) -> None:
        """Append a message to the file in the calling thread, and begin a new file before it where one is due."""
        with self._lock:
            metadata = self._metadata
            if self._split_is_due(recv_ns):
                self._split()
            self._file.add_message(self._channels[topic_name], recv_ns, send_ns, message)
            self._topics[topic_name].message_count += 1
            file = metadata.files[-1]
            file.message_count += 1
            metadata.starting_time_ns = min(metadata.starting_time_ns, recv_ns)
            metadata.duration_ns = max(metadata.duration_ns, recv_ns - metadata.starting_time_ns)
            file.starting_time_ns = min(file.starting_time_ns, recv_ns)
            file.duration_ns = max(file.duration_ns, recv_ns - file.starting_time_ns)

    def _split_is_due(self, recv_ns: int) -> bool:
        file = self._metadata.files[-1]
        if not file.message_count:
            return False
        size, seconds = self._options.max_bagfile_size, self._options.max_bagfile_duration
        too_large = size > 0 and self._file.size >= size
        return too_large or (seconds > 0 and recv_ns - file.starting_time_ns > seconds * 10**9)

    def _split(self) -> None:
        self._write_metadata_record()
        self._file.close()
        self._begin_file()

    def split_bagfile(self) -> None:
        """End the current file and begin the next.

        Raises:
            RuntimeError: the bag is not open.
        """
        with self._lock:
            self._check_open("split_bagfile")
            if self._cache is not None:
                self._release_and_drain(self._cache)
            self._split()

    def _release_and_drain(self, cache: WriteBehind) -> None:
        """Let the writing thread finish; it needs the lock that the caller holds once."""
        self._lock.release()
        try:
            cache.drain()
        finally:
            self._lock.acquire()

    def take_snapshot(self) -> bool:
        """Return False: there is no snapshot mode here."""
        _LOG.warning("take_snapshot() has no effect: the bag is not in snapshot mode")
        return False

    def close(self) -> None:
        """Write what is pending, the summary and `metadata.yaml`. A second call has no effect.

        Raises:
            RuntimeError: writing failed; the files are closed all the same.
        """
        if not self._open:
            return
        self._open = False
        cache, self._cache = self._cache, None
        try:
            if cache is not None:
                cache.close()
        finally:
            with self._lock:
                self._finish()

    def _finish(self) -> None:
        metadata = self._metadata
        metadata.topics_with_message_count = list(self._topics.values())
        metadata.message_count = sum(info.message_count for info in self._topics.values())
        try:
            try:
                self._write_metadata_record()
            finally:
                self._file.close()
            MetadataIo().write_metadata(str(self._folder), metadata)
        except OSError as error:
            raise RuntimeError(f"{self._folder}: the bag could not be written: {error.strerror}") from error

    def _check_open(self, method: str) -> None:
        if not self._open:
            raise RuntimeError(f"{method}: the bag is not open; call open() before")
