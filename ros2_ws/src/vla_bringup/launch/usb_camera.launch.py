# SPDX-License-Identifier: Apache-2.0

"""One USB camera by v4l2_camera, as a profile's driver: rgb8 images on <camera_name>/image_raw.

ros2 launch vla_bringup usb_camera.launch.py camera_name:=front_camera video_device:=/dev/video0
"""

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node
from vla_bringup.launch_util import declare, image_transport, require, value


def camera(context: LaunchContext):
    try:
        get_package_share_directory("v4l2_camera")
    except LookupError:
        require(
            False,
            f"camera {value(context, 'camera_name')} needs the ROS 2 package v4l2_camera, which is not installed: "
            "sudo apt-get install ros-jazzy-v4l2-camera; or leave it out with drivers:=…",
        )
    name = value(context, "camera_name")
    parameters = {
        "video_device": value(context, "video_device"),
        "image_size": [int(value(context, "width")), int(value(context, "height"))],
        "output_encoding": "rgb8",
        "camera_frame_id": f"{name}_optical_frame",
    }
    return [
        *image_transport(),
        Node(
            package="v4l2_camera",
            executable="v4l2_camera_node",
            name=name,
            namespace=name,
            parameters=[parameters],
            output="screen",
            emulate_tty=False,
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare("usb_camera"), OpaqueFunction(function=camera)])
