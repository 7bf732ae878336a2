# SPDX-License-Identifier: Apache-2.0

"""Planner of the scripted expert: joint and gripper targets as functions of time, for the tasks with blocks.

The tool centre point follows overlapping minimum-jerk moves, so that it does not stand still above the block: a
policy that imitates pauses learns to stop there. Poses are in base_link.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim.errors import SceneError
from vla_sim.reach import Reach
from vla_sim.robot import UR5E, Robot
from vla_sim.tasks import BLOCK_TASKS, Pose

Array = NDArray[np.float64]

MAX_JOINT_SPEED: Final = 1.35  # rad/s, of the plan without noise

_KNOT_S: Final = 0.02  # spacing of the joint knots
_NOISE_S: Final = 0.1  # spacing of the noise knots
_NOISE_DECAY: Final = 0.9  # from knot to knot
# The noise is large while the tool moves freely, so that the demonstrations show the way back from where a policy may
# stray (about 10 mm), and small while it touches the block.
_NOISE_FREE: Final = 0.014  # rad, standard deviation
_NOISE_FINE: Final = 0.004  # rad, standard deviation
_NOISE_FADE_S: Final = 0.5

_LIFT_Z: Final = 0.16  # height of the tool centre point after lifting
_CARRY_Z: Final = 0.17
_RELEASE_HEIGHT: Final = c.BLOCK_HALF + 0.022  # tool above the floor of the bin; finger tips stay above its walls
_CLOSE_S: Final = 0.5
_OPEN_S: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Part of a plan; labels of the recording. Until `free_until_s` nothing is near the tool."""

    name: str
    start_s: float
    free_until_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """Minimum-jerk change of one tool coordinate (x, y, z, yaw: 0..3) by `change` between two times."""

    coordinate: int
    start_s: float
    end_s: float
    change: float


def smooth_step(u: Array) -> Array:
    """Minimum-jerk time law: 0 to 1 for u from 0 to 1, at rest at both ends, clipped outside."""
    v = np.clip(u, 0.0, 1.0)
    law: Array = v**3 * (10.0 - 15.0 * v + 6.0 * v**2)
    return law


class Plan:
    """Targets of one episode as functions of the time since its start (s); held before 0 and after the end."""

    def __init__(
        self, times: Array, joints: Array, noise: Array, gripper_moves: tuple[_Move, ...], phases: tuple[Phase, ...]
    ) -> None:
        self._times, self._joints, self._noise = times, joints, noise
        self._slopes = np.gradient(joints, times, axis=0)
        self._gripper_moves = gripper_moves
        self.phases = phases
        self.duration_s = float(times[-1])

    def arm(self, t: float) -> Array:
        """Clean joint target (k,) in rad: the label."""
        s = min(max(t, 0.0), self.duration_s)
        i = min(int(np.searchsorted(self._times, s, side="right")) - 1, len(self._times) - 2)
        return _hermite(self._times[i : i + 2], self._joints[i : i + 2], self._slopes[i : i + 2], s)

    def executed(self, t: float) -> Array:
        """Joint target (k,) in rad to send: the clean one plus slowly varying noise, so that data show recoveries."""
        knots = len(self._noise)
        u = min(max(t / _NOISE_S, 0.0), knots - 1.0)
        i = min(int(u), knots - 2)
        blend = float(smooth_step(np.array(u - i)))
        noise: Array = (1.0 - blend) * self._noise[i] + blend * self._noise[i + 1]
        return self.arm(t) + noise

    def gripper(self, t: float) -> float:
        """Knuckle joint target in rad."""
        return float(sum(_value(m, np.array(t)) for m in self._gripper_moves))

    def phase(self, t: float) -> str:
        """Name of the phase at a time."""
        return [p.name for p in self.phases if p.start_s <= max(t, 0.0)][-1]


def _hermite(times: Array, values: Array, slopes: Array, t: float) -> Array:
    h = times[1] - times[0]
    u = (t - times[0]) / h
    a, b = (1 + 2 * u) * (1 - u) ** 2, u**2 * (3 - 2 * u)
    return np.asarray(a * values[0] + b * values[1] + h * u * (1 - u) * ((1 - u) * slopes[0] - u * slopes[1]))


def _value(move: _Move, t: Array) -> Array:
    return move.change * smooth_step((t - move.start_s) / (move.end_s - move.start_s))


