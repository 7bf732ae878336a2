# SPDX-License-Identifier: Apache-2.0

"""Bags through the public interface of rosbag2_py, refereed by the readers of `mcap` and `mcap-ros2-support`."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import rosbag2_py
import yaml
from builtin_interfaces.msg import Time
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap_ros2.decoder import DecoderFactory
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbag2_py import (
    ConverterOptions,
    Info,
    MetadataIo,
    ReadOrder,
    ReadOrderSortBy,
    Reindexer,
    SequentialReader,
    SequentialWriter,
    StorageFilter,
    StorageOptions,
    TopicMetadata,
)
from rosbag2_py._storage import Duration as QosDuration
from rosbag2_py._storage import QoS
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String

CDR = ConverterOptions("cdr", "cdr")
SECOND = 10**9
IMAGE = TopicMetadata(0, "/front/image_raw", "sensor_msgs/msg/Image", "cdr", [QoS(5).best_effort()])
JOINTS = TopicMetadata(0, "/joint_states", "sensor_msgs/msg/JointState", "cdr", [QoS(10)], "RIHS01_1234")
TEXT = TopicMetadata(0, "/robot_description", "std_msgs/msg/String", "cdr", [QoS(1).reliable().transient_local()])


def open_writer(folder, topics=(IMAGE, JOINTS, TEXT), **options):
    writer = SequentialWriter()
    writer.open(StorageOptions(uri=str(folder), storage_id="mcap", **options), CDR)
    for topic in topics:
        writer.create_topic(topic)
    return writer


def open_reader(uri):
    reader = SequentialReader()
    reader.open(StorageOptions(uri=str(uri), storage_id="mcap"), CDR)
    return reader


def read_all(reader):
    messages = []
    while reader.has_next():
        messages.append(reader.read_next())
    return messages


def joints(index):
    return serialize_message(JointState(header=Header(stamp=Time(sec=index)), name=["elbow_joint"], position=[index]))


def image(index, size=30_000):
    message = Image(height=1, width=size // 3, encoding="rgb8", step=size)
    message.data.frombytes(bytes([index % 256]) * size)
    return serialize_message(message)


def write_episode(folder, count=100, **options):
    """Joints every 10 ms, an image every 30 ms, one text; returns (topic, data, time) by time."""
    writer = open_writer(folder, **options)
    expected = [("/robot_description", serialize_message(String(data="<robot/>")), SECOND)]
    for index in range(count):
        time_ns = SECOND + index * 10_000_000
        expected.append(("/joint_states", joints(index), time_ns))
        if index % 3 == 0:
            expected.append(("/front/image_raw", image(index), time_ns + 1))
    for topic, data, time_ns in expected:
        writer.write(topic, data, time_ns, time_ns - 500)
    writer.close()
    return expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"storage_preset_profile": "zstd_fast"},
        {"storage_preset_profile": "zstd_small"},
        {"storage_preset_profile": "fastwrite"},
        {"max_cache_size": 50_000},
        {"max_bagfile_size": 100_000, "storage_preset_profile": "fastwrite"},
        {"max_bagfile_size": 100_000, "max_cache_size": 1},
    ],
    ids=str,
)
def test_messages_come_back_in_order(tmp_path, options):
    expected = write_episode(tmp_path / "bag", **options)
    reader = open_reader(tmp_path / "bag")
    assert read_all(reader) == expected
    assert not reader.has_next()
    with pytest.raises(RuntimeError, match="the bag is at its end"):
        reader.read_next()
    metadata = reader.get_metadata()
    assert metadata.message_count == len(expected)
    assert metadata.starting_time.nanoseconds == SECOND
    assert metadata.duration.nanoseconds == 990_000_001
    assert {t.topic_metadata.name: t.message_count for t in metadata.topics_with_message_count} == {
        "/front/image_raw": 34,
        "/joint_states": 100,
        "/robot_description": 1,
    }
    assert deserialize_message(expected[1][1], JointState).position[0] == 0.0


def test_metadata_has_the_layout_of_version_9(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    custom = {"task": "put the cube: on the plate", "profile": "robot: ur5e\nfps: 30\n", "seed": "07", "outcome": "off"}
    write_episode(tmp_path / "bag", custom_data=custom)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    information = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert list(information) == [
        "version", "storage_identifier", "duration", "starting_time", "message_count", "topics_with_message_count",
        "compression_format", "compression_mode", "relative_file_paths", "files", "custom_data", "ros_distro",
    ]  # fmt: skip
    assert information["version"] == 9
    assert information["ros_distro"] == "jazzy"
    assert information["compression_mode"] == ""
    assert information["custom_data"] == custom
    assert information["relative_file_paths"] == ["bag_0.mcap"]
    assert information["files"] == [
        {
            "path": "bag_0.mcap",
            "starting_time": {"nanoseconds_since_epoch": SECOND},
            "duration": {"nanoseconds": 990_000_001},
            "message_count": 135,
        }
    ]
    assert information["topics_with_message_count"][1] == {
        "topic_metadata": {
            "name": "/joint_states",
            "type": "sensor_msgs/msg/JointState",
            "serialization_format": "cdr",
            "offered_qos_profiles": [
                {
                    "history": "keep_last",
                    "depth": 10,
                    "reliability": "reliable",
                    "durability": "volatile",
                    "deadline": {"sec": 0, "nsec": 0},
                    "lifespan": {"sec": 0, "nsec": 0},
                    "liveliness": "system_default",
                    "liveliness_lease_duration": {"sec": 0, "nsec": 0},
                    "avoid_ros_namespace_conventions": False,
                }
            ],
            "type_description_hash": "RIHS01_1234",
        },
        "message_count": 100,
    }
    assert Info().read_metadata(str(tmp_path / "bag"), "mcap").custom_data == custom
    assert Info().read_metadata(str(tmp_path / "bag" / "bag_0.mcap"), "").custom_data == custom


def test_a_bag_without_messages_is_whole(tmp_path):
    open_writer(tmp_path / "bag").close()
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    assert "nanoseconds_since_epoch: 9223372036854775807" in text
    assert "custom_data: ~\n" in text
    reader = open_reader(tmp_path / "bag")
    assert not reader.has_next()
    assert [topic.name for topic in reader.get_all_topics_and_types()] == [IMAGE.name, JOINTS.name, TEXT.name]


@pytest.mark.parametrize("options", [{}, {"storage_preset_profile": "zstd_fast"}], ids=str)
def test_other_readers_understand_the_file(tmp_path, options):
    expected = write_episode(tmp_path / "bag", **options)
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        decoded = list(reader.iter_decoded_messages())
        found = {record.name: record.metadata for record in reader.iter_metadata()}
        only_joints = list(reader.iter_messages(topics=["/joint_states"], starting_at=SECOND + 500_000_000))
        file.seek(0)
        linear = [record for record in StreamReader(file, validate_crcs=True).records if hasattr(record, "log_time")]
    assert [(m.channel.topic, m.message.log_time) for m in decoded] == [(topic, t) for topic, _, t in expected]
    assert decoded[1].message.publish_time == decoded[1].message.log_time - 500
    assert decoded[0].decoded_message.data == "<robot/>"
    assert decoded[5].decoded_message.name == ["elbow_joint"]
    assert (len(only_joints), len(linear)) == (50, len(expected))
    channel = next(channel for channel in summary.channels.values() if channel.topic == "/joint_states")
    assert channel.metadata["topic_type_hash"] == "RIHS01_1234"
    assert channel.metadata["offered_qos_profiles"].startswith("- history: keep_last\n  depth: 10\n  reliability: rel")
    schema = summary.schemas[channel.schema_id]
    assert (schema.name, schema.encoding) == ("sensor_msgs/msg/JointState", "ros2msg")
    assert b"=\nMSG: std_msgs/Header\n" in schema.data
    assert b"=\nMSG: builtin_interfaces/Time\n" in schema.data
    assert yaml.safe_load(found["rosbag2"]["serialized_metadata"])["message_count"] == len(expected)


def test_definitions_of_all_topics_are_given_back(tmp_path, caplog):
    topics = [
        JOINTS,
        TopicMetadata(0, "/x", "no_such_msgs/msg/Thing", "cdr"),
        TopicMetadata(0, "/y", "a/srv/B_Event", "cdr"),
    ]
    writer = open_writer(tmp_path / "bag", topics)
    writer.close()
    assert "package 'no_such_msgs' is not installed; source the workspace that defines it" in caplog.text
    assert "no text for type 'a/srv/B_Event'" in caplog.text
    definitions = {d.topic_type: d for d in open_reader(tmp_path / "bag").get_all_message_definitions()}
    assert definitions["sensor_msgs/msg/JointState"].encoded_message_definition.count("MSG: ") == 2
    assert definitions["no_such_msgs/msg/Thing"].encoding == ""


def test_splitting_by_size_and_by_time(tmp_path):
    expected = write_episode(tmp_path / "size", max_bagfile_size=200_000, storage_preset_profile="fastwrite")
    metadata = Info().read_metadata(str(tmp_path / "size"), "mcap")
    assert len(metadata.relative_file_paths) == 5
    assert sum(file.message_count for file in metadata.files) == len(expected)
    writer = open_writer(tmp_path / "time", [JOINTS], max_bagfile_duration=1)
    for index in range(26):
        writer.write(JOINTS.name, joints(index), index * SECOND // 10)
    writer.split_bagfile()
    writer.write(JOINTS.name, joints(26), 26 * SECOND // 10)
    writer.close()
    metadata = Info().read_metadata(str(tmp_path / "time"), "mcap")
    assert metadata.relative_file_paths == [f"time_{number}.mcap" for number in range(4)]
    assert [file.message_count for file in metadata.files] == [11, 11, 4, 1]
    reader = open_reader(tmp_path / "time")
    reader.seek(23 * SECOND // 10)
    assert [t for _, _, t in read_all(reader)] == [2_300_000_000, 2_400_000_000, 2_500_000_000, 2_600_000_000]
    reader.seek(0)
    assert len(read_all(reader)) == 27


def test_filters(tmp_path):
    write_episode(tmp_path / "bag")
    reader = open_reader(tmp_path / "bag")

    def topics(**chosen):
        reader.set_filter(StorageFilter(**chosen))
        reader.seek(0)
        return {topic for topic, _, _ in read_all(reader)}

    assert topics(topics=["/joint_states"]) == {"/joint_states"}
    assert topics(regex="/.*_(raw|states)") == {"/joint_states", "/front/image_raw"}
    assert topics(regex="joint") == set()
    assert topics(topics=["/joint_states"], regex="/robot.*", exclude_topics=["/joint_states"]) == {
        "/robot_description"
    }
    assert topics(regex_to_exclude="/front/.*") == {"/joint_states", "/robot_description"}
    with pytest.raises(RuntimeError, match=r"regex: '[(]' is not a regular expression"):
        topics(regex="(")
    reader.reset_filter()
    reader.seek(0)
    for _ in range(10):
        last = reader.read_next()
    reader.set_filter(StorageFilter(topics=["/joint_states"]))
    assert reader.read_next()[2] > last[2]


def test_seeking_and_orders(tmp_path):
    expected = write_episode(tmp_path / "bag")
    reader = open_reader(tmp_path / "bag")
    reader.seek(SECOND + 500_000_000)
    assert read_all(reader) == [entry for entry in expected if entry[2] >= SECOND + 500_000_000]
    reader.seek(SECOND)
    assert read_all(reader) == expected
    assert reader.set_read_order(ReadOrder(ReadOrderSortBy.ReceivedTimestamp, True))
    reader.seek(SECOND + 500_000_000)
    assert read_all(reader) == [entry for entry in reversed(expected) if entry[2] <= SECOND + 500_000_000]
    assert not reader.set_read_order(ReadOrder(ReadOrderSortBy.PublishedTimestamp, False))
    assert not reader.set_read_order(ReadOrder(ReadOrderSortBy.File, True))


def test_late_messages_are_sorted_by_time_and_kept_in_file_order(tmp_path):
    writer = open_writer(tmp_path / "bag", [JOINTS])
    written = [5, 3, 1, 4, 2, 20, 0, 30, 10]
    for second in written:
        writer.write(JOINTS.name, joints(second), second * SECOND)
    writer.close()
    reader = open_reader(tmp_path / "bag")
    assert [t // SECOND for _, _, t in read_all(reader)] == sorted(written)
    assert reader.set_read_order(ReadOrder(ReadOrderSortBy.File, False))
    reader.seek(0)
    assert [t // SECOND for _, _, t in read_all(reader)] == written


KILLED = """
import sys, rosbag2_py
from rosbag2_py import *
writer = SequentialWriter()
writer.open(StorageOptions(uri=sys.argv[1], storage_id="mcap", storage_preset_profile=sys.argv[2],
                           custom_data={"task": "stack"}), ConverterOptions("", ""))
