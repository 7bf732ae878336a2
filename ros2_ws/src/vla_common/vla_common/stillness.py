# SPDX-License-Identifier: Apache-2.0

"""Whether joints stand still, judged by their positions: a driver's velocities are noisy or absent."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing
from vla_core.stamps import to_ns, to_s

Array = NDArray[np.float64]


class Stillness:
    """Says whether no joint has moved further than a tolerance within the last moments.

    Not thread-safe; time enters as an argument.
    """

    def __init__(self, joints: Sequence[str], *, tolerance: float = 0.002, window_s: float = 0.1) -> None:
        """Begin without knowledge: nothing stands still before a whole window was seen.

        Args:
            joints: Names, in the order of the positions.
            tolerance: Longest way of a joint within the window that counts as rest [rad or m].
            window_s: How long it must last [s].
        """
        self._joints = tuple(joints)
        self._tolerance = tolerance
        self._window_ns = to_ns(window_s)
        self._seen: deque[tuple[int, Array]] = deque()

    def note(self, t_ns: int, positions: "Sequence[float] | Array") -> None:
        """Positions (k,) measured at `t_ns`; a time before the last one begins anew."""
        if self._seen and t_ns < self._seen[-1][0]:
            self._seen.clear()
        self._seen.append((t_ns, np.array(positions, dtype=np.float64)))
        while len(self._seen) > 1 and self._seen[1][0] <= t_ns - self._window_ns:
            self._seen.popleft()  # what is left reaches back to the beginning of the window, or a little further

    def restart(self) -> None:
        """Forget everything, e.g. because the arm was just commanded."""
        self._seen.clear()

    def still(self, t_ns: int) -> bool:
        """Whether the joints stand still at `t_ns`."""
        return self.why_not(t_ns) is None

    def why_not(self, t_ns: int) -> str | None:
        """What speaks against rest at `t_ns`, for people; None: the joints stand still."""
        if not self._seen:
            return f"nothing is known about {listing(self._joints)}"
        newest = self._seen[-1][0]
        if t_ns - newest > self._window_ns:
            return f"the joint states are {to_s(t_ns - newest):.2f} s old"
        if newest - self._seen[0][0] < self._window_ns:
            return f"they were watched for {to_s(newest - self._seen[0][0]):.2f} s only"
        positions = np.array([row for _, row in self._seen])
        ways = positions.max(axis=0) - positions.min(axis=0)
        worst = int(np.argmax(ways))
        if ways[worst] <= self._tolerance:
            return None
        return f"{self._joints[worst]} moved {ways[worst]:.4f} in the last {to_s(self._window_ns):g} s"
