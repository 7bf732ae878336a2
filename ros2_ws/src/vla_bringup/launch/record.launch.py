# SPDX-License-Identifier: Apache-2.0

"""Record demonstrations into one bag per episode. Recording starts and stops on request, never on launch.

ros2 launch vla_bringup record.launch.py sim:=true operator:=scripted episodes:=10 output_dir:=outputs/bags
ros2 launch vla_bringup record.launch.py robot_ip:=192.168.56.101 task:="fold the towel" operator_name:=ada
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.launch_util import declare, flag, forwarded, node, require, resolve_profile, share, value


def recording(context: LaunchContext):
    path, profile = resolve_profile(context)
    sim, scripted = flag(context, "sim"), value(context, "operator") == "scripted"
    require(
        sim or not scripted,
        "operator:=scripted drives the simulated cell only; add sim:=true or record with operator:=person",
    )
    lockstep = sim and value(context, "clock") == "lockstep"
    recorder: dict[str, object] = {
        "profile": str(path),
        "output_dir": value(context, "output_dir"),
        "task": value(context, "task") or profile.task,
        "operator": value(context, "operator_name") or ("scripted" if scripted else ""),
        "record_all": flag(context, "record_all"),
        "record_from": value(context, "record_from"),
        "on_missing_stream": value(context, "on_missing_stream"),
        "lockstep": lockstep,
        "use_sim_time": sim,
    }
    for name in ("include", "exclude", "attachments"):
        if words := value(context, name).split():
            recorder[name] = words
    actions = [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py")),
            launch_arguments=forwarded(
                context, participants="recorder,operator" if scripted else "recorder", profile=str(path)
            ),
        ),
        node(
            context,
            "vla_recorder",
            "recorder_node",
            "recorder",
            recorder,
            on_exit=Shutdown(reason="the recorder ended"),
        ),
    ]
    if scripted:
        operator = {
            "profile": str(path),
            "task": value(context, "scene"),
            "instruction": value(context, "task") or profile.task,
            "episodes": int(value(context, "episodes")),
            "first_seed": int(value(context, "seed")),
            "result_file": value(context, "result_file"),
            "lockstep": lockstep,
            "use_sim_time": True,
        }
        actions.append(
            node(
                context,
                "vla_sim",
                "operator_node",
                "operator",
                operator,
                on_exit=Shutdown(reason="the operator is done"),
            )
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim", "record"), OpaqueFunction(function=recording)])