class Expert:
    """Plans episodes from the truth about the scene.

    Args:
        task: one of `tasks.BLOCK_TASKS`.
        rng_seed: seed of the noise on the executed targets.
        noise: whether `Plan.executed` differs from `Plan.arm`.
        robot: who does it. Plans are made in the size of the UR5e's scene.

    Raises:
        SceneError: another task.
    """

    def __init__(self, task: str, rng_seed: int, noise: bool = True, robot: Robot = UR5E) -> None:
        if task not in BLOCK_TASKS:
            raise SceneError(f"the scripted expert does {', '.join(BLOCK_TASKS)}, not '{task}'")
        self.task = task
        self._rng = np.random.default_rng(rng_seed)
        self._with_noise = noise
        self._reach, self._scale = Reach(robot), robot.scale

    def plan(self, q0: Array, object_pose: Pose, target_pose: Pose) -> Plan:
        """Plan from the joint angles q0 (6,) to the end of the task.

        Args:
            q0: present joint angles in rad.
            object_pose: the block that is meant, in base_link.
            target_pose: centre of the bin floor, in base_link; not used by lift.

        Raises:
            KinematicsError: the arm does not reach a pose on the way.
        """
        start = self._here(q0)
        object_pose, target_pose = self._small(object_pose), self._small(target_pose)
        moves, gripper, phases, end = _approach(start, object_pose)
        end = self._rest(end, object_pose, target_pose, moves, gripper, phases)
        return self._along(q0, start, moves, gripper, phases, end)

    def grasp(self, q0: Array, object_pose: Pose) -> Plan:
        """Plan from the joint angles q0 (6,) in rad to the closed gripper around an object.

        Raises:
            KinematicsError: the arm does not reach a pose on the way.
        """
        start = self._here(q0)
        return self._along(q0, start, *_approach(start, self._small(object_pose)))

    def after_grasp(self, q0: Array, target_pose: Pose) -> Plan:
        """Plan the rest of the task from the joint angles q0 (6,) in rad, at which the gripper holds the object.

        Raises:
            KinematicsError: the arm does not reach a pose on the way.
        """
        start = self._here(q0)
        held = Pose(xyz=(float(start[0]), float(start[1]), float(start[2])), xyzw=(0.0, 0.0, 0.0, 1.0))
        moves: list[_Move] = []
        gripper = [_Move(coordinate=0, start_s=-2.0, end_s=-1.0, change=c.KNUCKLE_CLOSED)]  # closed all the time
        phases: list[Phase] = []
        end = self._rest(0.0, held, self._small(target_pose), moves, gripper, phases)
        return self._along(q0, start, moves, gripper, phases, end)

    def _here(self, q0: Array) -> Array:
        """Tool centre point [m of the UR5e's scene] and yaw [rad] (4,) at joint angles."""
        return np.array([*(self._reach.tcp(q0) / self._scale), self._reach.yaw(q0)])

    def _small(self, pose: Pose) -> Pose:
        """A pose in the size of the UR5e's scene."""
        x, y, z = (v / self._scale for v in pose.xyz)
        return replace(pose, xyz=(x, y, z))

    def _rest(
        self, t: float, held: Pose, target: Pose, moves: list[_Move], gripper: list[_Move], phases: list[Phase]
    ) -> float:
        """Add what comes after the grasp, from time t on; returns the end time."""
        if self.task != "lift":
            return _place(t, held, target, moves, gripper, phases)
        phases.append(Phase(name="lift", start_s=t))
        moves.append(_Move(coordinate=2, start_s=t, end_s=t + 0.9, change=_LIFT_Z - held.xyz[2]))
        return t + 1.6

    def _along(
        self, q0: Array, start: Array, moves: list[_Move], gripper: list[_Move], phases: list[Phase], end: float
    ) -> Plan:
        times, joints = _joint_path(self._reach, q0, start, moves, end)
        return Plan(times, joints, self._noise(float(times[-1]), phases), tuple(gripper), tuple(phases))

    def _noise(self, duration_s: float, phases: list[Phase]) -> Array:
        """Noise knots (K, k) in rad: first-order autoregressive, of zero at the start."""
        times: Array = np.arange(np.ceil(duration_s / _NOISE_S) + 2, dtype=np.float64) * _NOISE_S
        count = self._reach.count
        noise = np.zeros((len(times), count))
        if not self._with_noise:
            return noise
        kick = np.sqrt(1.0 - _NOISE_DECAY**2)
        for i in range(1, len(times)):
            noise[i] = _NOISE_DECAY * noise[i - 1] + kick * self._rng.standard_normal(count)
        free: Array = np.sum([_freedom(phase, times) for phase in phases], axis=0)
        scaled: Array = noise * (_NOISE_FINE + (_NOISE_FREE - _NOISE_FINE) * free)[:, None]
        return scaled


