# SPDX-License-Identifier: Apache-2.0

"""Bags on the disk: complete when closed, readable when killed, loud when the disk fails."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from vla_core.errors import BagError
from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.capture.session import Session, check_free_space, episode_name, leftovers
from vla_recorder.testing import wait_for

TOPIC = TopicInfo(name="/text", type="std_msgs/msg/String", definition="string data\n")
MESSAGE = b"\0\1\0\0\2\0\0\0a\0"


def messages(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(1 for _ in make_reader(stream).iter_messages())


def test_an_episode_appears_under_its_name_when_it_is_complete(tmp_path: Path) -> None:
    name = episode_name("12345678-aaaa", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name == "episode_20260102T030405Z_12345678"
    session = Session(tmp_path / "bags", name)
    session.add_topic(TOPIC)
    for number in range(10):
        session.write("/text", MESSAGE, 1000 + number, 900 + number)
    assert leftovers(tmp_path / "bags") == [tmp_path / "bags" / f"{name}.open"]
    folder = session.finish({"task": "lift"})
    assert folder == tmp_path / "bags" / name
    assert leftovers(tmp_path / "bags") == []
    info = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (info["version"], info["storage_identifier"], info["message_count"]) == (9, "mcap", 10)
    assert info["custom_data"] == {"task": "lift"}
    with (folder / info["relative_file_paths"][0]).open("rb") as stream:
        reader = make_reader(stream)
        assert reader.get_header().profile == "ros2"
        assert [record.metadata for record in reader.iter_metadata()] == [{"task": "lift"}]
        stored = [(message.log_time, message.publish_time) for _, _, message in reader.iter_messages()]
    assert stored == [(1000 + number, 900 + number) for number in range(10)]
    with pytest.raises(BagError, match="an episode never overwrites another"):
        Session(tmp_path / "bags", name)


def test_a_killed_recorder_loses_less_than_a_second(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from vla_recorder.capture.session import Session\n"
        "from vla_recorder.bags.writer import TopicInfo\n"
        f"session = Session(Path({str(tmp_path)!r}), 'episode_x')\n"
        "session.add_topic(TopicInfo(name='/text', type='std_msgs/msg/String', definition='string data'))\n"
        "end = time.monotonic() + 60\n"
        "number = 0\n"
        "while time.monotonic() < end:\n"
        f"    session.write('/text', {MESSAGE!r}, time.monotonic_ns(), 0)\n"
        "    number += 1\n"
        "    print(number, time.monotonic_ns(), flush=True)\n"
        "    time.sleep(0.02)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last_ns = 0
    for line in process.stdout:
        number, stamp = line.split()
        last_ns = int(stamp)
        if int(number) >= 75:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    file = tmp_path / "episode_x.open" / "episode_x_0.mcap"
    kept = []
    with file.open("rb") as stream, suppress(EndOfFile):
        for _, _, message in NonSeekingReader(stream).iter_messages(log_time_order=False):
            kept.append(message.log_time)
    assert kept
    assert last_ns - kept[-1] < 1_000_000_000


def test_a_full_disk_fails_the_episode(tmp_path: Path, monkeypatch) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    session.write("/text", MESSAGE, 1, 1)
    wait_for(lambda: session.error)
    assert "No space left on device): the disk is full; free space or choose another output_dir" in session.error
    with pytest.raises(
        BagError, match=r"the disk is full; .* stays readable: `ros2 run vla_recorder repair .*open` makes"
    ):
        session.finish({})
    assert not (tmp_path / "episode_x").exists()
    assert (tmp_path / "episode_x.open").is_dir()


class StandingDisk:
    """A bag writer that writes nothing until it is told to."""

    def __init__(self, monkeypatch) -> None:
        self.release = threading.Event()
        self.reached = threading.Event()
        write = BagWriter.write

        def slow(bag: BagWriter, *args: object) -> None:
            self.reached.set()
            self.release.wait(20)
            write(bag, *args)

        monkeypatch.setattr(BagWriter, "write", slow)


def test_a_slow_disk_fails_the_episode_and_names_the_topics(tmp_path: Path, monkeypatch) -> None:
    session = Session(tmp_path, "episode_x", queue_bytes=1000)
    session.add_topic(TOPIC)
    session.add_topic(replace(TOPIC, name="/other"))
    disk = StandingDisk(monkeypatch)
    for number in range(300):
        session.write("/text", MESSAGE, number, number)
    session.write("/other", MESSAGE, 300, 300)
    assert "201 messages were not recorded because the disk is slower than the topics" in session.error
    assert session.error.endswith("waiting): /text 200, /other 1. Use a faster disk or compressed images")
    assert session.dropped == {"/text": 200, "/other": 1}
    disk.release.set()
    folder = session.finish({})
    assert messages(folder / "episode_x_0.mcap") == session.messages == 100


def test_the_end_comes_in_time_whatever_waits(tmp_path: Path, monkeypatch) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)
    disk = StandingDisk(monkeypatch)
    for number in range(50):
        session.write("/text", MESSAGE, number, number)
    assert disk.reached.wait(5)
    clock = time.monotonic
    late = [0.0]
    monkeypatch.setattr("vla_recorder.capture.session.time.monotonic", lambda: clock() + late[0])
    drained = threading.Thread(target=session.drain, args=(2.0,))
    drained.start()
    wait_for(session._stopping.is_set)
    late[0] = 5.0
    disk.release.set()
    drained.join(5)
    assert not drained.is_alive()
    written = session.counts()["/text"].messages
    assert written < 50
    assert f"the disk did not take the last {50 - written} messages within 2 s of the end: /text" in session.error
    folder = session.finish({"error": session.error})
    assert messages(folder / "episode_x_0.mcap") == written


def test_a_disk_that_stands_still_leaves_the_folder_open(tmp_path: Path, monkeypatch) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)
    disk = StandingDisk(monkeypatch)
    session.write("/text", MESSAGE, 1, 1)
    assert disk.reached.wait(5)
    with pytest.raises(BagError, match=r"the disk stands still, a write has not returned for 1\.1 s"):
        session.drain(0.1)
    disk.release.set()
    assert leftovers(tmp_path) == [tmp_path / "episode_x.open"]


def test_messages_get_into_the_file_in_the_order_of_their_reception(tmp_path: Path) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)
    session.add_topic(replace(TOPIC, name="/other"))
    # An executor that serves one topic after another, five milliseconds at a time.
    for start in range(0, 100, 5):
        for number in range(start, start + 5):
            session.write("/text", MESSAGE, 2 * number, 0)
        for number in range(start, start + 5):
            session.write("/other", MESSAGE, 2 * number + 1, 0)
    folder = session.finish({})
    with (folder / "episode_x_0.mcap").open("rb") as stream:
        found = [message.log_time for _, _, message in NonSeekingReader(stream).iter_messages(log_time_order=False)]
    assert found == list(range(200))


def test_the_file_is_brought_to_the_disk_while_recording(tmp_path: Path, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    session = Session(tmp_path, "episode_x", sync_period_s=0.02)
    wait_for(lambda: len(synced) >= 2, what="two times")
    session.discard()
    synced.clear()
    session = Session(tmp_path, "episode_y", sync_period_s=0.0)
    session.finish({})
    assert synced == []


def test_a_disk_that_refuses_to_sync_fails_the_episode(tmp_path: Path, monkeypatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", broken)
    session = Session(tmp_path, "episode_x", sync_period_s=0.01)
    wait_for(lambda: session.error)
    assert "cannot write the episode (Input/output error): check the disk" in session.error
    session.write("/text", MESSAGE, 1, 1)
    assert session.dropped == {"/text": 1}
    with pytest.raises(BagError, match="Input/output error"):
        session.finish({})


def test_a_name_that_cannot_be_given_leaves_a_whole_bag(tmp_path: Path, monkeypatch) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)
    session.write("/text", MESSAGE, 1, 1)
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.name == "episode_x":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BagError, match="No space left on device"):
        session.finish({"task": "lift"})
    assert messages(tmp_path / "episode_x.open" / "episode_x_0.mcap") == 1
    assert (tmp_path / "episode_x.open" / "metadata.yaml").is_file()


def test_discard_deletes(tmp_path: Path) -> None:
    session = Session(tmp_path, "episode_x")
    session.add_topic(TOPIC)
    session.write("/text", MESSAGE, 1, 1)
    session.discard()
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_checked(tmp_path: Path) -> None:
    check_free_space(tmp_path / "not" / "yet", 0)
    with pytest.raises(BagError, match=r"GB are free, recording needs 1000000\.0 GB \(parameter min_free_gb\)"):
        check_free_space(tmp_path, 10**15)


def test_definitions_hold_every_nested_message() -> None:
    text = full_definition("sensor_msgs/msg/Image")
    assert text.index("uint32 height") < text.index("MSG: std_msgs/Header") < text.index("MSG: builtin_interfaces/Time")
    assert full_definition("vla_msgs/msg/TaskState").count("MSG: ") == 4
    with pytest.raises(BagError, match=r"Is the package 'no_such_msgs' installed and the workspace sourced\?"):
        full_definition("no_such_msgs/msg/Thing")
    with pytest.raises(BagError, match="expected the form package/msg/Name"):
        full_definition("Image")
