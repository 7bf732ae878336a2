# SPDX-License-Identifier: Apache-2.0

"""A camera driver whose camera is held by another program until a file appears: `python late_cameras.py FILE CAMERA…`.

Then it publishes images of 64x48 on <camera>/image_raw, five a second.
"""

import sys
from pathlib import Path

import rclpy
from sensor_msgs.msg import Image


def main(plugged, *cameras):
    rclpy.init()
    node = rclpy.create_node("late_cameras")
    publishers, count = [], 0

    def send():
        nonlocal count
        if plugged.exists() and not publishers:
            publishers.extend(node.create_publisher(Image, f"{camera}/image_raw", 5) for camera in cameras)
        count += 1
        for publisher in publishers:
            image = Image(height=48, width=64, encoding="rgb8", step=192, data=bytes([count % 256]) * (48 * 192))
            image.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(image)

    node.create_timer(0.2, send)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        node.destroy_node()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
