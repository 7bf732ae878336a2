# SPDX-License-Identifier: Apache-2.0

"""A 3Dconnexion SpaceMouse through `spacenav_node`, which publishes six axes and the buttons as Joy.

Its axes are already x forward, y left, z up, right-handed, and the driver daemon finds the rest position: there is nothing to
calibrate. The message grows when a button is pressed for the first time; a button that it does not have yet is up.
"""

from __future__ import annotations

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.yamltree import Tree

from vla_teleop.devices.joy_device import JoyDevice, read_joy_spec

INPUTS = ("mouse",)


def make(node: Node, tree: Tree, callback_group: CallbackGroup | None = None) -> JoyDevice:
    """Return the SpaceMouse of a mapping."""
    return JoyDevice(node, read_joy_spec(tree, INPUTS, calibrated=False), callback_group)
