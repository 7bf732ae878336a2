# SPDX-License-Identifier: Apache-2.0

"""Record demonstrations into one bag per episode. Recording starts and stops on request, never on launch.

ros2 launch vla_bringup record.launch.py sim:=true operator:=scripted episodes:=10 output_dir:=outputs/bags
ros2 launch vla_bringup record.launch.py robot_ip:=192.168.56.101 task:="fold the towel" operator_name:=ada
ros2 launch vla_bringup record.launch.py robot_ip:=192.168.56.101 operator:=joystick skill_table:=skills.yaml
ros2 launch vla_bringup record.launch.py sim:=true operator:=joystick scene:=extract_cpu joy_player:=failed_grasp
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.ended import arm_hint, ended, recorder_hint
from vla_bringup.launch_util import (
    declare,
    flag,
    forwarded,
    given_file,
    node,
    require,
    resolve_profile,
    sentence,
    share,
    value,
)
from vla_bringup.monitor_launch import monitors
from vla_bringup.preflight_launch import checked
from vla_bringup.teleop_launch import person
from vla_core.profile import load_profile

PLAYED_SCENES = ("extract_cpu", "extract_ram")
# For a played operator; a real one has the robot's instruction, or his own.
PLAYED_TASKS = {"extract_cpu": "take the CPU out of its socket", "extract_ram": "pull the RAM module out of its slot"}


def check(context: LaunchContext) -> None:
    """Refuse combinations of arguments that cannot work."""
    sim, operator = flag(context, "sim"), value(context, "operator")
    require(
        sim or operator != "scripted",
        "operator:=scripted drives the simulated cell only; add sim:=true or record with operator:=person",
    )
    player = value(context, "joy_player")
    require(
        not player or (sim and operator == "joystick"),
        f"joy_player:={player} plays a joystick in the simulated cell; add sim:=true operator:=joystick",
    )
    require(
        not player or value(context, "scene") in PLAYED_SCENES,
        f"joy_player:={player} knows the scenes {' and '.join(PLAYED_SCENES)} only; add scene:=extract_cpu",
    )


def participants(context: LaunchContext, table: Path | None) -> str:
    """Nodes that the simulated time waits for: those of this launch, and those that the user names."""
    operator = value(context, "operator")
    names = ["recorder"]
    if operator == "scripted":
        names.append("operator")
    elif operator == "joystick":
        names += ["teleop", "operator", *(["skills"] if table else [])]
        names += ["joy_player"] if value(context, "joy_player") else []
    return ",".join([*names, *filter(None, value(context, "participants").split(","))])


def skill_table(context: LaunchContext) -> Path | None:
    """The skill table of operator:=joystick; None: no skills."""
    if given := given_file(context, "skill_table"):
        return given
    return share("vla_teleop") / "config" / "skills" / "sim.yaml" if flag(context, "sim") else None


def recorder(context: LaunchContext, path: Path, task: str, lockstep: bool):
    """The recorder."""
    scripted = value(context, "operator") == "scripted"
    parameters: dict[str, object] = {
        "profile": str(path),
        "output_dir": value(context, "output_dir"),
        "task": task,
        "operator": value(context, "operator_name") or ("scripted" if scripted else ""),
        "record_all": flag(context, "record_all"),
        "record_from": value(context, "record_from"),
        "on_missing_stream": value(context, "on_missing_stream"),
        "lockstep": lockstep,
        "use_sim_time": flag(context, "sim"),
    }
    for name in ("include", "exclude", "attachments"):
        if words := value(context, name).split():
            parameters[name] = words
    on_exit = ended("recorder", recorder_hint(value(context, "output_dir")))
    return node(context, "vla_recorder", "recorder_node", "recorder", parameters, on_exit=on_exit)


def scripted(context: LaunchContext, path: Path, task: str, lockstep: bool):
    """The simulation's own operator."""
    parameters = {
        "profile": str(path),
        "task": value(context, "scene"),
        "instruction": sentence(context, task),
        "episodes": int(value(context, "episodes")),
        "first_seed": int(value(context, "seed")),
        "result_file": value(context, "result_file"),
        "lockstep": lockstep,
        "use_sim_time": True,
    }
    ended = Shutdown(reason="the operator is done")
    return [node(context, "vla_sim", "operator_node", "operator", parameters, on_exit=ended)]


def joystick(context: LaunchContext, path: Path, table: Path | None, lockstep: bool):
    """Teleoperation, skills, the operator's day, and in simulation a person who is played."""
    common = {"profile": str(path), "lockstep": lockstep, "use_sim_time": flag(context, "sim")}
    day = {
        "skills": table is not None,
        "enable_on_start": flag(context, "enable_on_start"),
        "correction_timeout_s": float(value(context, "correction_timeout_s")),
    }
    nodes, hint = [], arm_hint(load_profile(path))
    if table is not None:
        files = {"table": str(table), "skills_dir": value(context, "skills_dir")}
        nodes.append(("vla_teleop", "skill_node", "skills", {**common, **files, "preflight": checked(context)}))
    if scenario := value(context, "joy_player"):
        player = {
            "task": value(context, "scene"),
            "scenario": scenario,
            "episodes": int(value(context, "episodes")),
            "first_seed": int(value(context, "seed")),
            "result_file": value(context, "result_file"),
            "lockstep": lockstep,
            "use_sim_time": True,
        }
        nodes.append(("vla_sim", "joy_player", "joy_player", player))
    return [
        *person(context, path, lockstep=lockstep, day=day),
        *(
            node(context, package, executable, name, parameters, on_exit=ended(name, hint))
            for package, executable, name, parameters in nodes
        ),
    ]


def recording(context: LaunchContext):
    check(context)
    path, profile = resolve_profile(context)
    operator = value(context, "operator")
    lockstep = flag(context, "sim") and value(context, "clock") == "lockstep"
    played = PLAYED_TASKS.get(value(context, "scene"), "") if value(context, "joy_player") else ""
    task = value(context, "task") or played or profile.task
    table = skill_table(context) if operator == "joystick" else None
    cell = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py")),
        launch_arguments=forwarded(context, participants=participants(context, table), profile=str(path)),
    )
    actions = [cell, recorder(context, path, task, lockstep)]
    if operator == "scripted":
        actions += scripted(context, path, task, lockstep)
    elif operator == "joystick":
        actions += joystick(context, path, table, lockstep)
    sim = flag(context, "sim")
    return [*actions, *monitors(context, path, profile, simulated=sim, use_sim_time=sim)]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declare("robot", "sim", "record", "teleop_device", "teleop", "skills", "joystick", "monitor"),
            OpaqueFunction(function=recording),
        ]
    )
