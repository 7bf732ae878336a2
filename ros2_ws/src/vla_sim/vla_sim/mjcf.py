# SPDX-License-Identifier: Apache-2.0

"""MuJoCo model of the cell, written from `vla_sim.model`: arm, gripper, table, cameras, and the things of the task.

Those are a block and a bin, or a part with its socket and its place (`vla_sim.parts`). Contact groups: the robot touches
all of them and the table, block and part touch table, bin, socket and place, two
blocks touch each other, nothing else collides. The parallel finger slides stand for the four-bar linkage of the real gripper, so finger tips do not move along the
approach axis while closing.
"""

from collections.abc import Iterable

import numpy as np

from vla_sim import constants as c
from vla_sim.board import Plate, texture
from vla_sim.model import CAMERAS, LINKS, Joint, Link, Shape, quaternion, rotation
from vla_sim.parts import PARTS, Box, Part

BLOCK_BODY = "block"
BLUE_BLOCK_BODY = "blue_block"
BIN_BODY = "bin"
PART_BODY = "part"
SOCKET_BODY = "socket"
PLACE_BODY = "place"
TCP_SITE = "gripper_tcp"
FINGERS = ("robotiq_85_left_finger_tip_link", "robotiq_85_right_finger_tip_link")
GRIPPER_ACTUATOR = "gripper"

_CONTACT = {
    "robot": 'contype="1" conaffinity="0"',
    "world": 'contype="0" conaffinity="5"',
    "block": 'contype="4" conaffinity="1"',
    "other": 'contype="4" conaffinity="5"',
    "none": 'contype="0" conaffinity="0"',
}


def _nums(values: Iterable[float]) -> str:
    return " ".join(f"{float(v):.12g}" for v in values)


def _pose(xyz: Iterable[float], R: np.ndarray) -> str:
    x, y, z, w = quaternion(R)
    return f'pos="{_nums(xyz)}" quat="{_nums((w, x, y, z))}"'


def _geom(shape: Shape, extra: str) -> str:
    size = shape.size if shape.kind == "box" else shape.size[:2]
    contact = _CONTACT["robot" if shape.collides else "none"]
    return (
        f'<geom type="{shape.kind}" size="{_nums(size)}" {_pose(shape.xyz, rotation(shape.rpy))} '
        f'rgba="{_nums(shape.rgba)}" mass="0" {contact} {extra}/>'
    )


def _joint(joint: Joint) -> str:
    if joint.kind == "prismatic":
        return (
            f'<joint name="{joint.name}" type="slide" axis="{_nums(joint.axis)}" '
            f'range="{joint.lower} {joint.upper}" damping="5" armature="0.2"/>'
        )
    armature = c.JOINT_ARMATURE[c.ARM_JOINTS.index(joint.name)]
    return (
        f'<joint name="{joint.name}" type="hinge" axis="{_nums(joint.axis)}" '
        f'range="{joint.lower:.9f} {joint.upper:.9f}" armature="{armature}"/>'
    )


def _body(link: Link, plate: Plate | None = None) -> str:
    if link.joint is not None and link.joint.name == c.GRIPPER_JOINT:
        return ""  # the knuckle is an angle computed from the finger slides, not a body
    inertial = ""
    if link.mass > 0.0:
        inertial = f'<inertial pos="{_nums(link.com)}" mass="{link.mass}" diaginertia="{_nums(link.inertia)}"/>'
    pad = 'friction="1.6 0.02 0.0005" solref="0.005 1" condim="4"' if link.name in FINGERS else ""
    camera = "".join(
        f'<camera name="{v.name}" {_pose((0, 0, 0), np.diag([1.0, -1.0, -1.0]))} fovy="{np.degrees(v.fovy):.9f}"/>'
        for v in CAMERAS.values()
        if v.frame_id == link.name
    )
    site = f'<site name="{TCP_SITE}" size="0.002" rgba="0 0 0 0"/>' if link.name == TCP_SITE else ""
    joint = _joint(link.joint) if link.joint else ""
    shapes = "".join(_geom(s, pad) for s in link.shapes)
    children = "".join(_body(child, plate) for child in LINKS if child.parent == link.name)
    board = plate.geoms() if plate is not None and plate.parent == link.name else ""
    pose = _pose(link.xyz, rotation(link.rpy))
    return (
        f'<body name="{link.name}" {pose} gravcomp="1">{inertial}{joint}{shapes}{camera}{site}{board}{children}</body>'
    )


def _boxes(boxes: Iterable[Box], contact: str, friction: str = "") -> str:
    return "".join(
        f'<geom type="box" size="{_nums(box.half)}" pos="{_nums(box.xyz)}" rgba="{_nums(box.rgba)}" mass="0" '
        f"{friction} {_CONTACT[contact if box.collides else 'none']}/>"
        for box in boxes
    )


def _extraction(part: Part) -> str:
    x, y, z = part.half
    inertia = (part.mass / 3 * (y * y + z * z), part.mass / 3 * (x * x + z * z), part.mass / 3 * (x * x + y * y))
    return f"""
    <body name="{PLACE_BODY}" mocap="true">{_boxes(part.place, "world")}</body>
    <body name="{SOCKET_BODY}" mocap="true">{_boxes(part.socket, "world")}</body>
    <body name="{PART_BODY}">
      <freejoint name="{PART_BODY}"/>
      <inertial pos="0 0 0" mass="{part.mass}" diaginertia="{_nums(inertia)}"/>
      <geom name="{PART_BODY}" type="box" size="{_nums(part.half)}" rgba="{_nums(part.rgba)}"
            friction="0.6 0.01 0.0005" {_CONTACT["block"]}/>{_boxes(part.marks, "none")}
    </body>"""


