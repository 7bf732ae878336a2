# SPDX-License-Identifier: Apache-2.0

"""Which node has fallen silent. Knows no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable


class Silence:
    """Ages of what is heard, on the node clock and on the wall: only what is silent on both is lost.

    Simulated time may run faster than a node's steady timer, or stand still; either alone says nothing.
    """

    def __init__(self, limits_s: dict[str, float], wall: Callable[[], float] = time.monotonic) -> None:
        """Args: limits_s: name to the silence after which it counts as lost [s]; wall: for tests."""
        self._limits_s = limits_s
        self._wall = wall
        self._heard: dict[str, tuple[float, float]] = {}

    def heard(self, name: str, t: float) -> None:
        """Something was received of `name` at `t` [s, node clock]."""
        self._heard[name] = (t, self._wall())

    def forget(self, name: str) -> None:
        """Expect nothing of `name` until it is heard again."""
        self._heard.pop(name, None)

    def lost(self, t: float) -> list[tuple[str, float]]:
        """Names and ages [s] of what has been heard before and is silent now; each once."""
        wall = self._wall()
        found = []
        for name, (last, last_wall) in list(self._heard.items()):
            age = min(t - last, wall - last_wall)
            if age > self._limits_s[name]:
                del self._heard[name]
                found.append((name, age))
        return found
