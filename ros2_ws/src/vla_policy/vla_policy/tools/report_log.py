# SPDX-License-Identifier: Apache-2.0

"""Reads logs of runs and computes their measures, exactly and from the ticks alone.

The node's own figures are approximate (bounded memory); these are the same definitions over all values.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import VlaError
from vla_core.stamps import to_s

from vla_policy.execution.measures_motion import Motion
from vla_policy.execution.measures_series import Series, percentile

Array = NDArray[np.float64]
NAN = float("nan")
PARTS = ("preprocess_ms", "model_ms", "postprocess_ms")


class LogError(VlaError):
    """The file is no log of runs."""


class Exact(Series):
    """A series that keeps all values, for logs that are read into memory anyway."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """See `Series.add`."""
        self.values.append(max(0.0, value))
        super().add(value)

    def percentile(self, q: float) -> float:
        """See `Series.percentile`; exact."""
        return percentile(self.values, q)


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a log.

    Attributes:
        source: File, for people.
        begin: The `run` line.
        ticks: The `tick` lines.
        chunks: The `chunk` lines.
        refusals: The `refused` lines.
        end: The `end` line; empty where the node did not come to it.
    """

    source: str
    begin: dict[str, Any]
    ticks: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)

    def times_s(self) -> Array:
        """(T,) times of the ticks since the first [s]."""
        first = self.ticks[0]["t"] if self.ticks else 0
        return np.array([to_s(tick["t"] - first) for tick in self.ticks])

    def jitter_ms(self) -> list[float]:
        """Deviation of each period between two ticks by the wall clock [ms]; empty in lockstep."""
        return [
            1e3 * abs((after["w"] - before["w"]) - to_s(after["t"] - before["t"]))
            for before, after in pairwise(self.ticks)
            if before["w"] is not None and after["w"] is not None
        ]

    def motion(self) -> Motion:
        """Steps, seams and accelerations of the joints in force."""
        motion = Motion(self.begin["fps"], Exact)
        for tick in self.ticks:
            if tick["q"]:
                motion.add(tick["t"], np.array(tick["q"]), tick["c"], resting=bool(tick["h"]))
        motion.gap()
        return motion


def read_log(path: Path) -> list[Run]:
    """The runs of a log file, in order; a line that was cut at the end of the file is left out.

    Raises:
        LogError: the file cannot be read, or is something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read: {error}. Give the file of the node's parameter log_file") from error
    runs: list[Run] = []
    for number, line in _objects(path, text):
        kind = line.pop("kind", None)
        if kind == "run":
            runs.append(Run(source=str(path), begin=line))
        elif not runs or kind not in ("tick", "chunk", "refused", "end"):
            raise LogError(
                f"{path}:{number}: not a line of a run log (kind {kind!r}). Give the file of the node's parameter log_file; "
                f"report_file has one summary per run and needs no report"
            )
        elif kind == "tick":
            runs[-1].ticks.append(line)
        elif kind == "chunk":
            runs[-1].chunks.append(line)
        elif kind == "refused":
            runs[-1].refusals.append(line)
        else:
            runs[-1].end = line
    if not runs:
        raise LogError(f"{path}: no run in it; has the node run a goal since it was started with log_file?")
    return runs


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return  # the node was killed while it wrote
            raise LogError(
                f"{path}:{number}: not JSON: {error}. Give the file of the node's parameter log_file"
            ) from error
        yield number, value if isinstance(value, dict) else {}


def summarise(run: Run) -> dict[str, Any]:
    """All measures of one run; None: not measured. docs/reference/measures.md defines them."""
    motion, times = run.motion(), run.times_s()
    with_plan = [tick for tick in run.ticks if tick["c"]]
    ages = [tick["a"] for tick in with_plan]
    since_first_s = to_s(with_plan[-1]["t"] - with_plan[0]["t"]) if with_plan else 0.0
    held = sum(tick["h"] for tick in run.ticks)
    values = {
        "control_rate_hz": (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0.0 else NAN,
        "control_jitter_ms_p99": percentile(run.jitter_ms(), 99),
        "held_percent": 100.0 * held / len(with_plan) if with_plan else NAN,
        "seam_jump": motion.seam_jump,
        "seam_jump_p95": motion.seam_jump_at(95),
        "acceleration_p99": motion.accelerations.percentile(99),
        "observation_age_ms_p50": percentile(ages, 50),
        "observation_age_ms_p95": percentile(ages, 95),
        **_inference(run),
        "overhead_ms_p95": percentile(_column(run, "overhead_ms"), 95),
        "obs_to_action_ms_p95": percentile(_column(run, "age_ms"), 95),
        "replan_rate_hz": (len(run.chunks) - 1) / since_first_s if since_first_s > 0.0 else NAN,
        "stop_ms": NAN if run.end.get("stop_ms") is None else run.end["stop_ms"],
    }
    return {
        "source": run.source,
        "strategy": run.begin["strategy"],
        "clock": run.begin["clock"],
        "policy": run.begin["policy"],
        "task": run.begin["task"],
        "termination": run.end.get("termination", "no end in the log"),
        "duration_s": round(float(times[-1]), 3) if len(times) else 0.0,
        "ticks": len(run.ticks),
        "chunks_in_force": len(run.chunks),
        "held_ticks": held,
        "skipped_steps": sum(chunk["skipped"] for chunk in run.chunks),
        "refused_chunks": len(run.refusals),
        **{name: None if np.isnan(value) else round(float(value), 4) for name, value in values.items()},
    }


def _inference(run: Run) -> dict[str, float]:
    seconds = _column(run, "inference_ms")
    return {
        "inference_ms_p50": percentile(seconds, 50),
        "inference_ms_p95": percentile(seconds, 95),
        "inference_ms_max": max(seconds, default=NAN),
        **{f"{name}_p95": percentile(_column(run, name), 95) for name in PARTS},
    }


def _column(run: Run, name: str) -> list[float]:
    return [chunk[name] for chunk in run.chunks if chunk[name] is not None]


def read_all(paths: Iterable[Path]) -> list[Run]:
    """The runs of several logs.

    Raises:
        LogError: see `read_log`.
    """
    return [run for path in paths for run in read_log(path)]
