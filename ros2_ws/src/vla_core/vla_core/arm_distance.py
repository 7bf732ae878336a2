# SPDX-License-Identifier: Apache-2.0

"""How near the links of two arms come to each other along a command.

Every link is a capsule: a line with a radius. The distance of two lines is that of C. Ericson, Real-Time Collision Detection
(2005), section 5.1.9. Between two waypoints all joints move in proportion; a point of a link then goes no further than the sum
of each joint's turn times its distance from that joint, so the distance on the way is bounded by those at both ends, and the
way is halved until the bound is clear: F. Schwarzer, M. Saha, J.-C. Latombe, "Adaptive dynamic collision checking for single
and multiple articulated robots in complex environments", IEEE Transactions on Robotics 21 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_core.kinematics import joint_frames, pose_matrix, rotation_from_rpy

if TYPE_CHECKING:
    from vla_core.specs import ArmSpec

Array = NDArray[np.float64]
TOLERANCE_M = 0.002
"""Between two waypoints the distance is held to within this [m]; at the waypoints it is exact."""
_SLACK_M = 1e-5
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The worst place of a command.

    Attributes:
        links: Names of the two links, one of each arm.
        step: Index of the waypoint, or of the one at the end of the way where it happens.
        distance_m: Between the surfaces of the two links [m]; negative where they overlap.
        limit_m: What had to be kept [m].
        count: At how many waypoints, or on the ways to them, some pair of links is too near.
    """

    links: tuple[str, str]
    step: int
    distance_m: float
    limit_m: float
    count: int


class ArmCapsules:
    """The links of one arm in the profile's base_frame."""

    def __init__(self, arm: ArmSpec) -> None:
        """Args: arm: with kinematics and at least one link."""
        self._table, joints = arm.kinematics, arm.kinematics.joints
        self.names = tuple(link.name for link in arm.links)
        self.radii = np.array([link.radius for link in arm.links])
        # 0 is the arm's base_frame; 1 + k moves with joint k.
        self._frame = [1 + joints.index(link.joint) if link.joint else 0 for link in arm.links]
        ends = np.array([(link.start, link.end) for link in arm.links])
        self.half = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / 2.0
        self._carried = {
            frame: [i for i, of in enumerate(self._frame) if of == frame] for frame in dict.fromkeys(self._frame)
        }
        self._points = {
            frame: np.concatenate([ends[links].reshape(-1, 3), np.ones((2 * len(links), 1))], axis=1).T
            for frame, links in self._carried.items()
        }
        self._mount = pose_matrix(arm.mount_xyz, rotation_from_rpy(arm.mount_rpy))
        self._reach = self._reaches(np.linalg.norm(ends, axis=2).max(axis=1))

    def _reaches(self, own: Array) -> Array:
        """``(L, n)``: no point of the line of link l is further than this from joint j's origin [m]; 0 where j does not move it."""
        lengths = np.hypot(self._table.a, self._table.d)
        reach = np.zeros((len(own), len(lengths)))
        for i, frame in enumerate(self._frame):
            for joint in range(frame):
                reach[i, joint] = own[i] + lengths[joint:frame].sum()
        return reach

    def lines(self, q: Array) -> Array:
        """Both ends ``(T, L, 2, 3)`` [m] of every link's line at joints ``(T, n)`` [rad], in the profile's base_frame."""
        moving, still = joint_frames(self._table, q), np.broadcast_to(np.eye(4), (len(q), 4, 4))
        ends = np.empty((len(q), len(self.names), 2, 3))
        for frame, links in self._carried.items():
            poses = np.ascontiguousarray((moving[frame] if frame else still)[:, :3])
            points = (poses.reshape(-1, 4) @ self._points[frame]).reshape(len(q), 3, -1)
            ends[:, links] = points.transpose(0, 2, 1).reshape(len(q), len(links), 2, 3)
        placed: Array = ends.reshape(-1, 3) @ self._mount[:3, :3].T + self._mount[:3, 3]
        return placed.reshape(ends.shape)

    def furthest(self, moves: Array) -> Array:
        """How far ``(T, L)`` [m] no point of a link's line goes beyond, while the joints move by ``(T, n)`` [rad]."""
        far: Array = np.abs(moves) @ self._reach.T
        return far


def line_distances(first: Array, second: Array) -> Array:
    """Return the distances ``(...)`` [m] between lines.

    Args:
        first: Both ends ``(..., 2, 3)`` of lines [m]; the two may be the same point.
        second: ``(..., 2, 3)``.
    """
    p, u = first[..., 0, :], first[..., 1, :] - first[..., 0, :]
    q, v = second[..., 0, :], second[..., 1, :] - second[..., 0, :]
    r = p - q
    a = np.maximum(np.einsum("...k,...k", u, u), _TINY)
    e = np.maximum(np.einsum("...k,...k", v, v), _TINY)
    b, c, f = (np.einsum("...k,...k", x, y) for x, y in ((u, v), (u, r), (v, r)))
    s = np.clip((b * f - c * e) / np.maximum(a * e - b * b, _TINY), 0.0, 1.0)
    t = (b * s + f) / e
    # Where the nearest point of the second lies beyond one of its ends, that end counts, and the first's is found again.
    s = np.where(t < 0.0, np.clip(-c / a, 0.0, 1.0), np.where(t > 1.0, np.clip((b - c) / a, 0.0, 1.0), s))
    t = np.clip(t, 0.0, 1.0)
    apart = r + s[..., None] * u - t[..., None] * v
    distances: Array = np.sqrt(np.einsum("...k,...k", apart, apart))
    return distances


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Which links of the first arm are held against which of the second, and how thick both are together [m]."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    thick: Array

    def some(self, which: NDArray[np.bool_]) -> _Pairs:
        return _Pairs(self.first[which], self.second[which], self.thick[which])


