# SPDX-License-Identifier: Apache-2.0

"""One reader for every kind of bag: the same messages come out, whatever wrote them."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
import yaml
from mcap.writer import CompressionType, Writer
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore
from vla_core.errors import BagError
from vla_recorder.bags import mcap_file
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.bags.source import Connection
from vla_recorder.bags.types import definition_of
from vla_recorder.testing import IMAGE, JOINT_STATE, Scene, scene_events, small_profile
from vla_recorder.testing.bags import by_recorder, by_rosbags, expected, found, type_of

REAL = Path(__file__).resolve().parents[5] / "shared/data/bags"
EVENTS = scene_events(small_profile(), Scene(duration_s=1.5))
TOPICS = {"/front/image_raw", "/joint_states", "/command/arm"}
JAZZY = get_typestore(Stores.ROS2_JAZZY)


def read_yaml(folder: Path) -> dict:
    return yaml.safe_load((folder / "metadata.yaml").read_text())


def write_yaml(folder: Path, content: dict) -> None:
    (folder / "metadata.yaml").write_text(yaml.safe_dump(content))


KINDS = [
    (storage, mode)
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3)
    for mode in CompressionMode
    if (storage, mode) != (StoragePlugin.SQLITE3, CompressionMode.STORAGE)
]


@pytest.mark.parametrize(("storage", "mode"), KINDS, ids=lambda value: value.name.lower())
@pytest.mark.parametrize("described", [True, False], ids=["metadata", "none"])
def test_every_storage_and_compression_gives_the_same_messages(tmp_path: Path, storage, mode, described: bool) -> None:
    folder = by_rosbags(tmp_path / "bag", storage, mode, EVENTS)
    if not described:
        (folder / "metadata.yaml").unlink()
    bag = open_episode(folder)
    assert found(bag) == expected(EVENTS)
    assert bag.counts == {topic: sum(event.topic == topic for event in EVENTS) for topic in TOPICS}
    assert bag.types == {"/front/image_raw": IMAGE, "/joint_states": JOINT_STATE, "/command/arm": JOINT_STATE}
    assert bag.span_ns == (EVENTS[0].receive_ns, EVENTS[-1].receive_ns)
    assert bool(bag.notes) is not described
    assert bag.damage == ""
    only = [event for event in EVENTS if event.topic == "/joint_states"]
    for received, event in zip(bag.messages({"/joint_states"}), only, strict=True):
        assert received.log_ns == event.receive_ns
        assert list(received.message.position) == event.message.position
        assert received.message.header.stamp.nanosec == event.stamp_ns % 10**9
    assert find_episodes(tmp_path) == [folder]


def test_a_recorded_bag_keeps_publish_times_and_metadata(tmp_path: Path) -> None:
    folder = by_recorder(tmp_path / "episode", EVENTS, custom={"task": "lift", "topics": '{"a": 1}', "bad": "{"})
    bag = open_episode(folder)
    assert [m.publish_ns for m in bag.raw_messages()] == [event.stamp_ns for event in EVENTS]
    assert (bag.name, bag.get("task"), bag.get("absent", "-"), bag.structured("topics")) == (
        "episode",
        "lift",
        "-",
        {"a": 1},
    )
    with pytest.raises(BagError, match=r"custom_data.bad is no JSON .* was it edited by hand"):
        bag.structured("bad")
    (folder / "metadata.yaml").unlink()
    again = open_episode(folder)
    assert again.custom == bag.custom
    assert "no readable metadata.yaml" in again.notes[0]


def test_parts_of_a_split_bag_come_in_the_order_of_time(tmp_path: Path) -> None:
    """Receive times of neighbouring files overlap, as they do when a recorder splits under load."""
    folder = tmp_path / "split"
    cut = len(EVENTS) // 2
    first, second = EVENTS[: cut + 3], EVENTS[cut + 3 :]
    first, second = [*first[:-2], second[0]], [*first[-2:], *second[1:]]
    by_recorder(folder, first)
    by_recorder(tmp_path / "other", second)
    shutil.move(tmp_path / "other/other_0.mcap", folder / "split_1.mcap")
    content = read_yaml(folder)
    info = content["rosbag2_bagfile_information"]
    info["relative_file_paths"] = ["split_0.mcap", "split_1.mcap"]
    write_yaml(folder, content)
    bag = open_episode(folder)
    assert sorted(found(bag)) == sorted(expected(EVENTS))
    assert [m[1] for m in found(bag)] == sorted(event.receive_ns for event in EVENTS)
    assert "the files count" in bag.notes[0]
    (folder / "metadata.yaml").unlink()
    assert find_episodes(tmp_path / "split") == [folder]
    assert [m[1] for m in found(open_episode(folder))] == sorted(event.receive_ns for event in EVENTS)
    write_yaml(folder, content)
    (folder / "split_1.mcap").unlink()
    rest = open_episode(folder)
    assert "names split_1.mcap, which is not there; what is there was read: split_0.mcap" in rest.notes[0]
    assert len(found(rest)) == len(first)


@pytest.mark.parametrize("wrong", ["count", "storage", "file", "yaml", "empty", "foreign"])
def test_the_files_count_where_metadata_is_wrong(tmp_path: Path, wrong: str) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, EVENTS)
    content = read_yaml(folder)
    info = content["rosbag2_bagfile_information"]
    if wrong == "count":
        info["topics_with_message_count"][0]["message_count"] += 5
    elif wrong == "storage":
        info["storage_identifier"] = "mcap"
    elif wrong == "file":
        info["relative_file_paths"] = ["renamed.db3"]
    else:
        content = {"yaml": "a: [", "empty": "", "foreign": "b: 1"}[wrong]
    (folder / "metadata.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    bag = open_episode(folder)
    assert found(bag) == expected(EVENTS)
    assert sum(bag.counts.values()) == len(EVENTS)
    said = {
        "count": "the files count",
        "storage": "says 'mcap', the files are sqlite3",
        "file": "names renamed.db3, which is not there",
        "yaml": "not readable as YAML",
    }
    assert said.get(wrong, "not the metadata of a bag") in bag.notes[0]


def test_ros1_bags_come_out_in_ros2_types(tmp_path: Path) -> None:
    noetic = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    with Ros1Writer(path) as writer:
        topics = {}
        for number, event in enumerate(EVENTS):
            if event.topic not in topics:
                topics[event.topic] = writer.add_connection(event.topic, type_of(event), typestore=noetic)
            types = noetic.types
            stamp = types["builtin_interfaces/msg/Time"](event.stamp_ns // 10**9, event.stamp_ns % 10**9)
            header = types["std_msgs/msg/Header"](number, stamp, event.message.header.frame_id)
            if type_of(event) == IMAGE:
                m = event.message
                data = np.frombuffer(m.data, np.uint8)
                content = types[IMAGE](header, m.height, m.width, m.encoding, m.is_bigendian, m.step, data)
            else:
                empty = np.zeros(0)
                content = types[JOINT_STATE](header, event.message.name, np.array(event.message.position), empty, empty)
            writer.write(topics[event.topic], event.receive_ns, noetic.serialize_ros1(content, type_of(event)))
    assert find_episodes(tmp_path) == [path]
    bag = open_episode(path)
    assert bag.name == "old"
    assert bag.types["/front/image_raw"] == IMAGE
    for received, event in zip(bag.messages(TOPICS), EVENTS, strict=True):
        assert (received.topic, received.log_ns) == (event.topic, event.receive_ns)
        assert received.message.header.stamp.nanosec == event.stamp_ns % 10**9
        if type_of(event) == IMAGE:
            assert bytes(received.message.data) == event.message.data
        else:
            assert list(received.message.position) == event.message.position


def test_topics_that_were_written_one_after_the_other_come_by_time_in_bounded_memory(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(mcap_file, "LIBRARY", "another tool")
    order = sorted(range(len(EVENTS)), key=lambda i: (EVENTS[i].topic, i))
    folder = by_recorder(tmp_path / "sorted", [EVENTS[i] for i in order], compression="zstd", chunk_bytes=3000)
    assert found(open_episode(folder)) == expected(EVENTS)
    monkeypatch.setattr("vla_recorder.bags.merge.merged.__kwdefaults__", {"budget": 5000})
    assert found(open_episode(folder)) == expected(EVENTS)


def test_a_type_that_nobody_knows_matters_only_where_it_is_needed(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, EVENTS)
    database = sqlite3.connect(next(folder.glob("*.db3")))
    database.execute("UPDATE topics SET type = 'their_msgs/msg/Odd' WHERE name = '/command/arm'")
    database.execute("DROP TABLE message_definitions")
    database.execute("UPDATE schema SET schema_version = 3")
    database.commit()
    database.close()
    bag = open_episode(folder)
    assert len(list(bag.messages({"/joint_states", "/front/image_raw"}))) > 10
    with pytest.raises(
        BagError, match=r"/command/arm: the bag does not hold the definition of its type 'their_msgs/msg/Odd'"
    ):
        list(bag.messages({"/command/arm"}))
    path = tmp_path / "json.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start("x")
        channel = writer.register_channel("/status", "json", 0)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    assert len(found(open_episode(path))) == 1
    with pytest.raises(BagError, match=r"/status has json messages of type unknown; only cdr can be read"):
        list(open_episode(path).messages({"/status"}))


def test_types_are_known_by_their_idl_and_without_an_installed_package(monkeypatch) -> None:
    idl = "module a_msgs { module msg { struct Pair { double left; sequence<int32> right; }; }; };"
    text = definition_of(Connection(topic="/x", type="a_msgs/msg/Pair", definition=idl, definition_encoding="ros2idl"))
    assert text.split() == ["float64", "left", "int32[]", "right"]
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert "float64[] position" in definition_of(Connection(topic="/x", type="sensor_msgs/msg/JointState"))


def test_episodes_are_found_one_level_deeper_and_open_ones_are_not(tmp_path: Path) -> None:
    one = by_recorder(tmp_path / "monday/episode_1", EVENTS)
    two = by_recorder(tmp_path / "episode_2", EVENTS)
    by_recorder(tmp_path / "episode_3.open", EVENTS)
    by_recorder(tmp_path / "episode_4.broken", EVENTS)
    (tmp_path / "single").mkdir()
    files = [tmp_path / "single/a.mcap", tmp_path / "single/b.mcap"]
    for file in files:
        shutil.copy(next(two.glob("*.mcap")), file)
    assert find_episodes(tmp_path) == sorted([one, two, *files])
    loose = tmp_path / "loose.mcap"
    shutil.copy(next(two.glob("*.mcap")), loose)
    assert find_episodes(tmp_path) == sorted([one, two, loose, *files])
    files[1].unlink()
    assert find_episodes(tmp_path / "single") == files[:1]
    assert find_episodes(two) == [two]
    (two / "metadata.yaml").unlink()
    assert find_episodes(two) == [two]
    assert find_episodes(files[0]) == files[:1]
    assert open_episode(files[0]).name == "a"


def test_a_bag_is_known_by_its_content(tmp_path: Path) -> None:
    bag = open_episode(by_recorder(tmp_path / "a", EVENTS))
    assert bag.content_hash() == xxhash.xxh3_128_hexdigest(bag.files[0].read_bytes())
    assert bag.uuid.replace("-", "") == bag.content_hash()[:32]
    assert open_episode(by_recorder(tmp_path / "b", EVENTS, custom={"episode_uuid": "mine"})).uuid == "mine"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the recorded bag of a real robot is not in {REAL}")
def test_the_bag_of_a_real_robot_holds_exactly_what_its_source_says() -> None:
    bag = open_episode(REAL / "g1_bottle")
    assert bag.counts == dict.fromkeys(("/joint_states", "/command", "/cam_high/image_raw/compressed"), 221)
    table = pq.read_table(REAL / "g1_bottle_episode29.parquet")
    for topic, column in (("/joint_states", "observation.state"), ("/command", "action")):
        stored = np.array(table.column(column).to_pylist(), np.float32)
        read = np.array([received.message.position for received in bag.messages({topic})], np.float32)
        np.testing.assert_array_equal(read, stored)
    pictures = [received.message for received in bag.messages({"/cam_high/image_raw/compressed"})]
    assert all(bytes(picture.data[:3]) == b"\xff\xd8\xff" for picture in pictures)
    assert (bag.notes, bag.damage, bag.get("profile")) == ((), "", "")
