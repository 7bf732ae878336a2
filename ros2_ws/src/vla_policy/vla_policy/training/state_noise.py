# SPDX-License-Identifier: Apache-2.0

"""Noise on the observed state in training, against a policy that reads its joints where it should look at its images.

Demonstrations of a person pass each height above the table in one way only, so a policy can tell from its joints alone how
far it is, and stops at the right height in the wrong place. What the joints say is therefore made unreliable (compare "causal
confusion": de Haan et al., "Causal Confusion in Imitation Learning", 2019). A gripper keeps its value: whether it holds
something is seen there and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vla_policy.training.dataset_checks import DatasetFacts

STATE = "observation.state"
STATE_IN_PROMPT = ("pi05",)
"""Policies that read the state as words of their prompt."""


def noise_of(facts: DatasetFacts, amount: float | None) -> tuple[float, ...]:
    """Standard deviation of the noise for each value of a dataset's state: `amount`, and 0 for grippers.

    Args:
        facts: of the dataset.
        amount: in units of the normalised state; None or 0: no noise, and an empty tuple.
    """
    if not amount:
        return ()
    grippers = {joint for spec in facts.profile.action if spec.is_gripper for joint in spec.joints}
    return tuple(0.0 if name.rpartition(".")[0] in grippers else amount for name in facts.profile.state_names)


def noisy(update: Callable[..., Any], noise: Sequence[float]) -> Callable[..., Any]:
    """LeRobot's `update_policy` on a batch whose normalised state (..., S) is changed by noise (S,), anew in each step."""

    def updated(metrics: Any, policy: Any, batch: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        state = batch[STATE]
        changed = state + state.new_empty(state.shape).normal_() * state.new_tensor(noise)
        return update(metrics, policy, {**batch, STATE: changed}, *arguments, **options)

    return updated
