# SPDX-License-Identifier: Apache-2.0

"""What a closed episode lacks, in words: streams that were silent, too slow or interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vla_recorder.bags.writer import TopicCount
from vla_recorder.capture.topic_plan import TopicPlan

_LOW_RATE = 0.8


def audit(
    topics: Iterable[tuple[TopicPlan, str]], counts: Mapping[str, TopicCount], lost: Mapping[str, int]
) -> tuple[str, ...]:
    """Return a warning for every stream of the profile that will cost frames.

    Args:
        topics: (plan, fully resolved name) of what was to be recorded.
        counts: What was written, by resolved name.
        lost: Messages that were published but not received, by resolved name.
    """
    warnings = []
    for plan, name in topics:
        if lost.get(name):
            warnings.append(
                f"{plan.label}: {lost[name]} messages of {name} were published but not received; the machine or the "
                "network is too slow for them"
            )
        if plan.max_age_s is None:
            continue
        count = counts.get(name, TopicCount())
        if count.messages == 0:
            warnings.append(f"{plan.label}: no message on {name}")
            continue
        if plan.rate_hz is not None and count.rate_hz is not None and count.rate_hz < _LOW_RATE * plan.rate_hz:
            warnings.append(f"{plan.label}: {count.rate_hz:.1f} Hz on {name} instead of {plan.rate_hz:g} Hz")
        if count.max_gap_s > plan.max_age_s:
            warnings.append(
                f"{plan.label}: gap of {count.max_gap_s:.3f} s on {name} (limit {plan.max_age_s:g} s); frames inside it "
                "will be dropped"
            )
    return tuple(warnings)


def unmoved(topics: Iterable[str]) -> tuple[str, ...]:
    """Return why an episode is empty in which nobody drove.

    Args:
        topics: The command topics, by resolved name.
    """
    return (
        f"nothing was recorded and no episode is kept, because nothing moved on {', '.join(topics)}. Drive the arm, tell "
        "the recorder with the service set_phase, or start it with record_from:=start",
    )
