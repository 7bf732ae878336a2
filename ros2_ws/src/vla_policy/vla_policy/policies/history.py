# SPDX-License-Identifier: Apache-2.0

"""Earlier observations of a run, for policies that look back."""

from collections import deque

from vla_core.frames import Frame
from vla_core.stamps import to_ns


class History:
    """Frames by time stamp, for a policy that reads `steps` of them beside the present one, `dt_s` apart.

    At the beginning of a run there is no past. The earliest known frame then stands for the ones before it, as LeRobot does
    at the start of an episode, in training and in `select_action`.
    """

    def __init__(self, steps: int, dt_s: float) -> None:
        """Args: steps: earlier frames that are read; 0: none is kept."""
        self._dt_ns = to_ns(dt_s)
        self._steps = steps
        self._frames: deque[Frame] = deque(maxlen=2 * steps + 1)

    def clear(self) -> None:
        """Forget all; a new run begins."""
        self._frames.clear()

    def add(self, frame: Frame) -> None:
        """Keep a frame; one that is not newer than those kept is left out, so that time runs one way."""
        if self._steps and (not self._frames or frame.t_ns > self._frames[-1].t_ns):
            self._frames.append(frame)

    def before(self, frame: Frame) -> list[Frame]:
        """The frames that the policy reads, oldest first and `frame` last; `frame` is kept.

        For each wanted time the frame nearest to it is taken.

        Args:
            frame: The present observation.
        """
        self.add(frame)
        earlier = [one for one in self._frames if one.t_ns < frame.t_ns]
        known = [*earlier, frame]
        wanted = [frame.t_ns - k * self._dt_ns for k in range(self._steps, 0, -1)]
        return [*(min(known, key=lambda one: abs(one.t_ns - t_ns)) for t_ns in wanted), frame]
