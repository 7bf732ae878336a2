# SPDX-License-Identifier: Apache-2.0

"""Where the axes of a stick rest: the mean of samples taken while nobody touches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec:
    """How a stick is calibrated.

    Attributes:
        wait_s: Time after the first message before samples are taken [s].
        samples: How many samples are averaged.
        period_s: Time between two samples [s].
        still: Largest change of an axis during the samples, in units of the axis (-1 to 1).
        limit: Largest offset from zero that is believed to be a stick at rest.
        gap_s: Longest time between two messages [s]; above it the samples are taken anew.
    """

    wait_s: float = 1.0
    samples: int = 50
    period_s: float = 0.01
    still: float = 0.05
    limit: float = 0.3
    gap_s: float = 0.5


class Calibration:
    """Finds the rest position of some axes of one input from its messages.

    A message holds until the next one, so drivers that repeat an unchanged state less often than `period_s` do as well.
    A stick that is moved meanwhile, or held far from its middle, starts the calibration again.
    """

    def __init__(self, spec: CalibrationSpec, axes: tuple[int, ...], name: str) -> None:
        """Prepare.

        Args:
            spec: How.
            axes: Which axes of the message rest at zero; the others (sliders) are left as they are.
            name: Of the input, for messages.
        """
        self.spec = spec
        self.problem = ""
        self._axes = axes
        self._name = name
        self._next_ns: int | None = None
        self._last: tuple[int, Array] | None = None
        self._samples: list[Array] = []
        self._center: dict[int, float] | None = None if axes else {}

    @property
    def center(self) -> Mapping[int, float] | None:
        """Axis to its value at rest, or None while unknown."""
        return self._center

    @property
    def status(self) -> str:
        """What is going on, for people; empty when done."""
        if self._center is not None:
            return ""
        text = f"{self._name}: calibrating, keep your hands off the stick ({len(self._samples)} of {self.spec.samples})"
        return f"{text}; {self.problem}" if self.problem else text

    def feed(self, t_ns: int, values: Array) -> None:
        """Take one message.

        Args:
            t_ns: When it came, on one clock [ns].
            values: (n,) its axes, -1 to 1.
        """
        if self._center is not None:
            return
        chosen = values[list(self._axes)]
        if self._last is None or self._next_ns is None:
            self._restart(t_ns, "")
        elif t_ns - self._last[0] > self.spec.gap_s * _NS:
            self._restart(t_ns, f"begun again, because no message came for {(t_ns - self._last[0]) / _NS:.2f} s")
        else:
            self._sample_until(t_ns, self._last[1], self._next_ns)
        self._last = (t_ns, chosen)
        self._judge(t_ns)

    def _restart(self, t_ns: int, problem: str) -> None:
        self._next_ns = t_ns + round(self.spec.wait_s * _NS)
        self._samples = []
        self.problem = problem

    def _sample_until(self, t_ns: int, values: Array, next_ns: int) -> None:
        step = round(self.spec.period_s * _NS)
        while next_ns < t_ns and len(self._samples) < self.spec.samples:
            self._samples.append(values)
            next_ns += step
        self._next_ns = next_ns

    def _judge(self, t_ns: int) -> None:
        if not self._samples:
            return
        taken = np.array(self._samples)
        spread = np.ptp(taken, axis=0)
        mean = taken.mean(axis=0)
        if spread.max() > self.spec.still:
            axis = int(np.argmax(spread))
            self._restart(
                t_ns,
                f"begun again, because axis {self._axes[axis]} moved by {spread[axis]:.2f} (limit {self.spec.still:g})",
            )
        elif len(self._samples) < self.spec.samples:
            return
        elif np.abs(mean).max() > self.spec.limit:
            axis = int(np.argmax(np.abs(mean)))
            self._restart(
                t_ns,
                f"begun again, because axis {self._axes[axis]} rests at {mean[axis]:+.2f}, further from zero than "
                f"{self.spec.limit:g}: is the stick held, or is this axis a slider?",
            )
        else:
            self._center = dict(zip(self._axes, mean.tolist(), strict=True))
            self.problem = ""
