# SPDX-License-Identifier: Apache-2.0

"""How a person would move two joystick sticks to bring the tool to a pose: pure, without ROS.

The sticks are those of a Thrustmaster SOL-R2 pair as joy_node publishes them (left and up positive), and the device
mapping that teleoperation ships for them. A person looks, steers towards the goal with a hand that trembles a little,
and lets go when it is near enough.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import rotation_vector

from vla_sim.kinematics import T_BASE_LINK_BASE

Array = NDArray[np.float64]

LEFT, RIGHT = 0, 1
AXES: Final = 6
BUTTONS: Final = 40
SLIDER: Final = (LEFT, 2)
SLIDER_UP: Final = 1.0  # full speed
TWIST: Final = ((LEFT, 0, -1), (LEFT, 1, 1), (RIGHT, 1, 1), (RIGHT, 4, -1), (RIGHT, 3, 1), (RIGHT, 5, 1))
"""Stick, axis and sign of the published value for +vx, +vy, +vz, +wx, +wy, +wz in the arm's `base`."""
GRIPPER: Final = (LEFT, 4, 1)
"""The same for closing."""
BUTTON: Final = {
    "record": (LEFT, 25), "home": (LEFT, 34), "reorient": (LEFT, 38), "interrupt": (RIGHT, 25),
    "skill/cpu": (RIGHT, 34), "skill/ram": (RIGHT, 38),
}  # fmt: skip
"""Stick and index of the button for an event."""

FULL_SPEED: Array = np.array([0.05, 0.05, 0.05, 0.10, 0.10, 0.25])
"""What full deflection means [m/s, rad/s]."""
_DEADZONE: Final = 0.05
_SMALLEST: Final = 0.065  # deflection that still moves
_GAIN: Final = 1.6  # 1/s; far away the deflection is limited by `haste`


@dataclass(frozen=True, slots=True)
class Tolerance:
    """When a person lets go: distance [m] and angle [rad], along and about each axis."""

    length: float = 0.0015
    angle: float = 0.012


FINE: Final = Tolerance()
COARSE: Final = Tolerance(0.006, 0.04)


def pose_error(T: Array, T_goal: Array) -> Array:
    """What is left to the goal (6,): linear [m] and rotation vector [rad], in the axes of the arm's `base`.

    Args:
        T: present tool centre point (4, 4) in base_link.
        T_goal: wanted one.
    """
    R = T_BASE_LINK_BASE[:3, :3]
    turn = rotation_vector(T_goal[:3, :3] @ T[:3, :3].T)
    return np.concatenate([R @ (T_goal[:3, 3] - T[:3, 3]), R @ turn])


class Hand:
    """Deflects the sticks towards a goal.

    Args:
        seed: of the trembling.
        haste: largest deflection, 0 to 1.
        tremble: standard deviation of the deflection's noise while the hand moves.
    """

    def __init__(self, seed: int, *, haste: float = 0.9, tremble: float = 0.03) -> None:
        self._rng = np.random.default_rng(seed)
        self._haste, self._tremble = haste, tremble
        self._noise = np.zeros(6)

    def deflection(self, error: Array, tolerance: Tolerance = FINE) -> Array:
        """Deflection (6,), -1 to 1, for what is left to the goal (6,); zero on axes that are near enough.

        The trembling moves on by one step with every call; call it at a fixed rate.
        """
        self._noise = 0.9 * self._noise + np.sqrt(1.0 - 0.81) * self._tremble * self._rng.standard_normal(6)
        wanted = np.clip(_GAIN * error / FULL_SPEED, -self._haste, self._haste)
        sign = np.where(error < 0.0, -1.0, 1.0)
        steered = sign * np.maximum(np.abs(wanted + self._noise * np.minimum(1.0, np.abs(wanted))), _SMALLEST)
        limit = np.array([tolerance.length] * 3 + [tolerance.angle] * 3)
        return np.where(np.abs(error) <= limit, 0.0, np.clip(steered, -1.0, 1.0))


def sticks(deflection: Array, gripper: float = 0.0) -> tuple[list[float], list[float]]:
    """Published axes of the left and the right stick, slider up.

    Args:
        deflection: (6,) -1 to 1 for vx, vy, vz, wx, wy, wz in the arm's `base`.
        gripper: -1 to 1, closing positive.
    """
    axes = np.zeros((2, AXES))
    for (stick, axis, sign), value in zip((*TWIST, GRIPPER), (*deflection, gripper), strict=True):
        axes[stick, axis] = sign * value
    axes[SLIDER] = SLIDER_UP
    return axes[LEFT].tolist(), axes[RIGHT].tolist()


def pressed(event: str | None) -> tuple[list[int], list[int]]:
    """Published buttons of the left and the right stick while the button of an event is held; None: none."""
    buttons = np.zeros((2, BUTTONS), dtype=int)
    if event is not None:
        buttons[BUTTON[event]] = 1
    return buttons[LEFT].tolist(), buttons[RIGHT].tolist()


def moves(deflection: Array, gripper: float = 0.0) -> bool:
    """Whether a stick is outside of the dead zone."""
    return bool(max(np.abs(deflection).max(), abs(gripper)) > _DEADZONE)
