# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop record_skill``: teach a skill, waypoint by waypoint, from the joystick or in freedrive."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rclpy.utilities import remove_ros_args
from vla_common.run import EXIT_USAGE, run_node
from vla_core.profile import load_profile

from vla_teleop.node.lesson import Lesson
from vla_teleop.node.teacher_node import HELP, TeacherNode, TeachOptions

_EXAMPLE = f"""example:
  ros2 run vla_teleop record_skill --profile ros2_ws/src/vla_bringup/robots/ur5e_2f85_realsense.yaml \\
    --output my_skill.csv --skill-id cpu --camera wrist

{HELP}
Buttons do the same: waypoint_add, waypoint_undo, waypoint_pause and waypoint_save of teleop/event. The file is written
after every change, so nothing that was confirmed is lost, whatever happens."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="record_skill",
        description="Teach a skill: move the arm by joystick or by hand, and add waypoints where it stands. Moves nothing "
        "itself.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--profile", type=Path, required=True, help="robot profile (YAML) with kinematics and teleop")
    result.add_argument(
        "--output", type=Path, required=True, help="waypoint file to write (CSV); pictures lie beside it"
    )
    result.add_argument("--skill-id", default="0", help="what the column skill_id says (default: 0)")
    result.add_argument("--append", action="store_true", help="go on with an existing file")
    result.add_argument(
        "--camera", default="", help="camera of the profile for a picture at each waypoint (default: none)"
    )
    result.add_argument(
        "--max-age", type=float, default=0.5, metavar="S", help="largest age of a picture [s] (default: 0.5)"
    )
    return result


def ending(lesson: Lesson, skill: str, profile: Path) -> str:
    """Return what a person does next with a taught skill, for pasting."""
    if not lesson.waypoints:
        return "no waypoint was taught"
    path = lesson.path.resolve()
    table = path.with_name("skills.yaml")
    grasps = ", grasp_threshold: 200" if any(waypoint.verification for waypoint in lesson.waypoints) else ""
    name = skill if skill != "0" else path.stem
    return "\n".join(
        [
            f"{path}: {len(lesson.waypoints)} waypoints. Next:",
            f"1. add the skill to a table, e.g. {table}; relative_count: how many of the first waypoints follow the trigger:",
            "skills:",
            f"  {name}: {{file: {path.name}, relative_count: {len(lesson.waypoints)}{grasps}}}",
            "2. check it:",
            f"ros2 run vla_teleop check_skill --table {table} --skill {name} --profile {profile}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Teach until the person saves; exit code 0 then, 1 after an error, 2 when it could not begin."""
    given = list(sys.argv if arguments is None else arguments)
    options = parser().parse_args(remove_ros_args(given)[1:])
    if not options.max_age > 0.0:
        parser().error(f"--max-age {options.max_age:g}: must be larger than 0")
    nodes: list[TeacherNode] = []

    def factory() -> TeacherNode:
        wanted = TeachOptions(
            output=options.output,
            skill_id=options.skill_id,
            append=options.append,
            camera=options.camera,
            max_age_s=options.max_age,
        )
        nodes.append(TeacherNode(load_profile(options.profile), wanted))
        return nodes[0]

    code = run_node(factory, given)
    if code != EXIT_USAGE and nodes:
        print(ending(nodes[0].lesson, options.skill_id, options.profile), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
