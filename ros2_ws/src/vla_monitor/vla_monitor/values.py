# SPDX-License-Identifier: Apache-2.0

"""Joint values out of the messages of a profile's streams, read by the same code as datasets are."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vla_core import codecs
from vla_core.errors import FieldError, StampError
from vla_core.fields import NONE, FieldReader, joint_of
from vla_core.profile import Profile
from vla_core.stamps import stamp_ns


@dataclass(frozen=True, slots=True)
class _Part:
    joints: tuple[str, ...]
    reader: FieldReader


class JointValues:
    """Reads joint positions [rad or m], before any scale of the profile.

    Attributes:
        types: Topic to message type of every stream that is read.
    """

    def __init__(self, streams: Iterable[tuple[str, str, tuple[str, ...], tuple[str, ...], str]]) -> None:
        """Args: streams: topic, type, field paths, names of the joints, and which point, of each stream."""
        self.types: dict[str, str] = {}
        self._parts: dict[str, list[_Part]] = {}
        for topic, kind, fields, joints, point in streams:
            self.types[topic] = kind
            self._parts.setdefault(topic, []).append(_Part(joints, codecs.reader(kind, fields, point)))

    def read(self, topic: str, msg: Any) -> dict[str, float]:
        """Joints that a message of a topic carries; a message with a part of a stream's joints has none of them."""
        found: dict[str, float] = {}
        for part in self._parts[topic]:
            if part.reader.carries(msg) == NONE:
                continue
            try:
                found.update(zip(part.joints, part.reader.read(msg).tolist(), strict=True))
            except FieldError:
                continue  # the joints are shown as old as they are then
        return found


def measured(profile: Profile) -> JointValues:
    """The joints in the state of a profile."""
    streams = []
    for spec in profile.state:
        fields = tuple(field for field in spec.fields if joint_of(field) is not None)
        joints = tuple(name for field in fields if (name := joint_of(field)) is not None)
        if fields:
            streams.append((spec.topic, spec.type, fields, joints, spec.point))
    return JointValues(streams)


def commanded(profile: Profile) -> JointValues:
    """The joint targets in force, as whoever drives publishes them."""
    return JointValues(
        (spec.record.topic, spec.record.type, spec.record.fields, spec.joints, spec.record.point)
        for spec in profile.action
    )


def message_ns(msg: Any, now_ns: int) -> int:
    """When a message was true [ns]: its stamp, or `now_ns` where it has none."""
    try:
        return stamp_ns(msg) or now_ns
    except StampError:
        return now_ns
