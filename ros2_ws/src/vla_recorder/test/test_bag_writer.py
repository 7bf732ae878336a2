# SPDX-License-Identifier: Apache-2.0

"""The MCAP file below an episode: read by the stock library, whole or up to the last record that was written."""

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from mcap.records import Attachment
from vla_core.errors import BagError
from vla_recorder.bags import mcap_file
from vla_recorder.bags.mcap_file import COMPRESSIONS, McapFile
from vla_recorder.bags.writer import METADATA_RECORD, BagWriter, TopicInfo

TOPIC = TopicInfo(name="/text", type="std_msgs/msg/String", definition="string data\n")
NOISE = np.random.default_rng(0).bytes(1 << 21)
SMOOTH = bytes(1 << 20)


def content(kind: int, number: int) -> bytes:
    """Small, large and noisy, large and smooth."""
    head = struct.pack("<II", kind, number)
    return head + (NOISE[number : number + 50], NOISE[number : number + 200_000], SMOOTH[:200_000])[kind]


def write_mixed(path: Path, compression: str, count: int = 60) -> list[tuple[str, int, int, int, bytes]]:
    file = McapFile(path, compression=compression, chunk_bytes=1 << 20)
    schema = file.add_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channels = {kind: file.add_channel(f"/t{kind}", schema, {"offered_qos_profiles": ""}) for kind in range(3)}
    written = []
    for number in range(count):
        for kind, channel in channels.items():
            log_ns = 1_000_000 * number + kind + 10
            file.add_message(channel, number, log_ns, log_ns - 5, content(kind, number))
            written.append((f"/t{kind}", number, log_ns, log_ns - 5, content(kind, number)))
        if number % 10 == 0:
            file.flush()
    file.add_metadata("vla", {"task": "lift"})
    file.add_attachment(Attachment(create_time=1, log_time=2, name="a.txt", media_type="text/plain", data=b"hello"))
    file.finish()
    file.close()
    return written


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_stock_library_reads_what_was_written(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.mcap"
    written = write_mixed(path, compression)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        indexed = [(c.topic, m.sequence, m.log_time, m.publish_time, m.data) for _, c, m in reader.iter_messages()]
        one = [m.sequence for _, _, m in reader.iter_messages(topics=["/t1"], start_time=5_000_000, end_time=9_000_000)]
        summary = reader.get_summary()
        assert [record.metadata for record in reader.iter_metadata()] == [{"task": "lift"}]
        assert [(record.name, record.data) for record in reader.iter_attachments()] == [("a.txt", b"hello")]
    assert indexed == written
    assert one == [5, 6, 7, 8]
    assert summary.statistics.channel_message_counts == {1: 60, 2: 60, 3: 60}
    assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (10, 59_000_012)
    assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 6
    with path.open("rb") as stream:
        streamed = [
            m.data for _, _, m in NonSeekingReader(stream, validate_crcs=True).iter_messages(log_time_order=False)
        ]
    assert streamed == [data for *_, data in written]


def test_only_what_shrinks_is_compressed(tmp_path: Path) -> None:
    sizes = {}
    for name, data in (("noise", NOISE[:500_000]), ("smooth", SMOOTH[:500_000])):
        file = McapFile(tmp_path / name)
        file.add_message(file.add_channel("/t", file.add_schema("a", "ros2msg", b""), {}), 0, 1, 1, data)
        file.finish()
        file.close()
        with (tmp_path / name).open("rb") as stream:
            (chunk,) = make_reader(stream).get_summary().chunk_indexes
        sizes[name] = (chunk.compression, chunk.compressed_size)
    assert sizes["noise"] == ("", 500_000 + 31)
    assert sizes["smooth"][0] == "zstd"
    assert sizes["smooth"][1] < 5000


def test_large_payloads_are_not_copied(tmp_path: Path, monkeypatch) -> None:
    written = []
    writev = os.writev

    def watch(handle: int, parts: list[memoryview]) -> int:
        written.extend(part.obj for part in parts)
        return writev(handle, parts)

    monkeypatch.setattr(os, "writev", watch)
    file = McapFile(tmp_path / "a", compression="none")
    channel = file.add_channel("/t", file.add_schema("a", "ros2msg", b""), {})
    file.add_message(channel, 0, 1, 1, NOISE)
    file.flush()
    assert any(part is NOISE for part in written)
    file.close()


@pytest.mark.parametrize("room", [0, 1, 9, 40, 100_000])
def test_a_failed_write_leaves_whole_records_and_ends_the_file(tmp_path: Path, monkeypatch, room: int) -> None:
    path = tmp_path / "a.mcap"
    file = McapFile(path, compression="none")
    channel = file.add_channel("/t", file.add_schema("a", "ros2msg", b""), {})
    for number in range(3):
        file.add_message(channel, number, number, number, content(1, number))
    file.flush()
    whole = path.stat().st_size
    writev = os.writev
    left = [room]

    def nearly_full(handle: int, parts: list[memoryview]) -> int:
        data = b"".join(parts)[: left[0]]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= len(data)
        return writev(handle, [data])

    monkeypatch.setattr(os, "writev", nearly_full)
    file.add_message(channel, 3, 3, 3, content(1, 3))
    with pytest.raises(OSError, match="No space left on device"):
        file.flush()
    assert path.stat().st_size == whole, "half a record is taken back"
    monkeypatch.setattr(os, "writev", writev)
    for call in (
        file.flush,
        file.finish,
        lambda: file.add_message(channel, 4, 4, 4, b""),
        lambda: file.add_schema("b", "", b""),
    ):
        with pytest.raises(OSError, match="No space left on device"):
            call()
    file.close()
    assert path.stat().st_size == whole, "there is space again, but the index would be wrong"
    with path.open("rb") as stream:
        found = NonSeekingReader(stream).iter_messages(log_time_order=False)
        kept = [next(found)[2].data for _ in range(3)]
        with pytest.raises(EndOfFile):
            next(found)
    assert kept == [content(1, number) for number in range(3)]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda handle, parts: writev(handle, [b"".join(parts)[:70_000]]))
    written = write_mixed(tmp_path / "a.mcap", "none", count=12)
    monkeypatch.undo()
    with (tmp_path / "a.mcap").open("rb") as stream:
        assert [m.data for _, _, m in make_reader(stream, validate_crcs=True).iter_messages()] == [
            w[4] for w in written
        ]


