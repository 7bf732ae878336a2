# SPDX-License-Identifier: Apache-2.0

"""One reader for every kind of bag: the same messages come out, whatever wrote them."""

import hashlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from mcap.writer import CompressionType, Writer
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore
from vla_core.errors import BagError
from vla_recorder.bags.reader import EpisodeBag, find_episodes, open_episode
from vla_recorder.bags.source import Connection
from vla_recorder.bags.types import definition_of
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.testing import (
    DEFINITIONS,
    IMAGE,
    JOINT_STATE,
    Event,
    Scene,
    image,
    joint_state,
    scene_events,
    small_profile,
)

REAL = Path(__file__).resolve().parents[5] / "shared/data/bags"
EVENTS = scene_events(small_profile(), Scene(duration_s=1.5))
TOPICS = {"/front/image_raw", "/joint_states", "/command/arm"}
JAZZY = get_typestore(Stores.ROS2_JAZZY)


def kind(event: Event) -> str:
    return IMAGE if hasattr(event.message, "encoding") else JOINT_STATE


def expected(events=EVENTS) -> list[tuple[str, int, str]]:
    return [(event.topic, event.receive_ns, hashlib.sha256(event.data).hexdigest()) for event in events]


def got(bag: EpisodeBag, topics=None) -> list[tuple[str, int, str]]:
    return [(m.topic, m.log_ns, hashlib.sha256(m.data).hexdigest()) for m in bag.raw_messages(topics)]


def by_rosbags(folder: Path, storage: StoragePlugin, mode: CompressionMode, events=EVENTS) -> Path:
    writer = Ros2Writer(folder, version=9, storage_plugin=storage)
    if mode != CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics = {}
        for event in events:
            if event.topic not in topics:
                topics[event.topic] = writer.add_connection(event.topic, kind(event), typestore=JAZZY)
            writer.write(topics[event.topic], event.receive_ns, event.data)
    return folder


def by_recorder(folder: Path, events=EVENTS, name: str = "", custom=None, **options) -> Path:
    writer = BagWriter(folder, name or folder.name, **options)
    for event in events:
        writer.add_topic(TopicInfo(name=event.topic, type=kind(event), definition=DEFINITIONS[kind(event)]))
        writer.write(event.topic, event.data, event.receive_ns, event.stamp_ns)
    writer.close(custom or {})
    return folder


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
    folder = by_rosbags(tmp_path / "bag", storage, mode)
    if not described:
        (folder / "metadata.yaml").unlink()
    bag = open_episode(folder)
    assert got(bag) == expected()
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
    folder = by_recorder(tmp_path / "episode", custom={"task": "lift", "topics": '{"a": 1}', "bad": "{"})
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
    by_recorder(folder, first, "split")
    by_recorder(tmp_path / "other", second, "other")
    shutil.move(tmp_path / "other/other_0.mcap", folder / "split_1.mcap")
    content = read_yaml(folder)
    info = content["rosbag2_bagfile_information"]
    info["relative_file_paths"] = ["split_0.mcap", "split_1.mcap"]
    write_yaml(folder, content)
    bag = open_episode(folder)
    assert sorted(got(bag)) == sorted(expected())
    assert [m[1] for m in got(bag)] == sorted(event.receive_ns for event in EVENTS)
    assert "the files count" in bag.notes[0]
    (folder / "metadata.yaml").unlink()
    assert find_episodes(tmp_path / "split") == [folder]
    assert [m[1] for m in got(open_episode(folder))] == sorted(event.receive_ns for event in EVENTS)
    write_yaml(folder, content)
    (folder / "split_1.mcap").unlink()
    rest = open_episode(folder)
    assert "names split_1.mcap, which is not there; what is there was read: split_0.mcap" in rest.notes[0]
    assert len(got(rest)) == len(first)


@pytest.mark.parametrize("wrong", ["count", "storage", "file", "yaml", "empty", "foreign"])
def test_the_files_count_where_metadata_is_wrong(tmp_path: Path, wrong: str) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE)
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
    assert got(bag) == expected()
    assert sum(bag.counts.values()) == len(EVENTS)
    assert bool(bag.notes) is (wrong != "storage")


