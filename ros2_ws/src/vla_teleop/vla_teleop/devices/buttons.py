# SPDX-License-Identifier: Apache-2.0

"""Buttons become events: on the rising edge, once per press, the more important one first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonSpec:
    """One event and what triggers it.

    Attributes:
        event: Name of the event (`vla_teleop.devices.device.EVENTS`, or ``skill/<name>``).
        press: Names of the buttons; any of them will do.
        group: Of the events of one group only the first in order counts when several are pressed together.
    """

    event: str
    press: tuple[str, ...]
    group: str = ""


class Buttons:
    """Collects presses between two reads. The order of the specifications is the order of importance."""

    def __init__(self, specs: Iterable[ButtonSpec]) -> None:
        self._specs = tuple(specs)
        self._down: dict[str, bool] = {}
        self._pending: set[str] = set()

    def feed(self, states: Mapping[str, bool]) -> None:
        """Take the states of some buttons. A button that is seen for the first time was not pressed by that.

        Args:
            states: Button name to whether it is down; buttons that are not named keep their state.
        """
        for spec in self._specs:
            for name in spec.press:
                if states.get(name, False) and not self._down.get(name, True):
                    self._pending.add(spec.event)
        self._down.update(states)

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is known of some buttons, as after a loss: what is held at their return is no press."""
        for name in names:
            self._down.pop(name, None)

    def take(self) -> tuple[str, ...]:
        """Return the events since the last call, most important first, and forget them."""
        taken: list[str] = []
        groups: set[str] = set()
        for spec in self._specs:
            if spec.event not in self._pending or spec.event in taken or spec.group in groups:
                continue
            taken.append(spec.event)
            if spec.group:
                groups.add(spec.group)
        self._pending.clear()
        return tuple(taken)
