# SPDX-License-Identifier: Apache-2.0

"""The logic of a forward position controller: the last command is the target, with no interpolation and no time-out."""

from collections.abc import Sequence

import numpy as np
from vla_core.controller_outcome import GoalRefusedError
from vla_core.controller_spline import Vector

_SHORTEST_S = 0.03  # the robot smooths streamed positions over this look-ahead
_LONGEST_S = 0.1  # after a pause a command may still only ask for what can be reached in this time


class SpeedLimitError(GoalRefusedError):
    """A streamed position that a joint can only reach above its speed limit: the robot stops protectively."""


class ForwardController:
    """Streams positions in the order of `joints`. Not thread-safe: the caller holds one lock around all calls."""

    def __init__(self, joints: Sequence[str], max_velocity: float) -> None:
        self.joints = tuple(joints)
        self.active = False
        self._max_velocity = max_velocity
        self._target: Vector = np.zeros(len(self.joints))
        self._last_ns = 0
        self._commanded = False

    @property
    def target(self) -> Vector:
        """The command in force (k,) [rad]."""
        return self._target

    @property
    def last_command_ns(self) -> int | None:
        """When the last command was taken since the activation; None before the first."""
        return self._last_ns if self._commanded else None

    def activate(self, position: Vector, now_ns: int) -> None:
        """Start streaming from `position` (k,)."""
        self.active = True
        self._target = np.array(position, dtype=np.float64)
        self._last_ns = now_ns
        self._commanded = False

    def deactivate(self) -> None:
        """Ignore commands from now on."""
        self.active = False

    def command(self, values: "Sequence[float] | Vector", now_ns: int) -> None:
        """Take a command.

        Raises:
            SpeedLimitError: a joint would have to move above its speed limit; the command is not taken.
            GoalRefusedError: wrong length or numbers that are not finite; the command is dropped.
        """
        if not self.active:
            raise GoalRefusedError(
                "forward_position_controller is not active; switch to it with the controller manager"
            )
        if len(values) != len(self.joints):
            raise GoalRefusedError(
                f"command has {len(values)} values, expected {len(self.joints)} in the order {', '.join(self.joints)}"
            )
        target = np.array(values, dtype=np.float64)
        if not np.isfinite(target).all():
            raise GoalRefusedError(f"command is not finite: {list(values)}")
        elapsed = min(max((now_ns - self._last_ns) * 1e-9, _SHORTEST_S), _LONGEST_S)
        step = np.abs(target - self._target)
        worst = int(np.argmax(step))
        if step[worst] > self._max_velocity * elapsed:
            raise SpeedLimitError(
                f"protective stop: a step of {step[worst]:.3f} rad of {self.joints[worst]} in {elapsed:.3f} s asks "
                f"for more than its speed limit of {self._max_velocity:.2f} rad/s"
            )
        self._target = target
        self._last_ns = now_ns
        self._commanded = True
