# SPDX-License-Identifier: Apache-2.0

"""Two roles for the image transport test, each in a process of its own.

python image_count.py subscribe FRAMES    prints {"received": n, "in_order": true} after the last frame or a deadline
python image_count.py publish FRAMES [HZ]  waits for the subscriber, sends FRAMES best-effort 640x480 images at 30 Hz or HZ
"""

import json
import sys
import time

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

WIDTH, HEIGHT, RATE_HZ, DEADLINE_S = 640, 480, 30.0, 60.0


def publish(frames, rate_hz=RATE_HZ):
    node = rclpy.create_node("image_source")
    publisher = node.create_publisher(Image, "image", qos_profile_sensor_data)
    message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    message.data = bytes(3 * WIDTH * HEIGHT)
    deadline = time.monotonic() + DEADLINE_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline:
            raise SystemExit("no subscriber")
        rclpy.spin_once(node, timeout_sec=0.05)
    due = time.monotonic() + 0.5  # the subscriber may still be matching
    for number in range(1, frames + 1):
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
        message.header.stamp.sec = number
        publisher.publish(message)
        due += 1.0 / rate_hz


def subscribe(frames):
    node = rclpy.create_node("image_sink")
    numbers = []
    node.create_subscription(Image, "image", lambda m: numbers.append(m.header.stamp.sec), qos_profile_sensor_data)
    deadline, quiet_since = time.monotonic() + DEADLINE_S, None
    while time.monotonic() < deadline and (not numbers or numbers[-1] < frames):
        before = len(numbers)
        rclpy.spin_once(node, timeout_sec=0.1)
        quiet_since = None if len(numbers) > before else quiet_since or time.monotonic()
        if numbers and quiet_since is not None and time.monotonic() - quiet_since > 3.0:
            break  # the last frames were lost
    print(json.dumps({"received": len(numbers), "in_order": numbers == sorted(set(numbers))}))


if __name__ == "__main__":
    rclpy.init()
    {"publish": publish, "subscribe": subscribe}[sys.argv[1]](*(int(number) for number in sys.argv[2:]))
    rclpy.try_shutdown()
