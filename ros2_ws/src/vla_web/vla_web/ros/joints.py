# SPDX-License-Identifier: Apache-2.0

"""State and targets of the joints for the plots, in the units of the dataset, and the health of their streams."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from vla_core.errors import CodecError
from vla_core.fields import ALL, joint_of
from vla_core.frame_sources import Source, vector_source
from vla_core.profile import Profile
from vla_core.states import apply_scale

from vla_web.ros.health import StreamWatch
from vla_web.ros.taps import Sample, Tap, Unserved

_DEPTH = 64  # of a topic that several drivers share, so that the slow one's messages are among the last
_HISTORY = 200  # samples at 10 Hz
_DIGITS = 4
CHUNK_TYPE = "trajectory_msgs/msg/JointTrajectory"


class Part:
    """One part of the state or of the action: some values of one topic."""

    def __init__(self, node: Node, tap: Tap, source: Source, label: str, role: str) -> None:
        self.tap, self._source = tap, source
        stream = source.stream
        self.watch = StreamWatch(label, tap.name, role, expected_hz=stream.rate_hz, max_age_s=stream.max_age_s)
        self.values: list[float | None] | None = None

    def look(self, samples: list[Sample], now_s: float, steady_s: float, *, sim_time: bool) -> None:
        """Take the newest message that carries the wanted values; `samples`: what came with this look, newest first."""
        for sample in samples:
            try:
                if self._source.carries is not None and self._source.carries(sample.message) != ALL:
                    continue
                values = self._source.decode(sample.message)
            except CodecError as error:
                self.watch.problem = str(error)
                continue
            self.watch.problem = ""
            self.values = [round(float(v), _DIGITS) if math.isfinite(v) else None for v in values]
            age_s = 0.0 if sim_time else max(0.0, steady_s - sample.received_s)
            self.watch.note(now_s, sample.number, 1, all_seen=False, age_s=age_s)
            return
        self.watch.note(now_s, None, 0, all_seen=True)


class JointView:
    """All joints of a profile.

    Attributes:
        names: One per plot: the joints of the actions, in order.
        titles: The same for people.
        parts: With their stream health.
        history: Rows of (node clock [s], state per plot, target per plot); None where there is no fresh value.
    """

    def __init__(self, node: Node, group: Unserved, profile: Profile, chunk_topic: str) -> None:
        """Prepare the subscriptions.

        Args:
            node: Subscribes.
            group: Keeps the executor away.
            profile: Of the robot.
            chunk_topic: Where the policy publishes the chunk in force.

        Raises:
            ProfileError: A message type is not installed.
        """
        self._taps: dict[str, Tap] = {}
        self.parts: list[Part] = []
        self._chunk = Tap(node, group, chunk_topic, CHUNK_TYPE, 1)
        self._state_at: dict[str, tuple[Part, int]] = {}
        self._target_at: dict[str, tuple[Part, int]] = {}
        for index, spec in enumerate(profile.state):
            source = vector_source(f"state[{index}]", spec, spec.scale)
            part = self._add(node, group, source, f"state {_short(spec.names)}", "state")
            for i, field in enumerate(spec.fields):
                if joint := joint_of(field):
                    self._state_at.setdefault(joint, (part, i))
        self._scales = {joint: spec.scale for spec in profile.action for joint in spec.joints}
        for action in profile.action:
            source = vector_source(f"action.{action.name}", action.record, action.scale)
            part = self._add(node, group, source, f"command {action.name}", "command")
            for i, joint in enumerate(action.joints):
                self._target_at[joint] = (part, i)
        self.names = list(self._scales)
        grippers = {a.joints[0]: a.name for a in profile.action if a.is_gripper and len(a.joints) == 1}
        self.titles = [grippers.get(name, name.removesuffix("_joint").replace("_", " ")) for name in self.names]
        self.history: deque[list[Any]] = deque(maxlen=_HISTORY)

    def open(self) -> None:
        """Subscribe."""
        for tap in (*self._taps.values(), self._chunk):
            tap.open()

    def close(self) -> None:
        """Unsubscribe and forget."""
        for tap in (*self._taps.values(), self._chunk):
            tap.close()
        self.history.clear()

    def look(self, now_s: float, steady_s: float, *, sim_time: bool) -> None:
        """Poll all topics and add one row to the history."""
        for tap in self._taps.values():
            tap.poll()
        for part in self.parts:
            part.look(part.tap.newest(), now_s, steady_s, sim_time=sim_time)
        self._chunk.poll()
        if self.history and now_s < self.history[-1][0]:  # the clock was set back
            self.history.clear()
        row = [round(now_s, 3), self._row(self._state_at, now_s), self._row(self._target_at, now_s)]
        self.history.append(row)

    def chunk(self, now_s: float) -> list[Any] | None:
        """The chunk in force: [times [s], one row of values per time], the part that lies ahead; None: there is none."""
        if not self._chunk.recent:
            return None
        message = self._chunk.recent[-1].message
        t0 = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        at = {name: i for i, name in enumerate(message.joint_names)}
        times, rows = [], []
        for point in message.points:
            t = t0 + point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec
            if t < now_s - 0.1 or len(point.positions) < len(at):
                continue
            times.append(round(t, 3))
            rows.append(
                [self._scaled(joint, point.positions[at[joint]]) if joint in at else None for joint in self.names]
            )
        return [times, rows] if times else None

    def _scaled(self, joint: str, value: float) -> float | None:
        scaled = float(apply_scale(self._scales[joint], np.array([value]))[0])
        return round(scaled, _DIGITS) if math.isfinite(scaled) else None

    def _row(self, where: dict[str, tuple[Part, int]], now_s: float) -> list[float | None]:
        row: list[float | None] = []
        for joint in self.names:
            part, index = where.get(joint, (None, 0))
            age = None if part is None else part.watch.age_s(now_s)
            fresh = part is not None and part.values and age is not None and age <= part.watch.max_age_s + 0.25
            row.append(part.values[index] if fresh and part is not None and part.values else None)
        return row

    def _add(self, node: Node, group: Unserved, source: Source, label: str, role: str) -> Part:
        stream = source.stream
        tap = self._taps.get(stream.topic)
        if tap is None:
            tap = self._taps[stream.topic] = Tap(node, group, stream.topic, stream.type, _DEPTH)
        part = Part(node, tap, source, label, role)
        self.parts.append(part)
        return part


def _short(names: tuple[str, ...]) -> str:
    """Names of values for a label, without what says nothing: `shoulder pan … wrist 3`."""
    plain = [name.removesuffix(".pos").removesuffix("_joint").replace("_", " ") for name in names]
    return plain[0] if len(plain) == 1 else f"{plain[0]} … {plain[-1]}" if plain else ""
