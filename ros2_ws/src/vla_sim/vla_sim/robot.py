# SPDX-License-Identifier: Apache-2.0

"""What the cell knows of a kind of robot, and where robots stand: one `Robot` per kind, one `Station` per arm.

Physics, joint states, controllers, topics and the expert are written once, in terms of these. The names of a station's
joints and links carry its prefix, as a driver's `tf_prefix` gives them, and its topics its namespace.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.specs import Kinematics

from vla_sim import constants as c
from vla_sim import kinematics, model
from vla_sim.model import Camera, Link, Vec3

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gripper:
    """A two-finger gripper.

    Attributes:
        joint: What its driver publishes and takes.
        unit: Of `joint`: rad or m.
        open: Position of `joint` with open fingers.
        closed: Position of `joint` with closed fingers.
        speed: Largest speed of `joint` [1/s].
        efforts: Smallest, largest and default effort; force per finger [N] where the fingers slide.
        slides: Joints of the model that its actuator moves by equal amounts.
        per_slide: Change of `joint` per change of a slide.
        stiffness: Of the actuator, per change of a slide.
        damping: Of the actuator.
        fingers: Links that touch what is held.
        controller: Namespace of its action; empty where `joint` belongs to the arm's trajectory.
    """

    joint: str
    unit: str
    open: float
    closed: float
    speed: float
    efforts: tuple[float, float, float]
    slides: tuple[str, ...]
    per_slide: float
    stiffness: float
    damping: float
    fingers: tuple[str, str]
    controller: str

    @property
    def in_arm(self) -> bool:
        """Whether the arm's trajectory controller moves it."""
        return not self.controller

    @property
    def lower(self) -> float:
        """Smallest position of `joint`."""
        return min(self.open, self.closed)

    @property
    def upper(self) -> float:
        """Largest position of `joint`."""
        return max(self.open, self.closed)

    def joint_position(self, knuckle: float) -> float:
        """Position of `joint` that is as far closed as the knuckle of a 2F-85 at `knuckle` [rad]."""
        return self.open + knuckle / c.KNUCKLE_CLOSED * (self.closed - self.open)

    def knuckle(self, position: float) -> float:
        """Inverse of `joint_position`: 0 rad is open, 0.7929 rad closed."""
        return (position - self.open) / (self.closed - self.open) * c.KNUCKLE_CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Robot:
    """A kind of robot.

    Attributes:
        kind: Name of the kind.
        links: Links and joints below `base`.
        base: Root link; the frame of all poses of a station.
        tool: Link whose z axis points out of the gripper.
        tcp: Tool centre point along z of `tool` [m].
        joints: Joints of the trajectory controller, in its order.
        stiffness, damping, effort, armature: Of each joint's position servo [Nm/rad, Nm s/rad, Nm, kg m2].
        max_velocity: Of any joint [rad/s].
        home: Start pose (k,) [rad], tool down over the things; the first seed's noise is added to it.
        gripper: Its gripper.
        cameras: Cameras that it carries.
        scale: Size of its things on the table against those of the UR5e.
        trajectory_controller: Its namespace has the trajectory action.
        dashboard: Whether it has the dashboard, speed scaling and freedrive of a Universal Robots controller.
        dh: Denavit-Hartenberg table, if it has one.
    """

    kind: str
    links: tuple[Link, ...]
    base: str
    tool: str
    tcp: float
    joints: tuple[str, ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    effort: tuple[float, ...]
    armature: tuple[float, ...]
    max_velocity: float
    home: tuple[float, ...]
    gripper: Gripper
    cameras: tuple[Camera, ...]
    scale: float
    trajectory_controller: str
    dashboard: bool
    dh: Kinematics | None = None

    @property
    def arm_joints(self) -> tuple[str, ...]:
        """`joints` without that of the gripper."""
        return tuple(joint for joint in self.joints if joint != self.gripper.joint)

    @property
    def moving(self) -> tuple[Link, ...]:
        """Links with a joint."""
        return tuple(link for link in self.links if link.joint is not None)

    def prefixed(self, prefix: str) -> "Robot":
        """The same robot with `prefix` before the names of all links, joints and cameras."""
        if not prefix:
            return self
        grip = self.gripper
        return replace(
            self,
            links=tuple(_prefixed_link(link, prefix) for link in self.links),
            base=prefix + self.base,
            tool=prefix + self.tool,
            joints=_all(self.joints, prefix),
            gripper=replace(
                grip,
                joint=prefix + grip.joint,
                slides=_all(grip.slides, prefix),
                fingers=(prefix + grip.fingers[0], prefix + grip.fingers[1]),
            ),
            cameras=tuple(replace(v, name=prefix + v.name, parent=prefix + v.parent) for v in self.cameras),
            dh=replace(self.dh, joints=_all(self.dh.joints, prefix)) if self.dh else None,
        )


def _all(names: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)


def _prefixed_link(link: Link, prefix: str) -> Link:
    joint = link.joint
    if joint is not None:
        mimic = (prefix + joint.mimic[0], joint.mimic[1]) if joint.mimic else None
        joint = replace(joint, name=prefix + joint.name, mimic=mimic)
    return replace(link, name=prefix + link.name, parent=prefix + link.parent, joint=joint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One robot and where it stands.

    Attributes:
        name: Namespace of its topics; empty for the only one.
        prefix: What the names of its links and joints begin with.
        robot: With prefixed names.
        xyz: Its base in the world [m].
    """

    name: str
    prefix: str
    robot: Robot
    xyz: Vec3 = (0.0, 0.0, 0.0)

    def topic(self, name: str) -> str:
        """A topic, action or service of this station's drivers."""
        return f"{self.name}/{name}" if self.name else name

    def part(self, name: str) -> str:
        """Name of a thing of this station's scene in the physics."""
        return self.prefix + name


UR5E: Final = Robot(
    kind="ur5e",
    links=model.ROBOT_LINKS,
    base="base_link",
    tool="tool0",
    tcp=c.TCP_OFFSET,
    joints=c.ARM_JOINTS,
    stiffness=c.SERVO_STIFFNESS,
    damping=c.SERVO_DAMPING,
    effort=c.JOINT_MAX_EFFORT,
    armature=c.JOINT_ARMATURE,
    max_velocity=c.JOINT_MAX_VELOCITY,
    home=tuple(float(v) for v in kinematics.home()),
    gripper=Gripper(
        joint=c.GRIPPER_JOINT,
        unit="rad",
        open=0.0,
        closed=c.KNUCKLE_CLOSED,
        speed=c.GRIPPER_MAX_SPEED,
        efforts=(c.GRIPPER_MIN_EFFORT, c.GRIPPER_MAX_EFFORT, c.GRIPPER_DEFAULT_EFFORT),
        slides=("robotiq_85_left_finger_tip_joint", "robotiq_85_right_finger_tip_joint"),
        per_slide=c.KNUCKLE_CLOSED / c.FINGER_TRAVEL,
        stiffness=20000.0,
        damping=400.0,
        fingers=("robotiq_85_left_finger_tip_link", "robotiq_85_right_finger_tip_link"),
        controller="robotiq_gripper_controller",
    ),
    cameras=(model.CAMERAS["wrist"],),
    scale=1.0,
    trajectory_controller=c.TRAJECTORY_CONTROLLER,
    dashboard=True,
    dh=kinematics.ARM,
)
SINGLE: Final = Station(name="", prefix="", robot=UR5E)
