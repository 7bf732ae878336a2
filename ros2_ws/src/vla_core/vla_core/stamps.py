# SPDX-License-Identifier: Apache-2.0

"""Time stamps of messages, as integer nanoseconds. Nothing in this package reads a clock."""

from __future__ import annotations

from typing import Any

from vla_core.errors import StampError

NANOSECONDS = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Return a duration in seconds as integer nanoseconds, rounded to the nearest."""
    return round(seconds * NANOSECONDS)


def to_s(nanoseconds: int) -> float:
    """Return integer nanoseconds as seconds. Use it for differences; absolute times lose precision."""
    return nanoseconds / NANOSECONDS


def time_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` (anything with ``sec`` and ``nanosec``) in nanoseconds.

    Raises:
        StampError: `stamp` has no ``sec`` and ``nanosec``.
    """
    try:
        return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
    except AttributeError:
        raise StampError(
            f"{type(stamp).__name__} is no time stamp: it has no 'sec' and 'nanosec'; pass message.header.stamp"
        ) from None


def stamp_ns(msg: Any) -> int:
    """Return the stamp of a message in nanoseconds: its header's, or its ``timestamp``; 0 means that the sender set none.

    Raises:
        StampError: the message has neither.
    """
    try:
        # Foxglove's messages have no header but a timestamp.
        stamp = msg.header.stamp if hasattr(msg, "header") else msg.timestamp
        return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
    except AttributeError:
        raise StampError(
            f"{type(msg).__name__} has no header stamp; use 'stamp: receive' for its stream in the robot profile"
        ) from None


def split_ns(t_ns: int) -> tuple[int, int]:
    """Return ``(sec, nanosec)`` of a time in nanoseconds, as ``builtin_interfaces/Time`` holds it."""
    return divmod(int(t_ns), NANOSECONDS)


def tick_ns(t0_ns: int, index: int, fps: float) -> int:
    """Return tick `index` of the fixed grid that starts at `t0_ns`, in nanoseconds.

    The grid is computed from the index, never by adding periods, so it does not drift.
    """
    return t0_ns + round(index * NANOSECONDS / fps)