def test_a_chunk_is_closed_twice_a_second(tmp_path: Path, monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("vla_recorder.bags.writer.time.monotonic", lambda: clock[0])
    writer = BagWriter(tmp_path / "bag", "bag")
    writer.add_topic(TOPIC)
    sizes = []
    for number in range(30):
        clock[0] += 0.1
        writer.write("/text", b"\0\1\0\0\2\0\0\0a\0", number, number)
        sizes.append(writer.path.stat().st_size)
    assert len(set(sizes)) == 6
    assert all(len(set(sizes[start : start + 6])) > 1 for start in range(24)), "nothing for half a second"
    writer.abandon()


def test_a_stamp_before_1970_costs_nothing(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", "bag")
    writer.add_topic(TOPIC)
    writer.write("/text", b"\0\1\0\0\2\0\0\0a\0", 7, -1)
    writer.close({})
    with writer.path.open("rb") as stream:
        (found,) = make_reader(stream).iter_messages()
    assert (found[2].log_time, found[2].publish_time) == (7, 7)


def test_metadata_known_at_the_start_survive(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", "bag", custom_data={"task": "lift", "termination": "incomplete"})
    assert b"incomplete" in writer.path.read_bytes()
    writer.close({"task": "lift", "termination": "stopped"})
    with writer.path.open("rb") as stream:
        records = list(make_reader(stream).iter_metadata())
    assert [record.name for record in records] == [METADATA_RECORD] * 2
    assert records[-1].metadata["termination"] == "stopped"
    info = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["custom_data"]["termination"] == "stopped"


def test_a_bag_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(BagError, match="the disk quota is used up; free space or choose another output_dir"):
        BagWriter(tmp_path / "bag", "bag")
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_do_not_fit_leave_the_messages(tmp_path: Path, monkeypatch) -> None:
    writer = BagWriter(tmp_path / "bag", "bag")
    writer.add_topic(TOPIC)
    writer.write("/text", b"\0\1\0\0\2\0\0\0a\0", 1, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(BagError, match=r"metadata\.yaml: cannot write the episode \(No space left on device\)"):
        writer.close({})
    assert [path.name for path in (tmp_path / "bag").iterdir()] == ["bag_0.mcap"]
    with writer.path.open("rb") as stream:
        assert len(list(make_reader(stream).iter_messages())) == 1


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="compression: 'zip' is not one of auto, none, lz4, zstd"):
        BagWriter(tmp_path / "bag", "bag", compression="zip")
    assert mcap_file.COMPRESSIONS[0] == "auto"
