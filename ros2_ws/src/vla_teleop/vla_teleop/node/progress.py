# SPDX-License-Identifier: Apache-2.0

"""How far the arm has come on a trajectory, which a robot with a speed slider drives slower than planned."""

import numpy as np
from numpy.typing import NDArray
from vla_core.stamps import to_ns, to_s
from vla_core.trajectory import Trajectory

Array = NDArray[np.float64]
BEHIND_S = 0.1  # an arm at full speed follows its targets more closely than this


class Progress:
    """Follows the measured joints along a trajectory, never backwards. One object per trajectory; pure.

    Controllers that scale speed (scaled_joint_trajectory_controller) stretch the time of a trajectory and do not say by how
    much, so what is in force is found from where the arm is.

    Attributes:
        seconds: Time on the trajectory at which the arm is [s].
        moved_ns: When it last came further.
        on_time: Whether it is where the trajectory says.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._index, self._asked_ns = 0, trajectory.start_ns
        self.seconds = 0.0
        self.moved_ns = trajectory.start_ns
        self.on_time = True

    def state_at(self, now_ns: int) -> tuple[Array, Array]:
        """Targets ``(k,)`` and their velocities ``(k,)`` that are in force at `now_ns` while the arm is on time."""
        return self._trajectory.state_at(now_ns)

    def update(self, now_ns: int, measured: Array) -> Array:
        """Take the joints ``(k,)`` measured at a tick; returns the target in force then."""
        plan = self._trajectory
        elapsed = to_s(now_ns - plan.start_ns)
        # No arm is faster than planned. So on a way there and back, the way back is not taken for the way there.
        latest = min(elapsed, self.seconds + to_s(now_ns - self._asked_ns) + BEHIND_S)
        last, self._asked_ns = int(np.searchsorted(plan.time_from_start, latest, side="right")), now_ns
        ahead = plan.positions[self._index : max(last, self._index + 1)]
        index = self._index + int(np.argmin(np.abs(ahead - measured).max(axis=1)))
        if index > self._index:
            self._index, self.moved_ns = index, now_ns
        self.seconds = float(plan.time_from_start[self._index])
        self.on_time = min(elapsed, float(plan.time_from_start[-1])) - self.seconds <= BEHIND_S
        if self.on_time:
            return plan.position_at(now_ns)
        return plan.position_at(plan.start_ns + to_ns(self.seconds))