_RED, _BLUE = (0.85, 0.12, 0.10, 1.0), (0.10, 0.25, 0.85, 1.0)


def _block(name: str, rgba: tuple[float, ...], contact: str = "block") -> str:
    half = c.BLOCK_HALF
    inertia = 2.0 / 3.0 * c.BLOCK_MASS * half**2
    return f"""
    <body name="{name}" pos="0.5 0 {half}">
      <freejoint name="{name}"/>
      <inertial pos="0 0 0" mass="{c.BLOCK_MASS}" diaginertia="{_nums((inertia,) * 3)}"/>
      <geom name="{name}" type="box" size="{_nums((half,) * 3)}" rgba="{_nums(rgba)}"
            friction="0.8 0.01 0.0005" {_CONTACT[contact]}/>
    </body>"""


def _bin() -> str:
    inner, wall, height, floor = c.BIN_INNER_HALF, c.BIN_WALL_HALF, c.BIN_WALL_HEIGHT / 2, c.BIN_FLOOR / 2
    outer = inner + 2 * wall
    sides = [
        (outer, wall, 0.0, inner + wall), (outer, wall, 0.0, -inner - wall),
        (wall, inner, inner + wall, 0.0), (wall, inner, -inner - wall, 0.0),
    ]  # fmt: skip
    world = _CONTACT["world"]
    walls = "".join(
        f'<geom type="box" size="{_nums((sx, sy, height))}" pos="{_nums((x, y, height))}" '
        f'rgba="0.15 0.55 0.30 1" {world}/>'
        for sx, sy, x, y in sides
    )
    return f"""
    <body name="{BIN_BODY}" mocap="true" pos="{_nums((*c.BIN_CENTRE, 0.0))}">
      <geom type="box" size="{_nums((inner, inner, floor))}" pos="{_nums((0, 0, floor))}"
            rgba="0.10 0.40 0.22 1" {world}/>{walls}
    </body>"""


def _things(task: str) -> str:
    """What the task puts onto the table."""
    part = PARTS.get(task)
    if part is not None:
        return _extraction(part)
    blue = _block(BLUE_BLOCK_BODY, _BLUE, "other") if task == "pick_which" else ""
    return _bin() + _block(BLOCK_BODY, _RED) + blue


def _actuators() -> str:
    rows = [
        f'<general name="{name}" joint="{name}" gaintype="fixed" biastype="affine" gainprm="{kp}" '
        f'biasprm="0 -{kp} -{kd}" forcelimited="true" forcerange="-{effort} {effort}"/>'
        for name, kp, kd, effort in zip(
            c.ARM_JOINTS, c.SERVO_STIFFNESS, c.SERVO_DAMPING, c.JOINT_MAX_EFFORT, strict=True
        )
    ]
    # The tendon is the mean of both slides: half of the actuator's force acts on each finger.
    force = 2 * c.GRIPPER_DEFAULT_EFFORT
    rows.append(
        f'<general name="{GRIPPER_ACTUATOR}" tendon="gripper" gaintype="fixed" biastype="affine" gainprm="20000" '
        f'biasprm="0 -20000 -400" forcelimited="true" forcerange="-{force} {force}"/>'
    )
    return "".join(rows)


def build_mjcf(task: str = "lift", *, offscreen: tuple[int, int] = (480, 640), plate: Plate | None = None) -> str:
    """MJCF text of the cell.

    Args:
        task: one of `tasks.TASKS`; it decides which things are on the table.
        offscreen: height and width of the largest image that will be rendered.
        plate: calibration board in the scene; the model then needs its `assets`.
    """
    left, right = (next(k.joint.name for k in LINKS if k.name == finger and k.joint) for finger in FINGERS)
    bodies = "".join(_body(link, plate) for link in LINKS if link.parent == "base_link")
    table = (
        f'<geom name="table" type="box" size="{_nums(c.TABLE_HALF)}" pos="{_nums(c.TABLE_CENTRE)}" '
        f'rgba="0.42 0.42 0.44 1" friction="0.8 0.01 0.0005" {_CONTACT["world"]}/>'
    )
    board = plate.geoms() if plate is not None and plate.parent == "base_link" else ""
    return f"""<mujoco model="ur5e_cell">
  <compiler angle="radian" autolimits="true" inertiafromgeom="false"/>
  <option timestep="{c.STEP_NS * 1e-9}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <global offheight="{offscreen[0]}" offwidth="{offscreen[1]}"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
    <map znear="0.01" zfar="20"/>
  </visual>
  <asset><texture type="skybox" builtin="flat" rgb1="0.45 0.52 0.58" width="8" height="8"/>
    {texture(plate)}</asset>
  <worldbody>
    <light pos="0.3 0.6 2.0" dir="0.1 -0.3 -1" directional="true" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
    {table}{_things(task)}
    <body name="base_link">{board}{bodies}</body>
  </worldbody>
  <tendon><fixed name="gripper"><joint joint="{left}" coef="0.5"/><joint joint="{right}" coef="0.5"/></fixed></tendon>
  <equality><joint joint1="{left}" joint2="{right}" solref="0.004 1"/></equality>
  <actuator>{_actuators()}</actuator>
</mujoco>"""
