# SPDX-License-Identifier: Apache-2.0

"""The simulated cell: arm, gripper and cameras with the interfaces of the real drivers.

ros2 launch vla_bringup sim.launch.py scene:=lift clock:=paced
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction, Shutdown
from vla_bringup.camera_launch import camera_nodes
from vla_bringup.launch_util import declare, image_transport, node, resolve_profile, value


def cell(context: LaunchContext):
    path, profile = resolve_profile(context)
    participants = [name for name in value(context, "participants").split(",") if name]
    parameters = {
        "profile": str(path),
        "task": value(context, "scene"),
        "bin_mode": value(context, "bin"),
        "clock_mode": value(context, "clock"),
        "real_time_factor": float(value(context, "real_time_factor")),
        "seed": int(value(context, "seed")),
        "board": value(context, "board"),
        "board_on": value(context, "board_on"),
    }
    if log := value(context, "cell_log"):
        parameters["log_file"] = log
    streamed = [action.command for action in profile.action if action.command.interface == "joint_group_position"]
    if streamed:  # only one controller may have the arm
        parameters["initial_joint_controller"] = streamed[0].controller
    if participants:
        parameters["participants"] = participants
    return [
        *image_transport(),
        node(context, "vla_sim", "cell_node", "cell", parameters, on_exit=Shutdown(reason="the simulated cell ended")),
        *camera_nodes(context, path, profile),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim"), OpaqueFunction(function=cell)])
