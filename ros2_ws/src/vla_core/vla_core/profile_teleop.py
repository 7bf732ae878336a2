# SPDX-License-Identifier: Apache-2.0

"""The part of a robot profile that says how a person drives the robot: controllers, tool centre point, speeds.

It is no part of what a policy sees, so it may change between training and running.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import listing, nearest_name
from vla_core.kinematics import pose_matrix, rotation_from_rpy
from vla_core.profile_words import Triple, controller_of, topic_name, triple
from vla_core.yamltree import Section, entries

if TYPE_CHECKING:
    from vla_core.specs import ActionSpec

TELEOP_KEYS = (
    "arm", "gripper", "stream", "servo_topic", "trajectory_controller", "freedrive_controller", "manager", "tcp",
    "vertical_rpy", "max_linear", "max_angular", "linear_acceleration", "angular_acceleration", "stop_s",
    "gripper_units",
)  # fmt: skip
STREAM_KEYS = ("name", "controller")
TCP_KEYS = ("xyz", "rpy")

_ZERO: Triple = (0.0, 0.0, 0.0)
_MAX_ANGULAR: Triple = (0.10, 0.10, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopSpec:
    """How a person drives one arm and its gripper.

    Attributes:
        arm: Name of the action that twists and leader arms drive.
        gripper: Name of the gripper's action, or None.
        stream_name: Topic of the streaming controller (std_msgs/Float64MultiArray, joints in the order of the action).
        stream_controller: That controller, as the controller manager knows it.
        servo_topic: Where twists go in place of the own controller (geometry_msgs/TwistStamped, MoveIt Servo); empty:
            own controller.
        trajectory_controller: Who has the arm when no person drives.
        freedrive_controller: Lets the arm be pushed by hand, or None where the robot has none.
        manager: The controller manager.
        tcp_xyz: Tool centre point in the tool frame [m].
        tcp_rpy: Its orientation [rad].
        vertical_rpy: Orientation of the tool centre point that `reorient` turns to, in the base of the kinematics
            table (the frame in which a teach pendant shows poses) [rad].
        max_linear: Fastest translation [m/s].
        max_angular: Fastest turn about x, y and z [rad/s].
        linear_acceleration: [m/s^2].
        angular_acceleration: [rad/s^2].
        stop_s: Longest time from any of these speeds to rest when the commands stop [s].
        gripper_units: Numbers that skill files write for open and for closed.
        gripper_travel: Positions of the gripper's joint at these two [rad or m].
    """

    arm: str
    gripper: str | None
    stream_name: str
    stream_controller: str
    servo_topic: str
    trajectory_controller: str
    freedrive_controller: str | None
    manager: str
    tcp_xyz: Triple
    tcp_rpy: Triple
    vertical_rpy: Triple
    max_linear: float
    max_angular: Triple
    linear_acceleration: float
    angular_acceleration: float
    stop_s: float
    gripper_units: tuple[float, float]
    gripper_travel: tuple[float, float]

    @property
    def T_tool_tcp(self) -> NDArray[np.float64]:  # noqa: N802  (a transform is named by its frames)
        """Pose (4, 4) of the tool centre point in the profile's tool_frame [m]."""
        return pose_matrix(self.tcp_xyz, rotation_from_rpy(self.tcp_rpy))

    def gripper_joint(self, units: float) -> float:
        """Return the position of the gripper's joint [rad or m] for a number of a skill file."""
        (u0, u1), (q0, q1) = self.gripper_units, self.gripper_travel
        return q0 + (units - u0) * (q1 - q0) / (u1 - u0)

    def gripper_number(self, position: float) -> float:
        """Return what a skill file would write for a position of the gripper's joint [rad or m]."""
        (u0, u1), (q0, q1) = self.gripper_units, self.gripper_travel
        return u0 + (position - q0) * (u1 - u0) / (q1 - q0)