writer.create_topic(TopicMetadata(0, "/chatter", "std_msgs/msg/String", "cdr"))
for index in range(10_000):
    writer.write("/chatter", b"\\0\\1\\0\\0\\5\\0\\0\\0text\\0" + bytes(500), index * 1_000_000)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("profile", ["none", "zstd_fast", "fastwrite"])
def test_a_bag_whose_writer_was_killed_is_readable(tmp_path, profile, caplog):
    folder = tmp_path / "bag"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), profile], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    with pytest.raises(RuntimeError, match=r"has no metadata.yaml.*rebuild it with rosbag2_py.Reindexer"):
        open_reader(folder)
    reader = open_reader(folder / "bag_0.mcap")
    assert "the file is incomplete" in caplog.text
    times = [t for _, _, t in read_all(reader)]
    assert times == [index * 1_000_000 for index in range(len(times))]
    assert len(times) >= 9_000, "at most the last second may be missing"
    assert reader.get_metadata().custom_data == {"task": "stack"}
    Reindexer().reindex(StorageOptions(uri=str(folder), storage_id="mcap"))
    metadata = open_reader(folder).get_metadata()
    assert (metadata.message_count, metadata.custom_data) == (len(times), {"task": "stack"})
    assert metadata.relative_file_paths == ["bag_0.mcap"]
    assert metadata.duration.nanoseconds == times[-1]


