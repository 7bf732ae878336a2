# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_monitor robot_state``: transforms of a robot's links where no robot_state_publisher runs.

Reads a robot description (the topic `robot_description`, or a file) and joint states, and publishes `tf` and `tf_static`
like robot_state_publisher. It listens first: where somebody else publishes the transform of one of the links, it publishes
none and says so. A second publisher would make every link jump between two poses.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vla_common.params import declare
from vla_common.qos import COMMAND, LATCHED, SENSOR_BEST_EFFORT
from vla_common.run import ManagedNode, run_node
from vla_core.kinematics import quaternion_from_rotation
from vla_core.stamps import stamp_ns, to_ns

from vla_monitor.robot_state_params import RobotStateParams
from vla_monitor.urdf_tree import DescriptionError, LinkTree, read_tree

Array = NDArray[np.float64]
GATHER_S = 0.01


class RobotStateNode(ManagedNode):
    """See the module."""

    def __init__(self, **kwargs: Any) -> None:
        """Read the description, if it is a file.

        Raises:
            DescriptionError: the file cannot be read, or is no description.
        """
        super().__init__("robot_state", **kwargs)
        self.gather_s = GATHER_S
        params = declare(self, RobotStateParams)
        self._period_ns, self._listen_ns = to_ns(1.0 / params.rate_hz), to_ns(params.listen_s)
        self._tree: LinkTree | None = None
        self._positions: dict[str, float] = {}
        self._since_ns: int | None = None
        self._sent_ns = 0
        self._other = False
        self._dynamic: Publisher | None = None
        self._static: Publisher | None = None
        for topic in params.joint_topics:
            self.create_subscription(JointState, topic, self._on_joints, SENSOR_BEST_EFFORT)
        self._listening = [
            self.create_subscription(TFMessage, "tf", self._on_other, COMMAND),
            self.create_subscription(TFMessage, "tf_static", self._on_other, LATCHED),
        ]
        if params.urdf_file:
            text = _read(Path(params.urdf_file).expanduser())
            self._describe(text)
            self._description = self.create_publisher(String, "robot_description", LATCHED)
            self._description.publish(String(data=text))
        else:
            self.create_subscription(String, "robot_description", self._on_description, LATCHED)

    def _on_description(self, msg: String) -> None:
        self._describe(msg.data)

    def _describe(self, text: str) -> None:
        self._tree = read_tree(text)
        self.get_logger().info(
            f"description of {self._tree.robot or 'a robot'}: {len(self._tree.moving)} moving and "
            f"{len(self._tree.fixed)} fixed links"
        )

    def _on_other(self, msg: TFMessage) -> None:
        """A transform of somebody else: this node publishes none before it has stopped listening."""
        if self._tree is None or self._other or self._dynamic is not None:
            return
        ours = self._tree.frames or {edge.child for edge in self._tree.fixed}
        known = next((edge.child_frame_id for edge in msg.transforms if edge.child_frame_id in ours), None)
        if known is not None:
            self._other = True
            self.get_logger().info(f"somebody else publishes the transform of {known}, so nothing is published here")

    def _on_joints(self, msg: JointState) -> None:
        if self._tree is None or self._other:
            return
        self._positions.update(zip(msg.name, msg.position, strict=False))
        now_ns = int(self.get_clock().now().nanoseconds)
        if self._since_ns is None or now_ns < self._sent_ns:
            self._since_ns = self._since_ns or now_ns
            self._sent_ns = 0
        if now_ns - self._since_ns < self._listen_ns:
            return
        if self._dynamic is None:
            self._begin(self._tree)
        if now_ns - self._sent_ns >= self._period_ns:
            self._sent_ns = now_ns
            self._send(self._tree, msg)

    def _begin(self, tree: LinkTree) -> None:
        """Nobody else publishes: do it from now on."""
        for subscription in self._listening:
            self.destroy_subscription(subscription)
        self._dynamic = self.create_publisher(TFMessage, "tf", COMMAND)
        self._static = self.create_publisher(TFMessage, "tf_static", LATCHED)
        fixed = {edge.child: (edge.parent, edge.pose(0.0)) for edge in tree.fixed}
        self._static.publish(transforms(fixed.items(), self.get_clock().now().to_msg()))
        self.get_logger().info("nobody else publishes the transforms of the links; publishing tf and tf_static")

    def _send(self, tree: LinkTree, msg: JointState) -> None:
        assert self._dynamic is not None
        stamp = msg.header.stamp if stamp_ns(msg) else self.get_clock().now().to_msg()
        self._dynamic.publish(transforms(tree.poses(self._positions).items(), stamp))


def transforms(poses: Iterable[tuple[str, tuple[str, Array]]], stamp: Time) -> TFMessage:
    """The message of poses: child frame, its parent, and its pose (4, 4) there."""
    message = TFMessage()
    for child, (parent, T) in poses:
        edge = TransformStamped(child_frame_id=child)
        edge.header.frame_id, edge.header.stamp = parent, stamp
        t, r = edge.transform.translation, edge.transform.rotation
        t.x, t.y, t.z = (float(v) for v in T[:3, 3])
        r.x, r.y, r.z, r.w = (float(v) for v in quaternion_from_rotation(T[:3, :3]))
        message.transforms.append(edge)
    return message


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DescriptionError(
            f"{path}: cannot read the robot description: {error}; give a URDF file, made from xacro with: "
            "xacro robot.urdf.xacro > robot.urdf"
        ) from None


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(RobotStateNode, args)


if __name__ == "__main__":
    sys.exit(main())
