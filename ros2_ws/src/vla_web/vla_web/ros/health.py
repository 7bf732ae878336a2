# SPDX-License-Identifier: Apache-2.0

"""Whether the streams flow as the profile wants it, from a look ten times a second. Pure; time enters as an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

OK, SLOW, STALE, WAITING, IDLE = "ok", "slow", "stale", "waiting", "idle"
_WINDOW_S = 2.5  # over which a rate is measured
_LOW_RATE = 0.8  # of the expected rate
_SLOW_AFTER_S = 2.0
_LOOK_S = 0.25  # a stream that is looked at ten times a second may seem this much older than it is
_FIRST_S = 3.0  # that a publisher has to be found and to send its first message
_LONGEST_JUMP = 100_000  # messages; a larger step of the count is another publisher


@dataclass(frozen=True, slots=True)
class Event:
    """Something that began or ended, in words: `level` is info, warning or error."""

    level: str
    text: str


class StreamWatch:
    """One stream of the profile."""

    def __init__(self, label: str, topic: str, role: str, *, expected_hz: float, max_age_s: float) -> None:
        """Args: label: for people. topic: resolved name. role: camera, state or command."""
        self.label, self.topic, self.role = label, topic, role
        self.expected_hz, self.max_age_s = expected_hz, max_age_s
        self.problem = ""
        self.restart(0.0)

    def restart(self, now_s: float) -> None:
        """Begin anew at `now_s`, as nobody looked before."""
        self.level = WAITING
        self._since_s = now_s
        self._last_s: float | None = None
        self._number: int | None = None
        self._total = 0
        self._countable = True
        self._counts: deque[tuple[float, int]] = deque()
        self._slow_since_s: float | None = None
        self._lost_at_s: float | None = None
        self._driven_since_s: float | None = None

    def note(self, now_s: float, number: int | None, new: int, *, all_seen: bool, age_s: float = 0.0) -> None:
        """Say what one look has found.

        Args:
            now_s: Node clock.
            number: The publisher's count of the newest message; None if the middleware does not tell.
            new: Messages seen since the last look; 0: none.
            all_seen: Whether these were all that came, so that they may be counted where `number` is None.
            age_s: How long before the look the newest message came [s].
        """
        if self._last_s is not None and now_s < self._last_s:  # the clock was set back: a new run of the simulation
            self.restart(now_s)
        if new:
            self._last_s = now_s - age_s
            step = new
            if number is not None:
                step = number - self._number if self._number is not None else 0
                self._number = number
            else:
                self._countable = self._countable and all_seen
            self._total += step if 0 <= step < _LONGEST_JUMP else 0
        self._counts.append((now_s, self._total))
        while len(self._counts) > 2 and now_s - self._counts[1][0] >= _WINDOW_S:
            self._counts.popleft()

    def rate_hz(self) -> float | None:
        """What the publisher sends [Hz, node clock]; None while it is too early to tell, or nobody can."""
        (t0, n0), (t1, n1) = (self._counts[0], self._counts[-1]) if self._counts else ((0.0, 0), (0.0, 0))
        if not self._countable or t1 - t0 < 0.6 * _WINDOW_S:
            return None
        return (n1 - n0) / (t1 - t0)

    def age_s(self, now_s: float) -> float | None:
        """Time since the last message [s]; None before the first."""
        return None if self._last_s is None else max(0.0, now_s - self._last_s)

    def judge(self, now_s: float, *, driven: bool) -> list[Event]:
        """Set `level`; returns what has begun or ended since the last call.

        Args:
            now_s: Node clock.
            driven: Whether somebody drives, so that commands must flow.
        """
        before, self.level = self.level, self._level(now_s, driven)
        return [] if before == self.level else self._told(before, now_s)

    def row(self, now_s: float, lost: int | None) -> dict[str, Any]:
        """The stream for the page; `lost`: messages that the recorder missed, None if nobody counts."""
        rate, age = self.rate_hz(), self.age_s(now_s)
        return {
            "label": self.label,
            "topic": self.topic,
            "role": self.role,
            "level": self.level,
            "rate": None if rate is None else round(rate, 1),
            "expected": self.expected_hz,
            "age": None if age is None else round(age, 2),
            "limit": self.max_age_s,
            "lost": lost,
            "problem": self.problem,
        }

    def _level(self, now_s: float, driven: bool) -> str:
        age = self.age_s(now_s)
        if self.role == "command" and not driven:
            self._driven_since_s = None
            return OK if age is not None and age <= self.max_age_s + _LOOK_S else IDLE
        self._driven_since_s = now_s if self._driven_since_s is None else self._driven_since_s
        since_s = max(self._since_s, self._driven_since_s) if self.role == "command" else self._since_s
        if now_s - since_s <= _FIRST_S and (age is None or self.role == "command"):
            return WAITING if age is None else OK
        if age is None:
            return STALE
        if age > self.max_age_s + _LOOK_S:
            return STALE
        rate = self.rate_hz()
        if rate is None or rate + 1.0 / _WINDOW_S >= _LOW_RATE * self.expected_hz or self.role == "command":
            self._slow_since_s = None
            return OK
        self._slow_since_s = now_s if self._slow_since_s is None else self._slow_since_s
        return SLOW if now_s - self._slow_since_s > _SLOW_AFTER_S else OK

    def _told(self, before: str, now_s: float) -> list[Event]:
        if self.level == STALE:
            self._lost_at_s = self._last_s
            age = self.age_s(now_s)
            what = "nothing received" if age is None else f"silent for {age:.1f} s (limit {self.max_age_s:g} s)"
            return [Event("error", f"{self.label}: {what} on {self.topic}. Is its driver running? {self._look()}")]
        if self.level == SLOW:
            rate = self.rate_hz() or 0.0
            text = f"{self.label}: {rate:.1f} Hz instead of {self.expected_hz:g} Hz on {self.topic}. {self._look()}"
            return [Event("warning", text)]
        if before in (STALE, SLOW) and self.level == OK:
            gap = "" if self._lost_at_s is None else f" after {now_s - self._lost_at_s:.1f} s"
            self._lost_at_s = None
            return [Event("info", f"{self.label}: as expected again{gap}")]
        return []

    def _look(self) -> str:
        return f"Look: ros2 topic hz {self.topic}"
