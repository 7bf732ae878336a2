# SPDX-License-Identifier: Apache-2.0

"""A chunk as the policy node publishes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.stamps import stamp_ns, time_ns

Array = NDArray[np.float64]
TOPIC = "policy/chunk"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Joint targets (T, k) [rad or m] of the joints `names` at the times (T,) [ns]."""

    names: list[str]
    times_ns: NDArray[np.int64]
    rows: Array

    def value(self, joint: str, t_ns: int) -> float | None:
        """The target of a joint in force at a time, linear between steps; None outside the chunk."""
        if joint not in self.names or not self.times_ns[0] <= t_ns <= self.times_ns[-1]:
            return None
        since = (self.times_ns - self.times_ns[0]).astype(np.float64)
        return float(np.interp(float(t_ns - self.times_ns[0]), since, self.rows[:, self.names.index(joint)]))


def read_chunk(msg: Any) -> Chunk | None:
    """The chunk in a trajectory_msgs/JointTrajectory; None of an empty one."""
    if not msg.points:
        return None
    start = stamp_ns(msg)
    times = np.array([start + time_ns(point.time_from_start) for point in msg.points], dtype=np.int64)
    return Chunk(list(msg.joint_names), times, np.array([point.positions for point in msg.points], dtype=np.float64))
