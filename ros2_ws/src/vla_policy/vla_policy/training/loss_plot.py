# SPDX-License-Identifier: Apache-2.0

"""The plot of a run's loss, learning rate and step time, `loss.png`."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vla_policy.training.run_record import LossRows

PLOT_FILE = "loss.png"
WINDOWS = 50
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"


def draw_loss(run: Path, rows: LossRows, title: str) -> Path:
    """Draw the plot into the run folder.

    Args:
        run: Run folder.
        rows: At least one row.
        title: Heading.
    """
    steps = np.array(rows.step)
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.0, 5.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
        loss = np.array(rows.loss)
        upper.plot(steps, loss, color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
        width = max(1, len(loss) // WINDOWS)
        upper.plot(steps, running_mean(loss, width), color=BLUE, linewidth=1.6, label=f"mean of {width} steps")
        if np.all(loss[np.isfinite(loss)] > 0):
            upper.set_yscale("log")
        upper.set(ylabel="loss", title=title)
        upper.legend(loc="upper right")
        rate = upper.twinx()
        rate.plot(steps, rows.lr, color=GREY, linestyle="--", linewidth=1.0)
        rate.set_ylabel("learning rate (dashed)")
        data, update = np.array(rows.data_s), np.array(rows.update_s)
        lower.stackplot(steps, 1e3 * data, 1e3 * update, labels=["data", "update"], colors=[ORANGE, GREY], alpha=0.7)
        lower.set(
            xlabel="step", ylabel="time [ms]", ylim=(0.0, 1e3 * float(np.quantile(data + update, 0.98)) * 1.2 + 1e-3)
        )
        lower.legend(loc="upper right")
        figure.savefig(run / PLOT_FILE, dpi=110)
    return run / PLOT_FILE


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value and the `width - 1` before it; fewer at the start."""
    sums = np.cumsum(np.insert(values.astype(float), 0, 0.0))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(0, last - width)
    means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means
