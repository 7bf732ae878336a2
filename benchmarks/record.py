# SPDX-License-Identifier: Apache-2.0

"""Does the recorder lose messages at full rate, and what does it cost?

    python benchmarks/record.py --json result.json     # 5 minutes per scenario
    python benchmarks/record.py --quick                # 15 s per scenario

Publishers run in processes of their own and number their payloads; the real recorder node records them in another
process; then the bag is read and the numbers are counted. Scenarios:

* ``raw2``: two raw 640x480 rgb8 cameras at 30 Hz, one JointState at 500 Hz, five topics at 100 Hz;
* ``compressed4``: four 1280x720 cameras at 30 Hz as JPEG of 100 kB, and the same joints and topics;
* ``small``: two 32x24 cameras and slow topics, to see whether this script works.

References of the same run, from memory and as fast as they can: ``mcap_<scenario>`` is the pure-Python mcap writer in its
default settings, ``writer_<scenario>`` the recorder's own; the rest of the recorder is the middleware and its executor.
``rosbag2_<scenario>`` is ``ros2 bag record -s mcap`` where the real rosbag2 is installed; the output says if it is not.

The JSON holds ``machine``, ``load_average`` (before, after), ``left_out`` and ``rows``, each with

* ``name``, ``scenario``, ``duration_s``;
* ``messages``, ``lost``, ``duplicates``, ``out_of_order``: by number in the payload, over all topics; ``topics`` has the
  same per topic, with the achieved rate of its publisher (``published_hz``);
* ``cpu_percent`` of one core, user and system, of the recording process, and ``cpu_us_per_message``;
* ``peak_rss_mb``, ``bag_mb_per_s``, ``finish_s`` (from the stop request to its answer), ``error`` (empty: none).

The exit code is 1 if a message was lost, repeated or swapped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rclpy
import rosbag2_py
from mcap.writer import Writer
from vla_recorder.bags.mcap_file import COMPRESSIONS
from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.testing.load import Load, Payloads, Publisher, Sent, Stream, compare, kept_messages
from vla_recorder.testing.recorder import Operator, RecorderProgram, load_profile_text, process_cost

ON_THE_WAY_NS = 200_000_000  # messages sent this shortly before the stop request may come too late
MEMORY_S = 3.0  # of messages that the references write
ROSBAG2_START_S = 5.0
SETTLE_S = 1.0  # until topics that no episode waits for are discovered


def streams(kind: str, cameras: Sequence[str], height: int, width: int, slower: float = 1.0) -> tuple[Stream, ...]:
    """Return cameras at 30 Hz, joints at 500 Hz and five topics at 100 Hz."""
    topic = "image_raw" if kind == "Image" else "image_raw/compressed"
    joints, wrench, pose = (
        "sensor_msgs/msg/JointState",
        "geometry_msgs/msg/WrenchStamped",
        "geometry_msgs/msg/PoseStamped",
    )
    small = [("joint_states", joints, 500.0), ("command/arm", joints, 100.0), ("command/gripper", joints, 100.0)]
    small += [("leader/joint_states", joints, 100.0), ("wrench", wrench, 100.0), ("tool_pose", pose, 100.0)]
    return (
        *(
            Stream(topic=f"{name}/{topic}", type=f"sensor_msgs/msg/{kind}", rate_hz=30, height=height, width=width)
            for name in cameras
        ),
        *(Stream(topic=name, type=kind, rate_hz=rate / slower) for name, kind, rate in small),
    )


SCENARIOS = {
    "raw2": streams("Image", ("front", "wrist"), 480, 640),
    "compressed4": streams("CompressedImage", ("front", "wrist", "left", "right"), 720, 1280),
    "small": streams("Image", ("front", "wrist"), 24, 32, slower=5.0),
}


def start_publishers(scenario: str, folder: Path, options: argparse.Namespace) -> list[Publisher]:
    """Start one process per camera and one for all the rest, as drivers run."""
    images = [stream for stream in SCENARIOS[scenario] if "Image" in stream.type]
    groups = [(image,) for image in images] + [tuple(stream for stream in SCENARIOS[scenario] if stream not in images)]
    return [
        Publisher(Load(streams=group, log=str(folder / f"load_{number}.bin"), reliability=options.reliability))
        for number, group in enumerate(groups)
    ]


def with_recorder(scenario: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Record one scenario with the recorder node and return its row."""
    profile = folder / "robot.yaml"
    profile.write_text(load_profile_text(SCENARIOS[scenario]))
    program = RecorderProgram(folder, profile, max_duration_s=0.0, compression=options.compression)
    operator = Operator()
    publishers = start_publishers(scenario, folder, options)

    def stop() -> tuple[Path, str]:
        answer = operator.stop()
        if answer is None or not answer.bag_path:
            raise RuntimeError(f"the recorder answered {answer} to the stop request; it said: {program.said}")
        return Path(answer.bag_path), "" if answer.success else answer.message

    try:
        operator.start(30.0)
        return {"name": f"ours_{scenario}"} | measure(scenario, options, publishers, program.process.pid, stop)
    finally:
        operator.close()
        for publisher in publishers:
            publisher.kill()
        program.kill()