@pytest.mark.parametrize("profile", ["none", "zstd_fast", "fastwrite"])
def test_a_file_cut_off_anywhere_is_read_up_to_the_cut(tmp_path, profile, caplog):
    expected = write_episode(
        tmp_path / "bag", count=40, storage_preset_profile=profile, storage_config_uri=small_chunks(tmp_path)
    )
    whole = (tmp_path / "bag" / "bag_0.mcap").read_bytes()
    counts = []
    for part in range(9, len(whole), len(whole) // 40):
        cut = tmp_path / f"cut_{part}.mcap"
        cut.write_bytes(whole[:part])
        messages = read_all(open_reader(cut))
        assert messages == expected[: len(messages)]
        counts.append(len(messages))
        cut.unlink()
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] > len(expected) * 0.8
    assert "its last record is cut off" in caplog.text


def test_zeros_at_the_end_are_not_taken_for_records(tmp_path, caplog):
    expected = write_episode(tmp_path / "bag", storage_config_uri=small_chunks(tmp_path))
    path = tmp_path / "bag" / "bag_0.mcap"
    with path.open("rb") as file:
        end = make_reader(file).get_summary().chunk_indexes[5].chunk_start_offset
    path.write_bytes(path.read_bytes()[:end] + bytes(100_000))
    messages = read_all(open_reader(path))
    assert len(messages) > 20
    assert messages == expected[: len(messages)]
    assert f"up to byte {end} of {end + 100_000} are there" in caplog.text


