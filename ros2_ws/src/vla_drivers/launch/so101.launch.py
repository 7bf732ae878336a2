# SPDX-License-Identifier: Apache-2.0

"""One SO-101 arm, follower or leader, on a serial port; or, with use_mock_hardware:=true, an emulated one.

ros2 launch vla_drivers so101.launch.py port:=/dev/ttyACM0 id:=my_follower
ros2 launch vla_drivers so101.launch.py role:=leader port:=/dev/ttyACM1 id:=my_leader namespace:=leader
ros2 launch vla_drivers so101.launch.py use_mock_hardware:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = {
    "port": (
        str,
        "",
        "Serial port of the arm, such as /dev/ttyACM0 or its name below /dev/serial/by-id; find_port finds it.",
    ),
    "id": (str, "", "Name under which lerobot-calibrate stored the arm's calibration (its --robot.id or --teleop.id)."),
    "role": (str, "follower", "follower (takes commands) or leader (torque off, publishes its joints only)."),
    "calibration_file": (
        str,
        "",
        "Calibration of lerobot-calibrate (JSON). Empty: LeRobot's own place for this role and id.",
    ),
    "use_mock_hardware": (bool, "false", "Drive emulated servos behind a pseudo terminal instead of a port."),
    "rate_hz": (float, "50.0", "Rate of joint_states and of commands to the servos [Hz]."),
    "joint_prefix": (str, "", "Put before every joint name, such as left_ for one of two arms."),
    "initial_joint_controller": (
        str,
        "joint_trajectory_controller",
        "Which controller has the arm after the start: joint_trajectory_controller or forward_position_controller.",
    ),
    "on_exit": (
        str,
        "hold",
        "What the servos do when the driver ends: hold, or torque_off (the arm falls; support it).",
    ),
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
        executable="so101_driver",
        name="so101_driver",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (kind, _, _) in ARGUMENTS.items()
            }
        ],
        output="screen",
        emulate_tty=False,
        sigterm_timeout="20",  # a busy machine needs a while to take down what LeRobot has loaded
    )
    return LaunchDescription([*declared, namespace, driver])
