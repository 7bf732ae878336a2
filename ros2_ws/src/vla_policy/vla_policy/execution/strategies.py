# SPDX-License-Identifier: Apache-2.0

"""How a new chunk follows the running one: what each strategy waits for, and how it joins the two.

All joining is done on joint targets, at the times of the new chunk's steps; only arms are joined. Sources: temporal
ensembling of ACT (arXiv 2304.13705), the queue of LeRobot's asynchronous client (its aggregation `weighted_average`),
real-time chunking (arXiv 2506.07339). `docs/explanation/chunk_execution.md` compares them.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError, nearest_name

from vla_policy.execution.timeline import Timeline
from vla_policy.policies.runner import PolicyRunner

Array = NDArray[np.float64]
ENSEMBLE_LIMIT = 64
GUIDED_BLEND_STEPS = 4


class StrategyError(VlaError):
    """A strategy is unknown, or the policy cannot do what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyOptions:
    """Values of the node's parameters of the same names.

    Attributes:
        blend_steps: crossfade: steps over which the new chunk takes over, >= 1.
        aggregate_weight: weighted_average: share of the new chunk, 0 to 1.
        ensemble_decay: temporal_ensemble: m in exp(-m i), i = 0 the oldest chunk; >= 0.
        rtc_horizon: rtc: steps of the running plan that guide the new chunk, counted from the first that can be
            reached; >= 1.
    """

    blend_steps: int = 10
    aggregate_weight: float = 0.7
    ensemble_decay: float = 0.01
    rtc_horizon: int = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Running:
    """What is in force, as a new chunk sees it.

    Attributes:
        rows: Name of each arm to the targets in force (T, k) at the times of the new chunk's steps; after the end of
            the running chunk its last target, where the arm then rests; before the first chunk where it stands.
        covered: So many of these rows lie before or at the end of the running chunk.
    """

    rows: Mapping[str, Array]
    covered: int


class Strategy(Protocol):
    """One way to follow chunk with chunk.

    Attributes:
        name: As in the parameter `strategy`.
        overlap: Steps that the running chunk must still have when the new one takes over.
        waits: The arm rests while the policy thinks, so nothing of a chunk passes before it comes.
        eager: Observe again as soon as the policy is free.
        guided: The policy is given what is in force and continues it.
    """

    name: str
    overlap: int
    waits: bool
    eager: bool
    guided: bool

    def reset(self) -> None:
        """Forget earlier chunks."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The targets of the arms that are to be followed.

        Args:
            new: The new chunk; only arms.
            running: What is in force; None before the first chunk where the position of the arms is not measured.
            first: Index of the first step of the new chunk that can be reached in time.

        Returns:
            Name of each arm to its targets (T, k) on the grid of `new`; rows before `first` are not used.
        """
        ...


class Sync:
    """Execute, rest, observe, think, execute. The arm stands still while the policy thinks."""

    name, overlap, waits, eager, guided = "sync", 0, True, False, False

    def reset(self) -> None:
        """Nothing is kept."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The new chunk as it is."""
        return new.rows


class Latest:
    """The new chunk replaces the running one at the first step that can be reached."""

    name, overlap, waits, eager, guided = "latest", 0, False, False, False

    def reset(self) -> None:
        """Nothing is kept."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The new chunk as it is."""
        return new.rows


class WeightedAverage:
    """Where both chunks have a step: a fixed mixture of them, as LeRobot's asynchronous client does by default."""

    name, overlap, waits, eager, guided = "weighted_average", 10, False, False, False

    def __init__(self, weight: float) -> None:
        """Args: weight: share of the new chunk, 0 to 1."""
        self._weight = weight

    def reset(self) -> None:
        """Nothing is kept: the running plan holds the earlier mixtures."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """`weight * new + (1 - weight) * running` up to the end of the running chunk, `new` after it."""
        if running is None:
            return new.rows
        share = np.where(np.arange(len(new)) < running.covered, self._weight, 1.0)
        return _mixed(new, running, share)


class TemporalEnsemble:
    """At every time the weighted mean of all chunks that have something to say about it (ACT)."""

    name, overlap, waits, eager, guided = "temporal_ensemble", 1, False, True, False

    def __init__(self, decay: float) -> None:
        """Args: decay: m in the weights exp(-m i), i = 0 the oldest chunk; a small m listens longer to old ones."""
        self._decay = decay
        self._chunks: deque[Timeline] = deque(maxlen=ENSEMBLE_LIMIT)

    def reset(self) -> None:
        """Forget the chunks."""
        self._chunks.clear()

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The mean of the chunks that arrived so far, the new one among them."""
        if first < len(new):
            from_ns = new.time_ns(first)
            self._chunks = deque((c for c in self._chunks if c.end_ns >= from_ns), maxlen=ENSEMBLE_LIMIT)
        self._chunks.append(new)
        times = new.times_ns()
        covers = np.array([(times >= c.t0_ns) & (times <= c.end_ns) for c in self._chunks])
        covers[-1] = True
        rank = np.cumsum(covers, axis=0) - 1  # 0 for the oldest chunk that covers a time
        weights = np.where(covers, np.exp(-self._decay * rank), 0.0)
        weights /= weights.sum(axis=0)
        return {
            name: sum(
                (w[:, None] * c.between(name, times) for w, c in zip(weights, self._chunks, strict=True)), 0.0 * rows
            )
            for name, rows in new.rows.items()
        }


