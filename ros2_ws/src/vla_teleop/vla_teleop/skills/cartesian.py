# SPDX-License-Identifier: Apache-2.0

"""A path of the tool through poses in time: straight stretches with trapezoidal speed, corners rounded by parabolas.

Translation and rotation share one progress, so they start and end together; a rotation goes the shorter way round about a
fixed axis (geodesic), whichever way its rotation vectors are written. Progress is counted in metres: a stretch is as long as
its translation, or as its rotation times linear over angular speed, if that is more. A corner is left `radius` before the
waypoint and joined `radius` after it at the same speed, with constant acceleration in between (linear segments with
parabolic blends, as in Craig, "Introduction to Robotics", 7.3); so the tool stays within `radius` of the waypoint and no
acceleration exceeds the limit. Radius 0 means that the tool stops at the waypoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_vector, rotation_vector

Array = NDArray[np.float64]
_NOTHING_M = 1e-9  # a stretch shorter than this is no motion
_NOTHING_S = 1e-6  # and a piece shorter than this: trajectories count in nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Limits of the tool's motion: [m/s], [m/s^2], [rad/s], [rad/s^2]."""

    linear: float
    linear_acceleration: float
    angular: float
    angular_acceleration: float

    def scaled(self, factor: float) -> Speeds:
        """Return the limits of the same motion in 1/factor of the time."""
        return Speeds(
            linear=self.linear * factor,
            linear_acceleration=self.linear_acceleration * factor**2,
            angular=self.angular * factor,
            angular_acceleration=self.angular_acceleration * factor**2,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Leg:
    """A straight stretch from pose `T`: `along` [m] and `turn` [rad, axes of the tool] per metre of progress."""

    T: Array
    length: float
    along: Array
    turn: Array
    acceleration: float

    def at(self, progress: float) -> tuple[Array, Array]:
        return self.T[:3, 3] + self.along * progress, self.T[:3, :3] @ rotation_from_vector(self.turn * progress)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """Motion with constant acceleration of the progress: on a leg, or through the corner before `after`."""

    duration: float
    leg: _Leg
    start: float
    speed: float
    acceleration: float = 0.0
    after: _Leg | None = None
    radius: float = 0.0

    def at(self, t: float) -> tuple[Array, Array]:
        """Return the pose ``(4, 4)`` and the twist ``(6,)`` [m/s, rad/s] in the frame of the path."""
        if self.after is None:
            position, rotation = self.leg.at(self.start + self.speed * t + 0.5 * self.acceleration * t * t)
            speed = self.speed + self.acceleration * t
            twist = np.concatenate([self.leg.along * speed, rotation @ self.leg.turn * speed])
            return pose_matrix(position, rotation), twist
        return self._corner(self.after, t)

    def _corner(self, after: _Leg, t: float) -> tuple[Array, Array]:
        s = t / self.duration
        before, beyond = -self.radius * (1.0 - s) ** 2, self.radius * s**2
        turn = before * self.leg.turn + beyond * after.turn
        rotation = after.T[:3, :3] @ rotation_from_vector(turn)
        rate = self.speed * ((1.0 - s) * self.leg.turn + s * after.turn)
        position = after.T[:3, 3] + before * self.leg.along + beyond * after.along
        velocity = self.speed * ((1.0 - s) * self.leg.along + s * after.along)
        return pose_matrix(position, rotation), np.concatenate([velocity, rotation @ _right_jacobian(turn) @ rate])


class CartesianPath:
    """The motion through `poses`.

    Args:
        poses: At least one pose ``(4, 4)``; the motion starts at rest at the first and ends at rest at the last.
        radii: One per pose [m]; those of the first and the last pose mean nothing.
        speeds: Limits.

    Attributes:
        duration: [s].
        passed: For each pose the time at which the motion is there or, at a rounded corner, nearest to it [s].
    """

    def __init__(self, poses: Sequence[Array], radii: Sequence[float], speeds: Speeds) -> None:
        self._poses = poses
        legs = [_leg(a, b, speeds) for a, b in pairwise(poses)]
        inner = [_radius(a, b, r) for a, b, r in zip(legs, legs[1:], radii[1:-1], strict=False)]
        rounded = [0.0, *inner, 0.0]
        corner = [
            0.0,
            *(_corner_speed(a, b, r, speeds) for a, b, r in zip(legs, legs[1:], inner, strict=False)),
            0.0,
        ]
        straight = [max(leg.length - rounded[i] - rounded[i + 1], 0.0) for i, leg in enumerate(legs)]
        _reachable(corner, legs, straight)
        self._pieces: list[_Piece] = []
        self.duration = 0.0
        self.passed = [0.0]
        for i, leg in enumerate(legs):
            for piece in _trapezoid(leg, rounded[i], straight[i], (corner[i], corner[i + 1]), speeds.linear):
                self._add(piece)
            self.passed.append(self.duration)
            if rounded[i + 1] > 0.0:
                turn_s = 2.0 * rounded[i + 1] / corner[i + 1]
                self.passed[-1] += turn_s / 2.0
                self._add(
                    _Piece(
                        duration=turn_s,
                        leg=leg,
                        start=0.0,
                        speed=corner[i + 1],
                        after=legs[i + 1],
                        radius=rounded[i + 1],
                    )
                )

    def _add(self, piece: _Piece) -> None:
        if piece.duration > _NOTHING_S:
            self._pieces.append(piece)
            self.duration += piece.duration

    def times(self, dt_s: float) -> Array:
        """Return times ``(K,)`` from 0 to the duration: every change of acceleration, and no step longer than `dt_s` [s]."""
        stamps: list[Array] = [np.zeros(1)]
        begin = 0.0
        for piece in self._pieces:
            steps = int(np.ceil(piece.duration / dt_s))
            stamps.append(begin + piece.duration * np.arange(1, steps + 1) / steps)
            begin += piece.duration
        return np.concatenate(stamps)

    def sample(self, times: Array) -> tuple[Array, Array]:
        """Return poses ``(K, 4, 4)`` and twists ``(K, 6)`` [m/s, rad/s], both in the frame of the poses."""
        if not self._pieces:
            return np.repeat(self._poses[-1][None], len(times), axis=0), np.zeros((len(times), 6))
        ends = np.cumsum([piece.duration for piece in self._pieces])
        index = np.minimum(np.searchsorted(ends, times), len(ends) - 1)
        parts = []
        for t, i in zip(times, index, strict=True):
            piece = self._pieces[i]
            parts.append(piece.at(float(np.clip(t - (ends[i] - piece.duration), 0.0, piece.duration))))
        poses, twists = np.stack([pose for pose, _ in parts]), np.stack([twist for _, twist in parts])
        return poses, twists


def _leg(start: Array, end: Array, speeds: Speeds) -> _Leg:
    move = end[:3, 3] - start[:3, 3]
    turn = rotation_vector(start[:3, :3].T @ end[:3, :3])
    distance, angle = float(np.linalg.norm(move)), float(np.linalg.norm(turn))
    length = max(distance, angle * speeds.linear / speeds.angular)
    if length < _NOTHING_M:
        return _Leg(T=start, length=0.0, along=np.zeros(3), turn=np.zeros(3), acceleration=speeds.linear_acceleration)
    limits = [speeds.linear_acceleration * length / distance] if distance > 0.0 else []
    limits += [speeds.angular_acceleration * length / angle] if angle > 0.0 else []
    return _Leg(T=start, length=length, along=move / length, turn=turn / length, acceleration=min(limits))


def _radius(before: _Leg, after: _Leg, radius: float) -> float:
    return min(radius, before.length / 2.0, after.length / 2.0)


def _corner_speed(before: _Leg, after: _Leg, radius: float, speeds: Speeds) -> float:
    """Speed of the progress through a corner [m/s]: its constant acceleration keeps to both limits."""
    speed = speeds.linear if radius > 0.0 else 0.0
    for bend, limit in (
        (after.along - before.along, speeds.linear_acceleration),
        (after.turn - before.turn, speeds.angular_acceleration),
    ):
        size = float(np.linalg.norm(bend))
        if size > 0.0:
            speed = min(speed, float(np.sqrt(2.0 * radius * limit / size)))
    return speed


def _reachable(corner: list[float], legs: list[_Leg], straight: list[float]) -> None:
    """Lower the corner speeds until each can be reached from its neighbours."""
    for i, leg in enumerate(legs):
        corner[i + 1] = min(corner[i + 1], float(np.sqrt(corner[i] ** 2 + 2.0 * leg.acceleration * straight[i])))
    for i, leg in reversed(list(enumerate(legs))):
        corner[i] = min(corner[i], float(np.sqrt(corner[i + 1] ** 2 + 2.0 * leg.acceleration * straight[i])))


def _trapezoid(leg: _Leg, start: float, length: float, ends: tuple[float, float], top: float) -> list[_Piece]:
    """Return speeding up, cruising and slowing down on `length` metres of a leg from progress `start`."""
    if length <= 0.0:
        return []
    a, (v0, v1) = leg.acceleration, ends
    peak = min(top, float(np.sqrt(a * length + (v0 * v0 + v1 * v1) / 2.0)))
    peak = max(peak, v0, v1)
    up, down = (peak * peak - v0 * v0) / (2.0 * a), (peak * peak - v1 * v1) / (2.0 * a)
    cruise = max(length - up - down, 0.0)
    return [
        _Piece(duration=(peak - v0) / a, leg=leg, start=start, speed=v0, acceleration=a),
        _Piece(duration=cruise / peak, leg=leg, start=start + up, speed=peak),
        _Piece(duration=(peak - v1) / a, leg=leg, start=start + up + cruise, speed=peak, acceleration=-a),
    ]


def _right_jacobian(turn: Array) -> Array:
    """Return the matrix from the rate of a rotation vector to the angular velocity in the turned frame."""
    x, y, z = turn
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    square = float(turn @ turn)
    if square < 1e-8:
        first, second = 0.5 - square / 24.0, 1.0 / 6.0 - square / 120.0
    else:
        angle = float(np.sqrt(square))
        first, second = (1.0 - np.cos(angle)) / square, (angle - np.sin(angle)) / (square * angle)
    matrix: Array = np.eye(3) - first * K + second * (K @ K)
    return matrix
