# SPDX-License-Identifier: Apache-2.0

"""Description of the robot and the cameras, from which both the MJCF and the URDF are written.

Frames, joints and link names are those of ur_description (UR5e), ros2_robotiq_gripper and realsense2_camera, so that
a node cannot tell the simulated cell from the real one by its names. Shapes are primitives: they render about eight
times faster than the vendor's meshes on a software rasteriser.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c

Vec3 = tuple[float, float, float]
Rgba = tuple[float, float, float, float]
Array = NDArray[np.float64]

GREY: Rgba = (0.72, 0.74, 0.77, 1.0)
BLUE: Rgba = (0.28, 0.50, 0.72, 1.0)
DARK: Rgba = (0.16, 0.16, 0.18, 1.0)
BLACK: Rgba = (0.06, 0.06, 0.07, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A primitive fixed to a link: box (half sizes) or cylinder (radius, half length, 0) along its own z axis."""

    kind: str
    size: Vec3
    xyz: Vec3
    rpy: Vec3 = (0.0, 0.0, 0.0)
    rgba: Rgba = GREY
    collides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Revolute or prismatic joint about/along `axis` of the child link; mimic = (joint, multiplier)."""

    name: str
    kind: str
    axis: Vec3 = (0.0, 0.0, 1.0)
    lower: float
    upper: float
    velocity: float
    effort: float
    mimic: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link, where it sits in its parent (xyz, fixed-axis roll-pitch-yaw) and the joint between the two, if any."""

    name: str
    parent: str
    xyz: Vec3 = (0.0, 0.0, 0.0)
    rpy: Vec3 = (0.0, 0.0, 0.0)
    joint: Joint | None = None
    mass: float = 0.0
    com: Vec3 = (0.0, 0.0, 0.0)
    inertia: Vec3 = (0.0, 0.0, 0.0)
    shapes: tuple[Shape, ...] = ()


