# SPDX-License-Identifier: Apache-2.0

"""Counts messages of every stream that a profile declares, in a process of its own.

python stream_count.py PROFILE NEEDED SECONDS [NAMESPACE]    ends when each topic has delivered NEEDED messages (latched
ones: one), or when the time is over; prints {"counts": {topic: n}, "publishers": {topic: n}, "missing": [topic], "names":
{topic: [joint]}}
"""

import json
import sys
import time

import rclpy
from rosidl_runtime_py.utilities import get_message
from vla_common.qos import LATCHED, SENSOR
from vla_core.profile import CAMERA_INFO, load_profile


def wanted(profile, needed):
    """Topic to type, QoS and how many messages it has to deliver."""
    topics = {camera.topic: (camera.type, SENSOR, needed) for camera in profile.cameras}
    topics |= {camera.info_topic: (CAMERA_INFO, SENSOR, needed) for camera in profile.cameras if camera.info_topic}
    topics |= {spec.topic: (spec.type, SENSOR, needed) for spec in profile.state}
    for topic in profile.record_topics:
        latched = topic.qos == "latched"
        topics[topic.topic] = (topic.type, LATCHED if latched else SENSOR, 1 if latched else needed)
    for monitor in profile.monitors:
        topics[monitor.topic] = (monitor.type, LATCHED, 1)
    return topics


def main(path, needed, seconds, namespace=""):
    rclpy.init()
    node = rclpy.create_node("stream_count", namespace=namespace)
    topics = wanted(load_profile(path), needed)
    if namespace:  # absolute ones, such as /tf, are inside it, too, in a simulated cell
        topics = {topic: kind for topic, kind in topics.items() if not topic.startswith("/")}
    counts, names = dict.fromkeys(topics, 0), {}

    def take(topic):
        def on_message(msg):
            counts[topic] += 1
            if hasattr(msg, "name"):
                names.setdefault(topic, set()).update(msg.name)

        return on_message

    subscriptions = [
        node.create_subscription(get_message(kind), topic, take(topic), qos) for topic, (kind, qos, _) in topics.items()
    ]
    deadline = time.monotonic() + seconds
    while any(counts[topic] < topics[topic][2] for topic in topics) and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.2)
    found = {
        "counts": counts,
        "publishers": {v.topic_name: node.count_publishers(v.topic_name) for v in subscriptions},
        "missing": [topic for topic in topics if counts[topic] < topics[topic][2]],
        "names": {topic: sorted(values) for topic, values in names.items()},
    }
    print(json.dumps(found))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
