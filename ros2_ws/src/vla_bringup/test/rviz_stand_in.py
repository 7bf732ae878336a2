# SPDX-License-Identifier: Apache-2.0

"""Stands in for rviz2: subscribes to every topic of the configuration that it is given, with the type that its display shows.

Then it lets the policy run, waits until all topics have come, and compares the transforms of two publishers. The result goes
to the JSON file that VLA_RVIZ_RESULT names; the exit code is 0.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosidl_runtime_py.utilities import get_message
from tf2_msgs.msg import TFMessage
from vla_common.action_client import GoalClient
from vla_msgs.action import RunPolicy

TYPES = {
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
}
PATIENCE_S = 75.0
DRAWN = {"path/arm", "chunk/arm", "steps/arm", "difference/arm", "phase"}
COMPARED = 20


def qos(topic):
    """What a display asks for."""
    return QoSProfile(
        depth=topic["Depth"],
        durability=DurabilityPolicy[topic["Durability Policy"].upper().replace(" ", "_")],
        reliability=ReliabilityPolicy[topic["Reliability Policy"].upper().replace(" ", "_")],
    )


class Watch:
    """What came on the topics of the displays, and where two publishers have the links."""

    def __init__(self, node, config):
        self.counts, self.drawn, self.captions, self.links = {}, set(), set(), ({}, {})
        for display in config["Visualization Manager"]["Displays"]:
            topic = display.get("Topic") or display.get("Description Topic")
            if topic:
                kind = get_message(TYPES[display["Class"]])
                self.counts[topic["Value"]] = 0
                node.create_subscription(
                    kind, topic["Value"], lambda msg, t=topic["Value"]: self.take(t, msg), qos(topic)
                )
        for name, links in zip(("tf", "mine/tf"), self.links, strict=True):
            node.create_subscription(TFMessage, name, lambda msg, links=links: self.place(links, msg), 100)

    def take(self, topic, msg):
        self.counts[topic] += 1
        for marker in getattr(msg, "markers", []):
            if marker.action == marker.ADD:
                self.drawn.add(marker.ns)
                self.captions.add(marker.text)

    @staticmethod
    def place(links, msg):
        for edge in msg.transforms:
            t, r, stamp = edge.transform.translation, edge.transform.rotation, edge.header.stamp
            sign = 1.0 if r.w >= 0.0 else -1.0
            turn = [sign * value for value in (r.x, r.y, r.z, r.w)]
            links[(stamp.sec, stamp.nanosec, edge.child_frame_id)] = [t.x, t.y, t.z, *turn]

    def differences(self):
        theirs, mine = self.links
        return [float(np.abs(np.subtract(theirs[key], mine[key])).max()) for key in theirs.keys() & mine.keys()]

    def complete(self):
        return all(self.counts.values()) and self.drawn >= DRAWN and len(self.differences()) >= COMPARED


class Waves:
    """Lets the policy wave, again and again: what is refused or over before all was drawn is asked for once more."""

    def __init__(self, node):
        self._client = GoalClient(node, RunPolicy, "policy/run")
        self._asked = self._over = None

    def go_on(self):
        if self._asked is None:
            if self._client.wait_for_server(timeout_sec=0.0):
                self._asked = self._client.send_goal_async(RunPolicy.Goal(task="wave", max_duration=20.0))
        elif self._over is None:
            if self._asked.done():
                goal = self._asked.result()
                self._over = goal.get_result_async() if goal.accepted else self._asked
        elif self._over.done():
            self._asked = self._over = None


def main():
    config = yaml.safe_load(Path(sys.argv[sys.argv.index("-d") + 1]).read_text())
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("rviz")
    watch, deadline = Watch(node, config), time.monotonic() + PATIENCE_S
    waves = Waves(node)
    while time.monotonic() < deadline and not watch.complete():
        rclpy.spin_once(node, timeout_sec=0.1)
        if watch.counts.get("/monitor/markers") and node.count_subscribers("policy/chunk") > 1:
            waves.go_on()
    result = {
        "counts": watch.counts,
        "drawn": sorted(watch.drawn),
        "captions": sorted(watch.captions),
        "differences": watch.differences(),
        "nodes": sorted(node.get_node_names()),
    }
    Path(os.environ["VLA_RVIZ_RESULT"]).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