def rotation(rpy: Vec3) -> Array:
    """Rotation matrix (3, 3) of fixed-axis roll, pitch, yaw as in URDF."""
    (sr, cr), (sp, cp), (sy, cy) = ((np.sin(v), np.cos(v)) for v in rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def roll_pitch_yaw(R: Array) -> Vec3:
    """Fixed-axis roll, pitch, yaw of a rotation matrix (3, 3); inverse of `rotation` away from pitch = +-90 degrees."""
    pitch = -np.arcsin(np.clip(R[2, 0], -1.0, 1.0))
    return float(np.arctan2(R[2, 1], R[2, 2])), float(pitch), float(np.arctan2(R[1, 0], R[0, 0]))


def quaternion(R: Array) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a rotation matrix (3, 3), w >= 0."""
    K = np.array(
        [
            [R[0, 0] - R[1, 1] - R[2, 2], 0, 0, 0],
            [R[0, 1] + R[1, 0], R[1, 1] - R[0, 0] - R[2, 2], 0, 0],
            [R[0, 2] + R[2, 0], R[1, 2] + R[2, 1], R[2, 2] - R[0, 0] - R[1, 1], 0],
            [R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], R[0, 0] + R[1, 1] + R[2, 2]],
        ]
    )
    vector = np.linalg.eigh(K / 3.0)[1][:, -1]
    x, y, z, w = (float(v) for v in (vector if vector[3] >= 0 else -vector))
    return x, y, z, w


def transform(xyz: Vec3, rpy: Vec3) -> Array:
    """Pose (4, 4) of translation xyz and fixed-axis roll, pitch, yaw."""
    pose = np.eye(4)
    pose[:3, :3] = rotation(rpy)
    pose[:3, 3] = xyz
    return pose


def _tube(length: float, radius: float, xyz: Vec3, rpy: Vec3 = (0.0, 0.0, 0.0), rgba: Rgba = GREY) -> Shape:
    return Shape(kind="cylinder", size=(radius, length / 2, 0.0), xyz=xyz, rpy=rpy, rgba=rgba)


def _cylinder_inertia(mass: float, radius: float, length: float, axis: int) -> Vec3:
    across = mass * (3 * radius**2 + length**2) / 12
    values = [across, across, across]
    values[axis] = mass * radius**2 / 2
    return values[0], values[1], values[2]


def _arm_joint(index: int) -> Joint:
    limit = c.ELBOW_LIMIT if index == 2 else c.JOINT_LIMIT
    return Joint(
        name=c.ARM_JOINTS[index],
        kind="revolute",
        lower=-limit,
        upper=limit,
        velocity=c.JOINT_MAX_VELOCITY,
        effort=c.JOINT_MAX_EFFORT[index],
    )


def _base_links() -> list[Link]:
    foot = Shape(kind="cylinder", size=(0.075, 0.045, 0.0), xyz=(0.0, 0.0, 0.045), rgba=GREY, collides=False)
    return [
        Link(name="base_link_inertia", parent="base_link", rpy=(0.0, 0.0, pi), shapes=(foot,)),
        Link(name="base", parent="base_link", rpy=(0.0, 0.0, pi)),
    ]


def _arm_links() -> list[Link]:
    d, a = c.DH_D, c.DH_A
    x_axis = (0.0, pi / 2, 0.0)
    housing = Shape(kind="cylinder", size=(0.06, 0.065, 0.0), xyz=(0.0, 0.0, -0.01), rgba=GREY, collides=False)
    return [
        Link(
            name="shoulder_link", parent="base_link_inertia", xyz=(0.0, 0.0, d[0]), joint=_arm_joint(0), mass=3.761,
            com=(0.0, -0.00193, -0.02561), inertia=_cylinder_inertia(3.761, 0.06, 0.178, 2), shapes=(housing,),
        ),
        Link(
            name="upper_arm_link", parent="shoulder_link", rpy=(pi / 2, 0.0, 0.0), joint=_arm_joint(1), mass=8.058,
            com=(a[1] / 2, 0.0, 0.11336), inertia=_cylinder_inertia(8.058, 0.06, -a[1], 0),
            shapes=(
                _tube(0.14, 0.06, (0.0, 0.0, 0.13), rgba=BLUE),
                _tube(-a[1], 0.048, (a[1] / 2, 0.0, 0.138), x_axis),
                _tube(0.12, 0.055, (a[1], 0.0, 0.13), rgba=BLUE),
            ),
        ),
        Link(
            name="forearm_link", parent="upper_arm_link", xyz=(a[1], 0.0, 0.0), joint=_arm_joint(2), mass=2.846,
            com=(-0.2422, 0.0, 0.0265), inertia=_cylinder_inertia(2.846, 0.05, -a[2], 0),
            shapes=(
                _tube(0.11, 0.05, (0.0, 0.0, 0.02)),
                _tube(-a[2], 0.04, (a[2] / 2, 0.0, 0.007), x_axis),
                _tube(0.10, 0.042, (a[2], 0.0, 0.03), rgba=BLUE),
            ),
        ),
        Link(
            name="wrist_1_link", parent="forearm_link", xyz=(a[2], 0.0, d[3]), joint=_arm_joint(3), mass=1.37,
            com=(0.0, -0.01634, -0.0018), inertia=_cylinder_inertia(1.37, 0.045, 0.1, 2),
            shapes=(_tube(0.10, 0.042, (0.0, 0.0, -0.01)),),
        ),
        Link(
            name="wrist_2_link", parent="wrist_1_link", xyz=(0.0, -d[4], 0.0), rpy=(pi / 2, 0.0, 0.0),
            joint=_arm_joint(4), mass=1.3, com=(0.0, 0.01634, -0.0018),
            inertia=_cylinder_inertia(1.3, 0.045, 0.1, 2), shapes=(_tube(0.10, 0.042, (0.0, 0.0, -0.01)),),
        ),
        Link(
            name="wrist_3_link", parent="wrist_2_link", xyz=(0.0, d[5], 0.0), rpy=(pi / 2, pi, pi),
            joint=_arm_joint(5), mass=0.365, com=(0.0, 0.0, -0.001159),
            inertia=_cylinder_inertia(0.365, 0.0375, 0.046, 2),
            shapes=(_tube(0.045, 0.0375, (0.0, 0.0, -0.0225), rgba=BLUE),),
        ),
        Link(name="flange", parent="wrist_3_link", rpy=(0.0, -pi / 2, -pi / 2)),
        Link(name="tool0", parent="flange", rpy=(pi / 2, 0.0, pi / 2)),
    ]  # fmt: skip


def _finger(side: str, sign: float) -> Link:
    pad = Shape(kind="box", size=(0.007, 0.011, 0.0315), xyz=(0.0, 0.0, 0.0), rgba=BLACK)
    joint = Joint(
        name=f"robotiq_85_{side}_finger_tip_joint", kind="prismatic", axis=(-sign, 0.0, 0.0), lower=0.0,
        upper=c.FINGER_TRAVEL, velocity=0.075, effort=c.GRIPPER_MAX_EFFORT,
        mimic=(c.GRIPPER_JOINT, c.FINGER_TRAVEL / c.KNUCKLE_CLOSED),
    )  # fmt: skip
    return Link(
        name=f"robotiq_85_{side}_finger_tip_link", parent="robotiq_85_base_link",
        xyz=(sign * (c.FINGER_TRAVEL + 0.007), 0.0, 0.1315), joint=joint, mass=0.06,
        inertia=(3e-5, 3e-5, 5e-6), shapes=(pad,),
    )  # fmt: skip


def _gripper_links() -> list[Link]:
    body = (
        Shape(kind="cylinder", size=(0.0375, 0.01, 0.0), xyz=(0.0, 0.0, 0.01), rgba=DARK),
        Shape(kind="box", size=(0.045, 0.03, 0.0375), xyz=(0.0, 0.0, 0.0575), rgba=DARK),
    )
    knuckle = Joint(
        name=c.GRIPPER_JOINT, kind="revolute", axis=(0.0, -1.0, 0.0), lower=0.0, upper=c.KNUCKLE_CLOSED,
        velocity=c.GRIPPER_MAX_SPEED, effort=c.GRIPPER_MAX_EFFORT,
    )  # fmt: skip
    return [
        Link(name="robotiq_85_base_link", parent="tool0", mass=0.78, com=(0.0, 0.0, 0.05),
             inertia=(1.2e-3, 1.2e-3, 6e-4), shapes=body),
        Link(name="robotiq_85_left_knuckle_link", parent="robotiq_85_base_link", xyz=(0.031, 0.0, 0.055),
             joint=knuckle),
        _finger("left", 1.0),
        _finger("right", -1.0),
        Link(name="gripper_tcp", parent="tool0", xyz=(0.0, 0.0, c.TCP_OFFSET)),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Pinhole camera: link that carries it, pose of its optical frame (x right, y down, z ahead) there, view angle."""

    name: str
    parent: str
    T_parent_optical: Array
    fovy: float

    @property
    def prefix(self) -> str:
        """Driver's camera name, which begins the camera's frames and topics."""
        return f"{self.name}_camera"

    @property
    def frame_id(self) -> str:
        """Frame of the images, as the driver calls it."""
        return f"{self.prefix}_color_optical_frame"


def look_at(position: Vec3, target: Vec3, up: Vec3) -> Array:
    """Pose (4, 4) of an optical frame at position that looks at target with `up` towards the top of the image."""
    ahead = np.subtract(target, position)
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, up)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(ahead, right), ahead])
    pose[:3, 3] = position
    return pose


