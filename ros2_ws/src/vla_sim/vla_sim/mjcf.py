# SPDX-License-Identifier: Apache-2.0

"""MuJoCo model of the cell, written from its stations: arms, grippers, table, cameras, and the things of the task.

Those are a block and a bin, or a part with its socket and its place (`vla_sim.parts`). Contact groups: the robot touches
all of them and the table, block and part touch table, bin, socket and place, two
blocks touch each other, nothing else collides. The parallel finger slides stand for the four-bar linkage of the real gripper, so finger tips do not move along the
approach axis while closing.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from vla_sim import constants as c
from vla_sim.board import Plate, texture
from vla_sim.model import CAMERAS, Camera, Joint, Link, Shape, camera_links, quaternion, rotation
from vla_sim.parts import PARTS, Box, Part
from vla_sim.robot import SINGLE, Robot, Station

BLOCK_BODY = "block"
BLUE_BLOCK_BODY = "blue_block"
BIN_BODY = "bin"
PART_BODY = "part"
SOCKET_BODY = "socket"
PLACE_BODY = "place"
TCP_SITE = "gripper_tcp"
GRIPPER_ACTUATOR = "gripper"
WORLD = "world"
CELL_CAMERAS = (CAMERAS["front"], CAMERAS["wrist"])  # of the cell with one UR5e

_CONTACT = {
    "robot": 'contype="1" conaffinity="0"',
    "world": 'contype="0" conaffinity="5"',
    "block": 'contype="4" conaffinity="1"',
    "other": 'contype="4" conaffinity="5"',
    "none": 'contype="0" conaffinity="0"',
}
_FIRST_ARM = 8  # bit of the first of several robots; the others follow


def _nums(values: Iterable[float]) -> str:
    return " ".join(f"{float(v):.12g}" for v in values)


def _pose(xyz: Iterable[float], R: np.ndarray) -> str:
    x, y, z, w = quaternion(R)
    return f'pos="{_nums(xyz)}" quat="{_nums((w, x, y, z))}"'


def _contact(shape: Shape, index: int, count: int) -> str:
    """What a shape of station `index` of `count` touches: every shape of another station, and what `_CONTACT` says."""
    if count == 1:
        return _CONTACT["robot" if shape.collides else "none"]
    own, all_arms = _FIRST_ARM << index, (_FIRST_ARM << count) - _FIRST_ARM
    return f'contype="{own | int(shape.collides)}" conaffinity="{all_arms & ~own}"'


def _geom(shape: Shape, contact: str, extra: str) -> str:
    size = shape.size if shape.kind == "box" else shape.size[:2]
    return (
        f'<geom type="{shape.kind}" size="{_nums(size)}" {_pose(shape.xyz, rotation(shape.rpy))} '
        f'rgba="{_nums(shape.rgba)}" mass="0" {contact} {extra}/>'
    )


def _joint(joint: Joint, robot: Robot) -> str:
    if joint.kind == "prismatic":
        return (
            f'<joint name="{joint.name}" type="slide" axis="{_nums(joint.axis)}" '
            f'range="{joint.lower} {joint.upper}" damping="5" armature="0.2"/>'
        )
    armature = robot.armature[robot.joints.index(joint.name)]
    return (
        f'<joint name="{joint.name}" type="hinge" axis="{_nums(joint.axis)}" '
        f'range="{joint.lower:.9f} {joint.upper:.9f}" armature="{armature}"/>'
    )


class _Tree:
    """Bodies of one station, or of the cameras that stand in the world."""

    def __init__(
        self,
        links: Iterable[Link],
        cameras: Iterable[Camera],
        station: Station,
        plate: Plate | None,
        place: tuple[int, int] = (0, 1),
    ) -> None:
        """Args: place: which of how many stations it is."""
        self._place = place
        self._links, self._cameras = tuple(links), {camera.frame_id: camera for camera in cameras}
        self._station, self._robot, self._plate = station, station.robot, plate

    def below(self, parent: str) -> str:
        """The bodies that `parent` carries."""
        return "".join(self._body(link) for link in self._links if link.parent == parent)

    def _body(self, link: Link) -> str:
        grip = self._robot.gripper
        if link.joint is not None and link.joint.name == grip.joint and grip.joint not in grip.slides:
            return ""  # an angle that is computed from the slides of the fingers, not a body
        inertial = ""
        if link.mass > 0.0:
            inertial = f'<inertial pos="{_nums(link.com)}" mass="{link.mass}" diaginertia="{_nums(link.inertia)}"/>'
        pad = 'friction="1.6 0.02 0.0005" solref="0.005 1" condim="4"' if link.name in grip.fingers else ""
        site = ""
        if link.name == self._robot.tool:
            name = self._station.part(TCP_SITE)
            site = f'<site name="{name}" pos="0 0 {self._robot.tcp:.12g}" size="0.002" rgba="0 0 0 0"/>'
        joint = _joint(link.joint, self._robot) if link.joint else ""
        shapes = "".join(_geom(s, _contact(s, *self._place), pad) for s in link.shapes)
        plate = self._plate
        board = plate.geoms() if plate is not None and plate.parent == link.name else ""
        return (
            f'<body name="{link.name}" {_pose(link.xyz, rotation(link.rpy))} gravcomp="1">{inertial}{joint}{shapes}'
            f"{self._camera(link.name)}{site}{board}{self.below(link.name)}</body>"
        )

    def _camera(self, frame: str) -> str:
        camera = self._cameras.get(frame)
        if camera is None:
            return ""
        turned = _pose((0, 0, 0), np.diag([1.0, -1.0, -1.0]))
        return f'<camera name="{camera.name}" {turned} fovy="{np.degrees(camera.fovy):.9f}"/>'


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


def _block(name: str, rgba: tuple[float, ...], scale: float, contact: str = "block") -> str:
    half, mass = c.BLOCK_HALF * scale, c.BLOCK_MASS * scale**3
    inertia = 2.0 / 3.0 * mass * half**2
    return f"""
    <body name="{name}" pos="0.5 0 {half:.12g}">
      <freejoint name="{name}"/>
      <inertial pos="0 0 0" mass="{mass:.12g}" diaginertia="{_nums((inertia,) * 3)}"/>
      <geom name="{name}" type="box" size="{_nums((half,) * 3)}" rgba="{_nums(rgba)}"
            friction="0.8 0.01 0.0005" {_CONTACT[contact]}/>
    </body>"""


def _bin(name: str, scale: float) -> str:
    inner, wall = c.BIN_INNER_HALF * scale, c.BIN_WALL_HALF * scale
    height, floor = c.BIN_WALL_HEIGHT / 2 * scale, c.BIN_FLOOR / 2 * scale
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
    <body name="{name}" mocap="true" pos="{_nums((*c.BIN_CENTRE, 0.0))}">
      <geom type="box" size="{_nums((inner, inner, floor))}" pos="{_nums((0, 0, floor))}"
            rgba="0.10 0.40 0.22 1" {world}/>{walls}
    </body>"""


