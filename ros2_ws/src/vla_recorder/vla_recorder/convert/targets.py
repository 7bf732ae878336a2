# SPDX-License-Identifier: Apache-2.0

"""Training sets that one recording gives: which rows a target keeps, drops and adds.

Rows stream through stages in a fixed order: phase filter, no-op removal, stop frames. Differences between rows (the
actions of `vla_core.actions` that count from the next row) come after them, because they need to know which row is next.
Another order is another dataset: no-op removal after the stop frames would take those away again.

A stage holds one row at most, so memory does not grow with the episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.episode import ARMED, CORRECTION, IDLE, PHASES, POLICY, SKILL, SKILL_RESUME, TELEOP
from vla_core.errors import VlaError, listing

DRIVEN = frozenset({TELEOP, SKILL, CORRECTION, SKILL_RESUME, POLICY})
"""Phases in which somebody or something drives the arm: all but idle and armed."""

STOP_FRAMES = 3
STOP_STATES = ("closed", "measured")
NOOP_THRESHOLD = 1e-4
NOOP_RULES = ("all", "joints")

WRONG_PHASE = "phase"
NO_OP = "no-op"


class TargetError(VlaError):
    """A target cannot be made of these rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A training set and its recipe.

    Attributes:
        name: What ``--target`` calls it.
        phases: Phases (constants of `vla_core.episode`) whose rows it takes.
        remove_noops: Whether rows in which the robot stands still are left out.
        stop_frames: Rows added at the end that say "done": copies of the last one with the gripper closed.
    """

    name: str
    phases: frozenset[int]
    remove_noops: bool
    stop_frames: int


TARGETS: Mapping[str, Target] = {
    "recorded": Target(name="recorded", phases=DRIVEN, remove_noops=False, stop_frames=0),
    "e2e": Target(name="e2e", phases=DRIVEN, remove_noops=True, stop_frames=0),
    "planner": Target(name="planner", phases=frozenset({TELEOP}), remove_noops=True, stop_frames=STOP_FRAMES),
    "correction": Target(name="correction", phases=frozenset({CORRECTION}), remove_noops=True, stop_frames=STOP_FRAMES),
}
ALL_TARGETS = ("e2e", "planner", "correction")
"""What ``--target all`` makes, each in its own dataset."""

assert {PHASES[phase] for phase in DRIVEN} | {PHASES[IDLE], PHASES[ARMED]} == set(PHASES)


def targets_of(name: str, *, keep_noops: bool = False, stop_frames: int = STOP_FRAMES) -> tuple[Target, ...]:
    """Return the targets that ``--target NAME`` asks for.

    Args:
        name: A target, or ``all``.
        keep_noops: Leave rows in which the robot stands still where they are.
        stop_frames: Stop frames of the targets that have any.

    Raises:
        TargetError: There is no such target.
    """
    if name != "all" and name not in TARGETS:
        raise TargetError(f"there is no target '{name}'; targets: {listing((*TARGETS, 'all'))}")
    chosen = [TARGETS[key] for key in (ALL_TARGETS if name == "all" else (name,))]
    return tuple(
        replace(
            target,
            remove_noops=target.remove_noops and not keep_noops,
            stop_frames=stop_frames if target.stop_frames else 0,
        )
        for target in chosen
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One row on its way into a dataset.

    Attributes:
        t_ns: Its tick [ns, node clock].
        phase: Phase of the episode (constants of `vla_core.episode`).
        state: (n,) float64, in the units of the dataset.
        joints: Part of the action -> its measured joints (k,) [rad or m], where the state holds them.
        targets: Part of the action -> the joint targets in force (k,) [rad or m]; empty if actions are made of the states.
        images: Feature -> image, or what stands for it.
        ages_s: Stream -> signed age of the message used [s].
        skew_s: Newest minus oldest stamp of the observations [s].
        synthetic: Whether the row was added by the conversion.
        intervention: Whether a person drives who has taken over; see `Takeovers`.
    """

    t_ns: int
    phase: int
    state: NDArray[np.float64]
    joints: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, NDArray[np.float64]]
    images: Mapping[str, Any]
    ages_s: Mapping[str, float]
    skew_s: float = 0.0
    synthetic: bool = False
    intervention: bool = False


class Takeovers:
    """Tells the rows of an intervention from those of a demonstration, which a person drives from the start.

    A correction always is an intervention; teleoperation is one after a policy has driven in the same episode.
    """

    def __init__(self) -> None:
        self._policy_drove = False

    def look(self, phase: int) -> bool:
        """Return whether the next row, in order of time, belongs to an intervention."""
        self._policy_drove = self._policy_drove or phase == POLICY
        return phase == CORRECTION or (phase == TELEOP and self._policy_drove)