CAMERAS: Mapping[str, Camera] = {
    "front": Camera(
        name="front",
        parent="base_link",
        T_parent_optical=look_at(c.FRONT_CAMERA_POSITION, c.FRONT_CAMERA_TARGET, (0.0, 0.0, 1.0)),
        fovy=c.FRONT_CAMERA_FOVY,
    ),
    "wrist": Camera(
        name="wrist",
        parent="tool0",
        T_parent_optical=look_at(c.WRIST_CAMERA_POSITION, c.WRIST_CAMERA_TARGET, (0.0, 1.0, 0.0)),
        fovy=c.WRIST_CAMERA_FOVY,
    ),
}

# Body axes of a camera (x ahead, y left, z up) against its optical axes, as realsense2_camera publishes them.
_OPTICAL_RPY: Vec3 = (-pi / 2, 0.0, -pi / 2)


def camera_links(cameras: Iterable[Camera]) -> list[Link]:
    """Case and frames of cameras, as their drivers name them."""
    links = []
    for camera in cameras:
        T_parent_link = camera.T_parent_optical @ np.linalg.inv(transform((0.0, 0.0, 0.0), _OPTICAL_RPY))
        x, y, z = (float(v) for v in T_parent_link[:3, 3])
        case = Shape(kind="box", size=(0.012, 0.045, 0.012), xyz=(-0.014, 0.0, 0.0), rgba=BLACK, collides=False)
        links += [
            Link(name=f"{camera.prefix}_link", parent=camera.parent, xyz=(x, y, z),
                 rpy=roll_pitch_yaw(T_parent_link[:3, :3]), shapes=(case,)),
            Link(name=f"{camera.prefix}_color_frame", parent=f"{camera.prefix}_link"),
            Link(name=camera.frame_id, parent=f"{camera.prefix}_color_frame", rpy=_OPTICAL_RPY),
        ]  # fmt: skip
    return links


ROBOT_LINKS: tuple[Link, ...] = (*_base_links(), *_arm_links(), *_gripper_links())


def static_transforms(links: Iterable[Link]) -> list[tuple[str, str, Array]]:
    """Fixed edges of a frame tree as (parent, child, pose (4, 4) of the child in the parent)."""
    return [(link.parent, link.name, transform(link.xyz, link.rpy)) for link in links if link.joint is None]