class Crossfade:
    """Over some steps from the first one that can be reached, the new chunk takes over smoothly."""

    name, waits, eager, guided = "crossfade", False, False, False

    def __init__(self, steps: int) -> None:
        """Args: steps: length of the ramp, >= 1."""
        self.overlap = steps

    def reset(self) -> None:
        """Nothing is kept."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The running plan before the ramp, a mixture on it, the new chunk after it.

        Where the running chunk is over, the arm rests at its last target, and the ramp starts there.
        """
        return new.rows if running is None else _mixed(new, running, ramp(len(new), first, self.overlap))


class RealTimeChunking:
    """The policy is guided to continue what is in force (RTC); a short ramp takes away what guidance left over."""

    name, waits, eager, guided = "rtc", False, False, True

    def __init__(self, horizon: int) -> None:
        """Args: horizon: steps that guide, counted from the first that can be reached."""
        self.overlap = horizon

    def reset(self) -> None:
        """Nothing is kept: the running plan is what guides."""

    def join(self, new: Timeline, running: Running | None, first: int) -> Mapping[str, Array]:
        """The new chunk, with a ramp of a few steps."""
        if running is None:
            return new.rows
        return _mixed(new, running, ramp(len(new), first, min(GUIDED_BLEND_STEPS, self.overlap)))


def ramp(count: int, first: int, steps: int) -> Array:
    """Share (count,) of the new chunk: 0 before `first`, 1 after `steps` steps, half a cosine between.

    The cosine has no slope at either end, so neither position nor speed jumps.
    """
    u = np.clip((np.arange(count) - first + 1.0) / (steps + 1.0), 0.0, 1.0)
    return 0.5 - 0.5 * np.cos(np.pi * u)


def _mixed(new: Timeline, running: Running, share: Array) -> dict[str, Array]:
    column = share[:, None]
    return {name: column * rows + (1.0 - column) * running.rows[name] for name, rows in new.rows.items()}


_MAKERS: dict[str, Callable[[StrategyOptions], Strategy]] = {
    Sync.name: lambda _: Sync(),
    Latest.name: lambda _: Latest(),
    WeightedAverage.name: lambda options: WeightedAverage(options.aggregate_weight),
    TemporalEnsemble.name: lambda options: TemporalEnsemble(options.ensemble_decay),
    Crossfade.name: lambda options: Crossfade(options.blend_steps),
    RealTimeChunking.name: lambda options: RealTimeChunking(options.rtc_horizon),
}
STRATEGIES = tuple(_MAKERS)
DEFAULT_STRATEGY = Crossfade.name


def make_strategy(name: str, options: StrategyOptions | None = None) -> Strategy:
    """Make a strategy by its name; each run needs its own.

    Raises:
        StrategyError: there is none of that name, or an option is out of range.
    """
    if name not in _MAKERS:
        raise StrategyError(
            f"strategy '{name}' is unknown; known: {', '.join(STRATEGIES)}{nearest_name(name, STRATEGIES)}"
        )
    given = options or StrategyOptions()
    if not 0.0 <= given.aggregate_weight <= 1.0:
        raise StrategyError(f"aggregate_weight:={given.aggregate_weight:g} is not between 0 (old) and 1 (new)")
    if given.blend_steps < 1 or given.rtc_horizon < 1:
        raise StrategyError(
            f"blend_steps:={given.blend_steps} and rtc_horizon:={given.rtc_horizon} must be at least 1; strategy:=latest "
            "changes over without a ramp"
        )
    if given.ensemble_decay < 0.0:
        raise StrategyError(f"ensemble_decay:={given.ensemble_decay:g} is negative; 0 weighs all chunks alike")
    return _MAKERS[name](given)


def require_guidable(runner: PolicyRunner) -> None:
    """Refuse a policy that cannot be guided, for a strategy that guides.

    Raises:
        StrategyError: the policy cannot be guided.
    """
    if not runner.guidable:
        raise StrategyError(
            f"strategy:={RealTimeChunking.name} guides the policy while it denoises a chunk, but this one cannot be guided: "
            f"{runner.description}. ACT cannot be guided, since it computes a chunk in one pass; flow-matching policies like "
            "SmolVLA and pi0 can. Use strategy:=crossfade, which works with every policy"
        )
