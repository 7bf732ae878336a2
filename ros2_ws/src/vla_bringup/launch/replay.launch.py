# SPDX-License-Identifier: Apache-2.0

"""Play a recorded episode with its clock; with checkpoint:=… a policy runs on it in dry run, so nothing is commanded.

ros2 launch vla_bringup replay.launch.py bag:=outputs/bags/episode_… checkpoint:=outputs/train
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from vla_bringup.launch_util import bag_profile, declare, flag, image_transport, node, value


def replay(context: LaunchContext):
    bag, profile = bag_profile(context)
    command = [
        "ros2",
        "bag",
        "play",
        str(bag),
        "--clock",
        value(context, "clock_rate"),
        "--rate",
        value(context, "rate"),
    ]
    if flag(context, "loop"):
        command.append("--loop")
    player = ExecuteProcess(cmd=command, name="bag_player", output="screen")
    actions = [*image_transport(), player]
    if value(context, "checkpoint"):
        policy = {
            "checkpoint": value(context, "checkpoint"),
            "profile": "",
            "task": value(context, "task") or profile.task,
            "device": value(context, "device"),
            "dry_run": True,
            "start_on_ready": True,
            "report_file": value(context, "report_file"),
            "use_sim_time": True,
        }
        actions.append(
            node(
                context, "vla_policy", "policy_node", "policy", policy, on_exit=Shutdown(reason="the policy node ended")
            )
        )
    actions.append(
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the bag has been played")]))
    )
    return actions


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("replay"), OpaqueFunction(function=replay)])
