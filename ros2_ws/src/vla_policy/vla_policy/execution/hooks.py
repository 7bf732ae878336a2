# SPDX-License-Identifier: Apache-2.0

"""Where other modules take part in a run: reasons to stop, who drives, and a look at each chunk.

All are called by the control thread, in this order at every tick: guards, gate, then the policy's own work. What other
threads tell them (services, subscriptions) they keep themselves, under a lock or in one assignment.
"""

from dataclasses import dataclass
from typing import Protocol

from vla_core.chunks import ActionChunk
from vla_core.frames import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a run ended; codes are constants of vla_msgs/RunPolicy."""

    termination: int
    error_code: int = 0
    message: str = ""


class Guard(Protocol):
    """One reason to stop: a silent driver, an open deadman switch, a lost client."""

    def begin(self, t_ns: int) -> None:
        """A run begins at `t_ns` on the node clock."""

    def check(self, t_ns: int) -> Stop | None:
        """The reason to stop at `t_ns`, or None."""


class Gate(Protocol):
    """Who drives. While it holds, the policy commands nothing; afterwards it begins anew from where the arm is."""

    def holding(self, t_ns: int) -> str | None:
        """Why the policy must not command at `t_ns` (a person or a skill drives), or None."""

    def end(self) -> None:
        """The run ends: a skill that drives for it must end too, before anything else moves the arm."""


class ChunkWatcher(Protocol):
    """Looks at each chunk before it is put into force, for example for a policy's sign that it is done."""

    def look(self, chunk: ActionChunk, observed: Frame) -> bool:
        """Whether the chunk may be put into force; False withholds it."""
