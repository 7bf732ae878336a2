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
    image_transport,
    node,
    require,
    resolve_profile,
    share,
    value,
)


def policy_parameters(context: LaunchContext, path: str, task: str, lockstep: bool) -> dict:
    sim = flag(context, "sim")
    return {
        "policy": value(context, "policy"),
        "checkpoint": value(context, "checkpoint"),
        "profile": path,
        "task": task,
        "device": value(context, "device"),
        "policy_options": value(context, "policy_options"),
        "host": value(context, "host"),
        "port": int(value(context, "port")),
        "protocol": value(context, "protocol"),
        "token": value(context, "token"),
        "dry_run": flag(context, "dry_run") if value(context, "dry_run") else not sim,
        "output": "print" if value(context, "robot") == "none" else "goals",
        "report_file": value(context, "report_file"),
        "lockstep": lockstep,
        "use_sim_time": sim,
    }


def trials(context: LaunchContext, path: str, task: str, lockstep: bool) -> list:
    """The node that scores the policy, and the recorder where trials are recorded."""
    record = int(value(context, "record_episodes"))
    trial = {
        "profile": path,
        "task": value(context, "scene"),
        "instruction": task,
        "episodes": int(value(context, "episodes")),
        "first_seed": int(value(context, "seed")),
        "max_duration_s": float(value(context, "max_duration")),
        "result_file": value(context, "result_file"),
        "record_episodes": record,
        "lockstep": lockstep,
        "use_sim_time": True,
    }
    done = Shutdown(reason="all trials are done")
    actions = [node(context, "vla_sim", "trial_node", "trial", trial, on_exit=done)]
    if record:
        recorder = {"profile": path, "output_dir": value(context, "output_dir"), "task": task}
        recorder |= {"lockstep": lockstep, "use_sim_time": True}
        ended = Shutdown(reason="the recorder ended")
        actions.append(node(context, "vla_recorder", "recorder_node", "recorder", recorder, on_exit=ended))
    return actions


def policy_profile(context: LaunchContext):
    """Whether the robot profile was chosen by the user, its file and itself; else a checkpoint brings it along."""
    own = value(context, "policy") == "lerobot"
    require(
        not own or value(context, "checkpoint"),
        "policy:=lerobot needs checkpoint:=DIR; to try the robot without a trained policy use policy:=scripted",
    )
    robot = value(context, "robot")
    if own and not value(context, "profile") and robot in ("", "none"):
        return False, *checkpoint_profile(context)
    require(robot != "none" or value(context, "profile"), "robot:=none needs profile:=FILE, or a checkpoint's own")
    return True, *resolve_profile(context)


def inference(context: LaunchContext):
    sim, episodes, robot = flag(context, "sim"), int(value(context, "episodes")), value(context, "robot")
    given, path, profile = policy_profile(context)
    require(
        sim or episodes == 0,
        "episodes:=N scores trials in the simulated cell; add sim:=true, or leave it out and send RunPolicy goals",
    )
    lockstep = sim and value(context, "clock") == "lockstep"
    task = value(context, "task") or profile.task
    policy = policy_parameters(context, str(path) if given else "", task, lockstep)
    ended = Shutdown(reason="the policy node ended")
    actions = [*image_transport(), node(context, "vla_policy", "policy_node", "policy", policy, on_exit=ended)]
    if sim or robot != "none":
        source = PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py"))
        names = ["policy", *(["trial"] if episodes else [])]
        names += ["recorder"] if episodes and int(value(context, "record_episodes")) else []
        arguments = forwarded(context, participants=",".join(names), profile=str(path), robot="")
        actions.insert(0, IncludeLaunchDescription(source, launch_arguments=arguments))
    return [*actions, *(trials(context, str(path), task, lockstep) if episodes else [])]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim", "infer"), OpaqueFunction(function=inference)])
