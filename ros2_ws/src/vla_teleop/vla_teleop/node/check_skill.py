# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop check_skill``: what a skill would do on a robot, before an arm moves. Needs no running node."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError, listing, nearest_name
from vla_core.kinematics import pose_matrix, rotation_from_vector
from vla_core.profile import Profile, load_profile

from vla_teleop.node.check_plot import draw
from vla_teleop.skills.check import MISMATCH_M, SkillCheck, check_skill
from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.table import load_skill_table
from vla_teleop.skills.waypoints import load_skill

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
PICTURES = (".png", ".svg")
_EXAMPLE = """example:
  ros2 run vla_teleop check_skill --profile ros2_ws/src/vla_bringup/robots/sim_ur5e.yaml \\
    --table ros2_ws/src/vla_teleop/config/skills/sim.yaml --skill cpu --plot cpu.png
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="check_skill",
        description="Check a skill against a robot: reach, limits, workspace, singular poses, speeds, and rows whose joints "
        "and pose disagree. Exit code 0: the arm can drive it; 1: it cannot, or a file is wrong.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--table", type=Path, required=True, help="skill table (YAML)")
    result.add_argument("--skill", action="append", help="name in the table; may be repeated (default: all)")
    result.add_argument("--profile", type=Path, required=True, help="robot profile (YAML) with kinematics and teleop")
    result.add_argument(
        "--skills-dir", type=Path, help="folder of the waypoint files, looked in before the table's own"
    )
    result.add_argument(
        "--trigger",
        type=float,
        nargs=6,
        metavar=("X", "Y", "Z", "RX", "RY", "RZ"),
        help="pose of the tool centre point where the skill is triggered, position [m] and rotation vector [rad] in the "
        "frame of the file (default: its first waypoint)",
    )
    result.add_argument("--plot", type=Path, metavar="FILE", help="draw the plan (.png or .svg); of one skill")
    result.add_argument("--json", action="store_true", help="print the findings as JSON in place of text")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and print; return 0 when every skill asked for can be driven."""
    options = parser().parse_args(arguments)
    if options.plot and options.plot.suffix not in PICTURES:
        parser().error(f"--plot {options.plot}: expected a file that ends in {listing(PICTURES)}")
    try:
        profile = load_profile(options.profile)
        checks = _checks(options, profile)
        if options.plot:
            _draw(options.plot, checks, profile)
    except VlaError as error:
        print(f"check_skill: {error}", file=sys.stderr)
        return EXIT_FAILURE
    if options.json:
        print(json.dumps([check.plain() for check in checks], indent=2))
    else:
        print("\n\n".join(report(check) for check in checks))
    return EXIT_OK if all(check.ok for check in checks) else EXIT_FAILURE


def _checks(options: argparse.Namespace, profile: Profile) -> list[SkillCheck]:
    table = load_skill_table(options.table, options.skills_dir)
    names = options.skill or list(table)
    for name in names:
        if name not in table:
            raise SkillFileError(
                f"{options.table}: there is no skill '{name}'; there are: {listing(table)}{nearest_name(name, table)}"
            )
    if options.plot and len(names) > 1:
        raise SkillFileError(f"--plot draws one skill, but {listing(names)} are asked for; choose one with --skill")
    trigger = _pose(options.trigger) if options.trigger else None
    return [check_skill(table[name], load_skill(table[name]), profile, trigger) for name in names]


def _pose(numbers: Sequence[float]) -> NDArray[np.float64]:
    return pose_matrix(numbers[:3], rotation_from_vector(numbers[3:]))


def _draw(path: Path, checks: Sequence[SkillCheck], profile: Profile) -> None:
    plan = checks[0].plan
    if plan is None or profile.kinematics is None:
        print(f"check_skill: {path} is not drawn, because the skill cannot be driven", file=sys.stderr)
        return
    try:
        draw(plan, profile.kinematics, path)
    except OSError as error:
        raise SkillFileError(f"--plot {path} cannot be written: {error}") from None


def report(check: SkillCheck) -> str:
    """Return the findings as text."""
    lines = [f"{check.skill}: {len(check.rows)} waypoints of {check.file}", "", ROWS]
    for row in check.rows:
        marks = [
            "verified here" if row.verification else "",
            "" if row.reached else "OUT OF REACH",
            f"joints say {row.mismatch * 1e3:.1f} mm elsewhere" if row.mismatch > MISMATCH_M else "",
        ]
        lines.append(
            f"{row.row:>3}  {row.part}  {row.gripper:>7}  {row.distance * 1e3:>8.1f}  {row.turn:>7.4f}  "
            f"{row.mismatch * 1e3:>11.2f}  {', '.join(mark for mark in marks if mark)}".rstrip()
        )
    if check.segments:
        lines += ["", SEGMENTS]
    for segment in check.segments:
        gripper = "-" if segment.gripper is None else str(segment.gripper)
        joint = f"{segment.joint} {segment.joint_share * 100.0:.0f} %" if segment.joint else "-"
        lines.append(
            f"{segment.segment:>7}  {f'{segment.first}-{segment.last}':>5}  {gripper:>7}  {segment.mode:<6}  "
            f"{segment.length * 1e3:>7.1f}  {segment.duration:>5.2f}  {segment.speed:>9.3f}  {joint}"
            f"{'  verified at its end' if segment.verification else ''}"
        )
    lines.append("")
    lines += [f"warning: {text}" for text in check.warnings]
    lines += [f"problem: {text}" for text in check.problems]
    lines.append(f"ok: {check.duration:.1f} s of motion" if check.ok else "the arm cannot drive this skill")
    return "\n".join(lines)


ROWS = f"{'row':>3}  {'part':<8}  {'gripper':>7}  {'way [mm]':>8}  {'[rad]':>7}  {'joints [mm]':>11}"
SEGMENTS = f"segment  {'rows':>5}  {'gripper':>7}  {'mode':<6}  {'[mm]':>7}  {'[s]':>5}  {'max [m/s]':>9}  nearest to its limit of speed"


if __name__ == "__main__":
    sys.exit(main())