def test_ros1_bags_come_out_in_ros2_types(tmp_path: Path) -> None:
    noetic = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    with Ros1Writer(path) as writer:
        topics = {}
        for number, event in enumerate(EVENTS):
            if event.topic not in topics:
                topics[event.topic] = writer.add_connection(event.topic, kind(event), typestore=noetic)
            types = noetic.types
            stamp = types["builtin_interfaces/msg/Time"](event.stamp_ns // 10**9, event.stamp_ns % 10**9)
            header = types["std_msgs/msg/Header"](number, stamp, event.message.header.frame_id)
            if kind(event) == IMAGE:
                m = event.message
                data = np.frombuffer(m.data, np.uint8)
                content = types[IMAGE](header, m.height, m.width, m.encoding, m.is_bigendian, m.step, data)
            else:
                empty = np.zeros(0)
                content = types[JOINT_STATE](header, event.message.name, np.array(event.message.position), empty, empty)
            writer.write(topics[event.topic], event.receive_ns, noetic.serialize_ros1(content, kind(event)))
    assert find_episodes(tmp_path) == [path]
    bag = open_episode(path)
    assert bag.name == "old"
    assert bag.types["/front/image_raw"] == IMAGE
    for received, event in zip(bag.messages(TOPICS), EVENTS, strict=True):
        assert (received.topic, received.log_ns) == (event.topic, event.receive_ns)
        assert received.message.header.stamp.nanosec == event.stamp_ns % 10**9
        if kind(event) == IMAGE:
            assert bytes(received.message.data) == event.message.data
        else:
            assert list(received.message.position) == event.message.position


def test_topics_that_were_written_one_after_the_other_come_by_time_in_bounded_memory(
    tmp_path: Path, monkeypatch
) -> None:
    order = sorted(range(len(EVENTS)), key=lambda i: (EVENTS[i].topic, i))
    folder = by_recorder(tmp_path / "sorted", [EVENTS[i] for i in order], compression="zstd", chunk_bytes=3000)
    assert got(open_episode(folder)) == expected()
    monkeypatch.setattr("vla_recorder.bags.merge.merged.__kwdefaults__", {"budget": 5000})
    assert got(open_episode(folder)) == expected()


def test_a_type_that_nobody_knows_matters_only_where_it_is_needed(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE)
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
    assert len(got(open_episode(path))) == 1
    with pytest.raises(BagError, match=r"/status has json messages of type unknown; only cdr can be read"):
        list(open_episode(path).messages({"/status"}))


def test_types_are_known_by_their_idl_and_without_an_installed_package(monkeypatch) -> None:
    idl = "module a_msgs { module msg { struct Pair { double left; sequence<int32> right; }; }; };"
    text = definition_of(Connection(topic="/x", type="a_msgs/msg/Pair", definition=idl, definition_encoding="ros2idl"))
    assert text.split() == ["float64", "left", "int32[]", "right"]
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert "float64[] position" in definition_of(Connection(topic="/x", type="sensor_msgs/msg/JointState"))


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_damage_is_where_reading_ends_and_is_said(tmp_path: Path, how: str) -> None:
    folder = by_recorder(tmp_path / "episode", compression="zstd", chunk_bytes=20_000)
    file = next(folder.glob("*.mcap"))
    content = bytearray(file.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)
    bag = open_episode(folder)
    kept = got(bag)
    assert kept == expected()[: len(kept)]
    assert 0 < len(kept) < len(EVENTS)
    assert ("the file ends within it" if how == "cut" else "is damaged (its checksum is wrong)") in bag.damage
    assert "`ros2 run vla_recorder repair` keeps what is whole" in bag.damage
    assert len(list(bag.messages(TOPICS))) == len(kept)


def test_a_database_that_is_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE)
    file = next(folder.glob("*.db3"))
    content = file.read_bytes()
    found = []
    for tenth in range(2, 10):
        file.write_bytes(content[: len(content) * tenth // 10])
        bag = open_episode(folder)
        kept = got(bag)
        assert kept == expected()[: len(kept)]
        assert f"the database is damaged or cut off; {len(kept)} messages" in bag.damage
        found.append(len(kept))
    assert found == sorted(found)
    assert found[5] > len(EVENTS) // 2


def test_a_compressed_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        folder = by_rosbags(tmp_path / storage.name, storage, CompressionMode.FILE)
        file = next(folder.glob("*.zstd"))
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.8)])
        bag = open_episode(folder)
        kept = got(bag)
        assert kept == expected()[: len(kept)]
        assert bag.damage
    assert list((tmp_path / "temporary").iterdir()) == []