class Stage(Protocol):
    """A step that rows stream through."""

    def push(self, row: Row) -> Sequence[Row]:
        """Take a row; return what goes on to the next stage."""

    def end(self) -> Sequence[Row]:
        """The episode is over; return what is still to come."""

    @property
    def removed(self) -> Mapping[str, int]:
        """Reason -> rows that were left out."""


class PhaseFilter:
    """Keeps the rows of some phases."""

    def __init__(self, phases: frozenset[int]) -> None:
        self._phases = phases
        self.removed: dict[str, int] = {}

    def push(self, row: Row) -> Sequence[Row]:
        """Return the row if its phase is wanted."""
        if row.phase in self._phases:
            return (row,)
        reason = f"{WRONG_PHASE} {PHASES[row.phase]}"
        self.removed[reason] = self.removed.get(reason, 0) + 1
        return ()

    def end(self) -> Sequence[Row]:
        """Nothing is held back."""
        return ()


class NoOpRemoval:
    """Drops rows in which the robot has hardly moved since the last row that was kept."""

    def __init__(self, position: Callable[[Row], NDArray[np.float64]], threshold: float = NOOP_THRESHOLD) -> None:
        """Prepare for one episode.

        Args:
            position: Row -> the (k,) values that must move.
            threshold: A row is kept if one of them differs by more than this; a row that differs by just this goes.
        """
        self._position = position
        self._threshold = threshold
        self._kept: NDArray[np.float64] | None = None
        self.removed: dict[str, int] = {}

    def push(self, row: Row) -> Sequence[Row]:
        """Return the row if the robot moved; the first row always."""
        position = self._position(row)
        if self._kept is not None and not np.abs(position - self._kept).max(initial=0.0) > self._threshold:
            self.removed[NO_OP] = self.removed.get(NO_OP, 0) + 1
            return ()
        self._kept = position
        return (row,)

    def end(self) -> Sequence[Row]:
        """Nothing is held back."""
        return ()


class StopFrames:
    """Adds copies of the last row with the gripper closed: the sign for "done" that a policy learns to give."""

    def __init__(self, count: int, close: Callable[[Row], Row]) -> None:
        """Prepare for one episode.

        Args:
            count: Rows to add.
            close: A row -> the same row with the gripper closed.
        """
        self._count = count
        self._close = close
        self._last: Row | None = None
        self.removed: dict[str, int] = {}

    def push(self, row: Row) -> Sequence[Row]:
        """Return the row and remember it."""
        self._last = row
        return (row,)

    def end(self) -> Sequence[Row]:
        """Return the stop rows, marked as synthetic; none if there was no row."""
        if self._last is None:
            return ()
        closed = replace(self._close(self._last), synthetic=True)
        return (closed,) * self._count


class Pipeline:
    """Stages one after the other."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._stages = tuple(stages)

    def push(self, row: Row) -> Sequence[Row]:
        """Return the rows of the dataset that a recorded row leads to."""
        return self._through(0, (row,))

    def end(self) -> Sequence[Row]:
        """End every stage in order; what one still gives goes through those behind it."""
        found: list[Row] = []
        for index, stage in enumerate(self._stages):
            found += self._through(index + 1, stage.end())
        return found

    def run(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows of the dataset for those of an episode."""
        for row in rows:
            yield from self.push(row)
        yield from self.end()

    @property
    def removed(self) -> dict[str, int]:
        """Reason -> rows that were left out."""
        return {reason: count for stage in self._stages for reason, count in stage.removed.items()}

    def _through(self, first: int, rows: Sequence[Row]) -> Sequence[Row]:
        for stage in self._stages[first:]:
            rows = [out for row in rows for out in stage.push(row)]
        return rows


def pipeline(
    target: Target,
    *,
    position: Callable[[Row], NDArray[np.float64]],
    threshold: float,
    close: Callable[[Row], Row],
) -> Pipeline:
    """Return the stages of a target, in the order that the recipes are defined in.

    Args:
        target: The target.
        position: Row -> the values that count for no-op removal.
        threshold: See `NoOpRemoval`.
        close: A row -> the same row with the gripper closed.
    """
    stages: list[Stage] = [PhaseFilter(target.phases)]
    if target.remove_noops:
        stages.append(NoOpRemoval(position, threshold))
    if target.stop_frames:
        stages.append(StopFrames(target.stop_frames, close))
    return Pipeline(stages)


def segments(phases: Sequence[int]) -> list[dict[str, Any]]:
    """Return the runs of equal phases: ``phase`` (name), ``start`` and ``end`` (rows, both inclusive).

    They follow one another without a gap and cover all rows.
    """
    found: list[dict[str, Any]] = []
    for row, phase in enumerate(phases):
        if found and found[-1]["phase"] == PHASES[phase]:
            found[-1]["end"] = row
        else:
            found.append({"phase": PHASES[phase], "start": row, "end": row})
    return found
