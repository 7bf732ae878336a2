# SPDX-License-Identifier: Apache-2.0

"""Waypoint files: one row per pose of the tool centre point, as CSV with 16 named columns.

``timestamp, j0 … j5, tcp_x, tcp_y, tcp_z, tcp_rx, tcp_ry, tcp_rz, gripper_pos, skill_id, image_file``: joints [rad] in the
order of the arm, position [m] and rotation vector [rad] of the tool centre point, closing of the gripper 0 (open) to 255.
The arm is driven by the pose; the joints are what was measured when the row was taught. A row whose image_file is
``verification_wp`` is where the grasp is verified.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing, nearest_name
from vla_core.kinematics import pose_matrix, rotation_from_vector, rotation_vector

from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.table import GRIPPER_MAX, SkillSpec

Array = NDArray[np.float64]
JOINTS = tuple(f"j{i}" for i in range(6))
POSE = ("tcp_x", "tcp_y", "tcp_z", "tcp_rx", "tcp_ry", "tcp_rz")
COLUMNS = ("timestamp", *JOINTS, *POSE, "gripper_pos", "skill_id", "image_file")
VERIFICATION = "verification_wp"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waypoint:
    """One row of a waypoint file.

    Attributes:
        T: Pose ``(4, 4)`` of the tool centre point in the file's frame [m].
        joints: Measured joints ``(6,)`` when it was taught [rad].
        gripper: Closing of the gripper, 0 (open) to 255.
        verification: The grasp is verified here.
        image: Picture taken here, relative to the file; empty without one.
        timestamp: When it was taught, as text; informal.
        skill_id: Number of the skill in the file; informal.
    """

    T: Array
    joints: Array
    gripper: int
    verification: bool = False
    image: str = ""
    timestamp: str = ""
    skill_id: str = "0"


def load_waypoints(path: str | Path) -> tuple[Waypoint, ...]:
    """Return the waypoints of a file, all of them: a row that cannot be read is an error.

    Raises:
        SkillFileError: the file cannot be read, lacks a column, has no rows, or a row is short or has a value that is no
            number, not finite or out of range; the text names file, row and column.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SkillFileError(f"{file}: the waypoint file cannot be read: {error}") from None
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        raise SkillFileError(
            f"{file}: the waypoint file is empty; its first line names the columns: {','.join(COLUMNS)}"
        )
    order = _order(file, [name.strip() for name in rows[0]])
    if len(rows) == 1:
        raise SkillFileError(f"{file}: the waypoint file has a header but no rows; teach at least one waypoint")
    return tuple(_waypoint(_Row(file, i, row, rows[0], order)) for i, row in enumerate(rows[1:]))


def load_skill(spec: SkillSpec) -> tuple[Waypoint, ...]:
    """Return the waypoints of a skill.

    Raises:
        SkillFileError: as of `load_waypoints`; or the file is not found, or has fewer rows than `relative_count`.
    """
    path = spec.path()
    waypoints = load_waypoints(path)
    if spec.relative_count > len(waypoints):
        raise SkillFileError(
            f"skill '{spec.name}': relative_count is {spec.relative_count}, but {path} has {len(waypoints)} rows; "
            f"at most all of them can be relative"
        )
    return waypoints


def save_waypoints(path: str | Path, waypoints: Sequence[Waypoint]) -> None:
    """Write a waypoint file; an existing one is replaced as a whole or, on failure, left as it is.

    Raises:
        SkillFileError: the folder cannot be written to.
    """
    file = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_cells(waypoint) for waypoint in waypoints)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SkillFileError(f"{file}: the waypoint file cannot be written: {error}") from None


def _cells(waypoint: Waypoint) -> list[str]:
    pose = (*waypoint.T[:3, 3], *rotation_vector(waypoint.T[:3, :3]))
    numbers = [repr(float(value)) for value in (*waypoint.joints, *pose)]
    image = VERIFICATION if waypoint.verification else waypoint.image
    return [waypoint.timestamp, *numbers, str(waypoint.gripper), waypoint.skill_id, image]


def _order(file: Path, header: list[str]) -> dict[str, int]:
    unknown = [name for name in header if name not in COLUMNS]
    for name in COLUMNS:
        if name not in header:
            raise SkillFileError(
                f"{file}: column '{name}' is missing{nearest_name(name, unknown)}; columns: {listing(COLUMNS)}"
            )
        if header.count(name) > 1:
            raise SkillFileError(f"{file}: column '{name}' is there twice; remove one")
    return {name: header.index(name) for name in COLUMNS}


class _Row:
    """One row of a file, with the place for messages."""

    def __init__(self, file: Path, index: int, cells: list[str], header: list[str], order: dict[str, int]) -> None:
        self._where = f"{file}: row {index} (line {index + 2})"
        self._cells, self._order = cells, order
        if len(cells) != len(header):
            raise SkillFileError(
                f"{self._where}: {len(cells)} fields, but the header names {len(header)}; correct the row"
            )

    def text(self, column: str) -> str:
        return self._cells[self._order[column]].strip()

    def number(self, column: str) -> float:
        raw = self.text(column)
        try:
            value = float(raw)
        except ValueError:
            raise self.error(column, f"expected a number, got '{raw}'") from None
        if not math.isfinite(value):
            raise self.error(column, f"expected a finite number, got '{raw}'")
        return value

    def error(self, column: str, what: str) -> SkillFileError:
        return SkillFileError(f"{self._where}, column {column}: {what}")


def _waypoint(row: _Row) -> Waypoint:
    pose = [row.number(name) for name in POSE]
    gripper = row.number("gripper_pos")
    if not gripper.is_integer() or not 0 <= gripper <= GRIPPER_MAX:
        raise row.error("gripper_pos", f"expected a whole number, 0 (open) to {GRIPPER_MAX} (closed), got {gripper:g}")
    image = row.text("image_file")
    verification = image == VERIFICATION
    return Waypoint(
        T=pose_matrix(pose[:3], rotation_from_vector(pose[3:])),
        joints=np.array([row.number(name) for name in JOINTS]),
        gripper=int(gripper),
        verification=verification,
        image="" if verification else image,
        timestamp=row.text("timestamp"),
        skill_id=row.text("skill_id"),
    )
