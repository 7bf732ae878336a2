# SPDX-License-Identifier: Apache-2.0

"""Drives a cell along waypoints without ROS: straight lines of the tool centre point, the gripper between them.

For measuring how a skill and a scene get on with each other; the arm is at rest wherever the gripper moves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_rpy, rotation_from_vector, rotation_vector

from vla_sim import constants as c
from vla_sim import kinematics, skills
from vla_sim.cell import Cell
from vla_sim.expert import smooth_step
from vla_sim.parts import PARTS

Array = NDArray[np.float64]

_SPEED: Final = 0.1  # m/s
_TURN: Final = 0.5  # rad/s
_SHORTEST_S: Final = 0.2
_PLAN_STEPS: Final = 10  # control cycles between two solutions of the inverse kinematics
_SETTLE_STEPS: Final = 50
_GRIPPER_STEPS: Final = 650


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A rehearsed skill: what the gripper reported at the verification waypoint, and how the episode ended."""

    reading: float
    held: bool
    placed: bool


class Rehearsal:
    """Moves the arm of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def tcp(self) -> Array:
        """Tool centre point (4, 4) in base_link, as measured."""
        return np.asarray(kinematics.forward(self.cell.arm_state()[0]) @ skills.T_TOOL_TCP)

    def go(self, T: Array) -> None:
        """Move the tool centre point straight to a pose (4, 4) in base_link, and settle.

        Raises:
            KinematicsError: a pose on the way is out of reach.
        """
        begin, seed = self.tcp(), self.cell.arm_state()[0]
        turn = rotation_vector(begin[:3, :3].T @ T[:3, :3])
        way = T[:3, 3] - begin[:3, 3]
        seconds = max(1.5 * np.linalg.norm(way) / _SPEED, 1.5 * np.linalg.norm(turn) / _TURN, _SHORTEST_S)
        count = int(seconds / (c.STEP_NS * 1e-9 * _PLAN_STEPS)) + 1
        for u in smooth_step(np.arange(1, count + 1) / count):
            pose = pose_matrix(begin[:3, 3] + u * way, begin[:3, :3] @ rotation_from_vector(u * turn))
            goal = kinematics.inverse(pose @ np.linalg.inv(skills.T_TOOL_TCP), seed)
            for i in range(_PLAN_STEPS):
                self.cell.set_arm_target(seed + (goal - seed) * (i + 1) / _PLAN_STEPS)
                self.cell.step()
            seed = goal
        self.cell.step(_SETTLE_STEPS)

    def grip(self, number: float) -> None:
        """Move the gripper to a number of a skill file at half speed; it stops on what is between the fingers."""
        self.cell.set_gripper_target(skills.knuckle(number), c.GRIPPER_MAX_SPEED * 128 / 255)
        self.cell.step(_GRIPPER_STEPS)

    def reading(self) -> float:
        """Gripper position in the numbers of skill files."""
        return skills.grip_number(self.cell.gripper_state()[0])

    def run(self, skill: skills.Skill, T_trigger: Array, *, resume: bool = False) -> Outcome:
        """Run a skill from a trigger pose (4, 4), or only its absolute part; it ends where the gripper holds nothing."""
        poses = skills.targets(skill, T_trigger)
        first = skill.relative_count if resume else 0
        reading, number = self.reading(), float("nan")
        for waypoint, T in list(zip(skill.waypoints, poses, strict=True))[first:]:
            if waypoint.gripper != number:
                number = waypoint.gripper
                self.grip(number)
            self.go(T)
            if waypoint.verify:
                reading = self.reading()
                if reading >= skills.THRESHOLD[skill.name]:
                    return Outcome(reading=reading, held=False, placed=False)
        self.cell.step(_SETTLE_STEPS)
        return Outcome(reading=reading, held=True, placed=self.cell.task_state().success)


AXES: Final = ("x", "y", "z", "roll", "pitch", "yaw")


def off_target(T: Array, axis: str, amount: float) -> Array:
    """The pose (4, 4) off by `amount` [m or rad] along or about an axis of the tool centre point."""
    offset = np.zeros(6)
    offset[AXES.index(axis)] = amount
    return np.asarray(T @ pose_matrix(offset[:3], rotation_from_rpy(offset[3:])))


def attempts(name: str, seeds: Sequence[int], offsets: Sequence[tuple[str, float]]) -> Iterator[Outcome]:
    """Rehearse a skill for every seed and offset of the trigger pose: all offsets of the first seed, then the next."""
    task = skills.TASK_OF_SKILL[name]
    cell, skill = Cell({}, seeds[0], task), skills.build(name)
    for seed in seeds:
        for axis, amount in offsets:
            cell.reset(seed)
            cell.step(_SETTLE_STEPS)
            T = skills.trigger_pose(PARTS[task], cell.task_state().object_pose)
            rehearsal = Rehearsal(cell)
            rehearsal.go(off_target(T, axis, amount))
            yield rehearsal.run(skill, rehearsal.tcp())
