# SPDX-License-Identifier: Apache-2.0

"""Predicted chunks against recorded actions, over a whole dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vla_core.profile import Profile
from vla_core.statistics import percentile

from vla_policy.evaluation.metrics import ErrorSums, Limits, StepSizes, dimension_units
from vla_policy.evaluation.predictors import HOLD_LAST, DatasetMean, HoldLast, Predictor
from vla_policy.evaluation.run_folder import OFFLINE

if TYPE_CHECKING:
    from vla_policy.evaluation.dataset import RecordedWindows, Window

POLICY, DATASET_MEAN = "policy", "dataset_mean"
PREDICTORS = (POLICY, HOLD_LAST, DATASET_MEAN)


@dataclass(slots=True)
class Trace:
    """What is drawn of one episode.

    Attributes:
        episode: Its number.
        steps: Frames at which a chunk was predicted.
        chunks: The chunks (T, m).
        recorded: Frame to recorded action (m,).
    """

    episode: int
    steps: list[int] = field(default_factory=list)
    chunks: list[NDArray[np.float32]] = field(default_factory=list)
    recorded: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def add(self, window: Window, chunk: NDArray[np.float32]) -> None:
        """Keep one window."""
        self.steps.append(window.step)
        self.chunks.append(chunk)
        self.recorded[window.step - 1] = window.previous
        for k in np.flatnonzero(window.valid):
            self.recorded[window.step + int(k)] = window.truth[k]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineResult:
    """What an offline evaluation found.

    Attributes:
        measures: The part of the JSON that depends on the data alone.
        traces: Episodes to draw.
    """

    measures: dict[str, Any]
    traces: tuple[Trace, ...]


def evaluate_offline(
    windows: RecordedWindows | Iterable[Window],
    predictor: Predictor,
    profile: Profile,
    *,
    steps: int,
    statistics: dict[str, NDArray[np.float64]],
    draw: int = 3,
) -> OfflineResult:
    """Predict every window and sum up the errors.

    Args:
        windows: Observations with what followed, episode by episode.
        predictor: What is judged; its chunks may be longer than `steps`, the rest is not looked at.
        profile: Says what the numbers mean and where their limits are.
        steps: Steps of each chunk that are compared.
        statistics: `mean` and `std` (m,) of the action over the dataset.
        draw: So many episodes are kept for drawing; those with chunks that count from their observation are not.

    Raises:
        InferenceError: the policy cannot answer.
    """
    judged: dict[str, Predictor] = {
        POLICY: predictor, HOLD_LAST: HoldLast(), DATASET_MEAN: DatasetMean(statistics["mean"])
    }  # fmt: skip
    dimensions = len(statistics["mean"])
    errors = {name: ErrorSums(steps, dimensions) for name in judged}
    sizes, limits = StepSizes(dimensions), Limits(profile)
    traces: dict[int, Trace] = {}
    episode, count = -1, 0
    for window in windows:
        if window.episode != episode:
            episode = window.episode
            predictor.begin_episode()
        chunk = predictor.predict(window)[:steps]
        for name, one in judged.items():
            values = chunk if name == POLICY else one.predict(window)
            errors[name].add(values, window.truth, window.valid)
        sizes.add(chunk, window.truth, window.valid)
        limits.add(chunk, window.frame)
        if episode in traces or len(traces) < draw:
            traces.setdefault(episode, Trace(episode)).add(window, chunk)
        count += 1
    return OfflineResult(
        measures={
            "windows": count,
            "steps": steps,
            **{name: errors[name].report(statistics["std"]) for name in PREDICTORS},
            "delta": sizes.report(),
            "clipping": limits.report(),
            "latency_ms": latency(predictor.latency_s),
            "action_names": list(profile.action_names),
            "units": list(dimension_units(profile)),
            "kind": OFFLINE,
        },
        traces=tuple(traces.values()),
    )


def latency(seconds: list[float]) -> dict[str, float | None] | None:
    """Median, 95th percentile and maximum [ms]; None where nothing was timed."""
    if not seconds:
        return None
    return {
        "p50": _ms(percentile(seconds, 50)),
        "p95": _ms(percentile(seconds, 95)),
        "max": _ms(max(seconds)),
    }


def _ms(value: float | None) -> float | None:
    return None if value is None else round(1e3 * value, 3)
