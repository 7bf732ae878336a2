# SPDX-License-Identifier: Apache-2.0

"""Two sticks, one per hand (HOSAS): two `joy_node`s, in the namespaces ``left`` and ``right``."""

from __future__ import annotations

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.yamltree import Tree

from vla_teleop.devices.joy_device import JoyDevice, read_joy_spec

INPUTS = ("left", "right")


def make(node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> JoyDevice:
    """Return the pair of sticks of a mapping; both must report, one alone moves nothing."""
    return JoyDevice(node, read_joy_spec(tree, INPUTS, calibrated=True), callback_group)
