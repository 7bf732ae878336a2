# SPDX-License-Identifier: Apache-2.0

"""Run a trained policy. With sim:=true and episodes:=N it is tried on N seeds and scored; else it waits for RunPolicy goals.

ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train sim:=true episodes:=20 task:="grasp the block and lift it"
ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train robot:=ur5e_2f85_realsense dry_run:=false
ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train mode:=planner skill:=cpu skill_table:=skills.yaml
ros2 launch vla_bringup infer.launch.py checkpoint:=outputs/train dry_run:=false operator:=joystick record_eval:=true
ros2 launch vla_bringup infer.launch.py policy:=scripted sim:=true operator:=joystick joy_player:=takeover
ros2 launch vla_bringup infer.launch.py policy:=scripted sim:=true
"""

import time
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.launch_util import (
    TRUE_WORDS,
    checkpoint_profile,
    declare,
    flag,
    forwarded,
    given_file,
    image_transport,
    node,
    require,
    resolve_profile,
    sentence,
    share,
    value,
)
from vla_bringup.monitor_launch import monitors
from vla_bringup.preflight_launch import checked
from vla_bringup.teleop_launch import person, without_button
from vla_core.profile import Profile


def policy_parameters(context: LaunchContext, path: str, task: str, lockstep: bool) -> dict:
    sim = flag(context, "sim")
    return {
        "policy": value(context, "policy"),
        "checkpoint": value(context, "checkpoint"),
        "profile": path,
        "task": task,
        "device": value(context, "device"),
        "strategy": value(context, "strategy"),
        "dtype": value(context, "dtype"),
        "accelerate": flag(context, "accelerate"),
        "compile": flag(context, "compile"),
        "rename": value(context, "rename"),
        "on_load_failure": value(context, "on_load_failure"),
        "allow_synthetic": flag(context, "allow_synthetic"),
        "policy_options": value(context, "policy_options"),
        "host": value(context, "host"),
        "port": int(value(context, "port")),
        "protocol": value(context, "protocol"),
        "token": value(context, "token"),
        "remote_timeout_s": float(value(context, "remote_timeout_s")),
        "n_action_steps": int(value(context, "n_action_steps")),
        "dry_run": flag(context, "dry_run") if value(context, "dry_run") else not sim,
        "output": "print" if value(context, "robot") == "none" else "goals",
        "report_file": value(context, "report_file"),
        "log_file": value(context, "log_file"),
        "mode": value(context, "mode"),
        "skill": skill(context),
        "correction_checkpoint": value(context, "correction_checkpoint"),
        "on_starvation": value(context, "on_starvation"),
        "preflight": checked(context),
        "require_enable": flag(context, "require_enable"),
        "deadman_topic": value(context, "deadman_topic"),
        "takeover_topic": value(context, "takeover_topic"),
        "record_eval": flag(context, "record_eval"),
        "lockstep": lockstep,
        "use_sim_time": sim,
    }


def skill(context: LaunchContext) -> str:
    """Name of the skill; the simulated cell brings one along."""
    own = flag(context, "sim") and value(context, "mode") != "e2e" and not value(context, "skill_table")
    return value(context, "skill") or ("grasp" if own else "")


def joystick(context: LaunchContext) -> bool:
    """Whether a person at a joystick can take the policy over."""
    return value(context, "operator") == "joystick"


def records(context: LaunchContext) -> bool:
    """Whether the launch starts a recorder."""
    trial = int(value(context, "episodes")) > 0
    return flag(context, "record_eval") or (trial and int(value(context, "record_episodes")) > 0)


def helpers(context: LaunchContext) -> list[str]:
    """Names of the nodes of `helper_nodes` that are needed; they take part in the ticks of the simulation."""
    played = bool(value(context, "joy_player"))
    skills = value(context, "mode") != "e2e" and (flag(context, "sim") or bool(value(context, "skill_table")))
    wanted = {
        "trial": int(value(context, "episodes")) > 0 and not played,
        "joy_player": played,
        "recorder": records(context),
        "skills": skills,
    }
    return [name for name, present in wanted.items() if present]


