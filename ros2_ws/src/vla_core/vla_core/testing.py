# SPDX-License-Identifier: Apache-2.0

"""Fake messages and synthetic streams for tests: no ROS needed, the same for every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core import codecs
from vla_core.errors import CodecError
from vla_core.stamps import split_ns, tick_ns, to_ns

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import CameraSpec, RecordSpec, StateSpec

T0_NS = 1_700_000_000_000_000_000

PROFILE = """\
robot: test_arm
fps: 10
base_frame: base_link
tool_frame: tool0
task: lift the block
cameras:
  front: {topic: front/image_raw, size: [24, 32], rate_hz: 20, max_age_s: 0.2}
state:
  - {topic: joint_states, fields: [position.elbow_joint, position.wrist_joint], rate_hz: 100, max_age_s: 0.05}
  - {topic: joint_states, fields: [position.finger_joint], rate_hz: 100, max_age_s: 0.05,
     scale: {from: [0.0, 0.8], to: [0.0, 1.0]}}
action:
  - name: arm
    record: {topic: command/arm, rate_hz: 20, max_age_s: 0.2}
    command: {interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory}
    joints: [elbow_joint, wrist_joint]
    limits: {lower: [-3.0, -3.0], upper: [3.0, 3.0], max_velocity: 2.0, max_step: 0.3}
  - name: gripper
    record: {topic: command/gripper, rate_hz: 20, max_age_s: 0.2}
    command: {interface: gripper_command, name: gripper_controller/gripper_cmd}
    joints: [finger_joint]
    scale: {from: [0.0, 0.8], to: [0.0, 1.0]}
    limits: {lower: [0.0], upper: [0.8]}
"""
"""A small robot: two arm joints, a gripper on the same topic, one camera."""


@dataclass(slots=True)
class Time:
    """builtin_interfaces/Time."""

    sec: int = 0
    nanosec: int = 0


@dataclass(slots=True)
class Header:
    """std_msgs/Header."""

    stamp: Time = field(default_factory=Time)
    frame_id: str = ""


@dataclass(slots=True)
class JointState:
    """sensor_msgs/JointState."""

    header: Header = field(default_factory=Header)
    name: list[str] = field(default_factory=list)
    position: list[float] = field(default_factory=list)
    velocity: list[float] = field(default_factory=list)
    effort: list[float] = field(default_factory=list)


@dataclass(slots=True)
class TrajectoryPoint:
    """trajectory_msgs/JointTrajectoryPoint, without its duration."""

    positions: list[float] = field(default_factory=list)
    velocities: list[float] = field(default_factory=list)
    accelerations: list[float] = field(default_factory=list)
    effort: list[float] = field(default_factory=list)


@dataclass(slots=True)
class JointTrajectory:
    """trajectory_msgs/JointTrajectory."""

    header: Header = field(default_factory=Header)
    joint_names: list[str] = field(default_factory=list)
    points: list[TrajectoryPoint] = field(default_factory=list)


@dataclass(slots=True)
class Image:
    """sensor_msgs/Image."""

    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = "rgb8"
    is_bigendian: int = 0
    step: int = 0
    data: Any = b""


@dataclass(slots=True)
class CompressedImage:
    """sensor_msgs/CompressedImage."""

    header: Header = field(default_factory=Header)
    format: str = "jpeg"
    data: Any = b""


@dataclass(slots=True)
class CompressedVideo:
    """foxglove_msgs/CompressedVideo."""

    timestamp: Time = field(default_factory=Time)
    frame_id: str = ""
    data: Any = b""
    format: str = "h264"


@dataclass(slots=True)
class FFMPEGPacket:
    """ffmpeg_image_transport_msgs/FFMPEGPacket."""

    header: Header = field(default_factory=Header)
    width: int = 0
    height: int = 0
    encoding: str = "h264"
    pts: int = 0
    flags: int = 0
    is_bigendian: bool = False
    data: Any = b""


@dataclass(slots=True)
class Vector3:
    """geometry_msgs/Point and Vector3."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass(slots=True)