def small_chunks(tmp_path):
    config = tmp_path / "chunks.yaml"
    config.write_text("chunkSize: 60000\n")
    return str(config)


def test_a_damaged_chunk_is_named(tmp_path):
    write_episode(tmp_path / "bag", storage_preset_profile="zstd_fast")
    path = tmp_path / "bag" / "bag_0.mcap"
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        chunk = make_reader(file).get_summary().chunk_indexes[0]
    start = chunk.chunk_start_offset + chunk.chunk_length - chunk.compressed_size
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(RuntimeError, match=f"the chunk at byte {start} is damaged"):
        read_all(open_reader(tmp_path / "bag"))


def test_files_that_are_no_bags_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="there is no such bag"):
        open_reader(tmp_path / "nothing")
    (tmp_path / "empty.mcap").touch()
    with pytest.raises(RuntimeError, match="the file is empty"):
        open_reader(tmp_path / "empty.mcap")
    (tmp_path / "text.mcap").write_text("this is not a bag")
    with pytest.raises(RuntimeError, match="is not an MCAP file"):
        open_reader(tmp_path / "text.mcap")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 9}")
    with pytest.raises(RuntimeError, match=r"metadata.yaml: does not describe a bag .*Reindexer"):
        open_reader(tmp_path / "bag")
    with pytest.raises(RuntimeError, match=r"there is no file '<name>_<number>[.]mcap'"):
        Reindexer().reindex(StorageOptions(uri=str(tmp_path / "bag"), storage_id="mcap"))


