# SPDX-License-Identifier: Apache-2.0

"""Drive the robot by hand, without a recorder. Nothing moves before the button or the service `teleop/enable`.

ros2 launch vla_bringup teleop.launch.py sim:=true clock:=paced device:=gamepad device_drivers:=true
ros2 launch vla_bringup teleop.launch.py robot_ip:=192.168.56.101 device:=sol_r2
ros2 launch vla_bringup teleop.launch.py robot_ip:=192.168.56.101 device:=spacemouse frame:=tool
ros2 launch vla_bringup teleop.launch.py robot:=sim_ur5e_bimanual sim:=true clock:=paced device:=gello_left,gello_right
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from vla_bringup.launch_util import declare, flag, forwarded, resolve_profile, share, value
from vla_bringup.monitor_launch import monitors
from vla_bringup.teleop_launch import teleop_names, teleop_nodes


def teleoperation(context: LaunchContext):
    path, profile = resolve_profile(context)
    lockstep = flag(context, "sim") and value(context, "clock") == "lockstep"
    names = ",".join(name for name in (*teleop_names(profile), value(context, "participants")) if name)
    robot = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share() / "launch" / "robot.launch.py")),
        launch_arguments=forwarded(context, participants=names, profile=str(path)),
    )
    person = teleop_nodes(
        context,
        path,
        profile,
        lockstep=lockstep,
        parameters={"own_buttons": True, "enable_on_start": flag(context, "enable_on_start")},
        on_exit=Shutdown(reason="the teleop node ended"),
    )
    sim = flag(context, "sim")
    watching = monitors(context, path, profile, simulated=sim, use_sim_time=sim)
    return [robot, *person, *watching]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *declare("robot", "sim", "teleop_device", "teleop", "teleop_only", "monitor"),
            OpaqueFunction(function=teleoperation),
        ]
    )