def test_nothing_readable_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such bag"):
        open_episode(tmp_path / "absent")
    with pytest.raises(BagError, match="no such folder; give the recorder's output_dir with --bags"):
        find_episodes(tmp_path / "absent")
    with pytest.raises(BagError, match="no episode in it"):
        find_episodes(tmp_path)
    with pytest.raises(BagError, match=r"no readable bag file.*was it copied completely"):
        open_episode(tmp_path)
    for content, reason in ((b"", "the file is empty"), (b"GIF89a", "begins like no bag")):
        (tmp_path / "x.mcap").write_bytes(content)
        with pytest.raises(BagError, match=rf"{reason}.*Copy it again from its source"):
            open_episode(tmp_path / "x.mcap")


def test_episodes_are_found_one_level_deeper_and_open_ones_are_not(tmp_path: Path) -> None:
    one = by_recorder(tmp_path / "monday/episode_1")
    two = by_recorder(tmp_path / "episode_2")
    by_recorder(tmp_path / "episode_3.open")
    by_recorder(tmp_path / "episode_4.broken")
    (tmp_path / "single").mkdir()
    files = [tmp_path / "single/a.mcap", tmp_path / "single/b.mcap"]
    for file in files:
        shutil.copy(next(two.glob("*.mcap")), file)
    assert find_episodes(tmp_path) == sorted([one, two, *files])
    assert find_episodes(two) == [two]
    assert find_episodes(files[0]) == files[:1]
    assert open_episode(files[0]).name == "a"


def test_a_bag_is_known_by_its_content(tmp_path: Path) -> None:
    bag = open_episode(by_recorder(tmp_path / "a"))
    assert bag.content_hash() == hashlib.sha256(bag.files[0].read_bytes()).hexdigest()
    assert bag.uuid.replace("-", "") == bag.content_hash()[:32]
    assert open_episode(by_recorder(tmp_path / "b", custom={"episode_uuid": "mine"})).uuid == "mine"


def test_attachments_come_from_the_bag_and_from_beside_it(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "episode", "episode")
    writer.attach("scene.yaml", "application/yaml", b"table: 1")
    writer.attach("goal.png", "image/png", b"\x89PNG" * 100)
    writer.close({})
    folder = tmp_path / "episode/attachments/plan"
    folder.mkdir(parents=True)
    (folder / "skill.csv").write_text("a,b\n")
    bag = open_episode(tmp_path / "episode")
    assert [(a.name, a.media_type, len(a.data)) for a in bag.attachments()] == [
        ("scene.yaml", "application/yaml", 8),
        ("goal.png", "image/png", 400),
        ("plan/skill.csv", "text/csv", 4),
    ]
    file = next((tmp_path / "episode").glob("*.mcap"))
    file.write_bytes(file.read_bytes().replace(b"table: 1", b"table: 2"))
    damaged = open_episode(tmp_path / "episode")
    assert [a.name for a in damaged.attachments()] == ["goal.png", "plan/skill.csv"]
    assert "the attachment 'scene.yaml' has a wrong checksum" in damaged.damage


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


def test_a_message_that_does_not_fit_its_type_is_named(tmp_path: Path) -> None:
    event = joint_state("/joint_states", 10, 10, ["a"], [1.0])
    folder = by_recorder(
        tmp_path / "episode", [event._replace(data=event.data[:12]), image("/i", 5, 5, np.zeros((2, 2, 3), np.uint8))]
    )
    with pytest.raises(BagError, match=r"a message on /joint_states is no sensor_msgs/msg/JointState"):
        list(open_episode(folder).messages({"/joint_states"}))


def test_a_message_whose_compression_is_damaged_ends_the_reading(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    database = sqlite3.connect(next(folder.glob("*.db3")))
    number, data = database.execute("SELECT id, data FROM messages ORDER BY timestamp LIMIT 1 OFFSET 20").fetchone()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data)
    broken = data[:4] + bytes([data[4] ^ 0xFF]) + b"\xff" * (len(data) - 5)
    database.execute("UPDATE messages SET data = ? WHERE id = ?", (broken, number))
    database.commit()
    database.close()
    bag = open_episode(folder)
    assert got(bag) == expected()[:20]
    assert "cannot be unpacked" in bag.damage
