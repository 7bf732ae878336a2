# SPDX-License-Identifier: Apache-2.0

"""Which targets a robot's controllers hold, judged by what was published last and by where its joints are. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NEAR = (
    0.002  # [rad]; a joint that stands further from the last target was moved by somebody who publishes none: to begin
)
# with that target would make it jump
SHARE = 0.05  # of the travel: a gripper this near its target is there, and one that is less closed is open


def arm_in_force(measured: Array, published: Array | None) -> Array:
    """The targets ``(n,)`` [rad] that an arm at rest is held at.

    Args:
        measured: ``(n,)`` [rad].
        published: ``(n,)`` last targets of whoever drove [rad]; None: unknown.
    """
    if published is None or not np.abs(published - measured).max() <= NEAR:
        return np.array(measured)
    return np.array(published)


def gripper_in_force(travel: tuple[float, float], measured: float, published: float | None) -> float:
    """The target [rad or m] that a gripper is held at.

    A gripper that holds an object stands short of its target, so the target that was published last counts while it is
    more closed than the gripper, or near it; an open gripper holds nothing.

    Args:
        travel: Positions of the open and of the closed gripper [rad or m].
        measured: Its position [rad or m].
        published: Its last target [rad or m]; None: unknown.
    """
    if published is None:
        return measured
    opened, closed = travel
    share, target = (measured - opened) / (closed - opened), (published - opened) / (closed - opened)
    return published if abs(target - share) <= SHARE or SHARE < share < target else measured
