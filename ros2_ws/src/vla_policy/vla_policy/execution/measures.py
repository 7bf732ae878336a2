# SPDX-License-Identifier: Apache-2.0

"""What one run of the policy measured, and how it is written down."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from vla_core.stamps import to_s


def percentile(values: list[float], q: float) -> float:
    """The q-th percentile, or 0 of an empty list."""
    return float(np.percentile(values, q)) if values else 0.0


@dataclass(slots=True)
class Measures:
    """Counts and timings of one run; milliseconds of wall time where the name says ms.

    Attributes:
        inference_ms: Each inference: pre-processing, model, post-processing. The warm-up is not among them.
        obs_to_action_ms: From the observation's stamp to its goals being sent, on the node clock.
        control_jitter_ms: By how much the time between two control ticks differed from the time between their stamps,
            by the wall clock; empty in lockstep, where wall time means nothing.
        goals_sent: Trajectory and gripper goals that left the node.
        frames_missing: Observations that were wanted and could not be built.
        refused: Chunks that the safety filter refused.
        stale_chunks: Chunks that came so late that no step was left.
        held_ticks: Control ticks after the running chunk had ended and before the next one.
        clipped: Gripper targets outside the gripper's travel.
    """

    inference_ms: list[float] = field(default_factory=list)
    obs_to_action_ms: list[float] = field(default_factory=list)
    control_jitter_ms: list[float] = field(default_factory=list)
    chunks: int = 0
    goals_sent: int = 0
    ticks: int = 0
    frames_missing: int = 0
    refused: int = 0
    stale_chunks: int = 0
    held_ticks: int = 0
    clipped: int = 0
    _tick: tuple[int, float] | None = None

    def tick(self, t_ns: int, wall_s: float | None) -> None:
        """A control tick stamped `t_ns` began at `wall_s` on the monotonic clock; None where that means nothing."""
        self.ticks += 1
        if wall_s is None:
            return
        if self._tick is not None:
            before_ns, before_s = self._tick
            self.control_jitter_ms.append(1e3 * abs((wall_s - before_s) - to_s(t_ns - before_ns)))
        self._tick = (t_ns, wall_s)

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for a report file."""
        return {
            "chunks": self.chunks,
            "goals_sent": self.goals_sent,
            "ticks": self.ticks,
            "frames_missing": self.frames_missing,
            "refused_chunks": self.refused,
            "stale_chunks": self.stale_chunks,
            "held_ticks": self.held_ticks,
            "gripper_clipped": self.clipped,
            "inference_ms": _rounded(self.inference_ms),
            "obs_to_action_ms": _rounded(self.obs_to_action_ms),
            "control_jitter_ms": _rounded(self.control_jitter_ms),
        }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


def append_report(path: Path, report: dict[str, Any]) -> None:
    """Add one run to a JSON lines file, one object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(report) + "\n")
