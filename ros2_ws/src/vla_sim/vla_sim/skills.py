# SPDX-License-Identifier: Apache-2.0

"""Skills of the extraction tasks as waypoints, computed from the scene's numbers.

A skill is triggered with the tool centre point `TRIGGER_HEIGHT` above the grasp, fingers along the part. Its relative
part goes down, closes the gripper, lifts by `VERIFY_LIFT` to see whether the gripper holds something, and takes the part
out of its socket; its absolute part carries the part to its place and lets go.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix

from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.errors import SceneError
from vla_sim.parts import PARTS, Part
from vla_sim.tasks import Pose, compose, upright

Array = NDArray[np.float64]

TRIGGER_HEIGHT: Final = 0.08
VERIFY_LIFT: Final = 0.05
_NEAR: Final = 0.02  # above the grasp: from here on the fingers are beside the part
_EXTRACT_Z: Final = 0.15  # of the tool centre point above the table, once the part is out
_CARRY_Z: Final = 0.17

TASK_OF_SKILL: Final = {"cpu": "extract_cpu", "ram": "extract_ram"}
CLOSE: Final = {"cpu": 168, "ram": 229}
"""What closes the gripper on the part, in the numbers of skill files (3 open, 230 closed)."""
THRESHOLD: Final = {"cpu": 155, "ram": 225}
"""A gripper that holds the part reports less."""
_OPEN: Final = round(c.GRIPPER_NUMBERS[0])

T_TOOL_TCP: Array = pose_matrix((0.0, 0.0, c.TCP_OFFSET), np.eye(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """Pose (4, 4) of the tool centre point in base_link, gripper in the numbers of skill files, what it is for."""

    T: Array
    gripper: int
    verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Waypoints of a skill; the first `relative_count` are relative to the trigger pose, which is the first one."""

    name: str
    waypoints: tuple[Waypoint, ...]
    relative_count: int


def grip_number(knuckle: float) -> float:
    """Gripper position in the numbers of skill files of a knuckle angle [rad]."""
    low, high = c.GRIPPER_NUMBERS
    return low + (high - low) * knuckle / c.KNUCKLE_CLOSED


def knuckle(number: float) -> float:
    """Knuckle angle [rad] of a number of a skill file, within the gripper's range."""
    low, high = c.GRIPPER_NUMBERS
    return min(max((number - low) / (high - low), 0.0), 1.0) * c.KNUCKLE_CLOSED


def tool_pose(pose: Pose) -> Array:
    """Pose (4, 4) of the tool centre point that points down at an upright pose, opening along its x axis."""
    T = kinematics.tool_down(np.array(pose.xyz), pose.yaw)
    return np.asarray(T @ T_TOOL_TCP)


def grasp_pose(part: Part, item: Pose) -> Array:
    """Tool centre point (4, 4) in base_link that grasps a part which stands upright at `item`."""
    x, y, z = item.xyz
    return tool_pose(upright(x, y, z + part.grasp_z, item.yaw))


def trigger_pose(part: Part, item: Pose) -> Array:
    """Tool centre point (4, 4) in base_link from which the skill takes the part."""
    return raised(grasp_pose(part, item), TRIGGER_HEIGHT)


def raised(T: Array, height: float) -> Array:
    """The pose `height` metres higher in base_link."""
    higher = T.copy()
    higher[2, 3] += height
    return higher


def build(name: str) -> Skill:
    """The skill `cpu` or `ram`, triggered above the socket of seed 0."""
    part, close = PARTS[TASK_OF_SKILL[name]], CLOSE[name]
    x, y = (sum(span) / 2 for span in (c.SOCKET_X, c.SOCKET_Y))
    grasp = grasp_pose(part, upright(x, y, part.seat_z))
    place = upright(*c.PLACE_CENTRE, 0.0)
    release = grasp_pose(part, compose(place, upright(0.0, 0.0, part.seat_z + part.drop)))
    relative = (
        Waypoint(T=raised(grasp, TRIGGER_HEIGHT), gripper=_OPEN),
        Waypoint(T=raised(grasp, _NEAR), gripper=_OPEN),
        Waypoint(T=grasp, gripper=_OPEN),
        Waypoint(T=grasp, gripper=close),
        Waypoint(T=raised(grasp, VERIFY_LIFT), gripper=close, verify=True),
        Waypoint(T=raised(grasp, _EXTRACT_Z - float(grasp[2, 3])), gripper=close),
    )
    above = raised(release, _CARRY_Z - float(release[2, 3]))
    absolute = (
        Waypoint(T=above, gripper=close),
        Waypoint(T=release, gripper=close),
        Waypoint(T=release, gripper=_OPEN),
        Waypoint(T=above, gripper=_OPEN),
    )
    return Skill(name=name, waypoints=(*relative, *absolute), relative_count=len(relative))


def targets(skill: Skill, T_trigger: Array) -> list[Array]:
    """Tool centre points (4, 4) of all waypoints for a skill that is triggered at a pose."""
    T_origin = skill.waypoints[0].T
    moved = T_trigger @ np.linalg.inv(T_origin)
    return [moved @ w.T if i < skill.relative_count else w.T for i, w in enumerate(skill.waypoints)]


def displacement(task: str, rng: np.random.Generator) -> Pose:
    """Where the part is put so that a grasp at its socket closes on nothing, as seen from its seat.

    The processor lies flat on the table beside its socket, the memory card stands further along its slot.

    Raises:
        SceneError: a task without a socket.
    """
    if task not in PARTS:
        raise SceneError(
            f"only the part of {' and '.join(PARTS)} can be displaced from its socket, not that of '{task}'"
        )
    side = float(rng.choice([-1.0, 1.0]))
    if task == "extract_ram":
        return upright(0.0, side * float(rng.uniform(0.040, 0.045)), 0.0)
    x, y, yaw = (float(v) for v in rng.uniform([-0.012, 0.068, -0.25], [0.012, 0.080, 0.25]))
    return upright(x, side * y, 0.0, yaw)
