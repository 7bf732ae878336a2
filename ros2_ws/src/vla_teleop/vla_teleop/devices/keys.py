# SPDX-License-Identifier: Apache-2.0

"""What a terminal sends when keys are pressed: names of keys, and which of them are held. Pure; time comes in as an argument.

A terminal reports neither that a key is let go nor two keys at once: it repeats the last one, first after about half a
second, then some 30 times a second. So a key counts as held for a short time after each report, and a report that follows
another one of the same key soon is its repetition, not another press.
"""

from __future__ import annotations

from dataclasses import dataclass

_NS = 1_000_000_000
ESCAPE = "\x1b"
FOCUS_ON, FOCUS_OFF = "\x1b[?1004h", "\x1b[?1004l"
"""Ask the terminal to report (or not) that its window gains or loses the focus."""
FOCUS_IN, FOCUS_OUT = "<focus in>", "<focus out>"
NAMED = {" ": "space", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\b": "backspace"}
SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "OA": "up",
    "OB": "down",
    "OC": "right",
    "OD": "left",
    "[I": FOCUS_IN,
    "[O": FOCUS_OUT,
}
SPECIAL = ("space", "enter", "tab", "backspace", "esc", "up", "down", "left", "right")


def is_key(name: str) -> bool:
    """Whether a key of this name can be read: a printable character, or one of `SPECIAL`."""
    return name in SPECIAL or (len(name) == 1 and name.isprintable() and not name.isspace())


class Decoder:
    """Turns what the terminal sends into names of keys; sequences may arrive in pieces."""

    def __init__(self) -> None:
        self._open = ""

    def feed(self, text: str) -> list[str]:
        """Return the keys in `text`, in order. A sequence that is not complete waits for more."""
        keys: list[str] = []
        for char in text:
            if self._open:
                keys += self._continue(char)
            elif char == ESCAPE:
                self._open = ESCAPE
            else:
                keys += self._plain(char)
        return keys

    def flush(self) -> list[str]:
        """Return the escape key if one was pressed by itself; call it when the terminal sent nothing for a moment."""
        alone, self._open = self._open == ESCAPE, ""
        return ["esc"] if alone else []

    def _continue(self, char: str) -> list[str]:
        if char == ESCAPE:
            keys = self.flush()
            self._open = ESCAPE
            return keys
        self._open += char
        body = self._open[1:]
        if body in SEQUENCES:
            self._open = ""
            return [SEQUENCES[body]]
        if len(body) == 1 and char in "[O":
            return []
        if body[0] in "[O" and not "@" <= char <= "~":
            return []  # parameters of a longer sequence
        self._open = ""
        return []  # a key that has no name here, or alt with a key

    @staticmethod
    def _plain(char: str) -> list[str]:
        name = NAMED.get(char, char)
        return [name] if is_key(name) else []


@dataclass(slots=True)
class _Seen:
    first_ns: int
    last_ns: int


class HeldKeys:
    """Which keys are held, from the times of their reports."""

    def __init__(self, hold_s: float, again_s: float) -> None:
        """Prepare.

        Args:
            hold_s: How long a key counts as held after each report [s].
            again_s: A report of the same key sooner than this after the one before is its repetition [s].
        """
        self._hold_ns = round(hold_s * _NS)
        self._again_ns = round(again_s * _NS)
        self._seen: dict[str, _Seen] = {}

    def press(self, key: str, t_ns: int) -> bool:
        """Take a report; returns whether it is a new press."""
        seen = self._seen.get(key)
        if seen is not None and t_ns - seen.last_ns < self._again_ns:
            seen.last_ns = t_ns
            return False
        self._seen[key] = _Seen(t_ns, t_ns)
        return True

    def held(self, now_ns: int) -> frozenset[str]:
        """Return the keys that count as held."""
        return frozenset(key for key, seen in self._seen.items() if 0 <= now_ns - seen.last_ns < self._hold_ns)

    def release(self) -> None:
        """Let go of all keys."""
        self._seen.clear()
