# SPDX-License-Identifier: Apache-2.0

"""LeRobot's numbers of an SO-101 (degrees; gripper 0 closed to 100 open) to radians and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_drivers.so101.calibration import JOINTS, STEPS_PER_TURN, Calibration

Vector = NDArray[np.float64]
_GRIPPER = JOINTS.index("gripper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Gripper angles at LeRobot's 0 and 100 [rad]; body joints are degrees to radians and nothing else."""

    gripper_closed: float
    gripper_open: float

    def to_radians(self, values: Mapping[str, float]) -> Vector:
        """Return ``(6,)`` joint angles [rad] in the order of `JOINTS` from LeRobot's values by joint name."""
        angles = np.array([math.radians(values[name]) for name in JOINTS])
        angles[_GRIPPER] = self.gripper_closed + values["gripper"] / 100.0 * (self.gripper_open - self.gripper_closed)
        return angles

    def from_radians(self, angles: Vector) -> dict[str, float]:
        """Return LeRobot's values by joint name from ``(6,)`` joint angles [rad]."""
        values = {name: math.degrees(angle) for name, angle in zip(JOINTS, angles.tolist(), strict=True)}
        values["gripper"] = (
            100.0 * (float(angles[_GRIPPER]) - self.gripper_closed) / (self.gripper_open - self.gripper_closed)
        )
        return values

    def limits(self, calibration: Calibration) -> tuple[Vector, Vector]:
        """Return lower and upper ends ``(6,)`` [rad] of the calibrated ranges, which LeRobot measures from their middle."""
        turn = 360.0 / (STEPS_PER_TURN - 1)
        half = {name: (joint.range_max - joint.range_min) / 2.0 * turn for name, joint in calibration.items()}
        low, high = ({name: sign * half[name] for name in JOINTS} for sign in (-1.0, 1.0))
        low["gripper"], high["gripper"] = 0.0, 100.0
        first, second = self.to_radians(low), self.to_radians(high)
        return np.minimum(first, second), np.maximum(first, second)