class ArmDistance:
    """Whether two arms keep their distance along a command.

    Arms that are nearer than the limit already may move, but no nearer: otherwise nothing could take them apart again.
    """

    def __init__(self, first: ArmSpec, second: ArmSpec, limit_m: float) -> None:
        """Args: first, second: arms with links. limit_m: what is to be kept between any two of their links [m]."""
        a, b = self._arms = (ArmCapsules(first), ArmCapsules(second))
        i, j = (index.ravel() for index in np.indices((len(a.names), len(b.names))))
        self._all = _Pairs(i, j, a.radii[i] + b.radii[j])
        self._limit = limit_m

    def distances(self, first: Array, second: Array) -> Array:
        """Return the distances ``(T, A, B)`` [m] of all links at joints ``(T, n)`` and ``(T, m)`` [rad]."""
        lines = [arm.lines(q) for arm, q in zip(self._arms, (first, second), strict=True)]
        return _distances(lines, self._all).reshape(len(first), *(len(arm.names) for arm in self._arms))

    def check(self, first: Array, second: Array, *, starts: bool) -> Nearest | None:
        """Return the worst place where the arms come too near, or None.

        Args:
            first: Joints ``(T, n)`` [rad] of the first arm, one row per waypoint.
            second: Those of the second arm ``(T, m)`` [rad] at the same times.
            starts: Whether row 0 is where the arms are now, which is not judged, instead of the first waypoint.
        """
        lines = [arm.lines(q) for arm, q in zip(self._arms, (first, second), strict=True)]
        moved = [arm.furthest(np.diff(q, axis=0)) for arm, q in zip(self._arms, (first, second), strict=True)]
        pairs = self._all.some(self._near(lines, moved))
        if not len(pairs.thick) or (starts and len(first) == 1):
            return None
        found = _distances(lines, pairs)
        limit = np.minimum(self._limit, found[0]) if starts else np.full(len(pairs.thick), self._limit)
        lowest = found.copy()
        lowest[1:] = np.minimum(found[1:], self._ways(first, second, found, limit, pairs))
        lowest = lowest[1:] if starts else lowest
        short = limit - lowest - _SLACK_M
        if short.max() <= 0.0:
            return None
        step, pair = np.unravel_index(int(np.argmax(short)), short.shape)
        return Nearest(
            links=(self._arms[0].names[pairs.first[pair]], self._arms[1].names[pairs.second[pair]]),
            step=int(step),
            distance_m=float(lowest[step, pair]),
            limit_m=float(limit[pair]),
            count=int((short > 0.0).any(axis=1).sum()),
        )

    def _near(self, lines: list[Array], moved: list[Array]) -> NDArray[np.bool_]:
        """Which pairs ``(A * B,)`` may come too near: all others are clear even as balls around their lines."""
        (a, b), (arm, other) = (line.mean(axis=2) for line in lines), self._arms
        squared = (a * a).sum(2)[:, :, None] + (b * b).sum(2)[:, None, :] - 2.0 * (a @ b.transpose(0, 2, 1))
        between = np.sqrt(np.maximum(squared.min(axis=0), 0.0))
        if len(moved[0]):  # on the way from one waypoint to the next
            between -= (moved[0].max(axis=0)[:, None] + moved[1].max(axis=0)[None, :]) / 2.0
        near: NDArray[np.bool_] = between - arm.half[:, None] - other.half[None, :] < (
            self._limit + _SLACK_M + self._all.thick.reshape(between.shape)
        )
        return near.ravel()

    def _ways(self, first: Array, second: Array, found: Array, limit: Array, pairs: _Pairs) -> Array:
        """Return the smallest distances ``(T - 1, P)`` [m] seen between waypoints; only ways that may be too near are halved."""
        lowest = np.minimum(found[:-1], found[1:])
        ends = [(first[:-1], first[1:]), (second[:-1], second[1:])]
        before, after = found[:-1], found[1:]
        way: NDArray[np.intp] = np.arange(len(lowest))
        while True:
            far = [arm.furthest(b - a) for arm, (a, b) in zip(self._arms, ends, strict=True)]
            least = (before + after - far[0][:, pairs.first] - far[1][:, pairs.second]) / 2.0
            seen = np.minimum(before, after) < limit - _SLACK_M
            unclear = ((least < limit - TOLERANCE_M) & ~seen).any(axis=1)
            way = way[unclear]
            if not len(way):
                break
            kept = [(a[unclear], b[unclear]) for a, b in ends]
            middles = [(a + b) / 2.0 for a, b in kept]
            middle = _distances([arm.lines(q) for arm, q in zip(self._arms, middles, strict=True)], pairs)
            np.minimum.at(lowest, way, middle)
            before, after = np.concatenate([before[unclear], middle]), np.concatenate([middle, after[unclear]])
            ends = [(np.concatenate([a, m]), np.concatenate([m, b])) for (a, b), m in zip(kept, middles, strict=True)]
            way = np.concatenate([way, way])
        return lowest


def _distances(lines: list[Array], pairs: _Pairs) -> Array:
    """Return the distances ``(T, P)`` [m] between the surfaces of pairs of links."""
    found: Array = line_distances(lines[0][:, pairs.first], lines[1][:, pairs.second]) - pairs.thick
    return found
