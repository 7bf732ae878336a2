# SPDX-License-Identifier: Apache-2.0

"""Rules that a recorded or converted episode is measured by. Each takes arrays and names what breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.kinematics import forward
from vla_core.profile import Profile
from vla_core.states import StateMap, undo_scale

ERROR, WARNING = "error", "warning"
_LIMIT_SLACK = 1e-4
"""Joints may lie this far beyond a limit, as a part of its range: encoders and float32 round."""

RULES: Mapping[str, str] = {
    "readable": "the episode can be read at all",
    "missing_key": "every array or column that is required is there",
    "shape": "arrays have the rows and the width that they must have",
    "nan": "no number is NaN or infinite",
    "range": "values lie within their limits",
    "frequency": "the rate is the one that is promised",
    "non_monotonic_time": "time grows from row to row",
    "frame_interval": "no step in time is far from 1/fps",
    "missing_frame": "a frame could be built at every tick",
    "camera_offset": "camera and robot show the same instant",
    "joint_jump": "no joint jumps",
    "tcp_jump": "the tool does not jump",
    "frozen_image": "the picture changes while the robot moves",
    "black_image": "no picture is black",
    "video_length": "videos hold one picture per row",
    "statistics": "the stored statistics are those of the rows",
    "too_long": "no episode is longer than allowed",
    "checksum": "records are what was written",
}
"""Rule -> what holds where it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is still all right.

    Attributes:
        frame_tolerance: Part of 1/fps by which a step in time may differ.
        camera_offset_s: Between the stamps of a camera and of the joints [s].
        joint_jump: Between two rows [rad or m].
        tcp_jump_m: Of the tool between two rows [m].
        black_level: A picture is black if its mean is not above this (0 to 255).
        frozen_rows: Rows with the same picture, bit for bit.
        frozen_motion: A picture that stays is frozen only if a joint moves by more than this meanwhile [rad or m].
        statistics: Relative to the spread of a column.
    """

    frame_tolerance: float = 0.5
    camera_offset_s: float = 0.012
    joint_jump: float = 0.5
    tcp_jump_m: float = 0.05
    black_level: float = 5.0
    frozen_rows: int = 5
    frozen_motion: float = 0.02
    statistics: float = 1e-3


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule: its name, how bad that is, what and where, how often, and the first row."""

    rule: str
    level: str
    text: str
    count: int = 1
    row: int | None = None


