# SPDX-License-Identifier: Apache-2.0

"""The skill table: one YAML file that says how each waypoint file is driven.

```yaml
defaults: {linear_speed: 0.1, linear_acceleration: 0.04}    # optional: any key of a skill but `file`
skills:
  cpu: {file: CPU_Skills.csv, relative_count: 20, grasp_threshold: 155}
```

Unknown keys, duplicate keys and values out of range are refused with file, line and dotted key. `docs/reference/skills.md`
lists every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import ProfileError
from vla_core.kinematics import pose_matrix, rotation_from_rpy
from vla_core.yamltree import Section, Tree, entries, merge, number, parse

from vla_teleop.skills.errors import SkillFileError

Array = NDArray[np.float64]
FRAMES = ("base", "base_link")
PATH_MODES = ("blend", "points")
GRIPPER_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillSpec:
    """How one waypoint file is driven.

    Attributes:
        name: Name of the skill, as in the goal of the action.
        file: Waypoint file (CSV) as written in the table; a relative one is looked for in `folders`.
        folders: Where a relative file is looked for, in this order.
        relative_count: The first so many waypoints are relative to the pose at which the skill is triggered; the others
            are absolute.
        frame: Frame of the file's poses: ``base`` is that of the Denavit-Hartenberg table, which a UR's teach pendant
            shows; ``base_link`` is the profile's base_frame. On a UR the one is turned by half a turn against the other.
        grasp_close: Closing of the gripper that is commanded in place of what the file says at the verification waypoint
            and in every row of that same value, 0 (open) to 255; None: as in the file.
        grasp_threshold: The grasp holds something when the gripper's measured closing is below this, 0 to 255. Equal is a
            failure.
        linear_speed: Along straight stretches [m/s].
        linear_acceleration: [m/s^2].
        angular_speed: [rad/s].
        angular_acceleration: [rad/s^2].
        blend_radius: In the blended segment the tool leaves the straight stretches this far before and after a
            waypoint [m].
        sensitive_count: The first so many waypoints are rounded by `sensitive_radius` only: the approach.
        sensitive_radius: [m].
        path_mode: ``blend``: the first segment passes its waypoints without stopping; ``points``: the arm stops at every
            waypoint. Later segments always stop: right after a grasp a blend could start before the load is known.
        gripper_speed: Speed of the gripper during the skill, 1 to 255.
        gripper_speed_after: Speed after a skill that ended well.
        gripper_settle_s: Pause after a gripper command, before the arm moves [s].
        arrival_m: A waypoint counts as reached when the tool centre point is this near [m] …
        arrival_rad: … and turned by no more than this (geodesic angle) [rad].
        timeout_s: Longest time from the planned arrival at a waypoint to the measured one [s].
        drop_check: Keep comparing the gripper with the threshold after a verified grasp, until the file opens it; verify
            the grasp before a resumed skill moves the arm.
        tcp_xyz: Tool centre point in the profile's tool_frame [m], in place of the profile's; None: the profile's.
        tcp_rpy: Its orientation, about fixed axes [rad].
    """

    name: str
    file: Path
    folders: tuple[Path, ...]
    relative_count: int
    frame: str = "base"
    grasp_close: int | None = None
    grasp_threshold: float = 200.0
    linear_speed: float = 0.1
    linear_acceleration: float = 0.04
    angular_speed: float = 0.5
    angular_acceleration: float = 0.5
    blend_radius: float = 0.002
    sensitive_count: int = 2
    sensitive_radius: float = 0.0001
    path_mode: str = "blend"
    gripper_speed: int = 128
    gripper_speed_after: int = 255
    gripper_settle_s: float = 0.05
    arrival_m: float = 0.002
    arrival_rad: float = 0.02
    timeout_s: float = 30.0
    drop_check: bool = False
    tcp_xyz: tuple[float, float, float] | None = None
    tcp_rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def path(self) -> Path:
        """Return where the waypoint file lies.

        Raises:
            SkillFileError: it is in none of the folders; the text says where was looked.
        """
        places = [self.file] if self.file.is_absolute() else [folder / self.file for folder in self.folders]
        for place in places:
            if place.is_file():
                return place
        looked = ", ".join(str(place.parent) for place in places)
        raise SkillFileError(
            f"skill '{self.name}': there is no file {self.file.name}; looked in {looked}. "
            "Put it there, or name its folder with skills_dir"
        )

    def tool_tcp(self, T_tool_tcp: Array) -> Array:
        """Return the tool centre point ``(4, 4)`` of this skill: its own, else `T_tool_tcp` of the profile."""
        if self.tcp_xyz is None:
            return T_tool_tcp
        return pose_matrix(self.tcp_xyz, rotation_from_rpy(self.tcp_rpy))


_KEYS = tuple(name for name in SkillSpec.__dataclass_fields__ if name not in ("name", "folders", "tcp_xyz", "tcp_rpy"))
SKILL_KEYS = (*_KEYS, "tcp")
_POSITIVE = (
    "linear_speed", "linear_acceleration", "angular_speed", "angular_acceleration", "arrival_m", "arrival_rad", "timeout_s"
)  # fmt: skip
_NOT_NEGATIVE = ("grasp_threshold", "blend_radius", "sensitive_radius", "gripper_settle_s")


def load_skill_table(path: str | Path, skills_dir: str | Path | None = None) -> dict[str, SkillSpec]:
    """Return the skills of a table by name, in the order of the file.

    Args:
        path: YAML file.
        skills_dir: Folder of the waypoint files; the table's own folder is looked in after it.

    Raises:
        SkillFileError: the table cannot be read, or a key is unknown, missing, of the wrong type or out of range.
    """
    file = Path(path)
    folders = (file.resolve().parent,) if not skills_dir else (Path(skills_dir).resolve(), file.resolve().parent)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SkillFileError(f"{file}: the skill table cannot be read: {error}") from None
    if not text.strip():
        raise SkillFileError(f"{file}: the skill table is empty; it starts with 'skills:'")
    try:
        section = Section(parse(text, str(file)), ("defaults", "skills"))
        defaults = section.child("defaults") if "defaults" in section else None
        if defaults is not None:
            Section(defaults, tuple(key for key in SKILL_KEYS if key != "file"))
        table = {name: _skill(name, tree, defaults, folders) for name, tree in entries(section.child("skills")).items()}
        if not table:
            raise section.error("skills", "the map is empty; a skill needs a name, 'file' and 'relative_count'")
    except ProfileError as error:
        raise SkillFileError(str(error)) from None
    return table


def _skill(name: str, tree: Tree, defaults: Tree | None, folders: tuple[Path, ...]) -> SkillSpec:
    section = Section(tree if defaults is None else merge(defaults, tree), SKILL_KEYS)
    values: dict[str, float] = {key: section.number(key, above=0.0) for key in _POSITIVE if key in section}
    values |= {key: _not_negative(section, key) for key in _NOT_NEGATIVE if key in section}
    whole = {
        key: _integer(section, key, low, high)
        for key, low, high in (
            ("sensitive_count", 0, None),
            ("grasp_close", 0, GRIPPER_MAX),
            ("gripper_speed", 1, GRIPPER_MAX),
            ("gripper_speed_after", 1, GRIPPER_MAX),
        )
        if key in section
    }
    if values.get("grasp_threshold", 0.0) > GRIPPER_MAX:
        raise section.error("grasp_threshold", f"must be 0 (open) to {GRIPPER_MAX} (closed)")
    xyz, rpy = _tcp(section)
    return SkillSpec(
        name=name,
        file=Path(section.text("file")).expanduser(),
        folders=folders,
        relative_count=_integer(section, "relative_count", 0, None),
        frame=section.choice("frame", FRAMES, "base"),
        path_mode=section.choice("path_mode", PATH_MODES, "blend"),
        drop_check=section.flag("drop_check", False),
        tcp_xyz=xyz,
        tcp_rpy=rpy,
        **values,  # type: ignore[arg-type]
        **whole,  # type: ignore[arg-type]
    )


def _not_negative(section: Section, key: str) -> float:
    value = section.number(key)
    if value < 0.0:
        raise section.error(key, f"must not be negative, got {value:g}")
    return value


def _integer(section: Section, key: str, low: int, high: int | None) -> int:
    value = number(section.child(key))
    if not value.is_integer() or value < low or (high is not None and value > high):
        upto = f"to {high}" if high is not None else "or more"
        raise section.error(key, f"expected a whole number, {low} {upto}, got {value:g}")
    return int(value)


def _tcp(section: Section) -> tuple[tuple[float, float, float] | None, tuple[float, float, float]]:
    if "tcp" not in section:
        return None, (0.0, 0.0, 0.0)
    inner = Section(section.child("tcp"), ("xyz", "rpy"))
    x, y, z = inner.numbers("xyz", 3)
    roll, pitch, yaw = inner.numbers("rpy", 3) if "rpy" in inner else (0.0, 0.0, 0.0)
    return (x, y, z), (roll, pitch, yaw)