def _freedom(phase: Phase, times: Array) -> Array:
    """1 while the tool moves freely in the phase, fading to 0 at both ends; 0 outside."""
    if phase.free_until_s is None:
        return np.zeros_like(times)
    rise = smooth_step((times - phase.start_s) / _NOISE_FADE_S)
    return rise * smooth_step((phase.free_until_s - times) / _NOISE_FADE_S)


def _approach(start: Array, block: Pose) -> tuple[list[_Move], list[_Move], list[Phase], float]:
    """Moves onto the block and the grip; returns moves, gripper moves, phases and the end time."""
    quarter = np.pi / 2
    turn = block.yaw - start[3]
    turn -= quarter * np.round(turn / quarter)  # the block looks the same after a quarter turn
    moves = [
        _Move(coordinate=0, start_s=0.0, end_s=1.3, change=block.xyz[0] - start[0]),
        _Move(coordinate=1, start_s=0.0, end_s=1.3, change=block.xyz[1] - start[1]),
        _Move(coordinate=3, start_s=0.0, end_s=1.2, change=float(turn)),
        _Move(coordinate=2, start_s=0.4, end_s=1.9, change=block.xyz[2] - start[2]),
    ]
    close = _Move(coordinate=0, start_s=1.75, end_s=1.75 + _CLOSE_S, change=c.KNUCKLE_CLOSED)
    phases = [Phase(name="approach", start_s=0.0, free_until_s=1.45), Phase(name="grasp", start_s=close.start_s)]
    return moves, [close], phases, close.end_s


def _place(t: float, block: Pose, target: Pose, moves: list[_Move], gripper: list[_Move], phases: list[Phase]) -> float:
    """Add carrying, releasing and retreating after time t; returns the end time."""
    release_z = target.xyz[2] + _RELEASE_HEIGHT
    phases.append(Phase(name="carry", start_s=t, free_until_s=t + 2.1))
    moves += [
        _Move(coordinate=2, start_s=t, end_s=t + 1.0, change=_CARRY_Z - block.xyz[2]),
        _Move(coordinate=0, start_s=t + 0.4, end_s=t + 2.3, change=target.xyz[0] - block.xyz[0]),
        _Move(coordinate=1, start_s=t + 0.4, end_s=t + 2.3, change=target.xyz[1] - block.xyz[1]),
        _Move(coordinate=2, start_s=t + 1.5, end_s=t + 2.7, change=release_z - _CARRY_Z),
    ]
    t += 2.6
    phases.append(Phase(name="release", start_s=t))
    gripper.append(_Move(coordinate=0, start_s=t, end_s=t + _OPEN_S, change=-c.KNUCKLE_CLOSED))
    t += _OPEN_S
    phases.append(Phase(name="retreat", start_s=t))
    moves.append(_Move(coordinate=2, start_s=t, end_s=t + 1.0, change=_CARRY_Z - release_z))
    return t + 1.4


def _joint_path(reach: Reach, q0: Array, start: Array, moves: list[_Move], end: float) -> tuple[Array, Array]:
    """Times (K,) and joint angles (K, k) of the tool path; slowed down as a whole where a joint would be too fast.

    The start pose may be tilted by the noise on the joints; the tilt is taken out during the approach.
    """
    times: Array = np.arange(round(end / _KNOT_S) + 1, dtype=np.float64) * _KNOT_S
    path = np.tile(start, (len(times), 1))
    for move in moves:
        path[:, move.coordinate] += _value(move, times)
    joints = np.empty((len(times), reach.count))
    seed = np.asarray(q0, dtype=np.float64)
    for i, (x, y, z, yaw) in enumerate(path):
        seed = joints[i] = reach.down(reach.robot.scale * np.array([x, y, z]), yaw, seed)
    offset = np.asarray(q0) - joints[0]
    joints += offset * (1.0 - smooth_step(times / 1.0))[:, None]
    fastest = float(np.abs(np.diff(joints, axis=0)).max()) / _KNOT_S
    return times * max(1.0, fastest / MAX_JOINT_SPEED), joints
