# SPDX-License-Identifier: Apache-2.0

"""Tasks of the cell: start state by seed and success conditions.

Poses are in base_link; quaternions are (x, y, z, w).
"""

from dataclasses import dataclass
from math import cos, hypot, sin
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.errors import SceneError

Array = NDArray[np.float64]
BinMode = Literal["fixed", "moving"]

TASKS: Final = ("lift", "pick_place")
INSTRUCTIONS: Final = {"lift": "pick up the red block", "pick_place": "put the red block into the green bin"}

# Steps of the additive recurrence with the plastic number, in units of 2**-64 (the "R2" low-discrepancy sequence).
_SPREAD_X: Final = round(2**64 / 1.324717957244746)
_SPREAD_Y: Final = round(2**64 / 1.324717957244746**2)

_REST_SPEED: Final = 0.02  # m/s
_OPEN_KNUCKLE: Final = 0.1  # rad; below this the gripper counts as open


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Position (m) and quaternion (x, y, z, w) in base_link."""

    xyz: tuple[float, float, float]
    xyzw: tuple[float, float, float, float]

    @property
    def yaw(self) -> float:
        """Rotation about z in rad."""
        x, y, z, w = self.xyzw
        return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """Start of an episode: joint angles (6,) in rad, block pose and bin pose (centre of its floor)."""

    q: Array
    block: Pose
    bin: Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Truth about the running episode; for the scripted expert and for scoring only."""

    task: str
    seed: int
    object_pose: Pose
    target_pose: Pose
    tool_distance: float
    grasped: bool
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the success conditions need of the physics, at one moment."""

    time_ns: int
    block: Pose
    bin: Pose
    block_speed: float
    tool_distance: float
    grasped: bool
    knuckle: float


def check_task(task: str) -> str:
    """Return the task.

    Raises:
        SceneError: the cell has no such task.
    """
    if task not in TASKS:
        raise SceneError(f"unknown task '{task}' of the simulated cell; it has: {', '.join(TASKS)}")
    return task


def upright(x: float, y: float, z: float, yaw: float = 0.0) -> Pose:
    """Pose at (x, y, z) turned by yaw about z."""
    return Pose(xyz=(x, y, z), xyzw=(0.0, 0.0, sin(yaw / 2), cos(yaw / 2)))


def start_state(seed: int, *, bin_mode: BinMode = "fixed", yaw_range: float = 0.0) -> StartState:
    """Start state of a seed: the same seed gives the same block, whatever the other options are.

    Block positions of any run of consecutive seeds cover the range evenly, so that a few dozen demonstrations leave
    no part of the table unseen.

    Args:
        seed: 0 or greater.
        bin_mode: "fixed", or "moving" for another bin position in each episode.
        yaw_range: largest turn of the block about z, either side, in rad.
    """
    if seed < 0:
        raise SceneError(f"seed {seed} of the simulated cell must not be negative")
    rng = np.random.default_rng(seed)
    x, y = _spread(seed, _SPREAD_X, c.BLOCK_X), _spread(seed, _SPREAD_Y, c.BLOCK_Y)
    noise = rng.uniform(-c.START_NOISE, c.START_NOISE, 6)
    yaw = yaw_range * rng.uniform(-1.0, 1.0)
    shift = c.BIN_SHIFT * rng.uniform(-1.0, 1.0, 2) if bin_mode == "moving" else np.zeros(2)
    return StartState(
        q=kinematics.home() + noise,
        block=upright(x, y, c.BLOCK_HALF, yaw),
        bin=upright(c.BIN_CENTRE[0] + float(shift[0]), c.BIN_CENTRE[1] + float(shift[1]), c.BIN_FLOOR),
    )


def _spread(seed: int, step: int, span: tuple[float, float]) -> float:
    """Element `seed` of a low-discrepancy sequence over the span; the first one is its middle."""
    return span[0] + (span[1] - span[0]) * ((2**63 + seed * step) % 2**64 / 2**64)


class SuccessMonitor:
    """Watches the facts of one episode and says whether the success condition of the task holds now.

    lift: at least 5 cm of air under the block, with both fingers on it, for 0.5 s without a break.
    pick_place: the block rests inside the bin, the gripper is open and the tool has retreated.
    """

    def __init__(self, task: str) -> None:
        self.task = check_task(task)
        self._held_since_ns: int | None = None

    def update(self, facts: Facts) -> bool:
        """Take the facts of a later moment; True while the task is done."""
        if self.task == "lift":
            return self._lifted(facts)
        return _in_bin(facts) and facts.knuckle < _OPEN_KNUCKLE and facts.tool_distance > c.RETREAT_DISTANCE

    def _lifted(self, facts: Facts) -> bool:
        if not facts.grasped or facts.block.xyz[2] - c.BLOCK_HALF < c.LIFT_HEIGHT:
            self._held_since_ns = None
            return False
        if self._held_since_ns is None:
            self._held_since_ns = facts.time_ns
        return facts.time_ns - self._held_since_ns >= c.LIFT_HOLD_NS


def _in_bin(facts: Facts) -> bool:
    """Whether the block lies still on the floor of the bin, its centre inside the walls."""
    dx, dy, dz = (b - t for b, t in zip(facts.block.xyz, facts.bin.xyz, strict=True))
    inside = max(abs(dx), abs(dy)) < c.BIN_INNER_HALF and hypot(dx, dy) < c.BIN_INNER_HALF
    return inside and abs(dz - c.BLOCK_HALF) < 0.005 and facts.block_speed < _REST_SPEED
