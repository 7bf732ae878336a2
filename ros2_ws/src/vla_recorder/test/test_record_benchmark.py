# SPDX-License-Identifier: Apache-2.0

"""benchmarks/record.py: it counts what is wrong, says what it measures, and the recorder loses nothing."""

import json
import subprocess
import sys
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.capture.taps import history_depth
from vla_recorder.capture.topic_plan import TopicPlan
from vla_recorder.testing.load import Kept, Losses, Payloads, Sent, Stream, compare, digest, kept_messages

SCRIPT = Path(__file__).resolve().parents[4] / "benchmarks" / "record.py"
JOINTS = Stream(topic="joint_states", type="sensor_msgs/msg/JointState", rate_hz=500)
CAMERA = Stream(topic="front/image_raw", type="sensor_msgs/msg/Image", rate_hz=30, height=24, width=32)


def sent(*numbers: int) -> list[Sent]:
    return [Sent("t", number, 1000 * number, b"") for number in numbers]


def kept(*numbers: int) -> list[Kept]:
    return [Kept(number, 1000 * number + 5, b"") for number in numbers]


def test_losses_repetitions_and_swaps_are_counted() -> None:
    assert compare(sent(*range(10)), kept(*range(10)), from_ns=0, to_ns=9000) == Losses(10, 0, 0, 0, [])
    assert compare(sent(*range(10)), kept(0, 1, 3, 2, 2, 6, 7), from_ns=0, to_ns=7000) == Losses(7, 2, 1, 1, [4, 5])
    edges = compare(sent(*range(10)), kept(3, 4, 5), from_ns=2000, to_ns=7000)
    assert (edges.lost, edges.examples) == (3, [2, 6, 7]), "inside the limits, but before the first or after the last"
    assert compare(sent(*range(10)), kept(3, 5), from_ns=9, to_ns=8).lost == 1, (
        "a hole is a hole whatever the limits say"
    )
    assert compare(sent(*range(3)), [], from_ns=0, to_ns=1000).lost == 2


def test_payloads_are_messages_with_their_number_and_stamp() -> None:
    first, second = (Payloads(CAMERA).make(number, 7_000_000_005 + number) for number in (0, 300))
    image = deserialize_message(second, Image)
    assert (image.height, image.width, len(image.data)) == (24, 32, 24 * 32 * 3)
    assert (image.header.stamp.sec, image.header.stamp.nanosec) == (7, 305)
    assert digest(first) != digest(second)
    assert deserialize_message(Payloads(JOINTS).make(1, 0), JointState).name[5] == "joint_5"
    back = Payloads(Stream(topic="t", type=CAMERA.type, rate_hz=1, height=2, width=4, stamp="back"))
    stamps = [
        deserialize_message(back.make(number, 9_000_000_000), Image).header.stamp.sec for number in (99, 100, 200)
    ]
    assert stamps == [9, 4, 9]


def test_numbers_are_read_from_a_bag(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", "bag")
    payloads = Payloads(CAMERA)
    writer.add_topic(TopicInfo(name="/front/image_raw", type=CAMERA.type, definition="x"))
    for number in (5, 6, 8):
        writer.write("/front/image_raw", payloads.make(number, 0), number, number)
    writer.close({})
    found = kept_messages(writer.path, [CAMERA, JOINTS], digests=True)
    assert found["joint_states"] == []
    assert found["front/image_raw"] == [Kept(number, number, digest(payloads.make(number, 0))) for number in (5, 6, 8)]
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(writer.path.read_bytes()[:300])
    assert kept_messages(cut, [CAMERA])["front/image_raw"] == []


def test_the_middleware_keeps_two_seconds() -> None:
    def depth(kind: str, rate_hz: float | None) -> int:
        return history_depth(TopicPlan(topic="t", type=kind, qos="default", role="extra", label="t", rate_hz=rate_hz))

    assert depth("sensor_msgs/msg/Image", 30.0) == 60
    assert depth("sensor_msgs/msg/CompressedImage", 90.0) == 180
    assert depth("sensor_msgs/msg/JointState", None) == 1000
    assert depth("sensor_msgs/msg/Imu", 2000.0) == 4000


def test_the_benchmark_runs_and_nothing_is_lost(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--scenario", "small", "--seconds", "2", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(report.read_text())
    rows = {row["name"]: row for row in content["rows"]}
    ours = rows["ours_small"]
    assert (ours["lost"], ours["duplicates"], ours["out_of_order"], ours["error"]) == (0, 0, 0, "")
    assert ours["messages"] > 400
    assert ours["peak_rss_mb"] > 10
    assert set(ours["topics"]) >= {"front/image_raw", "joint_states"}
    assert all(topic["published_hz"] > 10 for topic in ours["topics"].values())
    assert rows["mcap_small"]["cpu_us_per_message"] > 0
    text = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True).stdout
    assert [key for key in [*content, *ours] if f"``{key}``" not in text] == []
