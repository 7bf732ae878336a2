# SPDX-License-Identifier: Apache-2.0

"""The robot's own state, as the profile's `monitors` want it: safety mode, running program, and the like."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rosidl_runtime_py.utilities import get_message
from vla_core.errors import ProfileError
from vla_core.profile import Profile
from vla_core.specs import MonitorSpec

from vla_common.qos import EVENT, LATCHED, SENSOR_BEST_EFFORT

Clock = Callable[[], float]


class MonitorBoard:
    """What the monitors have said last. Thread-safe.

    A robot's state is published by its driver outside the simulation too, so silence counts on a steady clock of wall
    time.
    """

    def __init__(self, monitors: Sequence[MonitorSpec], clock: Clock = time.monotonic) -> None:
        """Args: clock: steady seconds."""
        self._monitors = tuple(monitors)
        self._clock = clock
        self._changed = threading.Condition()
        self._heard: dict[str, tuple[Any, float]] = {}

    def note(self, name: str, value: Any) -> None:
        """The monitor `name` has said `value`."""
        with self._changed:
            self._heard[name] = (value, self._clock())
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every required monitor was heard, up to `timeout_s` wall seconds; returns whether it was."""
        required = {spec.name for spec in self._monitors if spec.required}
        with self._changed:
            return self._changed.wait_for(lambda: required <= self._heard.keys(), timeout_s)

    def fault(self) -> str | None:
        """Why the robot may not be driven now and what to do, or None."""
        wrong = [(spec, text) for spec in self._monitors if (text := self._wrong(spec)) is not None]
        if not wrong:
            return None
        what = "; ".join(f"monitor {spec.name}: {text}" for spec, text in wrong)
        todo = "; ".join(dict.fromkeys(spec.hint for spec, _ in wrong))
        return f"{what}, so the arm was stopped. What to do: {todo}"

    def _wrong(self, spec: MonitorSpec) -> str | None:
        if spec.name not in self._heard:
            return f"nothing was received on {spec.topic}; is the robot's driver running" if spec.required else None
        value, heard_s = self._heard[spec.name]
        silent_s = self._clock() - heard_s
        if spec.max_age_s is not None and silent_s > spec.max_age_s:
            return f"no message for {silent_s:.2f} s on {spec.topic} (limit {spec.max_age_s:g} s)"
        if value not in spec.allowed:
            return f"{spec.topic} says {spec.field} = {_shown(value)}, allowed: {', '.join(map(_shown, spec.allowed))}"
        return None


def watch_monitors(node: Node, profile: Profile, board: MonitorBoard, group: CallbackGroup | None = None) -> None:
    """Subscribe to the monitors of a profile for `board`.

    Args:
        node: subscribes.
        profile: with its monitors.
        board: takes what they say.
        group: callback group; None takes the node's default.

    Raises:
        ProfileError: a monitor's message type is not installed, or has no such field.
    """
    for spec in profile.monitors:
        _watch(node, f"{profile.source}: monitors.{spec.name}", spec, board, group)


def _watch(node: Node, where: str, spec: MonitorSpec, board: MonitorBoard, group: CallbackGroup | None) -> None:
    try:
        kind = get_message(spec.type)
        field_of(kind(), spec.field)
    except (ImportError, AttributeError, ValueError) as error:
        package = spec.type.partition("/")[0]
        raise ProfileError(
            f"{where}: {spec.type} with the field '{spec.field}' cannot be used: {error}. Install the package "
            f"(sudo apt-get install ros-jazzy-{package.replace('_', '-')}), correct the monitor or remove it"
        ) from error

    def receive(msg: Any) -> None:
        board.note(spec.name, field_of(msg, spec.field))

    qos = SENSOR_BEST_EFFORT if spec.qos == "sensor" else LATCHED if spec.qos == "latched" else EVENT
    node.create_subscription(kind, spec.topic, receive, qos, callback_group=group)


def field_of(message: Any, path: str) -> Any:
    """The value at a dotted path of a message.

    Raises:
        AttributeError: there is no such field; the text names the fields that there are.
    """
    value = message
    for part in path.split("."):
        fields: Mapping[str, str] = getattr(value, "get_fields_and_field_types", dict)()
        if part not in fields:
            raise AttributeError(f"no field '{part}'; fields: {', '.join(fields) or 'none'}")
        value = getattr(value, part)
    return value


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