def teleops(section: Section, actions: tuple[ActionSpec, ...]) -> tuple[TeleopSpec, ...]:
    """Return how a person drives each arm; nothing where the profile does not say.

    With several arms the keys of ``teleop`` are the names of their actions.

    Raises:
        ProfileError: an action is absent or of the wrong kind, two arms share a gripper, or an arm has no limit of its
            velocity.
    """
    if "teleop" not in section:
        return ()
    tree = section.child("teleop")
    if not isinstance(tree.value, dict) or not tree.value or set(tree.value) & set(TELEOP_KEYS):
        inner = Section(tree, TELEOP_KEYS)
        return (_teleop(inner, actions, _action(inner, "arm", _arms(actions), "arm")),)
    arms = {spec.name: spec for spec in _arms(actions)}
    found: list[TeleopSpec] = []
    for name, child in entries(tree).items():
        if name not in arms:
            raise child.place.error(
                f"the profile has no arm action '{name}'; with several arms the keys of teleop are their actions: "
                f"{listing(arms)}{nearest_name(name, arms)}"
            )
        spec = _teleop(Section(child, TELEOP_KEYS[1:]), actions, arms[name])
        if spec.gripper is not None and spec.gripper in [other.gripper for other in found]:
            raise child.place.error(f"the gripper '{spec.gripper}' is another arm's already")
        found.append(spec)
    return tuple(found)


def _arms(actions: tuple[ActionSpec, ...]) -> tuple[ActionSpec, ...]:
    return tuple(spec for spec in actions if not spec.is_gripper)


def _teleop(inner: Section, actions: tuple[ActionSpec, ...], arm: ActionSpec) -> TeleopSpec:
    if arm.limits.max_velocity is None:
        raise inner.error(
            "arm",
            f"the action '{arm.name}' has no limits.max_velocity, and a streaming controller limits nothing by itself; "
            "give one",
        )
    gripper = None
    if "gripper" in inner:
        gripper = _action(inner, "gripper", tuple(spec for spec in actions if spec.is_gripper), "gripper")
    stream = Section(inner.child("stream"), STREAM_KEYS)
    name = topic_name(stream, "name")
    tcp = Section(inner.child("tcp"), TCP_KEYS) if "tcp" in inner else None
    return TeleopSpec(
        arm=arm.name,
        gripper=gripper.name if gripper else None,
        stream_name=name,
        stream_controller=stream.text("controller", controller_of(name)),
        servo_topic=topic_name(inner, "servo_topic") if "servo_topic" in inner else "",
        trajectory_controller=inner.text("trajectory_controller", arm.command.controller or None),
        freedrive_controller=inner.text("freedrive_controller") if "freedrive_controller" in inner else None,
        manager=topic_name(inner, "manager") if "manager" in inner else "controller_manager",
        tcp_xyz=triple(tcp, "xyz", _ZERO) if tcp else _ZERO,
        tcp_rpy=triple(tcp, "rpy", _ZERO) if tcp else _ZERO,
        vertical_rpy=triple(inner, "vertical_rpy", (math.pi, 0.0, 0.0)),
        max_linear=inner.number("max_linear", 0.05, above=0.0),
        max_angular=_positive(inner, "max_angular", _MAX_ANGULAR),
        linear_acceleration=inner.number("linear_acceleration", 0.5, above=0.0),
        angular_acceleration=inner.number("angular_acceleration", 2.5, above=0.0),
        stop_s=inner.number("stop_s", 0.03, above=0.0),
        gripper_units=_units(inner),
        gripper_travel=_travel(gripper) if gripper else (0.0, 1.0),
    )


def _action(inner: Section, key: str, kind: tuple[ActionSpec, ...], what: str) -> ActionSpec:
    name = inner.text(key)
    names = [spec.name for spec in kind]
    if name not in names:
        raise inner.error(
            key, f"the profile has no {what} action '{name}'; there are: {listing(names)}{nearest_name(name, names)}"
        )
    return kind[names.index(name)]


def _positive(inner: Section, key: str, default: Triple) -> Triple:
    values = triple(inner, key, default)
    if min(values) <= 0.0:
        raise inner.error(key, f"must be larger than 0, got {min(values):g}")
    return values


def _units(inner: Section) -> tuple[float, float]:
    if "gripper_units" not in inner:
        return 0.0, 255.0
    first, second = inner.numbers("gripper_units", 2)
    if first == second:
        raise inner.error("gripper_units", f"open and closed are both {first:g}; give two different numbers")
    return first, second


def _travel(gripper: ActionSpec) -> tuple[float, float]:
    """Joint positions of open and closed: the ends of the scale, or the limits where it has none."""
    scale = gripper.scale
    return scale.source if scale is not None else (gripper.limits.lower[0], gripper.limits.upper[0])
