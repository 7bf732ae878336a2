# SPDX-License-Identifier: Apache-2.0

"""Bags of a synthetic robot with textured, moving, noisy pictures: raw, JPEG or video packets; for tests and benchmarks.

Two cameras, six joints, two command topics. Joint k stands at ``sin(t + k)`` and its command is 0.1 s ahead of it, so any
row can be checked without the bag at hand.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from vla_core.codecs import COMPRESSED_IMAGE, COMPRESSED_VIDEO
from vla_core.episode import EpisodeMeta
from vla_core.profile import Profile, parse_profile

from vla_recorder.bags.writer import BagWriter, TopicInfo
from vla_recorder.media.synthetic import Pictures
from vla_recorder.testing import DEFINITIONS, IMAGE, JOINT_STATE, image, joint_state

KINDS = {
    "raw": IMAGE,
    "jpeg": COMPRESSED_IMAGE,
    "h264": COMPRESSED_VIDEO,
    "hevc": COMPRESSED_VIDEO,
    "av1": COMPRESSED_VIDEO,
}
"""How the pictures travel -> type of their messages."""

CAMERAS = ("front", "wrist")
JOINTS = tuple(f"joint_{number}" for number in range(6))
LEAD_S = 0.1
_NS = 1_000_000_000
_LATENCY_NS = 35_000_000
_JPEG_QUALITY = 90

_BAR = "=" * 80
_HEADER = f"{_BAR}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
_TIME = f"{_BAR}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
_DEFINITIONS = {
    **DEFINITIONS,
    COMPRESSED_IMAGE: f"std_msgs/Header header\nstring format\nuint8[] data\n{_HEADER}{_TIME}",
    COMPRESSED_VIDEO: f"builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n{_TIME}",
}
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "bf": "0"}),
    "hevc": (
        "libx265",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "repeat-headers=1:bframes=0:log-level=error"},
    ),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:lookahead=0"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One synthetic episode.

    Attributes:
        kind: A key of ``KINDS``.
        seconds: Length.
        height: Of the pictures [px].
        width: Likewise [px].
        fps: Pictures per second and camera.
        joint_hz: Rate of ``/joint_states``.
        command_hz: Rate of each of the two command topics.
        jitter_s: Standard deviation of the stamps of the joints and commands.
        gop: Pictures per key frame of video packets.
        depth: Whether there is a depth camera, too (16UC1, `expected_depth`).
        seed: Of texture, noise and jitter.
    """

    kind: str = "raw"
    seconds: float = 20.0
    height: int = 480
    width: int = 640
    fps: int = 30
    joint_hz: float = 200.0
    command_hz: float = 100.0
    jitter_s: float = 0.0004
    gop: int = 30
    depth: bool = False
    seed: int = 0

    @property
    def frames(self) -> int:
        """Pictures per camera."""
        return round(self.seconds * self.fps)


class _Sent(NamedTuple):
    receive_ns: int
    order: int
    topic: str
    type: str
    stamp_ns: int
    data: bytes


def recording_profile(recording: Recording) -> Profile:
    """Return the robot of a recording."""
    rate = recording.fps
    cameras = "\n".join(
        f"  {name}: {{topic: {name}/image, type: {KINDS[recording.kind]}, size: [{recording.height}, {recording.width}], "
        f"rate_hz: {rate}, max_age_s: 0.2}}"
        for name in CAMERAS
    )
    if recording.depth:
        cameras += (
            f"\n  depth: {{topic: depth/image, depth: true, size: [{recording.height}, {recording.width}], "
            f"rate_hz: {rate}, max_age_s: 0.2}}"
        )
    fields = [f"position.{name}" for name in JOINTS]
    parts = "\n".join(
        f"  - {{name: {name}, record: {{topic: command/{name}, type: {JOINT_STATE}, rate_hz: {recording.command_hz:g}, "
        f"max_age_s: 0.2}}, command: {{interface: none}}, joints: [{', '.join(joints)}], "
        f"limits: {{lower: {[-3.0] * len(joints)}, upper: {[3.0] * len(joints)}}}}}"
        for name, joints in _COMMANDS.items()
    )
    return parse_profile(
        f"robot: synthetic\nfps: {rate}\nbase_frame: base_link\ntool_frame: tool0\ntask: move\ncameras:\n{cameras}\n"
        f"state:\n  - {{topic: joint_states, fields: [{', '.join(fields)}], rate_hz: {recording.joint_hz:g}, "
        f"max_age_s: 0.1}}\naction:\n{parts}\n",
        "synthetic profile",
    )


