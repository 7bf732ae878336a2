# SPDX-License-Identifier: Apache-2.0

"""Rate, age and jitter of message streams, published at 1 Hz on `/diagnostics` (REP-107).

Diagnostics are for people and monitors; nothing is stopped because of them.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_NS = 1e9
_WINDOW = 256  # messages over which rate and jitter are computed


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """What a stream did lately.

    Attributes:
        level: one of OK, WARN, STALE of diagnostic_msgs/DiagnosticStatus.
        message: for people.
        rate_hz: mean over the window; 0 with fewer than two messages.
        jitter_s: standard deviation of the distances between messages [s].
        age_s: time since the last message; infinite if there was none.
        count: messages since the start.
    """

    level: bytes
    message: str
    rate_hz: float
    jitter_s: float
    age_s: float
    count: int


class StreamMonitor:
    """Arrival statistics of one stream. Thread-safe; time enters as an argument."""

    def __init__(self, name: str, *, expected_hz: float | None = None, max_age_s: float | None = None) -> None:
        """Args: expected_hz: below 80 % of it the stream is in warning. max_age_s: silence after which it is stale."""
        self.name = name
        self.expected_hz = expected_hz
        self.max_age_s = max_age_s
        self._lock = threading.Lock()
        self._times: deque[int] = deque(maxlen=_WINDOW)
        self._count = 0

    def tick(self, t_ns: int) -> None:
        """A message was received at `t_ns`."""
        with self._lock:
            if self._times and t_ns < self._times[-1]:  # the clock went back
                self._times.clear()
            self._times.append(t_ns)
            self._count += 1

    def health(self, now_ns: int) -> StreamHealth:
        """The state at `now_ns`, on the clock of `tick`."""
        with self._lock:
            times, count = list(self._times), self._count
        age_s = max(0.0, (now_ns - times[-1]) / _NS) if times else math.inf
        rate_hz = jitter_s = 0.0
        if len(times) > 1 and times[-1] > times[0]:
            gaps = [(b - a) / _NS for a, b in pairwise(times)]
            mean = (times[-1] - times[0]) / _NS / len(gaps)
            rate_hz = 1.0 / mean
            jitter_s = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
        level, message = self._judge(age_s, rate_hz, count)
        return StreamHealth(level=level, message=message, rate_hz=rate_hz, jitter_s=jitter_s, age_s=age_s, count=count)

    def _judge(self, age_s: float, rate_hz: float, count: int) -> tuple[bytes, str]:
        if count == 0:
            return DiagnosticStatus.STALE, "no message yet"
        if self.max_age_s is not None and age_s > self.max_age_s:
            return DiagnosticStatus.STALE, f"silent for {age_s:.2f} s (limit {self.max_age_s:g} s)"
        if self.expected_hz is not None and count > 1 and rate_hz < 0.8 * self.expected_hz:
            return DiagnosticStatus.WARN, f"{rate_hz:.1f} Hz instead of {self.expected_hz:g} Hz"
        return DiagnosticStatus.OK, f"{rate_hz:.1f} Hz" if count > 1 else "one message"


class Diagnostics:
    """Publishes the monitors of a node at 1 Hz of wall time, so that a stopped simulated clock shows as well."""

    def __init__(self, node: Node, hardware_id: str = "", period_s: float = 1.0) -> None:
        self._node = node
        self._hardware_id = hardware_id
        self._monitors: dict[str, StreamMonitor] = {}
        self._extra: dict[str, Callable[[], tuple[bytes, str, dict[str, str]]]] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(period_s, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stream(self, name: str, *, expected_hz: float | None = None, max_age_s: float | None = None) -> StreamMonitor:
        """A monitor that is reported as `<node>: <name>`; the same one for the same name."""
        return self._monitors.setdefault(name, StreamMonitor(name, expected_hz=expected_hz, max_age_s=max_age_s))

    def part(self, name: str, report: Callable[[], tuple[bytes, str, dict[str, str]]]) -> None:
        """Report something else as `<node>: <name>`: `report()` returns level, message and values."""
        self._extra[name] = report

    def publish(self) -> None:
        """Publish one DiagnosticArray now."""
        now = self._node.get_clock().now()
        array = DiagnosticArray()
        array.header.stamp = now.to_msg()
        for monitor in list(self._monitors.values()):
            health = monitor.health(now.nanoseconds)
            values = {
                "rate [Hz]": f"{health.rate_hz:.2f}",
                "expected [Hz]": "" if monitor.expected_hz is None else f"{monitor.expected_hz:g}",
                "jitter [ms]": f"{1e3 * health.jitter_s:.2f}",
                "age [s]": f"{health.age_s:.3f}",
                "messages": str(health.count),
            }
            array.status.append(self._status(monitor.name, health.level, health.message, values))
        for name, report in list(self._extra.items()):
            array.status.append(self._status(name, *report()))
        self._publisher.publish(array)

    def _status(self, name: str, level: bytes, message: str, values: dict[str, str]) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=level,
            name=f"{self._node.get_name()}: {name}",
            message=message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
