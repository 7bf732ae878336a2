# SPDX-License-Identifier: Apache-2.0

"""Damaged bags: what is read is exact, ends where the damage begins, and the bag says so."""

import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from vla_core.errors import BagError
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.testing import Scene, image, joint_state, scene_events, small_profile
from vla_recorder.testing.bags import by_recorder, by_rosbags, expected, found

EVENTS = scene_events(small_profile(), Scene(duration_s=1.5))
TOPICS = {"/front/image_raw", "/joint_states", "/command/arm"}


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_damage_is_where_reading_ends_and_is_said(tmp_path: Path, how: str) -> None:
    folder = by_recorder(tmp_path / "episode", EVENTS, compression="zstd", chunk_bytes=20_000)
    file = next(folder.glob("*.mcap"))
    content = bytearray(file.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)
    bag = open_episode(folder)
    kept = found(bag)
    assert kept == expected(EVENTS)[: len(kept)]
    assert 0 < len(kept) < len(EVENTS)
    assert ("the file ends within it" if how == "cut" else "is damaged (its checksum is wrong)") in bag.damage
    assert "`ros2 run vla_recorder repair` keeps what is whole" in bag.damage
    assert len(list(bag.messages(TOPICS))) == len(kept)


def test_a_database_that_is_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, EVENTS)
    file = next(folder.glob("*.db3"))
    content = file.read_bytes()
    counts = []
    for tenth in range(2, 10):
        file.write_bytes(content[: len(content) * tenth // 10])
        bag = open_episode(folder)
        kept = found(bag)
        assert kept == expected(EVENTS)[: len(kept)]
        assert f"the database is damaged or cut off; {len(kept)} messages" in bag.damage
        counts.append(len(kept))
    assert counts == sorted(counts)
    assert counts[-1] > 0.8 * len(EVENTS)


def test_rows_of_a_large_database_are_found_without_its_tree(tmp_path: Path) -> None:
    """Many pages, so that the tree has three levels, of which the upper ones lie behind the cut."""
    events = [joint_state("/joint_states", 10**9 + n, 10**9 + n, ["a"] * 60, [float(n)] * 60) for n in range(4000)]
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, events)
    file = next(folder.glob("*.db3"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    kept = found(open_episode(folder))
    assert kept == expected(events)[: len(kept)]
    assert 1800 < len(kept) < 2200


def test_a_database_whose_tree_is_damaged_gives_its_rows(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, EVENTS)
    file = next(folder.glob("*.db3"))
    content = bytearray(file.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    interior = [at for at in range(size, len(content), size) if content[at] == 5]
    assert interior
    for at in interior:
        content[at] = 0
    file.write_bytes(content)
    bag = open_episode(folder)
    assert found(bag) == expected(EVENTS)
    assert f"the database is damaged or cut off; {len(EVENTS)} messages" in bag.damage


def test_a_compressed_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        folder = by_rosbags(tmp_path / storage.name, storage, CompressionMode.FILE, EVENTS)
        file = next(folder.glob("*.zstd"))
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.8)])
        bag = open_episode(folder)
        kept = found(bag)
        assert kept == expected(EVENTS)[: len(kept)]
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


def test_a_message_that_does_not_fit_its_type_is_named(tmp_path: Path) -> None:
    event = joint_state("/joint_states", 10, 10, ["a"], [1.0])
    folder = by_recorder(
        tmp_path / "episode", [event._replace(data=event.data[:12]), image("/i", 5, 5, np.zeros((2, 2, 3), np.uint8))]
    )
    with pytest.raises(BagError, match=r"a message on /joint_states is no sensor_msgs/msg/JointState"):
        list(open_episode(folder).messages({"/joint_states"}))


def test_a_message_whose_compression_is_damaged_ends_the_reading(tmp_path: Path) -> None:
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.MESSAGE, EVENTS)
    database = sqlite3.connect(next(folder.glob("*.db3")))
    number, data = database.execute("SELECT id, data FROM messages ORDER BY timestamp LIMIT 1 OFFSET 20").fetchone()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data)
    broken = data[:4] + bytes([data[4] ^ 0xFF]) + b"\xff" * (len(data) - 5)
    database.execute("UPDATE messages SET data = ? WHERE id = ?", (broken, number))
    database.commit()
    database.close()
    bag = open_episode(folder)
    assert found(bag) == expected(EVENTS)[:20]
    assert "cannot be unpacked" in bag.damage
