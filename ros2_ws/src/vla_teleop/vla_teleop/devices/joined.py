# SPDX-License-Identifier: Apache-2.0

"""One device that moves the robot and others whose buttons count as well: a leader arm beside a keyboard or a pedal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vla_core.yamltree import Section, Tree

from vla_teleop.devices.device import Command, Device

KIND = "joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSpec:
    """Mappings, by name or path: the one that moves, and those of which only events and deadman count."""

    name: str
    motion: str
    events: tuple[str, ...]


class Joined:
    """A `Device` of several. All must report: with one of them lost, nothing moves."""

    def __init__(self, name: str, motion: Device, events: Sequence[Device]) -> None:
        """Take the devices over.

        Args:
            name: Of the mapping.
            motion: The one that moves the robot.
            events: Their events and their enabling button count, their motion does not.
        """
        self.name = name
        self.timeout_s = max(one.timeout_s for one in (motion, *events))
        self._motion = motion
        self._events = tuple(events)

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`. Every device that has an enabling button must have it held."""
        command = self._motion.read(now_ns)
        others = [one.read(now_ns) for one in self._events]
        if command is None or None in others:
            return None
        heard = [command, *(other for other in others if other is not None)]
        pressed = tuple(dict.fromkeys(event for one in heard for event in one.pressed))
        deadman = [one.deadman for one in heard if one.deadman is not None]
        joined = replace(command, pressed=pressed, deadman=all(deadman) if deadman else None)
        if self.lost is None:
            return joined
        return Command(
            t_ns=command.t_ns,
            frame=command.frame,
            gain=command.gain,
            pressed=pressed,
            deadman=False if deadman else None,
        )

    def age_s(self, now_ns: int) -> float:
        """Age of the oldest input of all [s]."""
        return max(one.age_s(now_ns) for one in (self._motion, *self._events))

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        return {name: value for one in (self._motion, *self._events) for name, value in one.raw().items()}

    @property
    def lost(self) -> str | None:
        """See `Device.lost`."""
        return "; ".join(one.lost for one in (self._motion, *self._events) if one.lost is not None) or None

    def close(self) -> None:
        """Close all of them."""
        for one in (self._motion, *self._events):
            one.close()


def read_joined_spec(tree: Tree, name: str) -> JoinedSpec:
    """Return which mappings are joined.

    Args:
        tree: The whole YAML file.
        name: Of the device where the file gives none.

    Raises:
        ProfileError: a key or value that cannot be used.
    """
    section = Section(tree, ("kind", "name", "motion", "events"))
    return JoinedSpec(name=section.text("name", name), motion=section.text("motion"), events=section.texts("events"))
