# SPDX-License-Identifier: Apache-2.0

"""Run a trained policy. With sim:=true and episodes:=N it is tried on N seeds and scored; else it waits for RunPolicy goals.

ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train sim:=true episodes:=20 task:="grasp the block and lift it"
ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train robot:=ur5e_2f85_realsense dry_run:=false
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.launch_util import (
    checkpoint_profile,
    declare,
    flag,
    forwarded,
    node,
    require,
    resolve_profile,
    share,
    value,
)


def inference(context: LaunchContext):
    sim, episodes = flag(context, "sim"), int(value(context, "episodes"))
    given = value(context, "profile") or value(context, "robot")
    path, profile = (
        resolve_profile(context) if given and value(context, "robot") != "none" else checkpoint_profile(context)
    )
    require(
        sim or episodes == 0,
        "episodes:=N scores trials in the simulated cell; add sim:=true, or leave it out and send RunPolicy goals",
    )
    lockstep = sim and value(context, "clock") == "lockstep"
    record = int(value(context, "record_episodes")) if episodes else 0
    policy = {
        "checkpoint": value(context, "checkpoint"),
        "profile": str(path) if given else "",
        "task": value(context, "task") or profile.task,
        "device": value(context, "device"),
        "dry_run": flag(context, "dry_run") if value(context, "dry_run") else not sim,
        "output": "print" if value(context, "robot") == "none" else "goals",
        "report_file": value(context, "report_file"),
        "lockstep": lockstep,
        "use_sim_time": sim,
    }
    participants = ["policy", *(["trial"] if episodes else []), *(["recorder"] if record else [])]
    actions = [
        node(context, "vla_policy", "policy_node", "policy", policy, on_exit=Shutdown(reason="the policy node ended"))
    ]
    if value(context, "robot") != "none" or sim:
        source = PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py"))
        arguments = forwarded(context, participants=",".join(participants), profile=str(path), robot="")
        actions.insert(0, IncludeLaunchDescription(source, launch_arguments=arguments))
    if record:
        recorder = {
            "profile": str(path),
            "output_dir": value(context, "output_dir"),
            "task": policy["task"],
            "lockstep": lockstep,
            "use_sim_time": True,
        }
        actions.append(
            node(
                context,
                "vla_recorder",
                "recorder_node",
                "recorder",
                recorder,
                on_exit=Shutdown(reason="the recorder ended"),
            )
        )
    if episodes:
        trial = {
            "profile": str(path),
            "task": value(context, "scene"),
            "instruction": policy["task"],
            "episodes": episodes,
            "first_seed": int(value(context, "seed")),
            "max_duration_s": float(value(context, "max_duration")),
            "result_file": value(context, "result_file"),
            "record_episodes": record,
            "lockstep": lockstep,
            "use_sim_time": True,
        }
        actions.append(
            node(context, "vla_sim", "trial_node", "trial", trial, on_exit=Shutdown(reason="all trials are done"))
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim", "infer"), OpaqueFunction(function=inference)])
