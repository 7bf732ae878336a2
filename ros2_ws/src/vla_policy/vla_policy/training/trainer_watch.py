# SPDX-License-Identifier: Apache-2.0

"""Looks at every training step: writes the loss down, tells the launcher, and ends a training that has gone wrong."""

import contextlib
import csv
import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch

from vla_policy.training.train_plan import LOSS_COLUMNS, LOSS_FILE, TrainPlan, emit

FLUSH_PERIOD_S = 1.0
TELL_PERIOD_S = 0.1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TrainingStoppedError(Exception):
    """The training ends itself; the text says why and what to do."""


class LossWatch:
    """One row per step in the run folder's `loss.csv`; only in the first of several processes."""

    def __init__(self, plan: TrainPlan) -> None:
        self._plan = plan
        self._main = int(os.environ.get("RANK", "0")) == 0
        self._file: TextIO | None = None
        self._writer: Any = None
        self._flushed_s = self._told_s = 0.0
        self._last: tuple[int, float] | None = None

    def wrap(self, update: Callable[..., Any]) -> Callable[..., Any]:
        """LeRobot's `update_policy`, watched."""

        def watched(metrics: Any, *arguments: Any, **options: Any) -> Any:
            result = update(metrics, *arguments, **options)
            self.look(result[0], arguments[0] if self._writer is None else None)
            return result

        return watched

    def look(self, metrics: Any, policy: Any = None) -> None:
        """Take the last step of LeRobot's metrics; a policy that is given is counted.

        Raises:
            TrainingStoppedError: the loss or its gradient is no number any more.
        """
        step = int(metrics.steps) + 1
        values = {name: float(metrics.metrics[name].val) for name in ("loss", "grad_norm", "lr", "update_s")}
        values["data_s"] = float(metrics.metrics["dataloading_s"].val)
        if self._main:
            try:
                self._record(step, values, policy)
            except OSError as error:
                if not disk_full(error):
                    raise
                raise TrainingStoppedError(
                    f"the disk is full: {LOSS_FILE} could not be written to {self._plan.run} ({error}). Free space, then go on "
                    f"with: ros2 run vla_policy train --resume --output {self._plan.run}"
                ) from error
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        if bad:
            raise TrainingStoppedError(
                f"the {bad[0].replace('_', ' ')} is {values[bad[0]]} at step {step}, so nothing more can be learnt. Lower the "
                "learning rate (-- --optimizer.lr=… or --policy.optimizer_lr=…), try --precision float32, and look for wild "
                "values with: ros2 run vla_recorder validate. Earlier checkpoints are whole."
            )

    def _record(self, step: int, values: dict[str, float], policy: Any) -> None:
        now_s = time.monotonic()
        if self._writer is None:
            self._open()
        row = (step, *(f"{values[name]:.6g}" for name in LOSS_COLUMNS[1:]))
        self._writer.writerow(row)
        assert self._file is not None
        if now_s - self._flushed_s >= FLUSH_PERIOD_S:
            self._file.flush()
            self._flushed_s = now_s
        if now_s - self._told_s >= TELL_PERIOD_S or not math.isfinite(values["loss"]):
            emit(event="step", step=step, loss=values["loss"], **_sizes(policy))
            self._told_s = now_s
            self._last = None
        else:
            self._last = (step, values["loss"])

    def _open(self) -> None:
        # LeRobot insists that the folder does not exist when it starts, so it is made by the first step
        file = Path(self._plan.run) / LOSS_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        rows: list[list[str]] = []
        if file.is_file():
            with file.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in csv.reader(stream) if row and row[0].isdigit()]
        self._file = file.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(LOSS_COLUMNS)
        self._writer.writerows(row for row in rows if int(row[0]) <= self._plan.last_step)

    def close(self) -> None:
        """Write and tell what is left."""
        if self._last is not None:
            emit(event="step", step=self._last[0], loss=self._last[1])
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk; the training has said so
                self._file.close()


def disk_full(error: Exception) -> bool:
    """Whether a file could not be written for want of space, by Python's or by safetensors' account."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(f"os error {number}" in str(error) or f"[Errno {number}]" in str(error) for number in FULL)


def _sizes(policy: Any) -> dict[str, float]:
    """Number of weights of a policy, all and those that are trained, and the CPU time [s] that the first step took."""
    if policy is None:
        return {}
    sizes = [(weight.numel(), weight.requires_grad) for weight in policy.parameters()]
    return {
        "parameters": sum(n for n, _ in sizes),
        "trainable": sum(n for n, trained in sizes if trained),
        "cpu_s": round(time.process_time(), 2),
    }


def floor_statistics(meta: Any, floor: float) -> None:
    """Let no value of the state or the action be divided by less than `floor`.

    Args:
        meta: LeRobot's dataset metadata; its statistics are changed in memory, not on the disk.
        floor: Least standard deviation, and a quarter of the least distance of minimum and maximum and of the quantiles.
    """
    for key in ("observation.state", "action"):
        stats = meta.stats.get(key)
        if stats is None:
            continue
        stats["std"] = torch.as_tensor(stats["std"]).clamp(min=floor)
        for low, high in (("min", "max"), ("q01", "q99")):
            if low in stats and high in stats:
                down, up = torch.as_tensor(stats[low]), torch.as_tensor(stats[high])
                widen = (4 * floor - (up - down)).clamp(min=0) / 2
                stats[low], stats[high] = down - widen, up + widen
