# SPDX-License-Identifier: Apache-2.0

"""Write the waypoint files of the simulated cell's skills, `cpu.csv` and `ram.csv`, computed from the scene's numbers.

Poses are of the tool centre point in the frame `base`, gripper positions count from 3 (open) to 230 (closed), as a 2F-85
reports them. With --rehearse the skills are also driven in the physics, with the trigger pose off in each direction.
"""

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from vla_core.errors import VlaError
from vla_core.kinematics import rotation_vector

from vla_sim import kinematics, skills
from vla_sim.rehearsal import attempts

COLUMNS = (
    "timestamp", *(f"j{i}" for i in range(6)), "tcp_x", "tcp_y", "tcp_z", "tcp_rx", "tcp_ry", "tcp_rz", "gripper_pos",
    "skill_id", "image_file",
)  # fmt: skip
VERIFICATION = "verification_wp"
_DECIMALS = 9
_LENGTHS_MM = (0, 2, 4, 6, 8, 10, 14, 18)
_ANGLES_DEG = (2, 4, 6, 8, 12)
_EXAMPLE = "example: ros2 run vla_sim make_skills --output outputs/skills"


def rows(skill: skills.Skill) -> list[list[str]]:
    """The rows of a skill's file, in the order of `COLUMNS`.

    Raises:
        KinematicsError: a waypoint is out of reach.
    """
    q, lines = kinematics.home(), []
    for index, waypoint in enumerate(skill.waypoints):
        q = kinematics.inverse(waypoint.T @ np.linalg.inv(skills.T_TOOL_TCP), q)
        T_base_tcp = kinematics.T_BASE_LINK_BASE @ waypoint.T  # the turn by 180 deg is its own inverse
        turn = rotation_vector(T_base_tcp[:3, :3])
        if math.pi - np.linalg.norm(turn) < 1e-6 and turn[np.argmax(np.abs(turn))] < 0.0:
            turn = -turn  # half a turn either way is the same rotation: write always the same one
        numbers = [f"{round(float(v), _DECIMALS) + 0.0:.{_DECIMALS}f}" for v in (*q, *T_base_tcp[:3, 3], *turn)]
        mark = VERIFICATION if waypoint.verify else ""
        lines.append([f"20260101_0000{index:02d}_000000", *numbers, str(waypoint.gripper), "0", mark])
    return lines


def write(folder: Path) -> list[Path]:
    """Write all files into a folder, which is made if necessary; returns their paths.

    Raises:
        OSError: it cannot be written.
        KinematicsError: a waypoint is out of reach.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in skills.TASK_OF_SKILL:
        path = folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(skills.build(name)))
        paths.append(path)
    return paths


def rehearse(name: str, seeds: int) -> str:
    """A table: how often the grasp was verified and the part placed with a trigger pose that is off.

    Args:
        name: the skill.
        seeds: how many start states to try.
    """
    lengths = [(axis, sign * v * 1e-3) for axis in "xyz" for v in _LENGTHS_MM[1:] for sign in (1, -1)]
    angles = [
        (axis, math.radians(sign * v)) for axis in ("roll", "pitch", "yaw") for v in _ANGLES_DEG for sign in (1, -1)
    ]
    offsets = [("x", 0.0), *lengths, *angles]
    outcomes = list(attempts(name, range(seeds), offsets))
    lines = [f"skill {name}, {seeds} start states", "off by            verified  placed  gripper reads"]
    for i, (axis, amount) in enumerate(offsets):
        tried = outcomes[i :: len(offsets)]
        size = f"{1e3 * amount:+5.0f} mm " if axis in "xyz" else f"{math.degrees(amount):+5.0f} deg"
        readings = [outcome.reading for outcome in tried]
        lines.append(
            f"{axis:>6} {size}   {sum(o.held for o in tried):8d}{sum(o.placed for o in tried):8d}  "
            f"{min(readings):.0f} to {max(readings):.0f}"
        )
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Write the files; 1 after an error."""
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_sim make_skills",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for cpu.csv and ram.csv")
    parser.add_argument(
        "--rehearse",
        type=int,
        default=0,
        metavar="N",
        help="drive both in N start states and print a table (default 0)",
    )
    options = parser.parse_args(args)
    try:
        for path in write(options.output):
            sys.stdout.write(f"{path}\n")
        for name in skills.TASK_OF_SKILL if options.rehearse > 0 else ():
            sys.stdout.write(f"\n{rehearse(name, options.rehearse)}\n")
    except (OSError, VlaError) as error:
        sys.stderr.write(f"make_skills: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
