# SPDX-License-Identifier: Apache-2.0

"""Where the commands of a run go, as the run sees it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.trajectory import Trajectory

Array = NDArray[np.float64]


class Commands(Protocol):
    """Where commands go: to action servers, or nowhere in a dry run."""

    sends: bool

    def trajectory(self, name: str, trajectory: Trajectory) -> None:
        """Send waypoints to the arm `name`; replaces the running goal."""

    def gripper(self, name: str, position: float) -> None:
        """Send a target [rad or m] to the gripper `name`."""

    def show(self, text: str) -> None:
        """Say what a plan commands."""

    def settle(self) -> None:
        """Wait until the servers have answered, where simulated time stands still meanwhile."""

    def failures(self) -> list[str]:
        """Goals that were rejected or aborted since the last call; a replaced goal is none."""

    def in_force(self, t_ns: int, name: str, positions: Array) -> None:
        """Publish the joint target that is in force at `t_ns`."""

    def stop(self) -> list[str]:
        """Bring the arms to rest now; returns what went wrong. A goal that ends by this is no failure."""