def _things(task: str, station: Station) -> str:
    """What the task puts onto the table."""
    part = PARTS.get(task)
    if part is not None:
        return _extraction(part)
    scale = station.robot.scale
    blue = _block(BLUE_BLOCK_BODY, _BLUE, scale, "other") if task == "pick_which" else ""
    return _bin(station.part(BIN_BODY), scale) + _block(station.part(BLOCK_BODY), _RED, scale) + blue


def _actuators(station: Station) -> str:
    robot, grip = station.robot, station.robot.gripper
    servos = zip(robot.joints, robot.stiffness, robot.damping, robot.effort, strict=True)
    rows = [
        f'<general name="{name}" joint="{name}" gaintype="fixed" biastype="affine" gainprm="{kp}" '
        f'biasprm="0 -{kp} -{kd}" forcelimited="true" forcerange="-{effort} {effort}"/>'
        for name, kp, kd, effort in servos
    ]
    if grip.in_arm:
        return "".join(rows)
    # The tendon is the mean of the slides, so each finger gets the actuator's force divided by their number.
    force, name = len(grip.slides) * grip.efforts[2], station.part(GRIPPER_ACTUATOR)
    rows.append(
        f'<general name="{name}" tendon="{name}" gaintype="fixed" biastype="affine" gainprm="{grip.stiffness:g}" '
        f'biasprm="0 -{grip.stiffness:g} -{grip.damping:g}" forcelimited="true" forcerange="-{force} {force}"/>'
    )
    return "".join(rows)


