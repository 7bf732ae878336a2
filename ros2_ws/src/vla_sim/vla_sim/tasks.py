# SPDX-License-Identifier: Apache-2.0

"""Tasks of the cell: start state by seed and success conditions.

Poses are in base_link; quaternions are (x, y, z, w).
"""

from dataclasses import dataclass, replace
from math import cos, hypot, sin
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.errors import SceneError
from vla_sim.parts import PARTS, Part

Array = NDArray[np.float64]
BinMode = Literal["fixed", "moving"]
Quaternion = tuple[float, float, float, float]

PICK_TASKS: Final = ("pick", "pick_rotated", "pick_which")
BLOCK_TASKS: Final = ("lift", "pick_place", *PICK_TASKS)
SINGLE_BLOCK_TASKS: Final = ("lift", "pick_place", "pick", "pick_rotated")
EXTRACTION_TASKS: Final = ("extract_cpu", "extract_ram")
TASKS: Final = (*BLOCK_TASKS, *EXTRACTION_TASKS)
INSTRUCTIONS: Final = {
    "lift": "pick up the red block",
    "pick_place": "put the red block into the green bin",
    "pick": "put the red block into the green bin",
    "pick_rotated": "put the red block into the green bin",
    "pick_which": "put the {colour} block into the green bin",
    "extract_cpu": "take the yellow processor out of its socket and put it into the blue tray",
    "extract_ram": "take the green memory card out of its slot and put it into the blue slot",
}

COLOURS: Final = ("red", "blue")  # of the two blocks of pick_which

# Steps of the additive recurrence with the plastic number, in units of 2**-64 (the "R2" low-discrepancy sequence).
_SPREAD_X: Final = round(2**64 / 1.324717957244746)
_SPREAD_Y: Final = round(2**64 / 1.324717957244746**2)
_SPREAD_YAW: Final = round(2**64 / 1.618033988749895)  # golden ratio

_STATION_SEEDS: Final = 1_000_003  # between two stations of an episode
_REST_SPEED: Final = 0.02  # m/s
_MAX_TILT: Final = 0.4  # rad; a card that leans on its slot still counts
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
    """Start of an episode.

    Attributes:
        q: joint angles (6,) in rad.
        block: the block that the sentence names, or the part that is to be extracted.
        bin: centre of the bin's floor, or of the place of the part, on the table top.
        socket: centre of the part's socket, on the table top; None in a block task.
        other: the block that the sentence does not name; None where there is one block.
        colour: colour of `block`.
    """

    q: Array
    block: Pose
    bin: Pose
    socket: Pose | None = None
    other: Pose | None = None
    colour: str = COLOURS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Truth about the running episode; for the scripted expert and for scoring only.

    `object_pose` is the block that the sentence names, or the part, `target_pose` the bin's floor or, of a part, its seat in the place.
    """

    task: str
    seed: int
    object_pose: Pose
    target_pose: Pose
    tool_distance: float
    grasped: bool
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the success conditions need of the physics, at one moment, about one block or part and its target."""

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
    _check_seed(seed)
    return _block_start(seed, np.random.default_rng(seed), yaw_range, c.BIN_SHIFT if bin_mode == "moving" else 0.0)


def _block_start(seed: int, rng: np.random.Generator, yaw_range: float, bin_shift: float) -> StartState:
    x, y = _spread(seed, _SPREAD_X, c.BLOCK_X), _spread(seed, _SPREAD_Y, c.BLOCK_Y)
    noise = rng.uniform(-c.START_NOISE, c.START_NOISE, 6)
    yaw = yaw_range * rng.uniform(-1.0, 1.0)
    shift = bin_shift * rng.uniform(-1.0, 1.0, 2)
    return StartState(
        q=kinematics.home() + noise,
        block=upright(x, y, c.BLOCK_HALF, yaw),
        bin=upright(c.BIN_CENTRE[0] + float(shift[0]), c.BIN_CENTRE[1] + float(shift[1]), c.BIN_FLOOR),
    )


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise SceneError(f"seed {seed} of the simulated cell must not be negative")


def pick_start(task: str, seed: int) -> StartState:
    """Start state of a seed of a pick task.

    pick: the block of `start_state`, the bin stands still. pick_rotated: the block turns by up to 29 degrees either side,
    the bin moves by up to 4 cm in x and y. pick_which: a red and a blue block; the sentence names red and blue in turns,
    and which of the two places is the named one's is drawn, so that neither place nor colour tells what is meant.

    Raises:
        SceneError: negative seed.
    """
    _check_seed(seed)
    rng = np.random.default_rng(seed)
    if task == "pick_rotated":
        return _block_start(seed, rng, c.PICK_YAW, c.PICK_BIN_SHIFT)
    start = _block_start(seed, rng, 0.0, 0.0)
    if task != "pick_which":
        return start
    places = [start.block, _apart_from(start.block, rng)]
    named = int(rng.integers(2))
    return replace(start, block=places[named], other=places[1 - named], colour=COLOURS[seed % 2])


def _apart_from(block: Pose, rng: np.random.Generator) -> Pose:
    """A place of the range that is far enough from a block for an open finger between the two."""
    while True:
        x, y = rng.uniform(*c.BLOCK_X), rng.uniform(*c.BLOCK_Y)
        if hypot(x - block.xyz[0], y - block.xyz[1]) >= c.BLOCK_GAP:
            return upright(float(x), float(y), c.BLOCK_HALF)


