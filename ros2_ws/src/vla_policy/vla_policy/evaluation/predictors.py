# SPDX-License-Identifier: Apache-2.0

"""What predicts the chunks that an evaluation judges: a policy as the node runs it, baselines, mocks without a checkpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_policy.policies.runner import PolicyRunner

if TYPE_CHECKING:
    from vla_policy.evaluation.dataset import Window

HOLD_LAST, NOISY = "hold_last", "noisy"
MOCKS = (NOISY, HOLD_LAST)


class Predictor(Protocol):
    """Gives a chunk for a window.

    Attributes:
        description: One line for people.
        latency_s: Wall seconds of each prediction so far.
    """

    description: str
    latency_s: list[float]

    def begin_episode(self) -> None:
        """Forget the past."""

    def predict(self, window: Window) -> NDArray[np.float32]:
        """The actions (T, m) from the window's observation on, in the profile's action space.

        Raises:
            InferenceError: the model raised or returned something unusable.
        """
        ...


class RunnerPredictor:
    """A policy behind the runner of the policy node: the same pre-processing, the same checks of what it returns."""

    def __init__(self, runner: PolicyRunner) -> None:
        self._runner = runner
        self.description = runner.description
        self.latency_s: list[float] = []

    def begin_episode(self) -> None:
        """See `Predictor`."""
        self._runner.reset()

    def predict(self, window: Window) -> NDArray[np.float32]:
        """See `Predictor`; shows a policy that looks back what it would have seen in a run."""
        observe = getattr(self._runner, "observe", None)
        if observe is not None:
            for frame in window.history:
                observe(frame)
        begun_s = time.perf_counter()
        chunk = self._runner.infer(window.frame, window.task)
        self.latency_s.append(time.perf_counter() - begun_s)
        return chunk.values


class HoldLast:
    """The action of the frame before, held over the whole chunk; what a policy must beat to be of any use."""

    description = "hold last: the action of the frame before, held"

    def __init__(self) -> None:
        self.latency_s: list[float] = []

    def begin_episode(self) -> None:
        """See `Predictor`; it has no past."""

    def predict(self, window: Window) -> NDArray[np.float32]:
        """See `Predictor`."""
        return np.repeat(window.previous[None], len(window.truth), axis=0)


class DatasetMean:
    """The mean action of the dataset at every step."""

    description = "dataset mean: the same action always"

    def __init__(self, mean: NDArray[np.float64]) -> None:
        """Args: mean: (m,)."""
        self._mean = mean.astype(np.float32)
        self.latency_s: list[float] = []

    def begin_episode(self) -> None:
        """See `Predictor`; it has no past."""

    def predict(self, window: Window) -> NDArray[np.float32]:
        """See `Predictor`."""
        return np.repeat(self._mean[None], len(window.truth), axis=0)


class NoisyTruth:
    """The recorded actions plus Gaussian noise: a policy whose error is known, to try the evaluation itself."""

    def __init__(self, sigma: float, seed: int) -> None:
        """Args: sigma: standard deviation of each number; seed: of the noise."""
        self._sigma = sigma
        self._random = np.random.default_rng(seed)
        self.description = f"mock: the recorded actions with noise of {sigma:g}, so its MSE is about {sigma**2:.3g}"
        self.latency_s: list[float] = []

    def begin_episode(self) -> None:
        """See `Predictor`; the noise goes on, so that no two episodes have the same."""

    def predict(self, window: Window) -> NDArray[np.float32]:
        """See `Predictor`."""
        noise = self._random.normal(0.0, self._sigma, window.truth.shape)
        return (window.truth + noise).astype(np.float32)
