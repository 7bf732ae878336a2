# SPDX-License-Identifier: Apache-2.0

"""Two policies on one inference thread: the one that approaches, and the one that corrects a failed grasp."""

import dataclasses
from collections.abc import Mapping

from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_core.frames import Frame
from vla_core.profile import mapping_differences

from vla_policy.policies.runner import Loaded, LoadRequest, PolicyFactory, PolicyRunner, Prefix


class SwitchRunner:
    """Hands observations to the policy that is selected.

    Each is executed by its own number of steps: a correction is longer than an approach's last stretch.
    """

    def __init__(self, first: PolicyRunner, correction: PolicyRunner) -> None:
        """Begin with the first."""
        self._runners = (first, correction)
        self.select(correction=False)
        self.guidable = all(runner.guidable for runner in self._runners)
        self.history = max(int(getattr(runner, "history", 0)) for runner in self._runners)
        self.description = f"{first.description}; for corrections {correction.description}"

    def select(self, *, correction: bool) -> None:
        """Choose who gets the next observation; from the control thread, while no inference is wanted."""
        self._selected = self._runners[correction]
        self.n_action_steps, self.chunk_size = self._selected.n_action_steps, self._selected.chunk_size

    @property
    def corrects(self) -> bool:
        """Whether the correction policy is selected."""
        return self._selected is self._runners[1]

    @property
    def last_timing(self) -> Mapping[str, float]:
        """Seconds of the stages of the selected policy's last inference, where it tells them."""
        return getattr(self._selected, "last_timing", {})

    def observe(self, frame: Frame) -> None:
        """Show an earlier observation to each policy that looks back."""
        for runner in self._runners:
            if getattr(runner, "history", 0):
                runner.observe(frame)  # type: ignore[attr-defined]

    def reset(self) -> None:
        """See `PolicyRunner.reset`; both forget."""
        for runner in self._runners:
            runner.reset()

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """See `PolicyRunner.infer`."""
        if prefix is None:
            return self._selected.infer(frame, task)
        return self._selected.infer(frame, task, prefix)

    def close(self) -> None:
        """See `PolicyRunner.close`."""
        for runner in self._runners:
            runner.close()


def with_correction(factory: PolicyFactory, checkpoint: str) -> PolicyFactory:
    """A factory that loads a second policy of the same kind, strictly, next to the one that is asked for.

    Args:
        factory: Makes each of the two.
        checkpoint: The correction policy's.
    """

    def load(request: LoadRequest) -> Loaded:
        first = factory(request)
        try:
            second = factory(dataclasses.replace(request, checkpoint=checkpoint))
        except BaseException:
            first.runner.close()
            raise
        differences = mapping_differences(first.profile, second.profile)
        if differences:
            first.runner.close()
            second.runner.close()
            raise CheckpointError(
                f"{second.source}: the correction policy maps observations or actions otherwise than {first.source}:\n  "
                + "\n  ".join(differences)
                + "\nTrain both on datasets of one robot profile."
            )
        return dataclasses.replace(first, runner=SwitchRunner(first.runner, second.runner))

    return load
