# SPDX-License-Identifier: Apache-2.0

"""The rows of one target of one episode, from the recording to its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.frames import ACTION_KEY, STATE_KEY

from vla_recorder.convert.job import (
    AGE_PREFIX,
    INTERVENTION_KEY,
    PHASE_KEY,
    SKEW_KEY,
    STAMP_KEY,
    SYNTHETIC_KEY,
    Job,
)
from vla_recorder.convert.joints import Robot
from vla_recorder.convert.result import TargetResult
from vla_recorder.convert.targets import Row, Target, pipeline, segments
from vla_recorder.formats.base import STATE64_KEY, EpisodeWriter, ExactState, Layout

MIN_ROWS = 2
"""Fewer rows show no motion, and a policy could not learn a step from them."""


class TargetRows:
    """Collects the rows of one target; images go straight to its writer, which opens with the first row."""

    def __init__(self, job: Job, target: Target, layout: Layout, robot: Robot, work_dir: Path) -> None:
        """Prepare for one episode; nothing is written before the first row.

        Args:
            job: What to do.
            target: Which rows to take.
            layout: What they hold.
            robot: Joints of the profile.
            work_dir: Where the files of the target go.
        """
        self._job = job
        self._layout = layout
        self._robot = robot
        self._work_dir = work_dir
        self._writer: EpisodeWriter | None = None
        self._pipeline = pipeline(
            target,
            position=robot.position(job.noop_rule) if target.remove_noops else _nothing,
            threshold=job.noop_threshold,
            close=robot.close,
        )
        self._rows: list[Row] = []
        self._missed = 0
        self.gaps: list[tuple[int, int]] = []

    def miss(self) -> None:
        """There is no frame at this tick."""
        self._missed += 1

    def push(self, row: Row) -> None:
        """Take a row of the recording."""
        for kept in self._pipeline.push(row):
            if self._missed and self._rows:
                self.gaps.append((len(self._rows), self._missed))
            self._missed = 0
            self._add(kept)

    def _add(self, row: Row) -> None:
        if self._writer is None:
            self._writer = self._job.format.episode_writer(self._layout, self._work_dir)
        self._writer.add(row.images)
        self._rows.append(replace(row, images={}))

    def finish(self, task: str, about: Mapping[str, Any]) -> TargetResult:
        """Close the files and return the episode, or why there is none."""
        rows = len(self._rows)
        if rows >= MIN_ROWS:
            for row in self._pipeline.end():
                self._add(row)
        removed = self._pipeline.removed
        if self._writer is None or rows < MIN_ROWS:
            self.discard()
            why = "".join(f"; {count} left out: {reason}" for reason, count in removed.items())
            skipped = f"{rows} rows are left, at least {MIN_ROWS} are needed{why}"
            return TargetResult(episode=None, skipped=skipped, removed=removed, gaps=[])
        episode = self._writer.finish(self._columns(), task, {**about, **self._about()})
        return TargetResult(episode=episode, skipped="", removed=removed, gaps=self.gaps)

    def discard(self) -> None:
        """Delete what was written."""
        if self._writer is not None:
            self._writer.discard()

    def _columns(self) -> dict[str, NDArray[np.generic]]:
        states = np.stack([row.state for row in self._rows])
        make = self._robot.commanded if self._job.action == "commanded" else self._robot.next_state
        columns: dict[str, NDArray[np.generic]] = {
            STATE_KEY: states.astype(np.float32),
            ACTION_KEY: make(self._rows),
            STAMP_KEY: np.array([row.t_ns for row in self._rows], np.int64),
            PHASE_KEY: np.array([row.phase for row in self._rows], np.int64),
            SYNTHETIC_KEY: np.array([row.synthetic for row in self._rows], np.bool_),
            INTERVENTION_KEY: np.array([row.intervention for row in self._rows], np.bool_),
        }
        if isinstance(self._job.format, ExactState) and self._job.format.exact_state:
            columns[STATE64_KEY] = states
        for key in self._layout.features:
            if key.startswith(AGE_PREFIX):
                stream = key.removeprefix(AGE_PREFIX)
                columns[key] = np.array([row.ages_s[stream] for row in self._rows], np.float32)
        if SKEW_KEY in self._layout.features:
            columns[SKEW_KEY] = np.array([row.skew_s for row in self._rows], np.float32)
        return columns

    def _about(self) -> dict[str, Any]:
        found = segments([row.phase for row in self._rows])
        counts: dict[str, int] = {}
        for part in found:
            counts[part["phase"]] = counts.get(part["phase"], 0) + part["end"] - part["start"] + 1
        return {"num_frames": len(self._rows), "phase_counts": counts, "phase_segments": found}


def _nothing(_: Row) -> NDArray[np.float64]:
    """The position of a row where nobody asks for it."""
    return np.zeros(0)
