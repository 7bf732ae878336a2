# SPDX-License-Identifier: Apache-2.0

"""A Robotiq 2F-85 that is plugged into a UR's wrist, through the socket of its URCap.

ros2 launch vla_drivers robotiq_socket.launch.py robot_ip:=192.168.56.101
ros2 launch vla_drivers robotiq_socket.launch.py use_mock_hardware:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "robot_ip": (str, "", "Address of the UR that the gripper is plugged into."),
    "gripper_port": (int, "63352", "TCP port of the gripper's URCap on the robot."),
    "use_mock_hardware": (bool, "false", "Talk to an emulated gripper on this machine instead."),
    "poll_rate_hz": (float, "30.0", "How often position and status are read, and joint_states published [Hz]."),
    "action_type": (
        str,
        "parallel_gripper_command",
        "Type of the action: parallel_gripper_command (Jazzy and newer) or gripper_command (Humble).",
    ),
    "joint_prefix": (str, "", "Put before the joint's name, such as left_ for one of two arms."),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (_, default, description) in ARGUMENTS.items()
    ]
    namespace = DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of the driver and its topics."
    )
    driver = Node(
        package="vla_drivers",
        executable="robotiq_socket",
        name="robotiq_socket",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (kind, _, _) in ARGUMENTS.items()
            }
        ],
        output="screen",
        emulate_tty=False,
    )
    return LaunchDescription([*declared, namespace, driver])
