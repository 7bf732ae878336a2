# SPDX-License-Identifier: Apache-2.0

"""The calibration that lerobot-calibrate wrote: where each joint's servo counts from, and how far it goes.

One JSON object per joint: ``id`` of the servo, ``drive_mode``, ``homing_offset``, ``range_min`` and ``range_max`` in steps
of 1/4096 turn. LeRobot measures angles from the middle of the range.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import listing

from vla_drivers.errors import DriverError

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""The joints of an SO-101 in LeRobot's order; their servos have the ids 1 to 6."""
STEPS_PER_TURN = 4096
ROLES = ("follower", "leader")
_KEYS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
_COMMANDS = {
    "follower": "lerobot-calibrate --robot.type=so101_follower --robot.port={port} --robot.id={id}",
    "leader": "lerobot-calibrate --teleop.type=so101_leader --teleop.port={port} --teleop.id={id}",
}
_FOLDERS = {"follower": ("robots", "so_follower"), "leader": ("teleoperators", "so_leader")}


@dataclass(frozen=True, slots=True, kw_only=True)
class JointCalibration:
    """One servo; offsets and ends in steps."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int


Calibration = dict[str, JointCalibration]
NOMINAL: Calibration = {
    name: JointCalibration(id=number, drive_mode=0, homing_offset=0, range_min=low, range_max=high)
    for number, (name, low, high) in enumerate(
        zip(JOINTS, (800, 850, 850, 900, 0, 2000), (3300, 3250, 3250, 3200, 4095, 3500), strict=True), start=1
    )
}
"""What emulated servos are calibrated to where no file is given."""


def command(role: str, port: str, name: str) -> str:
    """Return the command that calibrates an arm."""
    return _COMMANDS[role].format(port=port or "/dev/ttyACM0", id=name or f"my_{role}")


def folder(role: str) -> Path:
    """Return where LeRobot keeps the calibrations of a role; honours its environment variables."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    hub = Path(os.environ.get("HF_HOME", cache)).expanduser()
    home = Path(os.environ.get("HF_LEROBOT_HOME", hub / "lerobot")).expanduser()
    root = Path(os.environ.get("HF_LEROBOT_CALIBRATION", home / "calibration")).expanduser()
    return root.joinpath(*_FOLDERS[role])


def find(role: str, *, given: str, name: str, port: str) -> Path:
    """Return the calibration file of an arm.

    Args:
        role: follower or leader.
        given: Path of the file; empty for LeRobot's own place.
        name: The id under which lerobot-calibrate stored it; needed where `given` is empty.
        port: Of the arm, for the remedy.

    Raises:
        DriverError: it is not there.
    """
    if not given and not name:
        raise DriverError(
            "neither calibration_file nor id is given, and without its calibration the angles of the arm are not known. Calibrate "
            f"it once with: {command(role, port, name)}  and start with id:={name or f'my_{role}'}"
        )
    path = Path(given).expanduser() if given else folder(role) / f"{name}.json"
    if not path.is_file():
        there = sorted(file.stem for file in path.parent.glob("*.json"))
        raise DriverError(
            f"no calibration at {path} (there are: {listing(there)}). Calibrate the arm once with: {command(role, port, name)}"
        )
    return path


def read(path: Path, role: str) -> Calibration:
    """Return what a calibration file holds, by joint in the order of `JOINTS`.

    Raises:
        DriverError: no JSON, other joints than an SO-101 has, an absent or impossible number.
    """
    again = f"Calibrate again with: {command(role, '', path.stem)}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DriverError(f"calibration {path} cannot be read: {error}. {again}") from error
    if not isinstance(content, dict) or sorted(content) != sorted(JOINTS):
        found = listing(sorted(content)) if isinstance(content, dict) else "no object"
        raise DriverError(
            f"calibration {path} is not that of an SO-101: its joints are {found}, expected {', '.join(JOINTS)}. {again}"
        )
    result = {name: _joint(path, name, content[name], again) for name in JOINTS}
    ids = [joint.id for joint in result.values()]
    if len(set(ids)) != len(ids):
        raise DriverError(f"calibration {path}: servo ids {ids} are not different. {again}")
    return result


def write(path: Path, calibration: Mapping[str, JointCalibration]) -> None:
    """Write a calibration as LeRobot does."""
    path.write_text(
        json.dumps({name: asdict(joint) for name, joint in calibration.items()}, indent=4), encoding="utf-8"
    )


def _joint(path: Path, name: str, content: Any, again: str) -> JointCalibration:
    if not isinstance(content, dict) or any(type(content.get(key)) is not int for key in _KEYS):
        raise DriverError(f"calibration {path}, joint {name}: expected whole numbers for {', '.join(_KEYS)}. {again}")
    joint = JointCalibration(**{key: content[key] for key in _KEYS})
    if not 0 <= joint.range_min < joint.range_max < STEPS_PER_TURN:
        raise DriverError(
            f"calibration {path}, joint {name}: range {joint.range_min} to {joint.range_max} must grow within 0 to "
            f"{STEPS_PER_TURN - 1} steps. {again}"
        )
    return joint