def participants(context: LaunchContext) -> str:
    """Nodes that the simulated time waits for."""
    names = ["policy", *helpers(context), *(["teleop", "operator"] if joystick(context) else [])]
    return ",".join([*names, *filter(None, value(context, "participants").split(","))])


def trial_parameters(context: LaunchContext, path: str, task: str) -> dict:
    return {
        "profile": path,
        "task": value(context, "scene"),
        "instruction": sentence(context, task),
        "sentence": value(context, "sentence"),
        "episodes": int(value(context, "episodes")),
        "first_seed": int(value(context, "seed")),
        "max_duration_s": float(value(context, "max_duration")),
        "result_file": value(context, "result_file"),
        "record_episodes": int(value(context, "record_episodes")),
    }


def player_parameters(context: LaunchContext, path: str, task: str) -> dict:
    return {
        "task": value(context, "scene"),
        "instruction": sentence(context, task),
        "scenario": value(context, "joy_player"),
        "episodes": max(1, int(value(context, "episodes"))),
        "first_seed": int(value(context, "seed")),
        "max_duration_s": float(value(context, "max_duration")),
        "result_file": value(context, "result_file"),
    }


def recorder_parameters(context: LaunchContext, path: str, task: str) -> dict:
    return {"profile": path, "output_dir": str(bags_folder(context)), "task": task}


def bags_folder(context: LaunchContext) -> Path:
    """Where the recorder puts its bags; evaluation runs get a folder per launch."""
    folder = Path(value(context, "output_dir"))
    if not flag(context, "record_eval"):
        return folder
    scene = value(context, "scene") if flag(context, "sim") else value(context, "robot") or "robot"
    context.launch_configurations.setdefault("eval_started", str(int(time.time())))
    return folder / f"vla-eval-{scene}-{context.launch_configurations['eval_started']}"


def after_the_trials(context: LaunchContext) -> list:
    """What follows the last trial: the dataset of the recorded runs, where one is wanted, and the end."""
    end = Shutdown(reason="all runs are done" if value(context, "joy_player") else "all trials are done")
    if not (flag(context, "record_eval") and flag(context, "eval_dataset")):
        return [end]
    bags = bags_folder(context)
    command = ["ros2", "run", "vla_recorder", "convert", "--include-failures"]
    paths = ["--bags", str(bags), "--output", str(bags / "dataset")]
    return [ExecuteProcess(cmd=[*command, *paths], name="eval_dataset", output="screen", on_exit=end)]


def helper_nodes(context: LaunchContext, path: str, task: str, lockstep: bool) -> list:
    """The node that scores the policy or plays the person, the recorder, and the skills, each where it is needed."""
    table = given_file(context, "skill_table")
    kinds = {
        "trial": ("vla_sim", "trial_node", trial_parameters, after_the_trials(context)),
        "joy_player": ("vla_sim", "joy_player", player_parameters, after_the_trials(context)),
        "recorder": ("vla_recorder", "recorder_node", recorder_parameters, [Shutdown(reason="the recorder ended")]),
        "skills": (
            "vla_teleop" if table else "vla_sim",
            "skill_node",
            skill_parameters,
            [Shutdown(reason="the skill server ended")],
        ),
    }
    actions = []
    for name in helpers(context):
        package, executable, parameters, ended = kinds[name]
        common = {"lockstep": lockstep, "use_sim_time": flag(context, "sim")}
        values = {**parameters(context, path, task), **common}
        actions.append(node(context, package, executable, name, values, on_exit=ended))
    return actions


def skill_parameters(context: LaunchContext, path: str, task: str) -> dict:
    if table := given_file(context, "skill_table"):
        files = {"table": str(table), "skills_dir": value(context, "skills_dir")}
        return {"profile": path, **files, "preflight": checked(context)}
    return {"profile": path, "task": value(context, "scene")}


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


