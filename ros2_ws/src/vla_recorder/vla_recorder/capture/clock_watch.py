# SPDX-License-Identifier: Apache-2.0

"""Notices when the recorder's clock is set back."""

from __future__ import annotations

_NS = 1_000_000_000
_STEP_NS = _NS // 2
"""More than any scheduler is late between two looks."""


class ClockWatch:
    """Looks at the node clock a few times a second."""

    def __init__(self) -> None:
        self._before_ns = 0

    def look(self, now_ns: int) -> str:
        """Return what a person must know if the clock was set back since the last look, else nothing.

        What is received afterwards would lie before what is recorded already, and nobody could put it in order again.

        Args:
            now_ns: Node clock.
        """
        before, self._before_ns = self._before_ns, now_ns
        if now_ns >= before - _STEP_NS:
            return ""
        return (
            f"the node's clock was set back by {(before - now_ns) / _NS:.1f} s during the episode, which ends there; keep "
            "the clocks of the cell in step (chrony, or one source of simulated time) and record again"
        )
