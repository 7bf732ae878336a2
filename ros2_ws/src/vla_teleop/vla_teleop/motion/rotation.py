# SPDX-License-Identifier: Apache-2.0

"""A turn by a fixed angle about z at a fixed speed, whatever the speed gain; the other axes stay with the person.

What is left of the angle counts down by what was executed, so a limit that slows the arm down makes the turn longer and not
smaller. It is one turn however often the button is pressed meanwhile.
"""

from __future__ import annotations

import math

QUARTER = math.pi / 2.0
SPEED = 0.393  # [rad/s]: a quarter in four seconds
DONE = 1e-4  # [rad]
CLOCKWISE, COUNTERCLOCKWISE = -1.0, 1.0
LATE_S = 3.0


class PreparedRotation:
    """One turn at a time. Not thread-safe.

    Attributes:
        left: Angle that is left, signed [rad]; 0 while none is active.
    """

    def __init__(self, *, acceleration: float, angle: float = QUARTER, speed: float = SPEED) -> None:
        """Args: acceleration: [rad/s^2]. angle: [rad]. speed: [rad/s]."""
        self._acceleration = acceleration
        self._angle = angle
        self._speed = speed
        self.left = 0.0
        self._seconds = 0.0

    @property
    def active(self) -> bool:
        """Whether a turn is under way."""
        return self.left != 0.0

    @property
    def late(self) -> bool:
        """Whether the turn takes so much longer than planned that something holds it."""
        return self._seconds > self._angle / self._speed + self._speed / self._acceleration + LATE_S

    def start(self, direction: float) -> bool:
        """Begin a turn.

        Args:
            direction: `CLOCKWISE` (as a twist of the stick to the right: negative about z) or `COUNTERCLOCKWISE`.

        Returns:
            Whether it began: not while another one is active.
        """
        if self.active:
            return False
        self.left = direction * self._angle
        self._seconds = 0.0
        return True

    def cancel(self) -> None:
        """Forget what is left."""
        self.left = 0.0

    def want(self, dt: float) -> float:
        """Angular velocity about z for the next period [rad/s]."""
        size = abs(self.left)
        return math.copysign(min(self._speed, math.sqrt(2.0 * self._acceleration * size), size / dt), self.left)

    def executed(self, angle: float, dt: float) -> None:
        """Count what the last period turned, signed [rad]."""
        if not self.active:
            return
        sign = math.copysign(1.0, self.left)
        self._seconds += dt
        self.left -= angle
        if sign * self.left < DONE:
            self.left = 0.0
