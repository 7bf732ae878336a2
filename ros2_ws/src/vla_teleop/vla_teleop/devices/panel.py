# SPDX-License-Identifier: Apache-2.0

"""The controls of a device with what they remember: which button is down, which gain is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vla_teleop.devices.buttons import Buttons, ButtonSpec
from vla_teleop.devices.device import Command
from vla_teleop.devices.mapping import Cycle, move
from vla_teleop.devices.settings import Common, Controls

_STEP = "gain step"


class Panel:
    """Turns values and button states into commands; knows neither time nor where they come from."""

    def __init__(self, common: Common, controls: Controls) -> None:
        self._common = common
        self._controls = controls
        gain = controls.gain
        step = (ButtonSpec(event=_STEP, press=(gain.source,)),) if isinstance(gain, Cycle) else ()
        self._buttons = Buttons((*controls.buttons, *step))
        self._gain_index = 0

    def feed(self, states: Mapping[str, bool]) -> None:
        """Take states of buttons (see `Buttons.feed`)."""
        self._buttons.feed(states)

    def forget(self, names: Iterable[str]) -> None:
        """Forget states of buttons (see `Buttons.forget`)."""
        self._buttons.forget(names)

    def take(self) -> tuple[str, ...]:
        """Return the events since the last call; steps of the gain are done and not among them."""
        pressed = self._buttons.take()
        gain = self._controls.gain
        if _STEP in pressed and isinstance(gain, Cycle):
            self._gain_index = (self._gain_index + 1) % len(gain.values)
        return tuple(event for event in pressed if event != _STEP)

    def command(self, t_ns: int, values: Mapping[str, float], pressed: tuple[str, ...]) -> Command:
        """Return what the values ask for.

        Args:
            t_ns: Time of the newest input [ns].
            values: Source name to value, calibrated.
            pressed: Events that go with it.
        """
        motion = move(self._controls.motion, values, self._gain(values))
        held = self._controls.deadman
        return Command(
            t_ns=t_ns,
            twist=motion.twist,
            frame=self._common.frame,
            gripper_rate=motion.gripper_rate,
            gain=self._gain(values),
            pressed=pressed,
            deadman=None if held is None else values.get(held.source, 0.0) > 0.5,
            moving=motion.moving,
        )

    def _gain(self, values: Mapping[str, float]) -> float:
        gain = self._controls.gain
        if isinstance(gain, Cycle):
            return gain.values[self._gain_index]
        # Without a value of the slider (its stick is lost) nothing moves fast.
        return 1.0 if gain is None else gain.gain(values.get(gain.source, gain.lowest))
