# SPDX-License-Identifier: Apache-2.0

"""Bags in sqlite3 storage, written by another program, through the public interface of rosbag2_py."""

import sqlite3

import pytest
from rclpy.serialization import deserialize_message
from rosbag2_py import (
    ConverterOptions,
    Info,
    ReadOrder,
    ReadOrderSortBy,
    SequentialReader,
    StorageFilter,
    StorageOptions,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import String

STORE = get_typestore(Stores.ROS2_JAZZY)
TEXT = "std_msgs/msg/String"


@pytest.fixture
def bag(tmp_path):
    """Ten messages on each of two topics; written in another order than that of time."""
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topics = [writer.add_connection(name, TEXT, typestore=STORE) for name in ("/a", "/b")]
        for number in [3, 1, 2, 0, *range(4, 10)]:
            for offset, topic in enumerate(topics):
                data = STORE.serialize_cdr(STORE.types[TEXT](f"{topic.topic}{number}"), TEXT)
                writer.write(topic, 1000 + 10 * number + offset, data)
    return tmp_path / "bag"


def opened(uri):
    reader = SequentialReader()
    reader.open(StorageOptions(uri=str(uri), storage_id="sqlite3"), ConverterOptions("cdr", "cdr"))
    return reader


def rest(reader):
    found = []
    while reader.has_next():
        topic, data, stamp = reader.read_next()
        found.append((topic, deserialize_message(data, String).data, stamp))
    return found


EVERYTHING = [(t, f"{t}{n}", 1000 + 10 * n + k) for n in range(10) for k, t in enumerate(("/a", "/b"))]


def test_messages_come_by_time_from_folder_and_file(bag):
    assert rest(opened(bag)) == EVERYTHING
    assert rest(opened(bag / "bag.db3")) == EVERYTHING
    topics = opened(bag / "bag.db3").get_all_topics_and_types()
    assert [(topic.name, topic.type) for topic in topics] == [("/a", TEXT), ("/b", TEXT)]
    assert [d.topic_type for d in opened(bag).get_all_message_definitions()] == [TEXT]


def test_filter_seek_and_order(bag):
    reader = opened(bag)
    reader.set_filter(StorageFilter(topics=["/b"]))
    assert rest(reader) == [message for message in EVERYTHING if message[0] == "/b"]
    reader.reset_filter()
    reader.seek(1050)
    assert reader.read_next() == ("/a", reader_data(bag, "/a5"), 1050)
    reader.set_filter(StorageFilter(topics=["/a"]))
    assert [message[1] for message in rest(reader)] == ["/a6", "/a7", "/a8", "/a9"]
    reader = opened(bag)
    assert reader.set_read_order(ReadOrder(ReadOrderSortBy.ReceivedTimestamp, True))
    reader.seek(1021)
    assert [message[1] for message in rest(reader)] == ["/b2", "/a2", "/b1", "/a1", "/b0", "/a0"]
    reader = opened(bag)
    assert reader.set_read_order(ReadOrder(ReadOrderSortBy.File, False))
    assert [message[1] for message in rest(reader)][:4] == ["/a3", "/b3", "/a1", "/b1"]


def reader_data(bag, text):
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](text), TEXT))


def test_what_a_bag_holds(bag):
    for uri in (bag, bag / "bag.db3"):
        metadata = Info().read_metadata(str(uri), "sqlite3")
        assert (metadata.storage_identifier, metadata.message_count) == ("sqlite3", 20)
        assert metadata.starting_time_ns == 1000
        assert metadata.duration_ns == 91


def test_what_is_no_bag_is_named(tmp_path, bag):
    path = tmp_path / "other.db3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE things(id)")
    with pytest.raises(RuntimeError, match=r"other.db3: is no readable sqlite3 bag \(there is no table 'topics'\)"):
        opened(path)
    file = bag / "bag.db3"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(RuntimeError, match="is no readable sqlite3 bag"):
        opened(bag)
