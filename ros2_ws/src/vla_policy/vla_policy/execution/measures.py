# SPDX-License-Identifier: Apache-2.0

"""What one run of the policy measured. docs/reference/measures.md defines each measure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.stamps import to_s

from vla_policy.execution.inference import Answer
from vla_policy.execution.measures_log import RunLog, number
from vla_policy.execution.measures_motion import Motion
from vla_policy.execution.measures_series import Series

Array = NDArray[np.float64]
NAN = float("nan")
PARTS = ("preprocess", "model", "postprocess")


@dataclass(slots=True)
class Measures:
    """Counts and distributions of one run; milliseconds of wall time where the name says ms, unless stated otherwise.

    Attributes:
        fps: Steps of a chunk per second.
        log: Where ticks and chunks are written one by one; None: nowhere.
        inference_ms: Each inference: pre-processing, model, post-processing. The warm-up is not among them.
        parts_ms: The same three apart, where the policy tells them.
        obs_to_action_ms: From the observation's stamp to its goals being sent, on the node clock.
        observation_age_ms: At each tick, the age of the observation behind the command in force, on the node clock.
        overhead_ms: From the last message taken before an observation to its goals being sent, without the inference;
            empty in lockstep.
        control_jitter_ms: By how much the time between two control ticks differed from the time between their stamps,
            by the wall clock; empty in lockstep, where wall time means nothing.
        motion: Steps, seams and accelerations of what is in force.
        chunks: Inferences used.
        adopted: Chunks that were put into force.
        goals_sent: Trajectory and gripper goals that left the node.
        ticks: Control ticks.
        frames_missing: Observations that were wanted and could not be built.
        refused: Chunks that the safety filter refused.
        stale_chunks: Chunks that came so late that no step was left.
        skipped_steps: Steps of chunks in force that were over when the chunk arrived.
        clamped: Values that were pulled to a limit.
        held_ticks: Control ticks after the running chunk had ended and before the next one.
        clipped: Gripper targets outside the gripper's travel.
        stop_ms: From the request to stop to the arm's cancel being answered; on the node clock in lockstep.
    """

    fps: float = 30.0
    log: RunLog | None = None
    inference_ms: Series = field(default_factory=Series)
    parts_ms: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in PARTS})
    obs_to_action_ms: Series = field(default_factory=Series)
    observation_age_ms: Series = field(default_factory=Series)
    overhead_ms: Series = field(default_factory=Series)
    control_jitter_ms: Series = field(default_factory=Series)
    chunks: int = 0
    adopted: int = 0
    goals_sent: int = 0
    ticks: int = 0
    frames_missing: int = 0
    refused: int = 0
    stale_chunks: int = 0
    skipped_steps: int = 0
    clamped: int = 0
    held_ticks: int = 0
    clipped: int = 0
    stop_ms: float = NAN
    motion: Motion = field(init=False)
    _stop: tuple[int, float] | None = None
    _tick: tuple[int, float | None] | None = None
    _ticks_before_chunk: int = 0
    _first_ns: int | None = None
    _first_chunk_ns: int | None = None
    _answer: Answer | None = None

    def __post_init__(self) -> None:
        self.motion = Motion(self.fps)

    def tick(self, t_ns: int, wall_s: float | None) -> None:
        """A control tick stamped `t_ns` began at `wall_s` on the monotonic clock; None where that means nothing."""
        self.ticks += 1
        if self._first_ns is None:
            self._first_ns = t_ns
        if self._first_chunk_ns is None:
            self._ticks_before_chunk = self.ticks
        before_ns, before_s = self._tick or (t_ns, None)
        if before_s is not None and wall_s is not None:
            self.control_jitter_ms.add(1e3 * abs((wall_s - before_s) - to_s(t_ns - before_ns)))
        self._tick = (t_ns, wall_s)

    def answered(self, answer: Answer) -> None:
        """An inference was taken."""
        self.chunks += 1
        self._answer = answer
        self.inference_ms.add(1e3 * answer.seconds)
        for name, series in self.parts_ms.items():
            if name in answer.timing:
                series.add(1e3 * answer.timing[name])

    def sent(self, t_ns: int, *, skipped: int, clamped: int, overhead_s: float | None) -> None:
        """The goals of the newest answer were sent and are in force.

        Args:
            t_ns: Now, on the node clock.
            skipped: Steps that were over.
            clamped: Values that were pulled to a limit.
            overhead_s: From the last message taken to now without the inference, by the wall clock; None in lockstep.
        """
        answer = self._answer
        assert answer is not None  # goals come from answers
        self.adopted += 1
        self.skipped_steps += skipped
        self.clamped += clamped
        if self._first_chunk_ns is None:
            self._first_chunk_ns = t_ns
        age_ms = 1e3 * to_s(t_ns - answer.frame.t_ns)
        self.obs_to_action_ms.add(age_ms)
        if overhead_s is not None:
            self.overhead_ms.add(1e3 * overhead_s)
        if self.log is not None:
            self.log.write(
                "chunk",
                c=self.adopted,
                t=t_ns,
                observed_ns=answer.frame.t_ns,
                joints={name: [round(float(v), 6) for v in values] for name, values in answer.frame.joints.items()},
                skipped=skipped,
                inference_ms=number(1e3 * answer.seconds),
                overhead_ms=None if overhead_s is None else number(1e3 * overhead_s),
                age_ms=number(age_ms),
                **{f"{name}_ms": number(1e3 * answer.timing.get(name, NAN)) for name in PARTS},
            )

    def refuse(self, violations: Sequence[str]) -> None:
        """The safety filter refused the newest answer, for these reasons."""
        self.refused += 1
        if self.log is not None:
            self.log.write("refused", t=None if self._tick is None else self._tick[0], why=list(violations))

    def in_force(
        self,
        t_ns: int,
        arms: Mapping[str, Array],
        observed_ns: int | None,
        *,
        held: bool,
        grippers: Sequence[float] = (),
    ) -> None:
        """What is commanded at the end of a tick.

        Args:
            t_ns: Time of the tick.
            arms: Joint targets of each arm; empty before the first chunk.
            observed_ns: Stamp of the newest observation behind them; None before the first chunk.
            held: The chunk is over, so the arm waits for the next.
            grippers: Target of each gripper, for the log; empty before the first.
        """
        age_ms = None if observed_ns is None else 1e3 * to_s(t_ns - observed_ns)
        positions = np.concatenate(list(arms.values())) if arms else np.zeros(0)
        self.held_ticks += held
        if age_ms is not None:
            self.observation_age_ms.add(age_ms)
            self.motion.add(t_ns, positions, self.adopted, resting=held)
        if self.log is not None:
            wall_s = None if self._tick is None else self._tick[1]
            self.log.write(
                "tick",
                t=t_ns,
                w=None if wall_s is None else round(wall_s, 6),
                c=self.adopted,
                a=number(age_ms),
                h=int(held),
                q=[round(value, 7) for value in positions.tolist()],
                g=[round(value, 7) for value in grippers],
            )

    def stop_requested(self, t_ns: int, wall_s: float) -> None:
        """The run is to end; only the first request counts. Node clock and monotonic clock."""
        if self._stop is None:
            self._stop = (t_ns, wall_s)

    def stopped(self, t_ns: int, wall_s: float) -> None:
        """The arm's cancel was answered."""
        if self._stop is None:
            return
        lockstep = self._tick is not None and self._tick[1] is None
        self.stop_ms = 1e3 * (to_s(t_ns - self._stop[0]) if lockstep else wall_s - self._stop[1])

    def released(self) -> None:
        """Somebody else drives from now on; the next command does not follow from the last."""
        self.motion.gap()

    @property
    def control_rate_hz(self) -> float:
        """Control ticks per second of the node clock; NaN before the second."""
        if self._first_ns is None or self._tick is None or self._tick[0] <= self._first_ns:
            return NAN
        return (self.ticks - 1) / to_s(self._tick[0] - self._first_ns)

    @property
    def held_percent(self) -> float:
        """Share of the ticks since the first chunk that were held [%]; NaN before it."""
        since = self.ticks - self._ticks_before_chunk + 1
        return 100.0 * self.held_ticks / since if self._first_chunk_ns is not None else NAN

    @property
    def replan_rate_hz(self) -> float:
        """Chunks put into force per second after the first; NaN before the second."""
        if self._first_chunk_ns is None or self._tick is None or self._tick[0] <= self._first_chunk_ns:
            return NAN
        return (self.adopted - 1) / to_s(self._tick[0] - self._first_chunk_ns)

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for a report file; lists hold the newest 2048 values, null: not measured."""
        return {
            "chunks": self.chunks,
            "chunks_in_force": self.adopted,
            "goals_sent": self.goals_sent,
            "ticks": self.ticks,
            "frames_missing": self.frames_missing,
            "refused_chunks": self.refused,
            "stale_chunks": self.stale_chunks,
            "skipped_steps": self.skipped_steps,
            "clamped_values": self.clamped,
            "held_ticks": self.held_ticks,
            "gripper_clipped": self.clipped,
            "stop_requested_ns": None if self._stop is None else self._stop[0],
            **{name: number(value) for name, value in self.figures().items()},
            "inference_ms": _rounded(self.inference_ms),
            "obs_to_action_ms": _rounded(self.obs_to_action_ms),
            "control_jitter_ms": _rounded(self.control_jitter_ms),
        }

    def figures(self) -> dict[str, float]:
        """The measures that are one number each, by the names of the documentation; NaN: not measured."""
        return {
            "control_rate_hz": self.control_rate_hz,
            "control_jitter_ms_p99": self.control_jitter_ms.percentile(99),
            "held_percent": self.held_percent,
            "seam_jump": self.motion.seam_jump,
            "seam_jump_p95": self.motion.seam_jump_at(95),
            "acceleration_p99": self.motion.accelerations.percentile(99),
            "observation_age_ms_p50": self.observation_age_ms.percentile(50),
            "observation_age_ms_p95": self.observation_age_ms.percentile(95),
            "inference_ms_p50": self.inference_ms.percentile(50),
            "inference_ms_p95": self.inference_ms.percentile(95),
            "inference_ms_max": self.inference_ms.largest,
            **{f"{name}_ms_p95": series.percentile(95) for name, series in self.parts_ms.items()},
            "overhead_ms_p95": self.overhead_ms.percentile(95),
            "obs_to_action_ms_p95": self.obs_to_action_ms.percentile(95),
            "replan_rate_hz": self.replan_rate_hz,
            "stop_ms": self.stop_ms,
        }


def _rounded(series: Series) -> list[float]:
    return [round(value, 3) for value in series.recent]


def append_report(path: Path, report: dict[str, Any]) -> None:
    """Add one run to a JSON lines file, one object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(report) + "\n")