def test_a_listed_file_that_is_missing_is_named(tmp_path):
    write_episode(tmp_path / "bag")
    (tmp_path / "bag" / "bag_0.mcap").unlink()
    with pytest.raises(RuntimeError, match=r"names the file 'bag_0[.]mcap', which is not in the folder"):
        open_reader(tmp_path / "bag")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"storage_id": "sqlite3"},
            "storage 'sqlite3' is not available here; use 'mcap'; sqlite3 is read, but not written",
        ),
        ({"snapshot_mode": True}, "snapshot_mode is not available here"),
        ({"max_bagfile_size": 100}, "max_bagfile_size: 100 bytes is too small; use at least 1024"),
        ({"storage_preset_profile": "quick"}, "unknown MCAP profile 'quick'; use one of none, fastwrite, zstd_fast"),
        ({"storage_config_uri": "/no/such.yaml"}, "storage_config_uri: /no/such.yaml cannot be read"),
    ],
)
def test_options_that_are_not_there_are_refused_by_name(tmp_path, options, text):
    with pytest.raises(RuntimeError, match=text):
        SequentialWriter().open(StorageOptions(**{"uri": str(tmp_path / "bag"), "storage_id": "mcap", **options}), CDR)
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("noSummary: true", "'noSummary' is not available here; remove it or use one of chunkSize, compression"),
        ("chunkSize: none", "chunkSize: 'none' is not a positive number of bytes"),
        ("compression: Lz4", "compression: 'Lz4' is not one of None, Zstd"),
        ("[1]", "must be a mapping such as 'chunkSize: 4194304'"),
    ],
)
def test_writer_settings_that_are_not_there_are_refused_by_name(tmp_path, config, text):
    path = tmp_path / "config.yaml"
    path.write_text(config)
    with pytest.raises(RuntimeError, match=text):
        open_writer(tmp_path / "bag", storage_config_uri=str(path))


