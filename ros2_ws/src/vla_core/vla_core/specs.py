# SPDX-License-Identifier: Apache-2.0

"""The parts of a robot profile, as frozen values. `vla_core.profile` builds them from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field

ACTION_SPACES = ("absolute_joint", "delta_joint", "absolute_eef", "delta_eef")
ROTATIONS = ("rotvec", "quaternion", "rot6d", "rpy")
STATE_SPACES = ("joint", "eef")
STRATEGIES = ("hold", "nearest", "interpolate")
TIMELINES = ("header", "receive")
POINTS = ("first", "last")
QOS = ("default", "sensor", "latched")
STREAM_POLICIES = ("warn", "pause", "refuse")
# How a target reaches the robot: two action types for arms and grippers, a topic for streaming, or not at all.
INTERFACES = ("follow_joint_trajectory", "parallel_gripper_command", "gripper_command", "joint_group_position", "none")
GRIPPER_INTERFACES = ("parallel_gripper_command", "gripper_command")
# Names under which a camera's driver keeps exposure, gain and white balance; none: it has no such parameters.
CAMERA_SETTINGS = ("realsense", "depthai", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear map from message units (``source``) to the numbers of the dataset (``target``).

    ``y = target[0] + (x - source[0]) * (target[1] - target[0]) / (source[1] - source[0])``; both ends differ, so it
    has an inverse.
    """

    source: tuple[float, float]
    target: tuple[float, float]

    @property
    def gain(self) -> float:
        """Dataset units per message unit."""
        return (self.target[1] - self.target[0]) / (self.source[1] - self.source[0])

    @property
    def bias(self) -> float:
        """Dataset value of message value 0."""
        return self.target[0] - self.source[0] * self.gain


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """Where a camera sits: the pose of frame ``child`` in frame ``parent`` [m, rad; rpy about fixed axes].

    ``child`` is the root of the frames that the camera's driver publishes, such as ``wrist_camera_link``.
    """

    parent: str
    child: str
    xyz: tuple[float, float, float]
    rpy: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """One camera; ``name`` gives the dataset key ``observation.images.<name>``. Sizes are (height, width) in pixels.

    ``depth``: its images are depth (see `vla_core.images_depth`), not colour. ``node``: the (relative) name of its
    driver's node, empty where unknown; ``settings``: one of `CAMERA_SETTINGS`; ``mount``: where it sits, if stated.
    """

    name: str
    topic: str
    type: str
    size: tuple[int, int]
    resize: tuple[int, int] | None
    rate_hz: float
    max_age_s: float
    strategy: str
    stamp: str
    info_topic: str | None
    depth: bool
    node: str = ""
    settings: str = "none"
    mount: MountSpec | None = None

    @property
    def frame_size(self) -> tuple[int, int]:
        """Size of the image in a frame: after the resize, if there is one."""
        return self.resize or self.size

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of the array in a frame: (H, W, 3) for colour, (H, W) for depth."""
        return self.frame_size if self.depth else (*self.frame_size, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """One part of the state vector: values of one topic, in the order of ``fields``."""

    topic: str
    type: str
    fields: tuple[str, ...]
    names: tuple[str, ...]
    scale: Scale | None
    rate_hz: float
    max_age_s: float
    strategy: str
    stamp: str
    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSpec:
    """Values of the state vector that never change. ``before``: index of the state stream that follows."""

    before: int
    values: tuple[float, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSpec:
    """Where the label of an action comes from: the joint target in force, as published by whoever drives."""

    topic: str
    type: str
    fields: tuple[str, ...]
    rate_hz: float
    max_age_s: float
    strategy: str
    stamp: str
    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """Where a target goes: the kind of interface, its (relative) name, and the controller that serves it."""

    interface: str
    name: str
    controller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits per joint, in joint units (rad, rad/s, rad/s^2; m for linear joints); None: not limited."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    max_velocity: tuple[float, ...] | None
    max_step: tuple[float, ...] | None
    max_acceleration: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One part of the action vector: what is learnt from, where it goes, and what is allowed."""

    name: str
    space: str
    record: RecordSpec
    command: CommandSpec
    joints: tuple[str, ...]
    scale: Scale | None
    limits: Limits

    @property
    def is_gripper(self) -> bool:
        """Whether the target goes to a gripper action."""
        return self.command.interface in GRIPPER_INTERFACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinematics:
    """Standard Denavit-Hartenberg table of the arm.

    ``T_base_tool = T(base_xyz, base_rpy) · Π Rz(q_i + theta_i)·Tz(d_i)·Tx(a_i)·Rx(alpha_i) · T(tool_xyz, tool_rpy)``.
    Lengths in metres, angles in radians, rpy about fixed axes. ``base_*`` places the DH base in the profile's
    base_frame, ``tool_*`` the profile's tool_frame in the last DH frame. ``reference_rpy`` is the orientation from
    which the orientation in end-effector spaces is counted.
    """

    joints: tuple[str, ...]
    a: tuple[float, ...]
    d: tuple[float, ...]
    alpha: tuple[float, ...]
    theta: tuple[float, ...]
    base_xyz: tuple[float, float, float]
    base_rpy: tuple[float, float, float]
    tool_xyz: tuple[float, float, float]
    tool_rpy: tuple[float, float, float]
    reference_rpy: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """A capsule around a part of an arm: all points within ``radius`` [m] of the line from ``start`` to ``end`` [m].

    The points are in the frame of the arm's Denavit-Hartenberg table that moves with ``joint``; with an empty ``joint``
    the part does not move, and they are in the arm's base_frame.
    """

    name: str
    joint: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """One arm whose tool can be computed from its joints.

    Attributes:
        name: Name of the action that drives it; the joints of `kinematics` are among those of the action.
        kinematics: From its joints to the pose of `tool_frame` in `base_frame`.
        base_frame: Frame in which its poses are given. The only arm of a robot has the profile's.
        tool_frame: Frame of its tool.
        mount_xyz: Where `base_frame` is in the profile's base_frame [m]; zero for the only arm.
        mount_rpy: How it is turned there [rad, about fixed axes].
        workspace: Lower and upper corner of the box that the tool must stay in [m, base_frame], or None.
        links: What the arm is made of, for the distance between arms.
    """

    name: str
    kinematics: Kinematics
    base_frame: str
    tool_frame: str
    mount_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mount_rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    workspace: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    links: tuple[LinkSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetySpec:
    """What the safety filter checks beyond the joint limits.

    Attributes:
        workspace_min: Lower corner of the box that the tool must stay in [m, base_frame], or None. Where each arm has
            kinematics of its own, the boxes are those of `Profile.arms`, and this is None.
        workspace_max: Upper corner, or None.
        arms_min_distance_m: How near the links of two arms may come to each other [m], or None: not checked.
        clamp: Pull positions and steps back to their limits and report it, instead of refusing the command.
        watchdog_s: A driving node stops the robot when its input is older than this [s].
    """

    workspace_min: tuple[float, float, float] | None
    workspace_max: tuple[float, float, float] | None
    clamp: bool
    watchdog_s: float
    arms_min_distance_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """A state of the robot that must hold while a policy drives it.

    Attributes:
        name: Name in messages.
        topic: Where it is published.
        type: Message type, such as std_msgs/msg/Bool.
        field: Dotted path of the value in the message.
        allowed: Values with which the robot may be driven.
        qos: default, sensor (best effort) or latched.
        max_age_s: Longest silence [s], or None where it is published on change only.
        required: Whether a run is refused while nothing was ever received.
        hint: What to do when it does not hold; part of the message.
    """

    name: str
    topic: str
    type: str
    field: str
    allowed: tuple[bool | float | str, ...]
    qos: str
    max_age_s: float | None
    required: bool
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTopic:
    """A topic that is recorded beside the streams. ``qos``: default, sensor (best effort) or latched."""

    topic: str
    type: str
    qos: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSpec:
    """What the recorder does with the streams of this robot.

    Attributes:
        on_missing_stream: What a silent camera or state leads to: ``warn``, ``pause`` or ``refuse``.
        on_slow_stream: What one below its rate leads to.
        prefer_compressed: Record a camera's compressed images in place of its raw ones where they are offered.
    """

    on_missing_stream: str
    on_slow_stream: str
    prefer_compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSpec:
    """A launch file that brings hardware up; simulation replaces it. ``namespace``: of all that it starts."""

    name: str
    package: str
    launch: str
    args: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
