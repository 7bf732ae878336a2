# SPDX-License-Identifier: Apache-2.0

"""Play a recorded episode with its clock; with checkpoint:=… a policy runs on it in dry run, so nothing is commanded.

ros2 launch vla_bringup replay.launch.py bag:=outputs/bags/episode_… checkpoint:=outputs/train
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import ExecuteProcess, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events.process import ProcessIO
from vla_bringup.launch_util import bag_profile, declare, flag, image_transport, node, value
from vla_bringup.monitor_launch import monitors

READY = b"[policy]: loaded "  # what the policy node says when it can take observations


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
    ended = OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the bag has been played")])
    watching = monitors(context, None, profile, simulated=False, use_sim_time=True)
    actions = [*image_transport(), RegisterEventHandler(ended), *watching]
    if not value(context, "checkpoint"):
        return [*actions, player]
    policy = node(
        context,
        "vla_policy",
        "policy_node",
        "policy",
        {
            "checkpoint": value(context, "checkpoint"),
            "profile": "",
            "task": value(context, "task") or profile.task,
            "device": value(context, "device"),
            "dry_run": True,
            "start_on_ready": True,
            "report_file": value(context, "report_file"),
            "log_file": value(context, "log_file"),
            "use_sim_time": True,
        },
        on_exit=Shutdown(reason="the policy node ended"),
    )
    waiting = [player]

    def play_when_loaded(event: ProcessIO):
        # loading takes longer than many an episode lasts
        return waiting.pop() if waiting and READY in event.text else None

    return [*actions, RegisterEventHandler(OnProcessIO(target_action=policy, on_stderr=play_when_loaded)), policy]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("replay", "monitor"), OpaqueFunction(function=replay)])
