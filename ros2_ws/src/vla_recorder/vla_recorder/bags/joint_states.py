# SPDX-License-Identifier: Apache-2.0

"""A quick decoder of sensor_msgs/JointState, the message that a bag holds most of.

A driver sends the same names in every message, so whatever is before the numbers (frame, names) is compared as bytes with
the message before, and only stamp and numbers are unpacked. That is ten times quicker than to read field by field.

Layout: OMG CDR, little endian: members in order, each aligned to its size, counted behind the four bytes of encapsulation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TYPES = ("sensor_msgs/msg/JointState", "sensor_msgs/JointState")
_FIELDS = [
    ("Header", "header"),
    ("string[]", "name"),
    ("float64[]", "position"),
    ("float64[]", "velocity"),
    ("float64[]", "effort"),
]
_LITTLE_ENDIAN = b"\x00\x01"
_STAMP = struct.Struct("<iI")
_COUNT = struct.Struct("<I")
_BODY = 4
_HEAD = _BODY + _STAMP.size


@dataclass(slots=True)
class Time:
    """builtin_interfaces/Time."""

    sec: int
    nanosec: int


@dataclass(slots=True)
class Header:
    """std_msgs/Header."""

    stamp: Time
    frame_id: str


@dataclass(slots=True)
class JointState:
    """sensor_msgs/JointState."""

    header: Header
    name: list[str]
    position: list[float]
    velocity: list[float]
    effort: list[float]


class JointStateDecoder:
    """Decodes the messages of one topic."""

    def __init__(self, general: Callable[[bytes], Any]) -> None:
        """Use `general` for messages whose names are new."""
        self._general = general
        self._head = b""
        self._end = 0
        self._names: list[str] = []
        self._frame_id = ""

    def __call__(self, data: bytes) -> JointState:
        """Return a message.

        Raises:
            struct.error: The message is cut short.
        """
        if not self._end or data[_HEAD : self._end] != self._head or data[:2] != _LITTLE_ENDIAN:
            return self._learn(data)
        header = Header(Time(*_STAMP.unpack_from(data, _BODY)), self._frame_id)
        offset = self._end
        numbers = []
        for _ in range(3):
            (count,) = _COUNT.unpack_from(data, offset)
            offset += _COUNT.size
            if count:
                offset += -(offset - _BODY) % 8
            numbers.append(list(struct.unpack_from(f"<{count}d", data, offset)))
            offset += 8 * count
        return JointState(header, self._names.copy(), *numbers)

    def _learn(self, data: bytes) -> JointState:
        found = self._general(data)
        stamp = Time(found.header.stamp.sec, found.header.stamp.nanosec)
        numbers = (list(found.position), list(found.velocity), list(found.effort))
        if data[:2] == _LITTLE_ENDIAN:
            self._frame_id, self._names = found.header.frame_id, list(found.name)
            self._end = _behind_names(data)
            self._head = data[_HEAD : self._end]
        return JointState(Header(stamp, found.header.frame_id), list(found.name), *numbers)


def text_is_joint_state(type_name: str, text: str) -> bool:
    """Return whether a definition is that of the JointState that `JointStateDecoder` reads."""
    own = text.partition("\n===")[0].splitlines()
    words = [line.partition("#")[0].split() for line in own]
    found = [(line[0].rpartition("/")[2], line[1]) for line in words if len(line) == 2]
    return type_name in _TYPES and found == _FIELDS


def _behind_names(data: bytes) -> int:
    """Return where the count of positions is."""
    offset = _behind_string(data, _HEAD)
    (count,) = _COUNT.unpack_from(data, offset)
    offset += _COUNT.size
    for _ in range(count):
        offset = _behind_string(data, offset)
    return offset


def _behind_string(data: bytes, offset: int) -> int:
    """Return the next place behind a string where a count may be."""
    end = offset + _COUNT.size + int(_COUNT.unpack_from(data, offset)[0])
    return end + -(end - _BODY) % 4