def _tendon(station: Station) -> str:
    grip = station.robot.gripper
    if grip.in_arm:
        return ""
    share = 1.0 / len(grip.slides)
    joints = "".join(f'<joint joint="{slide}" coef="{share:g}"/>' for slide in grip.slides)
    return f'<fixed name="{station.part(GRIPPER_ACTUATOR)}">{joints}</fixed>'


def _equality(station: Station) -> str:
    grip = station.robot.gripper
    first, *others = grip.slides
    return "".join(f'<joint joint1="{first}" joint2="{other}" solref="0.004 1"/>' for other in others)


def _table(stations: Sequence[Station]) -> str:
    x, y, z = c.TABLE_HALF
    half = (x, y + max(abs(station.xyz[1]) for station in stations), z)
    return (
        f'<geom name="table" type="box" size="{_nums(half)}" pos="{_nums(c.TABLE_CENTRE)}" '
        f'rgba="0.42 0.42 0.44 1" friction="0.8 0.01 0.0005" {_CONTACT["world"]}/>'
    )


def _station(station: Station, cameras: Sequence[Camera], plate: Plate | None, place: tuple[int, int]) -> str:
    """The bodies of one robot with the cameras that it carries or that stand in its base frame."""
    robot = station.robot
    frames = {robot.base, *(link.name for link in robot.links)}
    own = [camera for camera in cameras if camera.parent in frames]
    tree = _Tree([*robot.links, *camera_links(own)], own, station, plate, place)
    board = plate.geoms() if plate is not None and plate.parent == robot.base else ""
    pose = "" if station.xyz == (0.0, 0.0, 0.0) else f' pos="{_nums(station.xyz)}"'
    return f'<body name="{robot.base}"{pose}>{board}{tree.below(robot.base)}</body>'


def build_mjcf(
    task: str = "lift",
    *,
    offscreen: tuple[int, int] = (480, 640),
    plate: Plate | None = None,
    stations: Sequence[Station] = (SINGLE,),
    cameras: Sequence[Camera] = CELL_CAMERAS,
) -> str:
    """MJCF text of the cell.

    Args:
        task: one of `tasks.TASKS`; it decides which things are on the table.
        offscreen: height and width of the largest image that will be rendered.
        plate: calibration board in the scene; the model then needs its `assets`.
        stations: the robots.
        cameras: all cameras; their parents are links or bases of the robots, or `WORLD`.
    """
    standing = [camera for camera in cameras if camera.parent == WORLD]
    world = _Tree(camera_links(standing), standing, stations[0], None).below(WORLD)
    things = "".join(_things(task, station) for station in stations)
    bodies = "".join(_station(s, cameras, plate, (index, len(stations))) for index, s in enumerate(stations))
    return f"""<mujoco model="cell">
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
    {_table(stations)}{things}
    {bodies}{world}
  </worldbody>
  <tendon>{"".join(map(_tendon, stations))}</tendon>
  <equality>{"".join(map(_equality, stations))}</equality>
  <actuator>{"".join(map(_actuators, stations))}</actuator>
</mujoco>"""