def station_seed(seed: int, index: int) -> int:
    """Seed of the station number `index` in an episode: its block lies elsewhere than those of the others."""
    return seed + _STATION_SEEDS * index


def instruction(task: str, seed: int) -> str:
    """The sentence of an episode; only that of pick_which depends on the seed."""
    return INSTRUCTIONS[task].format(colour=COLOURS[seed % 2])


def swapped(task: str, seed: int) -> str:
    """The sentence that names the other block of pick_which.

    Raises:
        SceneError: a task with one block.
    """
    if task != "pick_which":
        raise SceneError(f"task '{task}' has one block, so its sentence cannot be swapped; use task pick_which")
    return INSTRUCTIONS[task].format(colour=COLOURS[1 - seed % 2])


def _spread(seed: int, step: int, span: tuple[float, float]) -> float:
    """Element `seed` of a low-discrepancy sequence over the span; the first one is its middle."""
    return span[0] + (span[1] - span[0]) * ((2**63 + seed * step) % 2**64 / 2**64)


def extraction_start(task: str, seed: int) -> StartState:
    """Start state of a seed of an extraction task: the socket moves and turns, the place stays where it is.

    Raises:
        SceneError: negative seed.
    """
    base = start_state(seed)
    x, y = _spread(seed, _SPREAD_X, c.SOCKET_X), _spread(seed, _SPREAD_Y, c.SOCKET_Y)
    yaw = _spread(seed, _SPREAD_YAW, (-c.SOCKET_YAW, c.SOCKET_YAW))
    return StartState(
        q=base.q,
        block=upright(x, y, PARTS[task].seat_z, yaw),
        bin=upright(*c.PLACE_CENTRE, 0.0),
        socket=upright(x, y, 0.0, yaw),
    )


class SuccessMonitor:
    """Watches the facts of one episode and says whether the success condition of the task holds now.

    lift: at least 5 cm of air under the block, with both fingers on it, for 0.5 s without a break.
    pick_place: the block rests inside the bin, the gripper is open and the tool has retreated. The pick tasks: the
    same, and the block's centre is at most 2.5 cm from the bin's.
    extract_*: the part rests upright in its place, the gripper is open and does not touch it.
    """

    def __init__(self, task: str) -> None:
        self.task = check_task(task)
        self._held_since_ns: int | None = None

    def update(self, facts: Facts) -> bool:
        """Take the facts of a later moment; True while the task is done."""
        if self.task == "lift":
            return self._lifted(facts)
        if self.task in PARTS:
            return placed(PARTS[self.task], facts) and facts.knuckle < _OPEN_KNUCKLE and not facts.grasped
        radius = c.PICK_RADIUS if self.task in PICK_TASKS else c.BIN_INNER_HALF
        return _in_bin(facts, radius) and facts.knuckle < _OPEN_KNUCKLE and facts.tool_distance > c.RETREAT_DISTANCE

    def _lifted(self, facts: Facts) -> bool:
        if not facts.grasped or facts.block.xyz[2] - c.BLOCK_HALF < c.LIFT_HEIGHT:
            self._held_since_ns = None
            return False
        if self._held_since_ns is None:
            self._held_since_ns = facts.time_ns
        return facts.time_ns - self._held_since_ns >= c.LIFT_HOLD_NS


def placed(part: Part, facts: Facts) -> bool:
    """Whether the part lies still and upright in its place, within the part's tolerance."""
    offset = relative(facts.bin, facts.block)
    x, y, z = offset.xyz
    near = all(abs(v) <= limit for v, limit in zip((x, y, z - part.seat_z), part.tolerance, strict=True))
    return near and tilt(facts.block) < _MAX_TILT and facts.block_speed < _REST_SPEED


def tilt(pose: Pose) -> float:
    """Angle in rad between the z axes of the pose and of base_link."""
    x, y, _, _ = pose.xyzw
    return float(np.arccos(np.clip(1 - 2 * (x * x + y * y), -1.0, 1.0)))


def relative(frame: Pose, pose: Pose) -> Pose:
    """The pose as seen from an upright frame."""
    dx, dy, dz = (p - f for p, f in zip(pose.xyz, frame.xyz, strict=True))
    co, si = cos(frame.yaw), sin(frame.yaw)
    return Pose(
        xyz=(co * dx + si * dy, -si * dx + co * dy, dz), xyzw=_times(upright(0, 0, 0, -frame.yaw).xyzw, pose.xyzw)
    )


def compose(frame: Pose, pose: Pose) -> Pose:
    """The pose, given as seen from an upright frame, in base_link; inverse of `relative`."""
    x, y, z = pose.xyz
    co, si = cos(frame.yaw), sin(frame.yaw)
    return Pose(
        xyz=(frame.xyz[0] + co * x - si * y, frame.xyz[1] + si * x + co * y, frame.xyz[2] + z),
        xyzw=_times(frame.xyzw, pose.xyzw),
    )


def _times(a: Quaternion, b: Quaternion) -> Quaternion:
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def _in_bin(facts: Facts, radius: float) -> bool:
    """Whether the block lies still on the floor of the bin, its centre within `radius` [m] of the bin's."""
    dx, dy, dz = (b - t for b, t in zip(facts.block.xyz, facts.bin.xyz, strict=True))
    inside = hypot(dx, dy) < radius
    return inside and abs(dz - c.BLOCK_HALF) < 0.005 and facts.block_speed < _REST_SPEED
