# SPDX-License-Identifier: Apache-2.0

"""From a closing rate to gripper targets, and from targets to few goals."""

from __future__ import annotations

from vla_core.stamps import to_ns

GOAL_HZ = 10.0
SMALLEST = 0.002  # share of the travel; a smaller change is not worth a goal


class GripperRate:
    """Integrates a rate to a target within the gripper's travel. Not thread-safe.

    Attributes:
        target: Position of the gripper's joint in force [rad or m].
    """

    def __init__(self, travel: tuple[float, float], *, goal_hz: float = GOAL_HZ) -> None:
        """Args: travel: Joint positions of open and closed [rad or m]. goal_hz: Most goals per second."""
        self._open, self._closed = travel
        self._period_ns = to_ns(1.0 / goal_hz)
        self._sent: float | None = None
        self._sent_ns: int | None = None
        self.target = self._open

    @property
    def closing(self) -> float:
        """The target as share of the travel: 0 open, 1 closed."""
        return (self.target - self._open) / (self._closed - self._open)

    def start(self, target: float) -> None:
        """Begin with the target in force [rad or m]; nothing is sent until it changes."""
        self.target = self._sent = target
        self._sent_ns = None

    def rate(self, rate: float, dt: float) -> None:
        """Move the target for one period.

        Args:
            rate: Closing speed [1/s of the travel]; negative opens.
            dt: Length of the period [s].
        """
        if rate != 0.0:
            self.to(self.closing + rate * dt)

    def to(self, closing: float) -> None:
        """Set the target to a share of the travel, 0 open to 1 closed; beyond is cut off."""
        self.target = self._open + min(max(closing, 0.0), 1.0) * (self._closed - self._open)

    def goal(self, t_ns: int) -> float | None:
        """The target to send at `t_ns`, or None: nothing new, or too soon after the last one."""
        changed = self._sent is None or self.target != self._sent
        ends = self.target in (self._open, self._closed)
        small = self._sent is not None and abs(self.target - self._sent) < SMALLEST * abs(self._closed - self._open)
        if not changed or (small and not ends):
            return None
        if self._sent_ns is not None and 0 <= t_ns - self._sent_ns < self._period_ns:
            return None
        self._sent, self._sent_ns = self.target, t_ns
        return self.target
