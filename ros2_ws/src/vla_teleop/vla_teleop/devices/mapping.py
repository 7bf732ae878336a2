# SPDX-License-Identifier: Apache-2.0

"""Values of axes, buttons and keys become a twist, a speed of the gripper and a gain. Pure; without a clock.

A *source* is one value of a device by name: ``left.0`` is axis 0 of the input ``left``, ``pad.button11`` a button (0 or 1),
``key.w`` a key. A *term* is a source with a sign: ``-left.1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KEYS = "key"
"""The input of a keyboard: what follows is the name of a key, also where it is a digit."""
TWIST_AXES = ("vx", "vy", "vz", "wx", "wy", "wz")
_TERM = re.compile(r"^([+-]?)(\w+)\.(\S+)$")
_INDEX = re.compile(r"^(button)?(\d+)$")


@dataclass(frozen=True, slots=True)
class Term:
    """One signed source."""

    sign: float
    source: str

    @property
    def input(self) -> str:
        """Name of the input that the source belongs to."""
        return self.source.split(".", 1)[0]

    @property
    def axis(self) -> int | None:
        """Index of the axis, or None for a button or a key."""
        return self._index(button=False)

    @property
    def button(self) -> int | None:
        """Index of the button, or None for an axis or a key."""
        return self._index(button=True)

    def _index(self, *, button: bool) -> int | None:
        name, rest = self.source.split(".", 1)
        match = None if name == KEYS else _INDEX.match(rest)
        return int(match[2]) if match and bool(match[1]) == button else None


def parse_term(text: str) -> Term | None:
    """Read ``+left.0``, ``-left.1``, ``pad.button11`` or ``key.w``; None when it has another form."""
    match = _TERM.match(text)
    if match is None:
        return None
    return Term(-1.0 if match[1] == "-" else 1.0, f"{match[2]}.{match[3]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """A speed gain that follows an axis.

    Attributes:
        source: The axis; it is neither calibrated nor has it a dead zone.
        full: Its value at the largest gain.
        lowest: Its value at the smallest gain.
        smallest: Smallest gain.
        largest: Largest gain.
    """

    source: str
    full: float
    lowest: float
    smallest: float
    largest: float

    def gain(self, value: float) -> float:
        """Return the gain for a value of the axis, clamped to the range."""
        down = (value - self.full) / (self.lowest - self.full)
        gain = self.smallest + (1.0 - down) * (self.largest - self.smallest)
        return min(max(gain, self.smallest), self.largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A speed gain that a button changes step by step.

    Attributes:
        source: The button or key.
        values: The gains, beginning with the first at the start.
    """

    source: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSpec:
    """How values become motion.

    Attributes:
        twist: Six lists of terms: linear x y z, angular x y z. A list is summed and clamped to -1..1.
        gripper: Terms of the gripper's speed, closing positive.
        linear: Speed at full deflection [m/s].
        angular: Speeds at full deflection [rad/s].
        gripper_rate: Speed of the gripper at full deflection [1/s of its travel].
        deadzone: Values nearer to zero than this are zero; beyond it they are not rescaled.
        moving: Above this a twist component [m/s, rad/s] or the gripper's rate [1/s] counts as motion.
    """

    twist: tuple[tuple[Term, ...], ...]
    gripper: tuple[Term, ...]
    linear: float
    angular: tuple[float, ...]
    gripper_rate: float
    deadzone: float
    moving: float

    def terms(self) -> tuple[Term, ...]:
        """All terms of arm and gripper."""
        return tuple(term for part in (*self.twist, self.gripper) for term in part)


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """A twist (6,) [m/s, rad/s], the speed of the gripper [1/s], and whether that is motion."""

    twist: Array
    gripper_rate: float
    moving: bool


def move(spec: MotionSpec, values: Mapping[str, float], gain: float) -> Motion:
    """Return the motion that the values ask for.

    Args:
        spec: The mapping.
        values: Source name to value, -1 to 1, calibrated. Sources that are missing are zero (a button that the device
            has not reported yet, a key that is up).
        gain: Factor of the twist; the gripper is not scaled by it.
    """

    def total(terms: tuple[Term, ...]) -> float:
        value = sum(term.sign * beyond_deadzone(values.get(term.source, 0.0), spec.deadzone) for term in terms)
        return min(max(value, -1.0), 1.0) + 0.0  # no negative zero

    deflection = np.array([total(terms) for terms in spec.twist])
    twist = deflection * gain * np.array([spec.linear] * 3 + list(spec.angular))
    rate = total(spec.gripper) * spec.gripper_rate
    return Motion(twist, rate, bool(np.abs(twist).max() > spec.moving or abs(rate) > spec.moving))


def beyond_deadzone(value: float, deadzone: float) -> float:
    """Return `value`, or zero when its size is below `deadzone`."""
    return 0.0 if abs(value) < deadzone else value