@dataclass(slots=True)
class EpisodeReport:
    """What was found in one episode.

    Attributes:
        name: Of the episode.
        rows: How many were looked at.
        findings: Broken rules.
        unchecked: Rule -> why it could not be looked at.
    """

    name: str
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Number of broken rules that make the episode wrong."""
        return sum(finding.level == ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of broken rules that a person should look at."""
        return sum(finding.level == WARNING for finding in self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings."""
        self.findings += findings

    def to_json(self) -> dict[str, Any]:
        """Return what goes into the report."""
        return {
            "name": self.name,
            "rows": self.rows,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [asdict(finding) for finding in self.findings],
            "unchecked": self.unchecked,
        }


def _rows(where: NDArray[np.bool_]) -> tuple[int, int | None]:
    """Return how many rows are marked, and the first."""
    if not where.size:
        return 0, None
    marked = where.reshape(len(where), -1).any(axis=1)
    return int(marked.sum()), int(marked.argmax()) if marked.any() else None


def check_finite(name: str, values: NDArray[Any], level: str = ERROR) -> list[Finding]:
    """Return where numbers are NaN or infinite."""
    if not np.issubdtype(values.dtype, np.floating):
        return []
    count, row = _rows(~np.isfinite(values))
    return [Finding("nan", level, f"{name}: {count} rows hold NaN or infinity", count, row)] if count else []


def check_range(
    names: Sequence[str], values: NDArray[Any], lower: Sequence[float], upper: Sequence[float], level: str = ERROR
) -> list[Finding]:
    """Return which values leave their limits.

    Args:
        names: Of the columns.
        values: (N, k).
        lower: (k,).
        upper: (k,).
        level: How bad that is.
    """
    found = []
    for name, column, low, high in zip(names, values.T, lower, upper, strict=True):
        slack = _LIMIT_SLACK * (high - low) if np.isfinite(high - low) else _LIMIT_SLACK
        count, row = _rows((column < low - slack) | (column > high + slack))
        if count:
            worst = float(column[np.nanargmax(np.maximum(low - column, column - high))])
            text = f"{name}: {count} rows outside {low:g} to {high:g}, the farthest is {worst:g}"
            found.append(Finding("range", level, text, count, row))
    return found


def check_times(t_s: NDArray[np.float64], fps: float, thresholds: Thresholds, level: str = WARNING) -> list[Finding]:
    """Return where time does not grow, and where a step is far from 1/fps.

    Args:
        t_s: (N,) [s].
        fps: Rows per second.
        thresholds: What is still all right.
        level: How bad an uneven step is; time that does not grow is always an error.
    """
    steps = np.diff(t_s)
    found = []
    count, row = _rows(steps <= 0)
    if count:
        text = f"time does not grow at {count} rows; the first step is {steps[row or 0]:g} s"
        found.append(Finding("non_monotonic_time", ERROR, text, count, (row or 0) + 1))
    far = np.abs(steps * fps - 1.0) > thresholds.frame_tolerance
    far &= steps > 0
    count, row = _rows(far)
    if count:
        worst = float(steps[far][np.abs(steps[far] * fps - 1.0).argmax()])
        text = (
            f"{count} steps differ by more than {thresholds.frame_tolerance:.0%} from {1 / fps:.4g} s, the farthest is "
            f"{worst:.4g} s"
        )
        found.append(Finding("frame_interval", level, text, count, (row or 0) + 1))
    return found


def check_frequency(t_s: NDArray[np.float64], fps: float, tolerance_pct: float) -> list[Finding]:
    """Return whether the rate of a whole episode is another one.

    Args:
        t_s: (N,) [s].
        fps: Rows per second that are promised.
        tolerance_pct: By how much the rate may differ [%].
    """
    if len(t_s) < 2 or t_s[-1] <= t_s[0]:
        return []
    rate = (len(t_s) - 1) / float(t_s[-1] - t_s[0])
    if abs(rate / fps - 1.0) * 100.0 <= tolerance_pct + 1e-9:
        return []
    text = f"{rate:.4g} rows per second, {fps:g} are promised with a tolerance of {tolerance_pct:g} %"
    return [Finding("frequency", ERROR, text)]


class RobotRules:
    """Rules about the joints of a profile, seen from its state vector."""

    def __init__(self, profile: Profile) -> None:
        """Prepare; joints that the state does not hold cannot be looked at."""
        places = StateMap(profile).in_state
        groups = ActionMap(profile).groups
        self._joints = [
            (joint, *places[joint], group.spec.limits.lower[i], group.spec.limits.upper[i], group.spec.is_gripper)
            for group in groups
            for i, joint in enumerate(group.spec.joints)
            if joint in places
        ]
        self.unchecked: dict[str, str] = {}
        if not self._joints:
            self.unchecked |= dict.fromkeys(("range", "joint_jump"), "the state holds no joint of the action")
        measured = [arm for arm in profile.arms if all(joint in places for joint in arm.kinematics.joints)]
        several = len(profile.arms) > 1
        self._tools = [
            (f"tool of {arm.name}" if several else "tool", arm.kinematics, [places[j] for j in arm.kinematics.joints])
            for arm in measured
        ]
        if not measured:
            known = "the state does not hold all joints of the kinematics"
            self.unchecked["tcp_jump"] = known if profile.arms else "the profile has no kinematics"

    def positions(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """Return the arm's joints (N, k) [rad or m] of states (N, n); the grippers are left out."""
        columns = [undo_scale(scale, states[:, i]) for _, i, scale, _, _, gripper in self._joints if not gripper]
        return np.stack(columns, axis=1) if columns else np.zeros((len(states), 0))

    def check(self, states: NDArray[Any], thresholds: Thresholds) -> list[Finding]:
        """Return what is wrong with the measured joints.

        Args:
            states: (N, n), in dataset units.
            thresholds: What is still all right.
        """
        found = []
        for joint, index, scale, lower, upper, gripper in self._joints:
            values = undo_scale(scale, states[:, index])
            found += check_range([joint], values[:, None], [lower], [upper], WARNING)
            if not gripper:
                found += _jumps("joint_jump", joint, np.abs(np.diff(values)), thresholds.joint_jump, "rad")
        for name, table, places in self._tools if len(states) and np.isfinite(states).all() else ():
            joints = np.stack([undo_scale(scale, states[:, i]) for i, scale in places], axis=1)
            positions = forward(table, joints)[:, :3, 3]
            steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
            found += _jumps("tcp_jump", name, steps, thresholds.tcp_jump_m, "m")
        return found


def _jumps(rule: str, name: str, steps: NDArray[np.float64], limit: float, unit: str) -> list[Finding]:
    count, row = _rows(steps > limit)
    if not count or row is None:
        return []
    text = f"{name}: {count} steps of more than {limit:g} {unit}, the largest is {float(np.nanmax(steps)):.3g} {unit}"
    return [Finding(rule, WARNING, text, count, row + 1)]


def check_offsets(name: str, offsets_s: NDArray[np.float64], thresholds: Thresholds) -> list[Finding]:
    """Return whether a camera and the joints show different instants.

    Args:
        name: Of the camera.
        offsets_s: (N,) stamp of the joints minus that of the camera [s].
        thresholds: What is still all right.
    """
    count, row = _rows(np.abs(offsets_s) > thresholds.camera_offset_s)
    if not count:
        return []
    worst = float(offsets_s[np.abs(offsets_s).argmax()])
    text = (
        f"{name}: in {count} of {len(offsets_s)} rows the picture is more than {thresholds.camera_offset_s * 1e3:g} ms "
        f"from the joints, median {float(np.median(offsets_s)) * 1e3:.1f} ms, at most {worst * 1e3:.1f} ms"
    )
    return [Finding("camera_offset", WARNING, text, count, row)]


class ImageWatch:
    """Looks at the pictures of one camera as they come, and keeps one of them."""

    def __init__(self, name: str, thresholds: Thresholds) -> None:
        """Begin."""
        self._name = name
        self._thresholds = thresholds
        self._last: NDArray[Any] | None = None
        self._black: list[int] = []
        self._same: list[bool] = []

    @property
    def rows(self) -> int:
        """Pictures that came."""
        return len(self._same)

    def add(self, image: NDArray[Any]) -> None:
        """Take the next picture: (H, W, 3) uint8, or (H, W) depth, which is black where nothing is seen."""
        same = self._last is not None and (image is self._last or np.array_equal(image, self._last))
        self._same.append(same)
        level = self._thresholds.black_level if image.dtype == np.uint8 else 0.0
        black = bool(self._black and self._black[-1] == self.rows - 2) if same else float(np.mean(image)) <= level
        if black:
            self._black.append(self.rows - 1)
        self._last = image

    def findings(self, joints: NDArray[np.float64] | None = None) -> list[Finding]:
        """Return what is wrong with the pictures.

        Args:
            joints: (N, k) arm joints [rad or m] of the same rows. With them, a picture that stays is called frozen only
                where a joint moves meanwhile; without, always.
        """
        found = []
        if self._black:
            text = f"{self._name}: {len(self._black)} of {self.rows} pictures are black. Is the lens covered?"
            found.append(Finding("black_image", WARNING, text, len(self._black), self._black[0]))
        frozen = [(a, b) for a, b in self._stays() if self._moved(joints, a, b)]
        if frozen:
            longest = max(b - a + 1 for a, b in frozen)
            text = (
                f"{self._name}: the same picture, bit for bit, for up to {longest} rows"
                f"{' while the robot moves' if joints is not None and joints.size else ''}. Did the camera hang?"
            )
            found.append(Finding("frozen_image", WARNING, text, sum(b - a for a, b in frozen), frozen[0][0]))
        return found

    def _stays(self) -> list[tuple[int, int]]:
        """Return (first, last) row of every stretch of one picture that is long enough."""
        marks = np.flatnonzero(~np.array(self._same, bool)) if self._same else np.zeros(0, np.intp)
        ends = [*(marks[1:] - 1).tolist(), self.rows - 1]
        return [(a, b) for a, b in zip(marks.tolist(), ends, strict=False) if b - a + 1 >= self._thresholds.frozen_rows]

    def _moved(self, joints: NDArray[np.float64] | None, first: int, last: int) -> bool:
        if joints is None or not joints.size:
            return True
        return bool(np.ptp(joints[first : last + 1], axis=0).max() > self._thresholds.frozen_motion)


def check_statistics(
    name: str, stored: Mapping[str, Any], values: NDArray[Any], thresholds: Thresholds
) -> list[Finding]:
    """Return which stored statistics of a column are not those of its rows.

    Args:
        name: Of the column.
        stored: ``min``, ``max``, ``mean``, ``std`` as lists, and maybe ``count``.
        values: (N, k).
        thresholds: What is still all right.
    """
    columns = np.asarray(values, np.float64).reshape(len(values), -1)
    actual = {
        "min": columns.min(axis=0),
        "max": columns.max(axis=0),
        "mean": columns.mean(axis=0),
        "std": columns.std(axis=0),
    }
    spread = np.maximum(actual["max"] - actual["min"], 1e-6 * np.maximum(1.0, np.abs(actual["max"])))
    found = []
    for key, wanted in actual.items():
        if key not in stored:
            continue
        got = np.asarray(stored[key], np.float64).reshape(-1)
        if got.shape != wanted.shape or not (np.abs(got - wanted) <= thresholds.statistics * spread).all():
            text = f"{name}: the stored {key} is {_short(got)}, that of the rows is {_short(wanted)}"
            found.append(Finding("statistics", ERROR, text))
    count = np.asarray(stored.get("count", [len(columns)])).reshape(-1)[0]
    if int(count) != len(columns):
        found.append(
            Finding("statistics", ERROR, f"{name}: the stored count is {count}, there are {len(columns)} rows")
        )
    return found


def _short(values: NDArray[np.float64]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:8])
    return f"[{shown}{', …' if values.size > 8 else ''}]"
