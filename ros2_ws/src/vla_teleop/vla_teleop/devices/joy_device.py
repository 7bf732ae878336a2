# SPDX-License-Identifier: Apache-2.0

"""What joystick pair, gamepad and SpaceMouse share: `sensor_msgs/Joy` topics of drivers that run as nodes of their own."""

from __future__ import annotations

from functools import partial

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import Joy
from vla_core.errors import listing, nearest_name
from vla_core.yamltree import Section, Tree

from vla_teleop.devices.joy_input import InputSpec, JoyCore, JoySpec
from vla_teleop.devices.mapping import Term
from vla_teleop.devices.settings import (
    COMMON_KEYS,
    MOTION_KEYS,
    read_calibration,
    read_common,
    read_controls,
    read_driver,
)
from vla_teleop.devices.topic_device import TopicDevice

TIMEOUT_S = 0.1
RECONNECT_S = 0.5


class JoyDevice(TopicDevice):
    """A `Device` that listens to Joy topics."""

    def __init__(self, node: Node, spec: JoySpec, callback_group: CallbackGroup | None = None) -> None:
        """Subscribe.

        Args:
            node: Which listens; topics are relative to its namespace.
            spec: The mapping.
            callback_group: Of the subscriptions.
        """
        self._core = JoyCore(spec)
        super().__init__(node, spec.common, self._core, callback_group)
        for one in spec.inputs:
            self._listen(Joy, one.topic, partial(self._on_joy, one.name))

    def _on_joy(self, name: str, msg: Joy) -> None:
        self._core.feed(name, self._now_ns(), msg.axes, msg.buttons)


def read_joy_spec(tree: Tree, inputs: tuple[str, ...], *, calibrated: bool) -> JoySpec:
    """Return the mapping of a device of the Joy inputs named `inputs`.

    Args:
        tree: The whole YAML file.
        inputs: Names that the section `inputs` must have, all of them.
        calibrated: Whether the axes may be calibrated; without it the key `calibration` is refused.

    Raises:
        ProfileError: a key or value that cannot be used.
    """
    keys = (*COMMON_KEYS, *MOTION_KEYS, "inputs", "reconnect_s", *(("calibration",) if calibrated else ()))
    section = Section(tree, keys)
    given = Section(section.child("inputs"), inputs)

    def check(term: Term) -> str:
        if term.input not in inputs:
            return f"unknown input '{term.input}'; this device has {listing(inputs)}{nearest_name(term.input, inputs)}"
        if term.axis is None and term.button is None:
            return f"'{term.source}' is no source of a joystick; write {term.input}.0 (axis) or {term.input}.button0"
        return ""

    return JoySpec(
        common=read_common(section, TIMEOUT_S),
        inputs=tuple(_input(name, given.child(name)) for name in inputs),
        controls=read_controls(section, check),
        calibration=read_calibration(section.child("calibration")) if "calibration" in section else None,
        reconnect_s=section.number("reconnect_s", RECONNECT_S, above=0.0),
    )


def _input(name: str, tree: Tree) -> InputSpec:
    section = Section(tree, ("topic", "sign", "driver"))
    sign = section.number("sign")
    if abs(sign) != 1.0:
        raise section.error("sign", f"must be 1 or -1, got {sign:g}")
    return InputSpec(name=name, topic=section.text("topic"), sign=sign, driver=read_driver(section.child("driver")))
