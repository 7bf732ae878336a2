# SPDX-License-Identifier: Apache-2.0

"""One or more inputs that speak `sensor_msgs/Joy` as one device. Pure; messages and time come in as arguments."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vla_teleop.devices.calibration import Calibration, CalibrationSpec
from vla_teleop.devices.device import NEVER, Command
from vla_teleop.devices.panel import Panel
from vla_teleop.devices.settings import Common, Controls

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One source of Joy messages.

    Attributes:
        name: As in the sources: ``left``.
        topic: Where the messages come, relative or absolute.
        sign: Factor of all axes. `joy_node` publishes the negative of what SDL reports (left and up positive).
        driver: Command that starts its driver, for messages.
    """

    name: str
    topic: str
    sign: float
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JoySpec:
    """A device of one or more Joy inputs.

    Attributes:
        common: Name, frame, time-out.
        inputs: Where messages come from.
        controls: What they mean.
        calibration: How the sticks' rest is found; None leaves the axes as they are.
        reconnect_s: After a silence longer than this, buttons that are found held were not pressed [s].
    """

    common: Common
    inputs: tuple[InputSpec, ...]
    controls: Controls
    calibration: CalibrationSpec | None
    reconnect_s: float


class _Input:
    """What is known of one input."""

    def __init__(self, spec: InputSpec, controls: Controls, calibration: CalibrationSpec | None) -> None:
        self.spec = spec
        own = [term for term in controls.terms() if term.input == spec.name]
        moving = [term for term in controls.motion.terms() if term.input == spec.name]
        resting = sorted({term.axis for term in moving if term.axis is not None}) if calibration else []
        self.needed = max((term.axis for term in own if term.axis is not None), default=-1) + 1
        self.buttons = tuple(sorted({term.button for term in own if term.button is not None}))
        self.calibration = Calibration(calibration or CalibrationSpec(), tuple(resting), spec.name)
        self.t_ns: int | None = None
        self.raw: dict[str, float] = {}
        self.values: dict[str, float] = {}
        self.problem = ""

    def feed(self, t_ns: int, axes: Sequence[float], buttons: Sequence[int]) -> None:
        self.t_ns = t_ns
        name = self.spec.name
        self.raw = {f"{name}.{i}": float(value) for i, value in enumerate(axes)}
        self.raw |= {f"{name}.button{i}": float(bool(value)) for i, value in enumerate(buttons)}
        self.problem = self._fault(axes)
        if self.problem:
            self.values = {}
            return
        signed = np.clip(np.asarray(axes, dtype=np.float64), -1.0, 1.0) * self.spec.sign
        self.calibration.feed(t_ns, signed)
        center = self.calibration.center or {}
        for i, value in enumerate(signed.tolist()):
            self.values[f"{name}.{i}"] = min(max(value - center.get(i, 0.0), -1.0), 1.0)
        self.values |= {f"{name}.button{i}": float(bool(value)) for i, value in enumerate(buttons)}

    def held(self) -> dict[str, bool]:
        """The mapped buttons; one that the message does not have is up."""
        names = (f"{self.spec.name}.button{i}" for i in self.buttons)
        return {name: bool(self.raw.get(name, 0.0)) for name in names}

    def age_s(self, now_ns: int) -> float:
        return NEVER if self.t_ns is None else max(0.0, (now_ns - self.t_ns) / _NS)

    def _fault(self, axes: Sequence[float]) -> str:
        topic, name = self.spec.topic, self.spec.name
        if len(axes) == 0:
            return f"{name}: unplugged (empty message on {topic}); plug it in again"
        if len(axes) < self.needed:
            return (
                f"{name}: the messages on {topic} have {len(axes)} axes, the mapping uses {self.needed}: is it another "
                f"device? `ros2 run joy joy_enumerate_devices` lists them; choose with the parameter device_id of its node"
            )
        if not np.isfinite(np.asarray(axes, dtype=np.float64)).all():
            return f"{name}: a value on {topic} is not finite; restart its driver: {self.spec.driver}"
        return ""


class JoyCore:
    """Joins the inputs: feed it messages, read commands. Thread-safe."""

    def __init__(self, spec: JoySpec) -> None:
        self.spec = spec
        self._inputs = {one.name: _Input(one, spec.controls, spec.calibration) for one in spec.inputs}
        self._panel = Panel(spec.common, spec.controls)
        self._lock = threading.Lock()

    def feed(self, name: str, t_ns: int, axes: Sequence[float], buttons: Sequence[int]) -> None:
        """Take a message of the input `name` that came at `t_ns` on the node clock.

        Args:
            name: Of the input.
            t_ns: When it came [ns].
            axes: Values -1 to 1.
            buttons: 0 or 1; empty axes and buttons mean that the driver lost the device.
        """
        with self._lock:
            source = self._inputs[name]
            held = source.held()
            if source.problem or source.age_s(t_ns) > self.spec.reconnect_s:
                self._panel.forget(held)
            source.feed(t_ns, axes, buttons)
            if not source.problem:
                self._panel.feed(source.held())

    def read(self, now_ns: int) -> Command | None:
        """See `Device.read`. Buttons of an input that still reports act while the other is lost."""
        with self._lock:
            pressed = self._panel.take()
            if any(one.t_ns is None or one.calibration.center is None for one in self._inputs.values()):
                return None
            t_ns = max(one.t_ns or 0 for one in self._inputs.values())
            values = {key: value for one in self._inputs.values() for key, value in one.values.items()}
            return self._panel.command(t_ns, {} if self._trouble(now_ns) else values, pressed)

    def age_s(self, now_ns: int) -> float:
        """See `Device.age_s`."""
        with self._lock:
            return max(one.age_s(now_ns) for one in self._inputs.values())

    def raw(self) -> Mapping[str, float]:
        """See `Device.raw`."""
        with self._lock:
            return {key: value for one in self._inputs.values() for key, value in one.raw.items()}

    def lost(self, now_ns: int) -> str | None:
        """See `Device.lost`."""
        with self._lock:
            trouble = self._trouble(now_ns)
            waiting = [one.calibration.status for one in self._inputs.values() if one.t_ns is not None]
            return "; ".join([*trouble, *filter(None, waiting)]) or None

    def _trouble(self, now_ns: int) -> list[str]:
        found = []
        for one in self._inputs.values():
            if one.t_ns is None:
                found.append(
                    f"{one.spec.name}: no message on {one.spec.topic} yet. Is its driver running? {one.spec.driver}"
                )
            elif one.problem:
                found.append(one.problem)
            elif one.age_s(now_ns) > self.spec.common.timeout_s:
                found.append(
                    f"{one.spec.name}: silent for {one.age_s(now_ns):.2f} s on {one.spec.topic} (limit "
                    f"{self.spec.common.timeout_s:g} s). Is it plugged in, and does its driver repeat messages? "
                    f"{one.spec.driver}"
                )
        return found
