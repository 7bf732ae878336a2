# SPDX-License-Identifier: Apache-2.0

"""Everything that publishes what the profile reads: the simulated cell with sim:=true, else the profile's drivers.

ros2 launch vla_bringup robot.launch.py robot:=ur5e_2f85_realsense robot_ip:=192.168.1.10 \\
    camera_serials:=front:831612073525,wrist:831612071234
ros2 launch vla_bringup robot.launch.py robot:=so101 robot_port:=/dev/ttyACM0 robot_id:=my_follower
ros2 launch vla_bringup robot.launch.py robot:=ur5e_bimanual left_robot_ip:=192.168.1.10 right_robot_ip:=192.168.1.11
ros2 launch vla_bringup robot.launch.py robot:=so101 drivers:=arm use_mock_hardware:=true
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.camera_launch import camera_nodes
from vla_bringup.driver_launch import drivers_of
from vla_bringup.launch_util import declare, flag, image_transport, resolve_profile, share, value
from vla_bringup.preflight_launch import preflight
from vla_bringup.ur_check import check_robots

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
    started = drivers_of(context, profile)
    check_robots(context, started)
    looking = [*camera_nodes(context, path, profile), *preflight(context, path)]
    if not started:
        return [*looking, LogInfo(msg=f"profile {path.name} names no drivers; something else must publish its topics")]
    return [*image_transport(), *(driver.action(value(context, "namespace")) for driver in started), *looking]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("robot", "sim"), OpaqueFunction(function=drivers)])