def test_writer_settings_are_applied_over_the_preset(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("chunkSize: 40000\ncompression: Zstd\ncompressionLevel: Fast\nnoChunkCRC: false\n")
    write_episode(tmp_path / "bag", storage_config_uri=str(path))
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        records = list(StreamReader(file, emit_chunks=True, validate_crcs=True).records)
    chunks = [record for record in records if type(record).__name__ == "Chunk"]
    assert len(chunks) > 10
    assert all(chunk.compression == "zstd" and chunk.uncompressed_crc for chunk in chunks)
    assert all(chunk.uncompressed_size < 80_000 for chunk in chunks)


def test_wrong_calls_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="write: the bag is not open; call open"):
        SequentialWriter().write("/x", b"", 0)
    with pytest.raises(RuntimeError, match="has_next: the bag is not open; call open"):
        SequentialReader().has_next()
    with pytest.raises(RuntimeError, match="output_serialization_format: 'json' is not available here"):
        SequentialWriter().open(StorageOptions(uri=str(tmp_path / "bag")), ConverterOptions("", "json"))
    writer = open_writer(tmp_path / "bag", [JOINTS])
    with pytest.raises(RuntimeError, match=r"topic '/other' is unknown in .*; call create_topic"):
        writer.write("/other", b"", 0)
    with pytest.raises(RuntimeError, match="is negative"):
        writer.write(JOINTS.name, b"", -1)
    with pytest.raises(RuntimeError, match="there is no topic '/front/image_raw'"):
        writer.remove_topic(IMAGE)
    with pytest.raises(RuntimeError, match="the bag directory already exists and is not overwritten"):
        open_writer(tmp_path / "bag")
    assert not writer.take_snapshot()
    writer.close()
    writer.close()


