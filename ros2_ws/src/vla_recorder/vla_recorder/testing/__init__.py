# SPDX-License-Identifier: Apache-2.0

"""A small robot and synthetic episodes, for tests and benchmarks. Needs no ROS."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from numpy.typing import NDArray
from vla_core.episode import EpisodeMeta
from vla_core.profile import Profile, parse_profile

from vla_recorder.bags.writer import BagWriter, TopicInfo

PROFILE = """\
robot: test_arm
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift the block
cameras:
  front: {topic: front/image_raw, size: [24, 32], rate_hz: 20, max_age_s: 0.3}
state:
  - topic: joint_states
    fields: [position.elbow_joint, position.wrist_joint]
    rate_hz: 50
    max_age_s: 0.2
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 20, max_age_s: 0.5}
    command: {interface: none}
    joints: [elbow_joint, wrist_joint]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0]}
record_topics:
  - {topic: robot_description, type: std_msgs/msg/String, qos: latched}
"""

IMAGE = "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"
EPISODE_EVENT = "vla_msgs/msg/EpisodeEvent"
_BAR = "=" * 80
_HEADER = f"{_BAR}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
_TIME = f"{_BAR}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
DEFINITIONS = {
    IMAGE: "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
    f"uint8[] data\n{_HEADER}{_TIME}",
    JOINT_STATE: "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
    f"{_HEADER}{_TIME}",
    EPISODE_EVENT: f"builtin_interfaces/Time stamp\nuint8 phase\nstring episode_uuid\nstring label\nbool paused\n{_TIME}",
}
_NS = 1_000_000_000


class Event(NamedTuple):
    """One message on its way to a recorder: topic, receive time [ns], stamp [ns], message, its CDR bytes, its type."""

    topic: str
    receive_ns: int
    stamp_ns: int
    message: SimpleNamespace
    data: bytes
    type: str = JOINT_STATE


class _Cdr:
    """Little-endian CDR, enough for headers, strings, numbers and their sequences."""

    def __init__(self) -> None:
        self._data = bytearray()

    def number(self, form: str, value: float) -> None:
        size = struct.calcsize(form)
        self._data += b"\0" * (-len(self._data) % size)
        self._data += struct.pack("<" + form, value)

    def string(self, text: str) -> None:
        raw = text.encode() + b"\0"
        self.number("I", len(raw))
        self._data += raw

    def header(self, stamp_ns: int, frame_id: str) -> None:
        self.number("i", stamp_ns // _NS)
        self.number("I", stamp_ns % _NS)
        self.string(frame_id)

    def raw(self, data: bytes) -> None:
        self.number("I", len(data))
        self._data += data

    def doubles(self, values: Sequence[float]) -> None:
        self.number("I", len(values))
        for value in values:
            self.number("d", value)

    def bytes(self) -> bytes:
        return b"\0\1\0\0" + bytes(self._data)


def _header(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp_ns // _NS, nanosec=stamp_ns % _NS), frame_id=frame_id)


def joint_state(topic: str, receive_ns: int, stamp_ns: int, names: Sequence[str], position: Sequence[float]) -> Event:
    """Return a JointState on its way."""
    cdr = _Cdr()
    cdr.header(stamp_ns, "")
    cdr.number("I", len(names))
    for name in names:
        cdr.string(name)
    cdr.doubles(position)
    cdr.doubles([])
    cdr.doubles([])
    message = SimpleNamespace(
        header=_header(stamp_ns, ""), name=list(names), position=list(position), velocity=[], effort=[]
    )
    return Event(topic, receive_ns, stamp_ns, message, cdr.bytes())


def image(topic: str, receive_ns: int, stamp_ns: int, pixels: NDArray[np.uint8]) -> Event:
    """Return an rgb8 Image on its way; pixels (H, W, 3) uint8."""
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels).tobytes()
    cdr = _Cdr()
    cdr.header(stamp_ns, "camera")
    cdr.number("I", height)
    cdr.number("I", width)
    cdr.string("rgb8")
    cdr.number("B", 0)
    cdr.number("I", 3 * width)
    cdr.raw(data)
    message = SimpleNamespace(
        header=_header(stamp_ns, "camera"),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=data,
    )
    return Event(topic, receive_ns, stamp_ns, message, cdr.bytes(), IMAGE)


def episode_event(topic: str, t_ns: int, phase: int) -> Event:
    """Return a change of phase on its way."""
    cdr = _Cdr()
    cdr.number("i", t_ns // _NS)
    cdr.number("I", t_ns % _NS)
    cdr.number("B", phase)
    cdr.string("episode")
    cdr.string("test")
    cdr.number("B", 0)
    message = SimpleNamespace(
        stamp=_header(t_ns, "").stamp, phase=phase, episode_uuid="episode", label="test", paused=False
    )
    return Event(topic, t_ns, t_ns, message, cdr.bytes(), EPISODE_EVENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A synthetic episode of any profile with rgb8 cameras and joint states.

    Attributes:
        duration_s: Length.
        seed: Of jitter, latency and noise.
        latency_s: Camera: from exposure to arrival.
        jitter_s: Standard deviation of every stamp.
        silence: (topic, from, to) in seconds: nothing is sent on the topic meanwhile.
        start_ns: Node clock at the start.
    """

    duration_s: float = 3.0
    seed: int = 0
    latency_s: float = 0.03
    jitter_s: float = 0.0004
    silence: tuple[tuple[str, float, float], ...] = ()
    start_ns: int = 1_000 * _NS


