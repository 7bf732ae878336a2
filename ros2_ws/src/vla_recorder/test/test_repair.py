# SPDX-License-Identifier: Apache-2.0

"""Repair: every whole message of a killed recorder or a broken copy comes back, exactly, whatever happens meanwhile."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mcap.writer import Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from vla_core.errors import BagError
from vla_recorder.bags import recover
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.bags.recover import find_broken, repair
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.testing import DEFINITIONS, JOINT_STATE, joint_state
from vla_recorder.testing.bags import by_rosbags, found
from vla_recorder.testing.bags import expected as expected_of
from vla_recorder.tools import repair as command

CHUNK = 60
"""More messages than a chunk of `record` holds."""
FULL = os.environ.get("VLA_TEST_FULL") == "1"
META = {"episode_uuid": "abc", "task": "lift", "profile": "robot: x", "seed": "7"}
INFO = TopicInfo(name="/joint_states", type=JOINT_STATE, definition=DEFINITIONS[JOINT_STATE])


def hashes(messages) -> list[tuple[int, str]]:
    return [(message.log_ns, hashlib.sha256(message.data).hexdigest()) for message in messages]


def payload(number: int) -> bytes:
    event = joint_state("/joint_states", 0, number, ["a", "b"], [number * 0.1, random.Random(number).random()])
    return event.data


def record(folder: Path, count: int = 400, *, compression: str = "zstd", close: bool = True) -> list[tuple[int, str]]:
    """Write a bag in chunks of 40 messages or so; returns its messages."""
    writer = BagWriter(
        folder, folder.name.removesuffix(".open"), compression=compression, chunk_bytes=5000, custom_data=META
    )
    writer.add_topic(INFO)
    expected = []
    for number in range(count):
        data = payload(number)
        writer.write("/joint_states", data, 1000 + number, 900 + number)
        expected.append((1000 + number, hashlib.sha256(data).hexdigest()))
    if close:
        writer.close({**META, "outcome": "success", "termination": "stopped"})
    else:
        writer.flush_if_due()
        writer.abandon()
    return expected


def bag_file(folder: Path) -> Path:
    return next(folder.glob("*.mcap"))


def test_an_open_episode_is_finished_with_what_was_known_at_its_start(tmp_path: Path, capsys) -> None:
    expected = record(tmp_path / "episode_a.open", close=False)
    (tmp_path / "episode_a.open/attachments").mkdir()
    (tmp_path / "episode_a.open/attachments/scene.yaml").write_text("table: 1")
    assert command.main([str(tmp_path), "--dry-run"]) == 0
    assert (tmp_path / "episode_a.open").is_dir()
    assert not (tmp_path / "episode_a").exists()
    assert command.main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 repaired" in shown
    bag = open_episode(tmp_path / "episode_a")
    kept = hashes(bag.raw_messages())
    assert kept == expected[: len(kept)]
    assert len(kept) > 300
    assert (bag.get("task"), bag.get("profile"), bag.get("seed"), bag.get("episode_uuid")) == (
        "lift",
        "robot: x",
        "7",
        "abc",
    )
    assert bag.get("termination") == "error"
    assert bag.get("error").startswith(f"incomplete: {len(kept)} messages were recovered")
    assert [a.name for a in bag.attachments()] == ["scene.yaml"]
    assert bag.damage == ""
    assert bag.notes == ()
    assert (tmp_path / "episode_a.broken").is_dir()
    assert find_episodes(tmp_path) == [tmp_path / "episode_a"]
    before = bag_file(tmp_path / "episode_a").stat().st_mtime_ns
    assert command.main([str(tmp_path)]) == 0
    assert "1 sound" in capsys.readouterr().out
    assert bag_file(tmp_path / "episode_a").stat().st_mtime_ns == before


def test_an_episode_that_is_being_recorded_is_left_alone(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "episode_a.open", "episode_a")
    writer.add_topic(INFO)
    row = repair(tmp_path / "episode_a.open")
    assert (row.action, row.detail) == ("recording", "a recorder writes it now")
    writer.abandon()
    assert repair(tmp_path / "episode_a.open").action == "nothing left"
    assert (tmp_path / "episode_a.open").is_dir()


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_a_bag_cut_off_anywhere_keeps_every_whole_message(tmp_path: Path, compression: str) -> None:
    expected = record(tmp_path / "episode", compression=compression)
    content = bag_file(tmp_path / "episode").read_bytes()
    rng = random.Random(1)
    recovered = []
    for cut in sorted(rng.sample(range(200, len(content) - 1), 50 if FULL else 17)):
        folder = tmp_path / f"cut_{cut}"
        folder.mkdir()
        (folder / "x_0.mcap").write_bytes(content[:cut])
        row = repair(folder)
        if row.action == "nothing left":
            recovered.append(0)
            continue
        assert row.action == "repaired", row
        bag = open_episode(folder)
        kept = hashes(bag.raw_messages())
        assert kept == expected[: len(kept)]
        assert len(kept) == row.messages == sum(bag.counts.values())
        assert len(kept) == len(expected) or "ends within it" in row.detail or "no end record" in row.detail
        recovered.append(len(kept))
    assert recovered == sorted(recovered)
    assert recovered[len(recovered) // 2] > 100
    assert recovered[-1] >= len(expected) - CHUNK


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_flipped_bit_costs_its_chunk_and_nothing_else(tmp_path: Path, compression: str) -> None:
    expected = record(tmp_path / "episode", compression=compression)
    file = bag_file(tmp_path / "episode")
    content = file.read_bytes()
    rng = random.Random(2)
    known = dict(expected)
    for at in rng.sample(range(8, len(content)), 50 if FULL else 17):
        folder = tmp_path / f"flip_{at}"
        folder.mkdir()
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        (folder / "x_0.mcap").write_bytes(damaged)
        row = repair(folder, verify=True)
        assert row.action in ("repaired", "sound"), row
        kept = hashes(open_episode(folder).raw_messages())
        assert all(known[stamp] == digest for stamp, digest in kept), at
        assert len(kept) >= len(expected) - CHUNK, (at, row)


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_behind_a_damage_the_next_chunk_is_found_without_an_index(tmp_path: Path, compression: str) -> None:
    """The file of a killed recorder has no index, so a wrong length leads nowhere: chunks are recognised by their look."""
    expected = record(tmp_path / "whole.open", compression=compression, close=False)
    content = bag_file(tmp_path / "whole.open").read_bytes()
    known = dict(expected)
    rng = random.Random(4)
    for at in rng.sample(range(8, len(content)), 60 if FULL else 20):
        folder = tmp_path / f"flip_{at}.open"
        folder.mkdir()
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.randrange(8)
        (folder / "x_0.mcap").write_bytes(damaged)
        row = repair(folder)
        if row.action == "nothing left":
            # Only the first chunk says what the channels are.
            assert at < 1500, row
            continue
        kept = hashes(open_episode(tmp_path / f"flip_{at}").raw_messages())
        assert all(known[stamp] == digest for stamp, digest in kept), at
        assert len(kept) >= len(expected) - 2 * CHUNK, (at, row)
        assert row.lost > 0 or len(kept) >= len(expected) - CHUNK


def test_a_file_without_chunks_is_recovered_too(tmp_path: Path) -> None:
    path = tmp_path / "loose.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, use_chunking=False)
        writer.start("ros2")
        schema = writer.register_schema(JOINT_STATE, "ros2msg", DEFINITIONS[JOINT_STATE].encode())
        channel = writer.register_channel("/joint_states", "cdr", schema)
        for number in range(100):
            writer.add_message(channel, 1000 + number, payload(number), 900 + number)
        end = stream.tell()
        writer.finish()
    expected = [(1000 + n, hashlib.sha256(payload(n)).hexdigest()) for n in range(100)]
    assert hashes(open_episode(path).raw_messages()) == expected
    assert open_episode(path).damage == ""
    path.write_bytes(path.read_bytes()[: end - 50])
    assert hashes(open_episode(path).raw_messages()) == expected[:-1]
    row = repair(path)
    assert (row.action, row.messages) == ("repaired", 99)
    assert hashes(open_episode(tmp_path / "loose").raw_messages()) == expected[:-1]
    assert (tmp_path / "loose.broken").is_file()


def test_a_clock_that_was_set_back_stays_where_it_was(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "episode.open", "episode", chunk_bytes=500, custom_data=META)
    writer.add_topic(INFO)
    stamps = [5 * 10**9 + n for n in range(50)] + [2 * 10**9 + n for n in range(50)]
    for number, stamp in enumerate(stamps):
        writer.write("/joint_states", payload(number), stamp, stamp)
    writer.abandon()
    row = repair(tmp_path / "episode.open")
    assert (row.action, round(row.seconds, 3)) == ("repaired", 3.0)
    assert row.messages > 80
    kept = hashes(open_episode(tmp_path / "episode").raw_messages())
    assert [stamp for stamp, _ in kept] == stamps[: row.messages]


def test_a_broken_sqlite3_bag_becomes_an_mcap_bag(tmp_path: Path) -> None:
    events = [joint_state("/joint_states", 1000 + n, 1000 + n, ["a"], [float(n)]) for n in range(3000)]
    folder = by_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, CompressionMode.NONE, events)
    file = next(folder.glob("*.db3"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    row = repair(folder)
    assert row.action == "repaired"
    bag = open_episode(folder)
    kept = found(bag)
    assert kept == expected_of(events)[: len(kept)]
    assert len(kept) == row.messages > 1000
    assert bag.files[0].suffix == ".mcap"


def test_zeros_that_a_power_cut_left_are_no_messages(tmp_path: Path) -> None:
    expected = record(tmp_path / "episode.open", compression="none", close=False)
    file = bag_file(tmp_path / "episode.open")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 2000] + bytes(2000))
    assert repair(tmp_path / "episode.open").action == "repaired"
    kept = hashes(open_episode(tmp_path / "episode").raw_messages())
    assert kept == expected[: len(kept)]


def test_a_closed_bag_that_lost_its_end_says_so(tmp_path: Path) -> None:
    record(tmp_path / "episode")
    file = bag_file(tmp_path / "episode")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert repair(tmp_path / "episode", delete_original=True).action == "repaired"
    bag = open_episode(tmp_path / "episode")
    assert (bag.get("outcome"), bag.get("termination"), bag.get("task")) == ("success", "error", "lift")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["episode"]


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Lets functions be called `steps` times altogether, then kills."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def wrap(self, original):
        def wrapped(*args, **kwargs):
            self.steps -= 1
            if self.steps == 0:
                raise Killed
            return original(*args, **kwargs)

        return wrapped


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    for step in range(1, 12):
        folder = tmp_path / f"step_{step}"
        expected = record(folder / "episode.open", close=False, count=60)
        mortal = Mortal(step)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", mortal.wrap(Path.rename))
            patch.setattr(os, "fsync", mortal.wrap(os.fsync))
            patch.setattr(recover.shutil, "rmtree", lambda *_, **__: None)  # a killed process does not clean up
            with contextlib.suppress(Killed):
                repair(folder / "episode.open")
        for left in find_broken(folder):
            repair(left)
        kept = hashes(open_episode(folder / "episode").raw_messages())
        assert kept == expected[: len(kept)]
        assert len(kept) > 30
        assert {path.name for path in folder.iterdir()} == {"episode", "episode.broken"}
        if mortal.steps > 0:
            assert step > 5
            return
    pytest.fail("repair has more steps than this test kills it at")


def test_the_remains_of_a_killed_repair_are_removed(tmp_path: Path, capsys) -> None:
    expected = record(tmp_path / "episode.open", close=False)
    shutil.copytree(tmp_path / "episode.open", tmp_path / "episode.repair")
    assert command.main([str(tmp_path)]) == 0
    assert "1 cleaned, 1 repaired" in capsys.readouterr().out
    kept = hashes(open_episode(tmp_path / "episode").raw_messages())
    assert kept == expected[: len(kept)]
    shutil.copytree(tmp_path / "episode.broken", tmp_path / "other.repair")
    assert command.main([str(tmp_path)]) == 1
    assert (
        "an interrupted repair whose original is gone; open the .mcap file in it by itself" in capsys.readouterr().out
    )


def test_a_killed_repair_is_repeated(tmp_path: Path) -> None:
    expected = record(tmp_path / "episode.open", close=False, count=3000)
    rng = random.Random(3)
    for _ in range(8 if FULL else 2):
        process = subprocess.Popen(
            [sys.executable, "-m", "vla_recorder.tools.repair", str(tmp_path)], stdout=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=rng.uniform(0.15, 0.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert command.main([str(tmp_path)]) == 0
    kept = hashes(open_episode(tmp_path / "episode").raw_messages())
    assert kept == expected[: len(kept)]
    assert len(kept) > 2900
    info = yaml.safe_load((tmp_path / "episode/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["message_count"] == len(kept)


def test_what_cannot_be_repaired_is_named(tmp_path: Path, capsys) -> None:
    with pytest.raises(BagError, match="no such folder; give the recorder's output_dir"):
        find_broken(tmp_path / "absent")
    assert command.main([str(tmp_path / "absent")]) == 2
    (tmp_path / "episode.open").mkdir()
    assert command.main([str(tmp_path)]) == 1
    assert "no bag file in it, nothing can be recovered" in capsys.readouterr().out
    record(tmp_path / "twice")
    record(tmp_path / "twice.open", close=False)
    row = repair(tmp_path / "twice.open")
    assert (row.action, "twice exists beside it; move one of them away" in row.detail) == ("failed", True)