def check_operator(context: LaunchContext, profile: Profile) -> None:
    """Refuse arguments about a person at a joystick that cannot work."""
    given = [
        f"{name}:={value(context, name)}" for name in ("joy_player", "device_drivers", "frame") if value(context, name)
    ]
    given += ["require_deadman:=true"] if flag(context, "require_deadman") else []
    if not joystick(context):
        require(
            not given, f"{' '.join(given)}: for a person at a joystick only; add operator:=joystick, or leave it out"
        )
        return
    sim, player = flag(context, "sim"), value(context, "joy_player")
    require(
        sim or value(context, "robot") != "none",
        "operator:=joystick drives an arm, and robot:=none has none; name a robot, or leave operator out",
    )
    require(
        not value(context, "takeover_topic"),
        f"takeover_topic:={value(context, 'takeover_topic')} would take over a second time, without giving the person the "
        "arm; operator:=joystick takes over with the device's button interrupt, so leave takeover_topic out",
    )
    require(sim or not player, f"joy_player:={player} plays a joystick in the simulated cell; add sim:=true")
    require(
        not player or int(value(context, "record_episodes")) == 0,
        f"record_episodes:= counts trials, and joy_player:={player} plays none; record its runs with record_eval:=true",
    )
    require(
        not player or value(context, "sentence") == "own",
        f"sentence:={value(context, 'sentence')} is for trials, and joy_player:={player} plays none; leave it out, or use task:=",
    )
    require(
        not (player and value(context, "dry_run") in TRUE_WORDS),
        f"joy_player:={player} waits until the policy has moved the arm, and dry_run:=true never does; leave dry_run out",
    )
    check_arm(profile)


def check_arm(profile: Profile) -> None:
    """Refuse a robot whose arm cannot change hands between policy and person."""
    require(
        profile.teleop is not None,
        f"{profile.source}: no section 'teleop', so nobody can drive {profile.robot} by hand; see docs/reference/profile.md, or "
        "leave operator:=joystick out",
    )
    assert profile.teleop is not None
    arm = next(action for action in profile.action if action.name == profile.teleop.arm)
    require(
        arm.command.interface == "follow_joint_trajectory",
        f"{profile.source}: the policy streams to {arm.command.name}, which the person would have too. operator:=joystick needs "
        "action.command.interface follow_joint_trajectory, because the arm changes hands by a switch of controllers",
    )


def operator_parameters(context: LaunchContext) -> dict:
    """Of the operator node beside a policy: it takes over, and runs no skills of its own."""
    return {"takeover": True, "skills": False, "recorder": records(context)}


def inference(context: LaunchContext):
    sim, episodes, robot = flag(context, "sim"), int(value(context, "episodes")), value(context, "robot")
    given, path, profile = policy_profile(context)
    require(
        sim or episodes == 0,
        "episodes:=N scores trials in the simulated cell; add sim:=true, or leave it out and send RunPolicy goals",
    )
    require(
        value(context, "mode") != "e2e" or not value(context, "skill_table"),
        "skill_table:= is for runs that hand over to a skill; add mode:=planner or mode:=correction, or leave it out",
    )
    check_operator(context, profile)
    lockstep = sim and value(context, "clock") == "lockstep"
    task = value(context, "task") or profile.task
    policy = policy_parameters(context, str(path) if given else "", task, lockstep)
    ended = Shutdown(reason="the policy node ended")
    actions = [*image_transport(), node(context, "vla_policy", "policy_node", "policy", policy, on_exit=ended)]
    if sim or robot != "none":
        source = PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py"))
        arguments = forwarded(context, participants=participants(context), profile=str(path), robot="")
        actions.insert(0, IncludeLaunchDescription(source, launch_arguments=arguments))
    if joystick(context):
        day = operator_parameters(context)
        actions += without_button(context, "interrupt", "teleop_device")
        actions += person(context, path, lockstep=lockstep, day=day, argument="teleop_device")
    watching = monitors(context, path, profile, simulated=sim, use_sim_time=sim)
    return [*actions, *helper_nodes(context, str(path), task, lockstep), *watching]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [*declare("robot", "sim", "infer", "teleop", "skills", "monitor"), OpaqueFunction(function=inference)]
    )