_COMMANDS = {"arm": JOINTS[:5], "gripper": JOINTS[5:]}


def write_recording(folder: Path, recording: Recording) -> Path:
    """Write a recording as a closed episode and return its folder. Needs the memory of a few pictures only.

    Raises:
        BagError: The folder exists or cannot be written.
    """
    profile = recording_profile(recording)
    rng = np.random.default_rng(recording.seed)
    meta = EpisodeMeta(
        episode_uuid=folder.name,
        task=profile.task,
        outcome="success",
        termination="stopped",
        robot=profile.robot,
        profile=profile.text,
        profile_sha256=profile.sha256,
        extra={"recorded_at": f"2026-01-01T00:00:{recording.seed:02d}Z"},
    )
    writer = BagWriter(folder, folder.name)
    streams = [_pictures(recording, name, order) for order, name in enumerate(CAMERAS)]
    if recording.depth:
        streams.append(_depth(recording, len(streams)))
    names = {"joint_states": JOINTS, **{f"command/{name}": joints for name, joints in _COMMANDS.items()}}
    for order, (topic, joints) in enumerate(names.items(), start=len(streams)):
        streams.append(_joints(recording, topic, joints, order, rng))
    for sent in heapq.merge(*streams):
        writer.add_topic(TopicInfo(name=sent.topic, type=sent.type, definition=_DEFINITIONS[sent.type]))
        writer.write(sent.topic, sent.data, sent.receive_ns, sent.stamp_ns)
    writer.close(meta.to_dict())
    return folder


def expected_joints(t_s: NDArray[np.float64], *, lead_s: float = 0.0) -> NDArray[np.float64]:
    """Return the joints of the robot (N, 6) at times after the start [s]; with `lead_s` ahead, the commands."""
    values: NDArray[np.float64] = np.sin(t_s[:, None] + lead_s + np.arange(len(JOINTS))[None, :])
    return values


