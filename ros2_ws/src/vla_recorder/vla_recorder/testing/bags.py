# SPDX-License-Identifier: Apache-2.0

"""The same messages in bags of every storage and compression, for tests of the reader. Needs no ROS."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vla_recorder.bags.reader import EpisodeBag
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.testing import DEFINITIONS, IMAGE, JOINT_STATE, Event

Digest = tuple[str, int, str]


def type_of(event: Event) -> str:
    """Return the message type of an event."""
    return IMAGE if hasattr(event.message, "encoding") else JOINT_STATE


def expected(events: Iterable[Event]) -> list[Digest]:
    """Return topic, receive time and SHA-256 of the payload of every event."""
    return [(event.topic, event.receive_ns, hashlib.sha256(event.data).hexdigest()) for event in events]


def found(bag: EpisodeBag, topics: Collection[str] | None = None) -> list[Digest]:
    """Return the same of every message of a bag."""
    return [(m.topic, m.log_ns, hashlib.sha256(m.data).hexdigest()) for m in bag.raw_messages(topics)]


def by_rosbags(folder: Path, storage: StoragePlugin, mode: CompressionMode, events: Sequence[Event]) -> Path:
    """Write a bag as another program does."""
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(folder, version=9, storage_plugin=storage)
    if mode != CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for event in events:
            if event.topic not in topics:
                topics[event.topic] = writer.add_connection(event.topic, type_of(event), typestore=store)
            writer.write(topics[event.topic], event.receive_ns, event.data)
    return folder


def by_recorder(folder: Path, events: Sequence[Event], custom: Mapping[str, str] | None = None, **options: Any) -> Path:
    """Write a bag as the recorder does.

    Args:
        folder: Must not exist.
        events: Messages.
        custom: Metadata of the episode.
        options: Of `BagWriter`.
    """
    writer = BagWriter(folder, folder.name, **options)
    for event in events:
        writer.add_topic(TopicInfo(name=event.topic, type=type_of(event), definition=DEFINITIONS[type_of(event)]))
        writer.write(event.topic, event.data, event.receive_ns, event.stamp_ns)
    writer.close(custom or {})
    return folder
