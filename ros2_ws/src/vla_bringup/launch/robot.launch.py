# SPDX-License-Identifier: Apache-2.0

"""Everything that publishes what the profile reads: the simulated cell with sim:=true, else the profile's drivers.

ros2 launch vla_bringup robot.launch.py robot:=ur5e_2f85_realsense robot_ip:=192.168.56.101
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.camera_launch import camera_nodes
from vla_bringup.launch_util import declare, driver_launch_files, flag, image_transport, resolve_profile, share, value

SIM_ARGUMENTS = (
    "scene",
    "bin",
    "clock",
    "real_time_factor",
    "seed",
    "participants",
    "cell_log",
    "board",
    "board_on",
    "camera_settings",
    "camera_transforms",
    "namespace",
    "log_level",
    "params_file",
)


def drivers(context: LaunchContext):
    path, profile = resolve_profile(context)
    if flag(context, "sim"):
        arguments = {name: value(context, name) for name in SIM_ARGUMENTS}
        source = PythonLaunchDescriptionSource(str(share() / "launch" / "sim.launch.py"))
        return [IncludeLaunchDescription(source, launch_arguments={**arguments, "profile": str(path)}.items())]
    included = driver_launch_files(
        profile, robot_ip=value(context, "robot_ip"), use_mock_hardware=flag(context, "use_mock_hardware")
    )
    cameras = camera_nodes(context, path, profile)
    if not included:
        return [*cameras, LogInfo(msg=f"profile {path.name} names no drivers; something else must publish its topics")]
    # each driver in a scope of its own: launch arguments would otherwise leak from one into the next
    scoped = [
        GroupAction(
            [IncludeLaunchDescription(PythonLaunchDescriptionSource(str(file)), launch_arguments=arguments.items())],
            scoped=True,
            forwarding=False,
        )
        for file, arguments in included
    ]
    return [*image_transport(), *scoped, *cameras]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim"), OpaqueFunction(function=drivers)])