def expected_depth(number: int, height: int, width: int) -> NDArray[np.uint16]:
    """Return depth picture `number`, (H, W) uint16 [mm]: a slope that moves away, with a corner without a return."""
    y, x = np.mgrid[0:height, 0:width]
    millimetres: NDArray[np.uint16] = (500 + 20 * number + 3 * y + 2 * x).astype(np.uint16)
    millimetres[: height // 8, : width // 8] = 0
    return millimetres


START_NS = 1_000 * _NS


def _pictures(recording: Recording, camera: str, order: int) -> Iterator[_Sent]:
    pictures = Pictures(recording.height, recording.width, 100 * recording.seed + order)
    pack = _packer(recording)
    kind = KINDS[recording.kind]
    for number in range(recording.frames):
        t = number / recording.fps
        stamp = START_NS + round(t * _NS)
        data = pack(f"/{camera}/image", stamp, pictures.draw(t, number))
        yield _Sent(stamp + _LATENCY_NS, order, f"/{camera}/image", kind, stamp, data)


def _depth(recording: Recording, order: int) -> Iterator[_Sent]:
    height, width = recording.height, recording.width
    for number in range(recording.frames):
        stamp = START_NS + round(number / recording.fps * _NS)
        data = depth_image(stamp, expected_depth(number, height, width))
        yield _Sent(stamp + _LATENCY_NS, order, "/depth/image", IMAGE, stamp, data)


def _joints(
    recording: Recording, topic: str, joints: tuple[str, ...], order: int, rng: np.random.Generator
) -> Iterator[_Sent]:
    command = topic.startswith("command")
    rate = recording.command_hz if command else recording.joint_hz
    # Later than the first picture: the grid then begins between two pictures, where jitter cannot change the choice.
    begin = 0.4 / recording.fps
    first = JOINTS.index(joints[0])
    for number in range(int((recording.seconds - begin) * rate)):
        t = begin + number / rate + float(rng.normal(0, recording.jitter_s))
        stamp = START_NS + round(t * _NS)
        values = np.sin(t + (LEAD_S if command else 0.0) + first + np.arange(len(joints)))
        event = joint_state(f"/{topic}", stamp + 500_000, stamp, joints, values.tolist())
        yield _Sent(event.receive_ns, order, event.topic, JOINT_STATE, stamp, event.data)


def _packer(recording: Recording) -> Callable[[str, int, NDArray[np.uint8]], bytes]:
    """Return (topic, stamp, picture) -> serialized message."""
    if recording.kind == "raw":
        return lambda topic, stamp, picture: image(topic, stamp, stamp, picture).data
    if recording.kind == "jpeg":
        return lambda _, stamp, picture: compressed_image(stamp, "jpeg", _jpeg(picture))
    encoder = PacketEncoder(recording.kind, recording.height, recording.width, recording.fps, recording.gop)
    return lambda _, stamp, picture: compressed_video(stamp, recording.kind, encoder.encode(picture))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ValueError(f"a picture of {picture.shape} cannot be encoded as JPEG")
    return bytes(data)


class PacketEncoder:
    """Pictures to video packets, one in and one out, as a camera driver does."""

    def __init__(
        self, codec: str, height: int, width: int, fps: int, gop: int, options: dict[str, str] | None = None
    ) -> None:
        """Open the encoder: ``h264``, ``hevc`` or ``av1``; `options` replace its private options by name."""
        os.environ.setdefault("SVT_LOG", "1")
        name, own = _ENCODERS[codec]
        context: Any = av.CodecContext.create(name, "w")
        context.height, context.width, context.pix_fmt = height, width, "yuv420p"
        context.time_base, context.framerate = Fraction(1, fps), fps
        context.thread_count = 1
        context.options = {**own, "g": str(gop), **(options or {})}
        self._context = context
        self._count = 0

    def encode(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the packet of a picture.

        Raises:
            ValueError: The encoder holds pictures back.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = self._count
        packets = self._context.encode(frame)
        self._count += 1
        if len(packets) != 1:
            raise ValueError(f"the encoder gave {len(packets)} packets for picture {self._count - 1}; one is needed")
        return bytes(packets[0])


def compressed_image(stamp_ns: int, form: str, data: bytes) -> bytes:
    """Return a serialized sensor_msgs/CompressedImage."""
    return _ENCAPSULATION + _padded(_time(stamp_ns) + _string("camera"), _string(form)) + _sequence(data)


def compressed_video(stamp_ns: int, form: str, data: bytes) -> bytes:
    """Return a serialized foxglove_msgs/CompressedVideo; `form` is ``h264``, ``h265`` or ``av1``."""
    body = _padded(_time(stamp_ns) + _string("camera"), _sequence(data))
    word = "h265" if form == "hevc" else form
    return _ENCAPSULATION + _padded(body, struct.pack("<I", len(word) + 1) + word.encode() + b"\0")


def depth_image(stamp_ns: int, millimetres: NDArray[np.uint16]) -> bytes:
    """Return a serialized 16UC1 sensor_msgs/Image of (H, W) uint16."""
    height, width = millimetres.shape
    head = _time(stamp_ns) + _string("camera") + struct.pack("<II", height, width)
    body = _padded(head, struct.pack("<I", len("16UC1") + 1) + b"16UC1\0\0")  # the last byte: is_bigendian
    return _ENCAPSULATION + _padded(body, struct.pack("<I", 2 * width)) + _sequence(millimetres.astype("<u2").tobytes())


_ENCAPSULATION = b"\0\1\0\0"


def _time(stamp_ns: int) -> bytes:
    return struct.pack("<iI", stamp_ns // _NS, stamp_ns % _NS)


def _string(text: str) -> bytes:
    raw = struct.pack("<I", len(text) + 1) + text.encode() + b"\0"
    return raw + b"\0" * (-len(raw) % 4)


def _sequence(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _padded(head: bytes, tail: bytes) -> bytes:
    return head + b"\0" * (-len(head) % 4) + tail
