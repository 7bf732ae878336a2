# SPDX-License-Identifier: Apache-2.0

"""The picture of one run: commands with chunk boundaries, ages, jitter, and where the arm waited."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from vla_core.stamps import to_s

from vla_policy.tools.report_log import Run

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

MANY = 200
BOUNDARY, HELD, LINE = "#9a9a9a", "#d62728", "#1f77b4"


def draw(run: Run, path: Path, title: str) -> None:
    """Draw one run.

    Args:
        run: From `read_log`; with at least one tick.
        path: Image file (.png or .svg).
        title: Shown on top.
    """
    figure, rows = plt.subplots(3, 1, figsize=(11, 9), height_ratios=[3, 1.4, 1.4], layout="constrained")
    figure.suptitle(title)
    _commands(rows[0], run)
    _ages(rows[1], run)
    rows[1].sharex(rows[0])
    if jitter := run.jitter_ms():
        _histogram(rows[2], jitter, "deviation of the control period [ms]")
    else:
        inference = [chunk["inference_ms"] for chunk in run.chunks]
        _histogram(rows[2], inference, "inference, wall time [ms]; lockstep has no jitter")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _commands(axes: Axes, run: Run) -> None:
    """Joints in force relative to where each began; grey: a chunk took over, red: the arm waited."""
    times = run.times_s()
    planned = [i for i, tick in enumerate(run.ticks) if tick["q"]]
    if planned:
        positions = np.array([run.ticks[i]["q"] for i in planned])
        for column, name in enumerate(run.begin["joints"]):
            axes.plot(times[planned], positions[:, column] - positions[0, column], linewidth=1.2, label=name)
        axes.legend(loc="upper right", fontsize=7, ncols=2)
    first = run.ticks[0]["t"]
    for chunk in run.chunks:
        axes.axvline(to_s(chunk["t"] - first), color=BOUNDARY, linewidth=0.7)
    for refusal in run.refusals:
        axes.axvline(to_s(refusal["t"] - first), color=HELD, linewidth=0.9, linestyle=":")
    held = np.array([bool(tick["h"]) for tick in run.ticks])
    axes.fill_between(times, 0, 1, where=held, color=HELD, alpha=0.25, transform=axes.get_xaxis_transform())
    axes.set_ylabel("commanded, from the start [rad]")
    axes.set_title("grey: a new chunk is in force; red: the arm waits; dotted: refused", fontsize=8, loc="left")


def _ages(axes: Axes, run: Run) -> None:
    times = run.times_s()
    aged = [i for i, tick in enumerate(run.ticks) if tick["a"] is not None]
    axes.plot(times[aged], [run.ticks[i]["a"] for i in aged], color=LINE, linewidth=1.0)
    axes.set_ylabel("age of the observation\nbehind the command [ms]")
    axes.set_xlabel("time [s]")
    axes.set_ylim(bottom=0.0)


def _histogram(axes: Axes, values: list[float], label: str) -> None:
    axes.hist(values, bins=60, color=LINE)
    if len(values) > MANY:
        axes.set_yscale("log")  # so that single late periods show beside thousands of good ones
    axes.set_xlabel(label)
    axes.set_ylabel("count")
