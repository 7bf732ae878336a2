# SPDX-License-Identifier: Apache-2.0

"""Keeps an arm in a person's hands from the other arms of the robot. Pure; where those are comes in as an argument.

The others count as standing where they are measured, so two arms that a person moves towards each other come nearer than the
limit by what both go in the time until the next measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from vla_core.arm_distance import ArmDistance
from vla_core.profile import Profile

Array = NDArray[np.float64]


class Apart:
    """Judges steps of one arm against `safety.arms_min_distance_m` of the profile."""

    def __init__(self, profile: Profile, name: str) -> None:
        """Args: profile: Of the robot. name: Of the arm that is driven."""
        joints = {spec.name: spec.joints for spec in profile.action}
        self._columns = {
            arm.name: [joints[arm.name].index(joint) for joint in arm.kinematics.joints] for arm in profile.arms
        }
        least, mine = profile.safety.arms_min_distance_m, [arm for arm in profile.arms if arm.name == name]
        self._name = name
        self._distances = {
            other.name: ArmDistance(mine[0], other, least)
            for other in profile.arms
            if least is not None and mine and other.name != name
        }

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the arms whose place has to be known."""
        return tuple(self._distances)

    def why_not(self, before: Array, after: Array, others: Mapping[str, Array]) -> str:
        """Return why a step must not be taken, or nothing.

        Args:
            before: Joint targets (n,) in force [rad].
            after: The next ones (n,).
            others: Measured joints (m,) of the other arms by name [rad]; one that is absent is not known.
        """
        if np.array_equal(before, after):
            return ""
        mine = np.stack([before, after])[:, self._columns[self._name]] if self._distances else None
        for name, distance in self._distances.items():
            if name not in others or mine is None:
                return f"nothing is heard of where {name} is, so {self._name} rests; is its driver running?"
            there = np.tile(others[name][self._columns[name]], (2, 1))
            near = distance.check(mine, there, starts=True)
            if near is not None:
                return (
                    f"{self._name} {near.links[0]} would come {near.distance_m:.3f} m near to {name} {near.links[1]}, and "
                    f"{near.limit_m:.3f} m must stay between the arms (safety.arms_min_distance_m of the profile); move "
                    "it back"
                )
        return ""
