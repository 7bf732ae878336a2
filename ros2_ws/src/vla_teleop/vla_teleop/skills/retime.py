# SPDX-License-Identifier: Apache-2.0

"""Segments of a plan at part of their speed, also from the middle of their way. Pure.

A plan is made for full speed. At the part ``s`` of it the same path is passed in ``1/s`` of the time: velocities times
``s``, accelerations times ``s**2``, so a plan whose limits were checked at full speed keeps them at every part. On the way
from one part to another ``s`` changes linearly with time, so position and velocity do not jump; what that adds to the
acceleration is the velocity of the full-speed plan times the rate of change. This is what a UR's speed slider does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_teleop.skills.plan import Segment
from vla_teleop.skills.table import SkillSpec

Array = NDArray[np.float64]
NEXT = 0.25  # of the distance of two samples; one that is nearer than this to the present is left out


def change_rate(spec: SkillSpec) -> float:
    """How fast the part of the speed may change [1/s]: at full speed the tool then keeps the accelerations of its table."""
    return min(spec.linear_acceleration / spec.linear_speed, spec.angular_acceleration / spec.angular_speed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timing:
    """What is left of a segment, with its own times.

    Attributes:
        times: ``(K,)`` from 0 [s].
        positions: ``(K, n)`` [rad].
        velocities: ``(K, n)`` [rad/s]; zero in the last row.
        planned: ``(K,)`` times of the rows in the full-speed plan [s].
        parts: ``(K,)`` of the full speed at the rows.
    """

    times: Array
    positions: Array
    velocities: Array
    planned: Array
    parts: Array

    def planned_at(self, seconds: float) -> float:
        """The time in the full-speed plan [s] that is reached after so many seconds."""
        return float(np.interp(seconds, self.times, self.planned))

    def part_at(self, seconds: float) -> float:
        """The part of the full speed after so many seconds."""
        return float(np.interp(seconds, self.times, self.parts))

    @property
    def duration(self) -> float:
        """[s]."""
        return float(self.times[-1])


def timing(segment: Segment, part: float) -> Timing:
    """A whole segment at a part of its speed, above 0 to 1."""
    return Timing(
        times=segment.times / part,
        positions=segment.positions,
        velocities=segment.velocities * part,
        planned=segment.times,
        parts=np.full(len(segment.times), part),
    )


def retimed(
    segment: Segment, now: Timing, seconds: float, state: tuple[Array, Array], *, part: float, rate: float
) -> Timing | None:
    """What is left of a segment, from the present state on, at another part of the speed.

    Args:
        segment: Of the full-speed plan.
        now: The timing in force.
        seconds: Since it began [s].
        state: Positions and velocities ``(n,)`` in force now [rad, rad/s]; they become the first row.
        part: Of the full speed, above 0 to 1, that is to be reached.
        rate: How fast the part changes [1/s].

    Returns:
        None where so little is left that there is nothing to change.
    """
    begin, before = now.planned_at(seconds), now.part_at(seconds)
    spacing = float(np.diff(segment.times).max(initial=0.0))
    left = segment.times > begin + NEXT * spacing
    planned = np.concatenate([[begin], segment.times[left]])
    if len(planned) < 3:
        return None
    change = rate if part > before else -rate
    # d(part)/dt = change and d(planned)/dt = part, so the square of the part is linear in the planned time.
    square = before**2 + 2.0 * change * (planned - begin)
    parts = np.sqrt(np.maximum(square, part**2) if change < 0.0 else np.minimum(square, part**2))
    ramp = (parts - before) / change
    reached = (part**2 - before**2) / (2.0 * change)  # planned time that passes during the change
    times = ramp + np.maximum(planned - begin - reached, 0.0) / part
    positions = np.concatenate([[state[0]], segment.positions[left]])
    velocities = np.concatenate([[state[1]], segment.velocities[left] * parts[1:, None]])
    return Timing(times=times, positions=positions, velocities=velocities, planned=planned, parts=parts)
