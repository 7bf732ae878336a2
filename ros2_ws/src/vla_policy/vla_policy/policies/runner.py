# SPDX-License-Identifier: Apache-2.0

"""The role of a policy: one observation in, one chunk of actions out."""

from typing import Protocol, runtime_checkable

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame


class InferenceError(VlaError):
    """The model raised, or returned something that is not a chunk of finite numbers."""


@runtime_checkable
class PolicyRunner(Protocol):
    """What the policy node needs of a policy; called from one thread at a time.

    Attributes:
        n_action_steps: Steps of each chunk that are meant to be executed before the next one.
        description: One line for people.
    """

    n_action_steps: int
    description: str

    def reset(self) -> None:
        """Forget the past; called before each episode."""

    def infer(self, frame: Frame, task: str) -> ActionChunk:
        """Compute the actions from one observation.

        Args:
            frame: State (n,) float32 and images (H, W, 3) uint8 RGB at `frame.t_ns`.
            task: Instruction; ignored by policies without a language input.

        Returns:
            A chunk with `t0_ns == frame.t_ns`; `values[k]` (m,) is the target in force at `t0 + k * dt`, in the
            profile's action space.

        Raises:
            InferenceError: the model raised or its output is unusable.
        """
        ...

    def close(self) -> None:
        """Give back memory and devices."""