class Quaternion:
    """geometry_msgs/Quaternion."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    w: float = 1.0


@dataclass(slots=True)
class Pose:
    """geometry_msgs/Pose."""

    position: Vector3 = field(default_factory=Vector3)
    orientation: Quaternion = field(default_factory=Quaternion)


@dataclass(slots=True)
class PoseStamped:
    """geometry_msgs/PoseStamped."""

    header: Header = field(default_factory=Header)
    pose: Pose = field(default_factory=Pose)


@dataclass(slots=True)
class Twist:
    """geometry_msgs/Twist."""

    linear: Vector3 = field(default_factory=Vector3)
    angular: Vector3 = field(default_factory=Vector3)


@dataclass(slots=True)
class TwistStamped:
    """geometry_msgs/TwistStamped."""

    header: Header = field(default_factory=Header)
    twist: Twist = field(default_factory=Twist)


@dataclass(slots=True)
class Joy:
    """sensor_msgs/Joy."""

    header: Header = field(default_factory=Header)
    axes: list[float] = field(default_factory=list)
    buttons: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Data:
    """std_msgs String, Bool and Float64MultiArray."""

    data: Any = None


def header(t_ns: int, frame_id: str = "") -> Header:
    """Return a header with a stamp."""
    return Header(Time(*split_ns(t_ns)), frame_id)


def joint_state(t_ns: int, names: Sequence[str], positions: ArrayLike) -> JointState:
    """Return a JointState with positions [rad]."""
    return JointState(header(t_ns, "base_link"), list(names), [float(p) for p in np.asarray(positions).ravel()])


def image(t_ns: int, pixels: NDArray[Any], encoding: str = "rgb8", padding: int = 0) -> Image:
    """Return an Image of ``(H, W, C)`` or ``(H, W)`` pixels in the byte order of the machine.

    Args:
        t_ns: Header stamp [ns].
        pixels: Values in the channel order of the encoding.
        encoding: Name of the encoding.
        padding: Bytes to add to each row.
    """
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=170)
    return Image(header(t_ns), pixels.shape[0], pixels.shape[1], encoding, 0, padded.shape[1], padded.tobytes())


@dataclass(frozen=True, slots=True)
class Event:
    """A message as it arrives."""

    topic: str
    receive_ns: int
    msg: Any


def test_pixels(size: tuple[int, int], index: int) -> NDArray[np.uint8]:
    """Return a ``(H, W, 3)`` picture that differs for every index: a gradient with a moving bar."""
    height, width = size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    pixels[..., 2] = (37 * index) % 256
    pixels[:, (5 * index) % width] = (255, 255, 255)
    return pixels


test_pixels.__test__ = False  # type: ignore[attr-defined]


def synthetic_events(
    profile: Profile, duration_s: float, *, t0_ns: int = T0_NS, seed: int = 0, latency_s: float = 0.002
) -> list[Event]:
    """Return messages on every stream of a profile at its rates, in the order of arrival.

    Joints move on smooth curves inside their limits. Stamps lie on each stream's own grid from `t0_ns`; messages arrive
    `latency_s` and a random time of up to as much again later. Streams of JointState and images are made.

    Raises:
        CodecError: a stream has another type.
    """
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    streams: list[CameraSpec | StateSpec | RecordSpec] = [*profile.cameras, *profile.state]
    streams += [spec.record for spec in profile.action]
    for stream in streams:
        make = _maker(stream)
        for i, t_ns in enumerate(_grid(t0_ns, duration_s, stream.rate_hz)):
            receive_ns = t_ns + to_ns(latency_s * (1.0 + float(rng.random())))
            events.append(Event(stream.topic, receive_ns, make(t_ns, i)))
    return sorted(events, key=lambda event: event.receive_ns)


def _grid(t0_ns: int, duration_s: float, rate_hz: float) -> Iterator[int]:
    for i in range(round(duration_s * rate_hz)):
        yield tick_ns(t0_ns, i, rate_hz)


def _maker(stream: CameraSpec | StateSpec | RecordSpec) -> Callable[[int, int], Any]:
    size = getattr(stream, "size", None)
    if stream.type == codecs.IMAGE and size is not None:
        return lambda t_ns, i: image(t_ns, test_pixels(size, i))
    if stream.type != codecs.JOINT_STATE:
        raise CodecError(f"no synthetic {stream.type} for topic {stream.topic}; use JointState or Image")
    names = [path.partition(".")[2] for path in getattr(stream, "fields", ())]
    phases = np.arange(len(names)) * 0.7

    def joints(t_ns: int, i: int) -> JointState:
        seconds = (t_ns - T0_NS) / 1e9
        return joint_state(t_ns, names, 0.3 + 0.2 * np.sin(seconds + phases))

    return joints
