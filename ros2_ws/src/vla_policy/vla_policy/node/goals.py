# SPDX-License-Identifier: Apache-2.0

"""Where the commands of a run go: to the robot (`vla_common.robot_commands`), or to nowhere in a dry run."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from vla_common.robot_commands import ActionCommands
from vla_core.trajectory import Trajectory

__all__ = ["ActionCommands", "ShownCommands"]

Array = NDArray[np.float64]


class ShownCommands:
    """A dry run: everything is computed and shown, nothing leaves the node."""

    sends = False

    def __init__(self, write: Callable[[str], None]) -> None:
        """Args: write: takes one line per plan."""
        self._write = write

    def begin(self, timeout_s: float) -> None:
        """A dry run needs no servers."""

    def trajectory(self, name: str, trajectory: Trajectory) -> None:
        """Not sent; `show` has said it."""

    def gripper(self, name: str, position: float) -> None:
        """Not sent; only shown."""
        self._write(f"would move {name} to {position:.3f} rad")

    def show(self, text: str) -> None:
        """See `Commands.show`."""
        self._write(f"would command: {text}")

    def settle(self) -> None:
        """Nothing was sent."""

    def failures(self) -> list[str]:
        """Nothing was sent."""
        return []

    def resting(self) -> bool:
        """Nothing moves."""
        return True

    def in_force(self, t_ns: int, name: str, positions: Array) -> None:
        """Nothing is in force."""

    def stop(self) -> list[str]:
        """Nothing was sent."""
        return []

    def close(self) -> None:
        """Nothing to destroy."""