def scene_events(profile: Profile, scene: Scene) -> list[Event]:
    """Return the messages of an episode in the order in which a recorder receives them."""
    rng = np.random.default_rng(scene.seed)
    events: list[Event] = []
    for camera in profile.cameras:
        for t, stamp in _stamps(rng, scene, camera.topic, camera.rate_hz):
            receive = stamp + int(scene.latency_s * _NS) + int(abs(rng.normal(0, 0.002)) * _NS)
            events.append(image(f"/{camera.topic}", receive, stamp, picture(t, *camera.size, rng)))
    vectors = [(spec.topic, spec.rate_hz, spec.fields, 0.0) for spec in profile.state]
    vectors += [(spec.record.topic, spec.record.rate_hz, spec.record.fields, 0.1) for spec in profile.action]
    for topic, rate_hz, fields, lead in vectors:
        names = [field.removeprefix("position.") for field in fields]
        for t, stamp in _stamps(rng, scene, topic, rate_hz):
            position = [float(np.sin(t + lead + number)) for number in range(len(names))]
            receive = stamp + int(abs(rng.normal(0, 0.001)) * _NS)
            events.append(joint_state(f"/{topic}", receive, stamp, names, position))
    return sorted(events, key=lambda event: event.receive_ns)


def _stamps(rng: np.random.Generator, scene: Scene, topic: str, rate_hz: float) -> Iterator[tuple[float, int]]:
    phase = rng.uniform(0, 1 / rate_hz)
    for number in range(int(scene.duration_s * rate_hz)):
        t = phase + number / rate_hz + rng.normal(0, scene.jitter_s)
        if any(name == topic and start <= t < end for name, start, end in scene.silence):
            continue
        yield t, scene.start_ns + int(t * _NS)


def picture(t: float, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a smooth textured image with a moving block and light noise, (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base = np.stack([128 + 80 * np.sin(x / 17 + t / 3), 128 + 60 * np.cos(y / 11), 128 + 50 * np.sin((x + y) / 23)], -1)
    row, column = int(height * (0.5 + 0.3 * np.cos(t))), int(width * (0.5 + 0.3 * np.sin(t)))
    size = max(2, height // 12)
    base[max(0, row - size) : row + size, max(0, column - size) : column + size] = (230, 30, 30)
    noise = rng.integers(-2, 3, base.shape)
    result: NDArray[np.uint8] = np.clip(base + noise, 0, 255).astype(np.uint8)
    return result


def write_episode(
    folder: Path, events: Sequence[Event], profile: Profile, *, recorded_at: str = "", **meta: str
) -> Path:
    """Write events as a closed episode, as the recorder does, and return its folder."""
    writer = BagWriter(folder, folder.name)
    for event in events:
        writer.add_topic(TopicInfo(name=event.topic, type=event.type, definition=DEFINITIONS[event.type]))
        writer.write(event.topic, event.data, event.receive_ns, event.stamp_ns)
    values = EpisodeMeta(
        episode_uuid=meta.pop("episode_uuid", folder.name),
        task=meta.pop("task", profile.task),
        outcome=meta.pop("outcome", "success"),
        termination=meta.pop("termination", "stopped"),
        robot=profile.robot,
        profile=profile.text,
        profile_sha256=profile.sha256,
        extra={"recorded_at": recorded_at, **meta},
    )
    writer.close(values.to_dict())
    return folder


def read_bag(folder: Path) -> tuple[dict[str, Any], dict[str, list[tuple[Any, Any]]]]:
    """Return a bag's metadata and, by topic, its (record, decoded message) pairs in the order of arrival."""
    meta = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    topics: dict[str, list[tuple[Any, Any]]] = {}
    with (folder / meta["relative_file_paths"][0]).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages(log_time_order=False):
            topics.setdefault(channel.topic, []).append((message, decoded))
    return meta, topics


def small_profile(text: str = PROFILE) -> Profile:
    """Return the profile of the small robot."""
    return parse_profile(text, "robot.yaml")


def write_profile(folder: Path, text: str = PROFILE, name: str = "robot.yaml") -> Path:
    """Write the profile into a folder and return its path."""
    path = folder / name
    path.write_text(text)
    return path


def wait_for(condition: Callable[[], object], timeout_s: float = 15.0, what: str = "") -> None:
    """Poll until the condition holds.

    Raises:
        AssertionError: It does not within the time limit [s, wall].
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        threading.Event().wait(0.01)
