# SPDX-License-Identifier: Apache-2.0

"""What the streams of the profile do right now: rate, gap, age and lost messages, and what is wrong with them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from vla_recorder.capture.topic_plan import TopicPlan

MISSING, SLOW = "missing", "slow"
_NS = 1_000_000_000
_WINDOW_S = 0.8  # a slow stream must be known within a second
_WINDOW_MESSAGES = 8  # fewer say nothing about a rate
_LOW_RATE = 0.8
_SLOW_AFTER_NS = 150_000_000  # a machine that stumbles delivers late, but everything
_SILENT_S = 0.5  # at least this much is called missing; what is shorter costs frames and shows as a gap
_STALL_S = 0.3  # without a look at anything
_GAP = 1.5  # periods between two stamps after which a message is missing


@dataclass(frozen=True, slots=True)
class Problem:
    """A stream of the profile that does not do what it should.

    Attributes:
        kind: ``missing`` or ``slow``.
        topic: Fully resolved name.
        text: What is wrong, for people.
    """

    kind: str
    topic: str
    text: str


class StreamAudit:
    """One stream of the profile. Time is the node clock in nanoseconds and enters as an argument."""

    def __init__(self, plan: TopicPlan, name: str) -> None:
        """Args: plan: with rate and age. name: fully resolved."""
        self.plan = plan
        self.name = name
        self.messages = 0
        self.max_gap_ns = 0
        self.stamp_gaps = 0
        self.conflict = ""
        self._last_ns = 0
        self._last_stamp_ns = 0
        self._forgiven_ns = 0
        self._steady_since_ns = 0
        self._times: deque[int] = deque()
        rate_hz = plan.rate_hz or 1.0
        self._window_ns = int(max(_WINDOW_S, _WINDOW_MESSAGES / rate_hz) * _NS)
        self._gap_ns = int(_GAP / rate_hz * _NS)
        self._limit_s = max(_SILENT_S, plan.max_age_s or 0.0)
        self._slow_since_ns = 0

    def tick(self, t_ns: int, stamp_ns: int) -> None:
        """Take note of a message.

        Args:
            t_ns: When it was received.
            stamp_ns: Its header stamp; 0 if it has none.
        """
        gap = t_ns - self._last_ns
        if self._last_ns == 0 or gap < 0 or gap > self._limit_s * _NS:
            self._steady_since_ns = t_ns
            self._times.clear()
        if self._last_ns and gap > self.max_gap_ns:
            self.max_gap_ns = gap
        times = self._times
        times.append(t_ns)
        while times[0] <= t_ns - self._window_ns:
            times.popleft()
        step = stamp_ns - self._last_stamp_ns
        if stamp_ns and self._last_stamp_ns and self._gap_ns < step:
            self.stamp_gaps += round(step * (self.plan.rate_hz or 1.0) / _NS) - 1
        self._last_ns, self._last_stamp_ns = t_ns, max(stamp_ns, self._last_stamp_ns if step > -_NS else 0)
        self.messages += 1

    def forgive(self, now_ns: int) -> None:
        """Count silence from now on: what was sent before could not be received."""
        if self._last_ns:
            self._forgiven_ns = now_ns

    def begin(self) -> None:
        """Begin counting gaps anew; called when an episode begins."""
        self.max_gap_ns = self.stamp_gaps = 0

    def age_s(self, now_ns: int) -> float | None:
        """Return the time since the last message [s]; None before the first."""
        return None if self._last_ns == 0 else max(0.0, (now_ns - self._last_ns) / _NS)

    def rate_hz(self, now_ns: int) -> float | None:
        """Return the rate over the last second or so; None while the stream is too young to tell."""
        if self._last_ns == 0 or now_ns - self._steady_since_ns < self._window_ns:
            return None
        begin = now_ns - self._window_ns
        return sum(t > begin for t in self._times) * _NS / self._window_ns

    def problem(self, now_ns: int) -> Problem | None:
        """Return what is wrong now, if anything."""
        age = self.age_s(now_ns)
        if age is None:
            detail = self.conflict or f"nothing received on {self.name} ({self.plan.type})"
            return Problem(MISSING, self.name, f"{self.plan.label}: {detail}")
        if min(age, (now_ns - self._forgiven_ns) / _NS) > self._limit_s:
            text = f"{self.plan.label}: {self.name} silent for {age:.1f} s (limit {self._limit_s:g} s)"
            return Problem(MISSING, self.name, text)
        rate = self.rate_hz(now_ns)
        # One message more or less is no news: the window need not begin with one.
        slack = _NS / self._window_ns
        if rate is None or self.plan.rate_hz is None or rate + slack >= _LOW_RATE * self.plan.rate_hz:
            self._slow_since_ns = 0
            return None
        self._slow_since_ns = self._slow_since_ns or now_ns
        if now_ns - self._slow_since_ns < _SLOW_AFTER_NS:
            return None
        text = f"{self.plan.label}: {rate:.1f} Hz on {self.name} instead of {self.plan.rate_hz:g} Hz"
        return Problem(SLOW, self.name, text)

    def report(self, now_ns: int, lost: int) -> tuple[bytes, str, dict[str, str]]:
        """Return level, message and values for `/diagnostics`.

        Args:
            now_ns: Node clock.
            lost: Messages that were published but not received.
        """
        problem = self.problem(now_ns)
        age, rate = self.age_s(now_ns), self.rate_hz(now_ns)
        level = DiagnosticStatus.OK
        if problem is not None:
            level = DiagnosticStatus.STALE if problem.kind == MISSING else DiagnosticStatus.WARN
        message = problem.text if problem else "starting" if rate is None else f"{rate:.1f} Hz"
        return (
            level,
            message,
            {
                "rate [Hz]": "" if rate is None else f"{rate:.2f}",
                "expected [Hz]": "" if self.plan.rate_hz is None else f"{self.plan.rate_hz:g}",
                "largest gap [s]": f"{self.max_gap_ns / _NS:.3f}",
                "age [s]": "" if age is None else f"{age:.3f}",
                "lost": str(lost),
                "gaps in stamps": str(self.stamp_gaps),
                "messages": str(self.messages),
            },
        )


class AuditBoard:
    """The streams of a profile together. Knows when nobody looked: then silence is no fault of the streams."""

    def __init__(self, streams: Mapping[str, StreamAudit]) -> None:
        """Args: streams: by fully resolved name of the topic."""
        self.streams = dict(streams)
        self._looked_s = time.monotonic()

    def look(self, now_ns: int) -> None:
        """Say that messages are being served; call it with every message and a few times a second besides.

        While an episode is saved, messages wait. What was silent only because it waited is not missing.

        Args:
            now_ns: Node clock.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s > _STALL_S:
            for stream in self.streams.values():
                stream.forgive(now_ns)
        self._looked_s = now_s

    def tick(self, name: str, t_ns: int, stamp_ns: int) -> None:
        """Take note of a message (see `StreamAudit.tick`); topics that are not audited are ignored."""
        stream = self.streams.get(name)
        if stream is not None:
            stream.tick(t_ns, stamp_ns)

    def begin(self) -> None:
        """Begin counting gaps anew."""
        for stream in self.streams.values():
            stream.begin()

    def problems(self, now_ns: int, *, commands: bool, armed: bool = False) -> list[Problem]:
        """Return what is wrong with the streams now.

        Args:
            now_ns: Node clock.
            commands: Whether somebody drives, so that commands must flow too; how often is the driver's business.
            armed: Whether motion is waited for: a command topic that never said anything may be the wrong one.
        """
        self.look(now_ns)
        found = []
        for stream in self.streams.values():
            if stream.plan.role == "command" and not (commands or (armed and stream.messages == 0)):
                continue
            problem = stream.problem(now_ns)
            if problem is not None and not (stream.plan.role == "command" and problem.kind == SLOW):
                found.append(problem)
        return found
