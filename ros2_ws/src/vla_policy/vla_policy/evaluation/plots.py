# SPDX-License-Identifier: Apache-2.0

"""The pictures of an offline evaluation: error over the chunk's horizon, predicted against recorded, error by value."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vla_policy.evaluation.offline import DATASET_MEAN, POLICY, PREDICTORS, Trace
from vla_policy.evaluation.predictors import HOLD_LAST

NAMES = {POLICY: "policy", HOLD_LAST: "hold last", DATASET_MEAN: "dataset mean"}
# Okabe and Ito's colours, which colour-blind people can tell apart, with line styles for print.
STYLES = {
    POLICY: {"color": "#0072B2", "linestyle": "-"},
    HOLD_LAST: {"color": "#D55E00", "linestyle": "--"},
    DATASET_MEAN: {"color": "#7f7f7f", "linestyle": ":"},
}
RECORDED, PREDICTED = "#222222", ("#0072B2", "#56B4E9")
DPI = 110


def with_unit(name: str, unit: str) -> str:
    """`elbow.pos [rad]`; the name alone where there is no unit."""
    return f"{name} [{unit}]" if unit else name


def draw_horizon(measures: dict[str, Any], groups: Sequence[tuple[str, slice]], path: Path, *, dt_s: float) -> None:
    """RMSE over the chunk, one diagram per part of the action.

    Args:
        measures: From `evaluate_offline`.
        groups: Name of each part and where it lies in the action.
        path: Picture file.
        dt_s: Time from one step to the next [s].
    """
    figure, rows = plt.subplots(
        len(groups), 1, figsize=(8, 0.6 + 2.5 * len(groups)), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (name, where) in zip(rows[:, 0], groups, strict=True):
        units = set(measures["units"][where])
        for predictor in PREDICTORS:
            errors = [
                np.nan if step is None else np.sqrt(np.mean(np.square(step[where])))
                for step in measures[predictor]["rmse_over_horizon_per_dimension"]
            ]
            axes.plot(np.arange(len(errors)) * dt_s, errors, label=NAMES[predictor], **STYLES[predictor])
        executed = measures.get("n_action_steps")
        if executed and executed < measures["steps"]:
            axes.axvline(executed * dt_s, color="#999999", linewidth=0.8)
        axes.set_ylabel(with_unit(f"{name} RMSE", units.pop() if len(units) == 1 else ""))
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
    rows[0, 0].legend(fontsize=8)
    rows[0, 0].set_title("grey line, if any: the steps after it are not executed", fontsize=8, loc="left")
    rows[-1, 0].set_xlabel("time after the observation [s]")
    _save(figure, path)


def draw_dimensions(measures: dict[str, Any], path: Path) -> None:
    """RMSE of each value as a share of its baseline: below 1 the policy is better than holding the last action."""
    names = measures["action_names"]
    policy = np.array(measures[POLICY]["rmse_per_dimension"])
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.32 * len(names)), layout="constrained")
    places = np.arange(len(names))
    for offset, baseline in ((-0.2, HOLD_LAST), (0.2, DATASET_MEAN)):
        base = np.array(measures[baseline]["rmse_per_dimension"])
        share = np.divide(policy, base, out=np.full(len(names), np.nan), where=base > 0.0)
        axes.barh(places + offset, share, 0.38, color=STYLES[baseline]["color"], label=f"against {NAMES[baseline]}")
    axes.axvline(1.0, color=RECORDED, linewidth=0.8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("RMSE of the policy / RMSE of the baseline")
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_episode(trace: Trace, measures: dict[str, Any], path: Path, *, dt_s: float) -> None:
    """One episode: what was recorded, and each predicted chunk from the time at which it was predicted."""
    names, units = measures["action_names"], measures["units"]
    columns = 2 if len(names) > 3 else 1
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(5.5 * columns, 0.8 + 1.7 * rows), sharex=True, squeeze=False, layout="constrained"
    )
    times = np.array(sorted(trace.recorded))
    recorded = np.array([trace.recorded[frame] for frame in times])
    for column, axes in enumerate(grid.flat):
        if column >= len(names):
            axes.set_visible(False)
            continue
        if column + columns >= len(names):
            axes.set_xlabel("time [s]", fontsize=8)
            axes.tick_params(labelbottom=True)
        _lines(axes, trace, column, dt_s, int(times[-1]))
        axes.plot(times * dt_s, recorded[:, column], color=RECORDED, linewidth=1.4, label="recorded")
        axes.set_ylabel(with_unit(names[column].replace("_joint", ""), units[column]), fontsize=7)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=7)
    figure.suptitle(f"episode {trace.episode}: recorded, and each predicted chunk", fontsize=10)
    _save(figure, path)


def _lines(axes: Axes, trace: Trace, column: int, dt_s: float, last: int) -> None:
    """The predicted chunks, as far as the episode goes; neighbours in two shades."""
    for number, (step, chunk) in enumerate(zip(trace.steps, trace.chunks, strict=True)):
        shown = chunk[: last - step + 1, column]
        axes.plot(
            (step + np.arange(len(shown))) * dt_s,
            shown,
            color=PREDICTED[number % 2],
            linewidth=0.9,
            label="predicted" if number == 0 else None,
        )


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def draw_rates(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Success of each checkpoint with its 95 % Wilson interval, and the durations of the trials that succeeded."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 1.4 + 0.5 * len(records)), layout="constrained")
    for row, record in enumerate(records):
        rate = record["rate"] or 0.0
        reach = [[100 * (rate - record["low"])], [100 * (record["high"] - rate)]]
        left.errorbar(100 * rate, row, xerr=reach, fmt="o", color=STYLES[POLICY]["color"], capsize=4)
        asked = set(record["seeds"])
        times = [one["duration_s"] for one in record["trials"] if one["success"] and one["seed"] in asked]
        right.plot(times, [row] * len(times), "|", color=STYLES[POLICY]["color"], markersize=14)
    for axes in (left, right):
        axes.set_yticks(range(len(records)), [record["label"] for record in records], fontsize=8)
        axes.set_ylim(len(records) - 0.5, -0.5)
        axes.grid(alpha=0.3, axis="x")
    left.set_xlim(0, 100)
    left.set_xlabel("success [%], 95 % interval")
    right.set_xlim(left=0.0)
    right.set_xlabel("duration of successful trials [s]")
    _save(figure, path)
