# SPDX-License-Identifier: Apache-2.0

"""What the teleop node says of itself: `~/state` at 20 Hz and on change, `~/event` once per press."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from vla_common.action_channel import time_message
from vla_core.stamps import to_ns
from vla_msgs.msg import TeleopEvent, TeleopState

Array = NDArray[np.float64]
NUMBERS = re.compile(r"[0-9.]+")  # a text whose numbers change says nothing new
PERIOD_NS = to_ns(0.05)
NAMES = {
    TeleopState.OFF: "OFF",
    TeleopState.TAKING: "TAKING",
    TeleopState.ACTIVE: "ACTIVE",
    TeleopState.RETURNING: "RETURNING",
    TeleopState.FREEDRIVE: "FREEDRIVE",
    TeleopState.FAULT: "FAULT",
}
EVENTS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=50,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
STATES = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Now:
    """What there is to say at one tick; see `vla_msgs/TeleopState` for the fields of the same names."""

    state: int
    moving: bool
    stale: bool
    motion: str
    twist: Array
    gripper_rate: float
    gain: float
    controller: str
    text: str


class Reporter:
    """Publishes; in the control thread."""

    def __init__(self, node: Node, device: str, log: Callable[[str], object]) -> None:
        """Args: node: Of the topics `~/state` and `~/event`. device: Its name. log: Takes a line at each change of state."""
        self._device = device
        self._log = log
        self._states = node.create_publisher(TeleopState, "~/state", STATES)
        self._events = node.create_publisher(TeleopEvent, "~/event", EVENTS)
        self._before: tuple[object, ...] = ()
        self._said: tuple[int, str] = (-1, "")
        self._sent_ns = 0

    def event(self, t_ns: int, name: str) -> None:
        """A button was pressed."""
        self._events.publish(TeleopEvent(stamp=time_message(t_ns), name=name, device=self._device))

    def now(self, t_ns: int, now: Now) -> None:
        """Publish if something changed that one waits for, or if it is time again."""
        gist = NUMBERS.sub("", now.text)
        key = (now.state, now.moving, now.stale, now.motion, now.controller, gist)
        if key == self._before and 0 <= t_ns - self._sent_ns < PERIOD_NS:
            return
        self._before, self._sent_ns = key, t_ns
        if (now.state, gist) != self._said:
            self._said = (now.state, gist)
            self._log(self._line(now))
        self._states.publish(
            TeleopState(
                stamp=time_message(t_ns),
                state=now.state,
                moving=now.moving,
                stale=now.stale,
                device=self._device,
                motion=now.motion,
                twist=[float(v) for v in now.twist],
                gripper_rate=float(now.gripper_rate),
                gain=float(now.gain),
                controller=now.controller,
                line=self._line(now),
            )
        )

    def _line(self, now: Now) -> str:
        parts = [NAMES[now.state], self._device]
        if now.motion:
            parts.append(now.motion)
        if now.state == TeleopState.ACTIVE:
            linear, angular = np.linalg.norm(now.twist[:3]), np.linalg.norm(now.twist[3:])
            parts.append(f"{linear * 1e3:.0f} mm/s {angular:.2f} rad/s, gain {now.gain:.2f}")
        if now.text:
            parts.append(now.text)
        return " | ".join(parts)