def test_time_bounds_and_removed_topics(tmp_path):
    writer = open_writer(tmp_path / "bag", start_time_ns=2 * SECOND, end_time_ns=4 * SECOND)
    for second in range(7):
        writer.write(JOINTS.name, bytearray(joints(second)), second * SECOND)
    writer.remove_topic(TEXT)
    writer.close()
    reader = open_reader(tmp_path / "bag")
    assert [t // SECOND for _, _, t in read_all(reader)] == [2, 3, 4]
    assert {topic.name for topic in reader.get_all_topics_and_types()} == {IMAGE.name, JOINTS.name}


@pytest.mark.parametrize("cache", [0, 1000])
def test_a_full_disk_is_reported(tmp_path, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    def write_much():
        for index in range(100):
            writer.write(IMAGE.name, image(index), index * SECOND)

    writer = open_writer(tmp_path / "bag", max_cache_size=cache)
    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(RuntimeError, match=r"the bag could not be written: .*No space left on device"):
        write_much()
    with pytest.raises(RuntimeError, match="could not be written"):
        writer.close()


def test_metadata_can_be_changed_after_the_recording(tmp_path):
    write_episode(tmp_path / "bag", custom_data={"outcome": "unknown"})
    (tmp_path / "bag").rename(tmp_path / "renamed")
    metadata = MetadataIo().read_metadata(str(tmp_path / "renamed"))
    metadata.custom_data["outcome"] = "success"
    MetadataIo().write_metadata(str(tmp_path / "renamed"), metadata)
    reader = open_reader(tmp_path / "renamed")
    assert reader.get_metadata().custom_data == {"outcome": "success"}
    assert len(read_all(reader)) == 135
    text = MetadataIo().serialize_metadata(metadata)
    assert MetadataIo().deserialize_metadata(text).topics_with_message_count == metadata.topics_with_message_count


OLD = """
rosbag2_bagfile_information:
  version: {version}
  storage_identifier: {storage}
  relative_file_paths: [bag_0.mcap]
  duration: {{nanoseconds: 5}}
  starting_time: {{nanoseconds_since_epoch: 7}}
  message_count: 3
  compression_format: ""
  compression_mode: {mode}
  topics_with_message_count:
    - topic_metadata:
        name: /a
        type: std_msgs/msg/String
        serialization_format: cdr
        offered_qos_profiles: |
          - history: 1
            depth: 4
            reliability: 2
            durability: 1
            deadline: {{sec: 1, nsec: 2}}
            lifespan: {{sec: 0, nsec: 0}}
            liveliness: 1
            liveliness_lease_duration: {{sec: 0, nsec: 0}}
            avoid_ros_namespace_conventions: false
      message_count: 3
"""


def test_metadata_of_older_versions_is_read(tmp_path):
    (tmp_path / "metadata.yaml").write_text(OLD.format(version=4, storage="mcap", mode='""'))
    metadata = Info().read_metadata(str(tmp_path), "mcap")
    topic = metadata.topics_with_message_count[0].topic_metadata
    profile = rosbag2_py.convert_rclcpp_qos_to_rclpy_qos(topic.offered_qos_profiles[0])
    assert (profile.depth, profile.reliability, profile.durability, profile.deadline) == (
        4,
        ReliabilityPolicy.BEST_EFFORT,
        DurabilityPolicy.TRANSIENT_LOCAL,
        Duration(seconds=1, nanoseconds=2),
    )
    (tmp_path / "metadata.yaml").write_text(OLD.format(version=4, storage="rosbag_v2", mode='""'))
    with pytest.raises(RuntimeError, match="storage 'rosbag_v2' is not available here; 'mcap' and 'sqlite3' are"):
        open_reader(tmp_path)
    (tmp_path / "metadata.yaml").write_text(OLD.format(version=4, storage="mcap", mode="FILE"))
    with pytest.raises(RuntimeError, match="compression_mode 'FILE' is not available here"):
        open_reader(tmp_path)


def test_profiles_survive_their_text(tmp_path):
    profile = QoS(3).best_effort().transient_local().deadline(QosDuration(1, 5)).avoid_ros_namespace_conventions(True)
    every = QoS(9).keep_all()
    topic = TopicMetadata(0, "/a", "std_msgs/msg/String", "cdr", [profile, every])
    open_writer(tmp_path / "bag", [topic]).close()
    for uri in (tmp_path / "bag", tmp_path / "bag" / "bag_0.mcap"):
        assert open_reader(uri).get_all_topics_and_types()[0].offered_qos_profiles == [profile, every]
    assert rosbag2_py.to_rclcpp_qos_vector("", 9) == []
    with pytest.raises(RuntimeError, match="is not a YAML sequence of QoS profiles"):
        rosbag2_py.to_rclcpp_qos_vector("- history: keep_last", 9)


def test_summary_for_people(tmp_path):
    write_episode(tmp_path / "bag")
    text = repr(Info().read_metadata(str(tmp_path / "bag"), "mcap"))
    assert "Files:             bag_0.mcap\n" in text
    assert "Duration:          0.990000001s\n" in text
    assert "Topic: /joint_states | Type: sensor_msgs/msg/JointState | Count: 100 | Serialization Format: cdr" in text


def test_writing_images_costs_little(tmp_path):
    """A rate that any machine reaches, far above that of cameras; the point is that nothing is quadratic."""
    data = bytes(921_600)
    writer = open_writer(tmp_path / "bag", [IMAGE])
    begin = time.process_time()
    for index in range(60):
        writer.write(IMAGE.name, data, index * 33_000_000)
    writer.close()
    assert (time.process_time() - begin) / 60 < 0.01


def test_mcap_is_written_and_sqlite3_is_read_too(caplog):
    assert rosbag2_py.get_registered_writers() == {"mcap"}
    assert rosbag2_py.get_registered_readers() == {"mcap", "sqlite3"}
    assert rosbag2_py.get_default_storage_id() == "mcap"
    assert rosbag2_py.get_registered_compressors() == rosbag2_py.get_registered_serializers() == set()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
