# SPDX-License-Identifier: Apache-2.0

"""What is drawn: where the tool was, where the policy says that it will be, and how far the two are apart. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.stamps import to_ns, to_s

from vla_monitor.arms import Arm
from vla_monitor.chunk import Chunk

Array = NDArray[np.float64]
Color = tuple[float, float, float]
LINE, SEGMENTS, POINTS, TEXT = "line", "segments", "points", "text"
# Okabe and Ito's colours, which colour-blind people can tell apart: executed, difference, predicted by arm.
EXECUTED, DIFFERENCE = (0.34, 0.71, 0.91), (0.84, 0.37, 0.0)
PREDICTED = ((0.90, 0.62, 0.0), (0.80, 0.47, 0.65), (0.0, 0.62, 0.45), (0.94, 0.89, 0.26))
FAINTEST = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """Something to draw.

    Attributes:
        space: What it is, and of which arm: `path/arm`; with `number` it names the shape.
        number: Which of them.
        kind: line, segments (pairs of points), points or text; empty: it is to vanish.
        points: (n, 3) [m, base_frame].
        alpha: (n,) from 0 (not seen) to 1.
        color: Red, green, blue from 0 to 1.
        size: Width of lines, diameter of points, height of letters [m].
        text: Of a text.
    """

    space: str
    number: int
    kind: str = ""
    points: Array
    alpha: Array
    color: Color = EXECUTED
    size: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    """A chunk of one arm: when it came, and where it leads the tool (T, 3)."""

    number: int
    since_ns: int
    times_ns: NDArray[np.int64]
    points: Array

    def at(self, times_ns: NDArray[np.int64]) -> Array:
        """Where it says that the tool is (n, 3) at times (n,), linear between steps."""
        since = (self.times_ns - self.times_ns[0]).astype(np.float64)
        place = (times_ns - self.times_ns[0]).astype(np.float64)
        return np.stack([np.interp(place, since, column) for column in self.points.T], axis=1)


class _Track:
    """What is known of one arm."""

    def __init__(self, chunks: int) -> None:
        self.times_ns: deque[int] = deque()
        self.points: deque[Array] = deque()
        self.chunks: deque[_Predicted] = deque(maxlen=chunks)
        self.drawn: set[int] = set()


class Scene:
    """Remembers the last seconds of every arm."""

    def __init__(self, arms: tuple[Arm, ...], *, path_s: float, fade_s: float, chunks: int, rate_hz: float) -> None:
        """Begin empty.

        Args:
            arms: To draw.
            path_s: Length of the executed path [s].
            fade_s: A chunk has faded away after this time [s].
            chunks: Chunks of an arm that are drawn at a time.
            rate_hz: Points of the path per second.
        """
        self._arms = arms
        self._path_ns, self._fade_ns, self._step_ns = to_ns(path_s), to_ns(fade_s), to_ns(1.0 / rate_hz)
        self._limit = chunks
        self._number = 0
        self._followed = False
        self._tracks: dict[str, _Track] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        drawn = {name: track.drawn for name, track in self._tracks.items()}
        self._tracks = {arm.name: _Track(self._limit) for arm in self._arms}
        for name, numbers in drawn.items():
            self._tracks[name].drawn = numbers

    def moved(self, t_ns: int, values: Mapping[str, float]) -> None:
        """The joints [rad] were here at `t_ns`; arms of which some are not known are left out."""
        for arm in self._arms:
            track = self._tracks[arm.name]
            if track.times_ns and t_ns - track.times_ns[-1] < self._step_ns:
                continue
            tool = arm.tool(values)
            if tool is None:
                continue
            track.times_ns.append(t_ns)
            track.points.append(tool)
            while t_ns - track.times_ns[0] > self._path_ns:
                track.times_ns.popleft()
                track.points.popleft()

    def predicted(self, t_ns: int, chunk: Chunk) -> None:
        """A chunk came at `t_ns`."""
        self._number += 1
        self._followed = True
        for arm in self._arms:
            points = arm.path(chunk.names, chunk.rows)
            if points is not None:
                self._tracks[arm.name].chunks.append(_Predicted(self._number, t_ns, chunk.times_ns, points))

    def released(self) -> None:
        """No policy drives any more, so nothing follows the newest chunk; it fades all the same."""
        self._followed = False

    def deviation_m(self, name: str) -> float | None:
        """How far the tool of an arm is from where the newest chunk has it now [m]; None where it follows none."""
        track = self._tracks[name]
        if not (self._followed and track.chunks and track.times_ns):
            return None
        newest, now_ns = track.chunks[-1], track.times_ns[-1]
        if not newest.times_ns[0] <= now_ns <= newest.times_ns[-1]:
            return None
        there = newest.at(np.array([now_ns]))[0]
        return float(np.linalg.norm(track.points[-1] - there))

    def shapes(self, now_ns: int) -> list[Shape]:
        """Everything that is to be drawn now, and what is to vanish."""
        found = []
        for index, arm in enumerate(self._arms):
            track = self._tracks[arm.name]
            found += self._path(arm.name, track, now_ns)
            found += self._chunks(arm.name, track, now_ns, PREDICTED[index % len(PREDICTED)])
            found += self._difference(arm.name, track)
        return found

    def _path(self, name: str, track: _Track, now_ns: int) -> list[Shape]:
        if len(track.points) < 2:
            return [_gone(f"path/{name}", 0)]
        ages = (now_ns - np.array(track.times_ns)) / self._path_ns
        alpha = np.clip(1.0 - ages, FAINTEST, 1.0)
        points = np.array(track.points)
        return [
            Shape(space=f"path/{name}", number=0, kind=LINE, points=points, alpha=alpha, color=EXECUTED, size=0.004)
        ]

    def _chunks(self, name: str, track: _Track, now_ns: int, color: Color) -> list[Shape]:
        alive = {}
        for one in track.chunks:
            left = 1.0 - (now_ns - one.since_ns) / self._fade_ns
            if left > 0.0:
                alive[one.number] = (one, min(1.0, left))
        shapes = [_gone(f"chunk/{name}", number) for number in sorted(track.drawn - set(alive))]
        for number, (one, left) in alive.items():
            alpha = np.full(len(one.points), left)
            shapes.append(_of_chunk(f"chunk/{name}", number, LINE, one.points, alpha, color))
        newest = max(alive, default=None)
        if newest is None:
            shapes.append(_gone(f"steps/{name}", 0))
        else:
            one = alive[newest][0]
            ahead = np.where(one.times_ns >= now_ns, 1.0, 0.3) * alive[newest][1]
            shapes.append(_of_chunk(f"steps/{name}", 0, POINTS, one.points, ahead, color))
        track.drawn = set(alive)
        return shapes

    def _difference(self, name: str, track: _Track) -> list[Shape]:
        """Lines from where the tool was to where the newest chunk had it at that time."""
        space = f"difference/{name}"
        if not (self._followed and track.chunks and track.times_ns):
            return [_gone(space, 0)]
        newest, times = track.chunks[-1], np.array(track.times_ns)
        inside = (times >= newest.times_ns[0]) & (times <= newest.times_ns[-1])
        if not inside.any():
            return [_gone(space, 0)]
        was, said = np.array(track.points)[inside], newest.at(times[inside])
        pairs = np.stack([was, said], axis=1).reshape(-1, 3)
        alpha = np.full(len(pairs), 0.8)
        return [Shape(space=space, number=0, kind=SEGMENTS, points=pairs, alpha=alpha, color=DIFFERENCE, size=0.0015)]


def _of_chunk(space: str, number: int, kind: str, points: Array, alpha: Array, color: Color) -> Shape:
    size = 0.003 if kind == LINE else 0.008
    return Shape(space=space, number=number, kind=kind, points=points, alpha=alpha, color=color, size=size)


def _gone(space: str, number: int) -> Shape:
    return Shape(space=space, number=number, points=np.zeros((0, 3)), alpha=np.zeros(0))


def caption(phase: str, task: str, deviations_m: Mapping[str, float | None], chunk_age_s: float | None) -> str:
    """The text above the robot: phase and task, then how well the chunk is followed."""
    first = " · ".join(filter(None, (phase, task)))
    known = {name: value for name, value in deviations_m.items() if value is not None}
    parts = [f"{name} {1e3 * value:.0f} mm off the chunk" for name, value in known.items()]
    if chunk_age_s is not None and known:
        parts.append(f"chunk {1e3 * chunk_age_s:.0f} ms old")
    return "\n".join(filter(None, (first, ", ".join(parts))))


def age_s(now_ns: int, since_ns: int) -> float:
    """Time between two stamps [s]."""
    return to_s(now_ns - since_ns)
