# SPDX-License-Identifier: Apache-2.0

"""Has somebody begun to drive? A command topic says so by moving away from what it said first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from rosidl_runtime_py.utilities import get_message
from vla_core import codecs
from vla_core.errors import CodecError
from vla_core.fields import NONE, FieldReader
from vla_core.profile import Profile

# Commands of these types are velocities or stick deflections: rest is zero, whatever came first.
_ZERO_AT_REST = frozenset({codecs.TWIST_STAMPED, codecs.JOY})


@dataclass(slots=True)
class _Command:
    name: str
    kind: type[Any]
    reader: FieldReader
    rest: NDArray[np.float64] | None
    baseline: NDArray[np.float64] | None = None


class MotionDetector:
    """Compares the values of the profile's actions with those at rest. Decodes only while somebody asks."""

    def __init__(self, profile: Profile, resolve: Callable[[str], str], threshold: float) -> None:
        """Prepare.

        Args:
            profile: Its actions say which topics and fields are commands.
            resolve: Topic of the profile -> fully resolved name.
            threshold: Change of any value above which it is motion, in units of the message (rad, m, rad/s, m/s).
        """
        self._threshold = threshold
        self._commands: dict[str, list[_Command]] = {}
        for action in profile.action:
            record = action.record
            zero = record.type in _ZERO_AT_REST or all(field.startswith("velocity.") for field in record.fields)
            command = _Command(
                name=action.name,
                kind=get_message(record.type),
                reader=codecs.reader(record.type, record.fields, record.point),
                rest=np.zeros(len(record.fields)) if zero else None,
            )
            self._commands.setdefault(resolve(record.topic), []).append(command)

    @property
    def topics(self) -> tuple[str, ...]:
        """Fully resolved names of the command topics."""
        return tuple(self._commands)

    def reset(self, now: Mapping[str, bytes]) -> None:
        """Take what the commands say now as rest; a topic that is silent says it with its next message.

        Args:
            now: Fully resolved name -> CDR bytes of the last message.
        """
        for commands in self._commands.values():
            for command in commands:
                command.baseline = None
        for topic, data in now.items():
            self.moved(topic, data)

    def moved(self, topic: str, data: bytes) -> str:
        """Return the action that moves, or an empty text.

        Args:
            topic: Fully resolved name; other topics never move.
            data: CDR bytes of the message.
        """
        for command in self._commands.get(topic, ()):
            message = deserialize_message(data, command.kind)
            if command.reader.carries(message) == NONE:
                continue
            try:
                values = command.reader.read(message)
            except CodecError:
                continue  # a message without usable values cannot show motion; the converter reports it
            rest = command.baseline if command.rest is None else command.rest
            if rest is None:
                command.baseline = values
            elif bool(np.any(np.abs(values - rest) > self._threshold)):
                return command.name
        return ""
