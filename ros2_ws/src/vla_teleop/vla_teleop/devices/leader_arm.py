# SPDX-License-Identifier: Apache-2.0

"""A leader arm (GELLO, SO-101 leader) whose driver publishes its joints: the robot follows joint by joint."""

from __future__ import annotations

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32
from vla_core.yamltree import Section, Tree, entries

from vla_teleop.devices.leader_mapping import RADIANS, UNITS, GripperSpec, JointSpec, LeaderCore, LeaderSpec
from vla_teleop.devices.settings import COMMON_KEYS, read_common, read_driver
from vla_teleop.devices.topic_device import TopicDevice

TIMEOUT_S = 0.2
_KEYS = (*COMMON_KEYS, "topic", "driver", "unit", "joints", "gripper", "moving")


class LeaderArm(TopicDevice):
    """A `Device` that listens to joint states."""

    def __init__(self, node: Node, spec: LeaderSpec, callback_group: CallbackGroup | None = None) -> None:
        """Subscribe.

        Args:
            node: Which listens; topics are relative to its namespace.
            spec: The mapping.
            callback_group: Of the subscriptions.
        """
        self._core = LeaderCore(spec)
        super().__init__(node, spec.common, self._core, callback_group)
        self._listen(JointState, spec.topic, self._on_joints)
        if spec.gripper is not None and spec.gripper.topic:
            self._listen(Float32, spec.gripper.topic, self._on_gripper)

    def _on_joints(self, msg: JointState) -> None:
        self._core.feed(self._now_ns(), msg.name, msg.position)

    def _on_gripper(self, msg: Float32) -> None:
        self._core.feed_gripper(self._now_ns(), msg.data)


def make(node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> LeaderArm:
    """Return the leader arm of a mapping."""
    return LeaderArm(node, read_leader_spec(tree), callback_group)


def read_leader_spec(tree: Tree) -> LeaderSpec:
    """Return the mapping of a leader arm.

    Raises:
        ProfileError: a key or value that cannot be used.
    """
    section = Section(tree, _KEYS)
    moving = Section(section.child("moving"), ("window_s", "distance", "gripper"))
    joints = section.child("joints")
    named = {robot: _joint(robot, child) for robot, child in entries(joints).items()}
    if not named:
        raise joints.place.error(
            "no joint; write <joint of the robot>: {from: <joint of the leader>, sign: 1, offset: 0.0}"
        )
    seen: dict[str, str] = {}
    for robot, spec in named.items():
        if spec.leader in seen:
            place = entries(joints)[robot].place
            raise place.error(f"joint '{spec.leader}' of the leader already drives '{seen[spec.leader]}'")
        seen[spec.leader] = robot
    return LeaderSpec(
        common=read_common(section, TIMEOUT_S),
        topic=section.text("topic"),
        driver=read_driver(section.child("driver")) if "driver" in section else "",
        unit=section.choice("unit", UNITS, RADIANS),
        joints=tuple(named.values()),
        gripper=_gripper(section.child("gripper")) if "gripper" in section else None,
        window_s=moving.number("window_s", above=0.0),
        distance=moving.number("distance", above=0.0),
        gripper_distance=moving.number("gripper", above=0.0),
    )


def _joint(robot: str, tree: Tree) -> JointSpec:
    section = Section(tree, ("from", "sign", "offset"))
    sign = section.number("sign", 1.0)
    if abs(sign) != 1.0:
        raise section.error("sign", f"must be 1 or -1, got {sign:g}")
    return JointSpec(leader=section.text("from"), robot=robot, sign=sign, offset=section.number("offset", 0.0))


def _gripper(tree: Tree) -> GripperSpec:
    section = Section(tree, ("from", "topic", "open", "closed"))
    if ("from" in section) == ("topic" in section):
        raise tree.place.error("give either 'from' (a joint of the leader) or 'topic' (std_msgs/Float32)")
    spec = GripperSpec(
        joint=section.text("from") if "from" in section else "",
        topic=section.text("topic") if "topic" in section else "",
        open=section.number("open"),
        closed=section.number("closed"),
    )
    if spec.open == spec.closed:
        raise section.error("closed", f"equals 'open' ({spec.open:g}), so the gripper has no travel")
    return spec
