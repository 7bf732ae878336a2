# SPDX-License-Identifier: Apache-2.0

"""Any gamepad that SDL knows, through `game_controller_node`, whose order of axes and buttons is the same for all.

Axes: 0 1 left stick, 2 3 right stick, 4 5 triggers. Buttons: 0 A, 1 B, 2 X, 3 Y, 4 back, 5 guide, 6 start, 7 8 stick clicks,
9 10 shoulders, 11 to 14 directional pad up, down, left, right (README of the package `joy`).
"""

from __future__ import annotations

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.yamltree import Tree

from vla_teleop.devices.joy_device import JoyDevice, read_joy_spec

INPUTS = ("pad",)


def make(node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> JoyDevice:
    """Return the gamepad of a mapping."""
    return JoyDevice(node, read_joy_spec(tree, INPUTS, calibrated=True), callback_group)