def with_rosbag2(scenario: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Record one scenario with the real rosbag2 and return its row."""
    bag = folder / "rosbag2"
    topics = [f"/{stream.topic}" for stream in SCENARIOS[scenario]]
    publishers = start_publishers(scenario, folder, options)
    process = subprocess.Popen(["ros2", "bag", "record", "-s", "mcap", "-o", str(bag), "--topics", *topics])

    def stop() -> tuple[Path, str]:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        return bag, "" if code == 0 else f"ros2 bag record ended with code {code}"

    try:
        time.sleep(ROSBAG2_START_S)
        return {"name": f"rosbag2_{scenario}"} | measure(scenario, options, publishers, process.pid, stop)
    finally:
        for publisher in publishers:
            publisher.kill()
        process.kill()
        process.wait()


def measure(
    scenario: str,
    options: argparse.Namespace,
    publishers: Sequence[Publisher],
    pid: int,
    stop: Callable[[], tuple[Path, str]],
) -> dict[str, Any]:
    """Wait, stop the recorder, and count what is in its bag."""
    time.sleep(SETTLE_S)
    begin, begin_ns, (cpu_before, _) = time.monotonic(), time.time_ns(), process_cost(pid)
    time.sleep(options.seconds)
    duration_s, end_ns, (cpu_after, peak_mb) = time.monotonic() - begin, time.time_ns(), process_cost(pid)
    asked = time.monotonic()
    bag, error = stop()
    finish_s = time.monotonic() - asked
    sent = [message for publisher in publishers for message in publisher.stop()]
    files = sorted(bag.glob("*.mcap"))
    row = {"scenario": scenario, "duration_s": round(duration_s, 3)}
    row |= losses(files[0], SCENARIOS[scenario], sent, begin_ns, end_ns - ON_THE_WAY_NS)
    row |= costs(cpu_after - cpu_before, duration_s, sum(begin_ns <= message.sent_ns <= end_ns for message in sent))
    size = sum(file.stat().st_size for file in files)
    row |= {"peak_rss_mb": round(peak_mb, 1), "bag_mb_per_s": round(size / 1e6 / (duration_s + SETTLE_S), 2)}
    return row | {"finish_s": round(finish_s, 3), "error": error}


def losses(file: Path, streams: Sequence[Stream], sent: Sequence[Sent], from_ns: int, to_ns: int) -> dict[str, Any]:
    """Count by number what a bag lacks of what was published."""
    kept = kept_messages(file, streams)
    topics: dict[str, dict[str, Any]] = {}
    for stream in streams:
        mine = [message for message in sent if message.topic == stream.topic]
        found = compare(mine, kept[stream.topic], from_ns=from_ns, to_ns=to_ns)
        span_s = (mine[-1].sent_ns - mine[0].sent_ns) * 1e-9
        topics[stream.topic] = {**asdict(found), "published_hz": round((len(mine) - 1) / span_s, 2)}
    keys = ("messages", "lost", "duplicates", "out_of_order")
    totals = {key: sum(topic[key] for topic in topics.values()) for key in keys}
    return {**totals, "topics": topics}


def costs(cpu_s: float, wall_s: float, messages: int) -> dict[str, Any]:
    """Return the CPU time in relation to the recorded time and to the messages."""
    return {
        "cpu_percent": round(100 * cpu_s / wall_s, 1),
        "cpu_us_per_message": round(1e6 * cpu_s / max(1, messages), 1),
    }


def from_memory(scenario: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the writers that get the same messages from memory."""
    seconds = min(MEMORY_S, options.seconds)
    sources = SCENARIOS[scenario]
    plan = sorted(
        (number / stream.rate_hz, index, number)
        for index, stream in enumerate(sources)
        for number in range(int(seconds * stream.rate_hz))
    )
    payloads = [Payloads(stream) for stream in sources]
    messages = [(index, int(t * 1e9), payloads[index].make(number, int(t * 1e9))) for t, index, number in plan]
    rows = []
    for name, write in (("mcap", write_with_mcap), ("writer", write_with_ours)):
        file = folder / f"{name}.mcap"
        before, begin = time.process_time(), time.monotonic()
        write(file, sources, messages, options)
        row = {"name": f"{name}_{scenario}", "scenario": scenario, "duration_s": seconds, "messages": len(messages)}
        row |= costs(time.process_time() - before, seconds, len(messages))
        row["wall_s"] = round(time.monotonic() - begin, 3)
        rows.append(row)
    return rows


Message = tuple[int, int, bytes]


def write_with_mcap(
    file: Path, sources: Sequence[Stream], messages: Sequence[Message], options: argparse.Namespace
) -> None:
    """Write with the mcap library in its default settings."""
    with file.open("wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        channels = [
            writer.register_channel(source.topic, "cdr", writer.register_schema(source.type, "ros2msg", b"x"))
            for source in sources
        ]
        for number, (index, t_ns, data) in enumerate(messages):
            writer.add_message(channels[index], t_ns, data, t_ns, number)
        writer.finish()


def write_with_ours(
    file: Path, sources: Sequence[Stream], messages: Sequence[Message], options: argparse.Namespace
) -> None:
    """Write as the recorder does."""
    writer = BagWriter(file.with_suffix(""), "bag", compression=options.compression)
    for source in sources:
        writer.add_topic(TopicInfo(name=source.topic, type=source.type, definition="x"))
    for index, t_ns, data in messages:
        writer.write(sources[index].topic, data, t_ns, t_ns)
    writer.close({})


def real_rosbag2() -> bool:
    """Whether rosbag2_py is the real one; the stand-in cannot record."""
    return hasattr(rosbag2_py, "Recorder")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the scenarios and return the report."""
    load = [os.getloadavg()[0]]
    rows: list[dict[str, Any]] = []
    ways = [with_recorder, *([with_rosbag2] if real_rosbag2() else [])]
    left_out = [] if real_rosbag2() else ["rosbag2: the real rosbag2 is not installed here"]
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    for scenario in options.scenario:
        for way in ways:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                rows.append(way(scenario, options, Path(folder)))
                show(rows[-1])
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for row in from_memory(scenario, options, Path(folder)):
                rows.append(row)
                show(row)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    return {"machine": machine, "load_average": [*load, os.getloadavg()[0]], "left_out": left_out, "rows": rows}


def show(row: dict[str, Any]) -> None:
    """Print one row."""
    keys = (
        "lost",
        "duplicates",
        "out_of_order",
        "cpu_us_per_message",
        "peak_rss_mb",
        "bag_mb_per_s",
        "finish_s",
        "error",
    )
    rest = ", ".join(f"{key} {row[key]}" for key in keys if row.get(key, "") != "")
    print(f"{row['name']:20} {row['messages']:8} messages {row['cpu_percent']:6.1f} % CPU, {rest}", flush=True)


def main() -> int:
    """Run the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="recorded time per scenario")
    parser.add_argument("--quick", action="store_true", help="15 s per scenario")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument(
        "--scenario", nargs="+", choices=SCENARIOS, default=["raw2", "compressed4"], help="what is published"
    )
    parser.add_argument(
        "--reliability", choices=("reliable", "best_effort"), default="reliable", help="QoS of the publishers"
    )
    parser.add_argument("--compression", choices=COMPRESSIONS, default="auto", help="parameter of the recorder")
    parser.add_argument("--folder", type=Path, help="where bags are written meanwhile; raw2 writes 3.4 GB a minute")
    options = parser.parse_args()
    options.seconds = 15.0 if options.quick else options.seconds
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    rclpy.init()
    report = run(options)
    rclpy.try_shutdown()
    for reason in report["left_out"]:
        print(f"left out: {reason}")
    print(f"{report['machine']}; load average {report['load_average']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    wrong = sum(row.get(key, 0) for row in report["rows"] for key in ("lost", "duplicates", "out_of_order"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
