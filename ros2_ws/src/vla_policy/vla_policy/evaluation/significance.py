# SPDX-License-Identifier: Apache-2.0

"""Is one policy better than another on the same seeds? The exact test of McNemar (1947) on paired outcomes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vla_policy.evaluation.run_folder import EvaluationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Outcomes of two policies on the same seeds.

    Attributes:
        both: Seeds on which both succeeded.
        only_first: Seeds on which only the first did.
        only_second: Seeds on which only the second did.
        neither: Seeds on which neither did.
        p_value: Two-sided exact probability of a split of the discordant seeds at least as uneven, if both were equal.
    """

    both: tuple[int, ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    neither: tuple[int, ...]
    p_value: float

    @property
    def n(self) -> int:
        """Seeds that both were tried on."""
        return len(self.both) + len(self.only_first) + len(self.only_second) + len(self.neither)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value: were both policies equal, each discordant pair would fall to either side by a fair coin.

    Args:
        only_first: Pairs in which only the first succeeded.
        only_second: Pairs in which only the second did.

    Returns:
        Twice the tail of Binomial(n, 1/2), at most 1; 1 where no pair differs.

    Raises:
        ValueError: a count below zero.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"mcnemar_exact: counts must be at least 0, got {only_first} and {only_second}")
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))


def compare_paired(first: Mapping[int, bool], second: Mapping[int, bool]) -> Paired:
    """Compare two policies on the seeds that both were tried on.

    Args:
        first: Seed to success of the first policy.
        second: The same of the second.

    Raises:
        EvaluationError: no seed is in both.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise EvaluationError(
            "the two evaluations have no seed in common, so they cannot be paired; run both with the same --seeds."
        )
    groups: dict[tuple[bool, bool], list[int]] = {}
    for seed in seeds:
        groups.setdefault((first[seed], second[seed]), []).append(seed)
    only_first, only_second = groups.get((True, False), []), groups.get((False, True), [])
    return Paired(
        both=tuple(groups.get((True, True), [])),
        only_first=tuple(only_first),
        only_second=tuple(only_second),
        neither=tuple(groups.get((False, False), [])),
        p_value=mcnemar_exact(len(only_first), len(only_second)),
    )
