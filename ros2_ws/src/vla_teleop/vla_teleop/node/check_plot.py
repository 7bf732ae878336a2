# SPDX-License-Identifier: Apache-2.0

"""The picture of a planned skill: path from above and from the side, speed of the tool, joints, gripper."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from vla_core.specs import Kinematics

from vla_teleop.skills.check import tool_positions
from vla_teleop.skills.plan import SkillPlan

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Array = NDArray[np.float64]
LIMIT, ROUNDED = "#d62728", "#9a9a9a"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")


def draw(plan: SkillPlan, arm: Kinematics, path: Path) -> None:
    """Draw a plan.

    Args:
        plan: Complete.
        arm: That it was planned for.
        path: Image file (.png or .svg); its folder exists.
    """
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    figure.suptitle(f"skill '{plan.spec.name}': {plan.waypoints} waypoints, {plan.duration:.1f} s of motion")
    tools = [tool_positions(segment, plan, arm) for segment in plan.segments]
    _view(axes[0, 0], plan, tools, (0, 1))
    _view(axes[1, 0], plan, tools, (0, 2))
    _speed(axes[0, 1], plan, tools)
    _joints(axes[1, 1], plan, arm)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _view(axes: Axes, plan: SkillPlan, tools: list[Array], columns: tuple[int, int]) -> None:
    """Path of the tool centre point; a filled mark is a stop, an open one is rounded, a star is the verification."""
    first, second = columns
    for segment, tool in zip(plan.segments, tools, strict=True):
        axes.plot(tool[:, first], tool[:, second], color=_colour(segment.index), label=f"segment {segment.index}")
        for end in segment.ends:
            x, y = end.T_base_tcp[first, 3], end.T_base_tcp[second, 3]
            last = end is segment.ends[-1]
            mark = "*" if last and segment.verification else "o"
            face = "none" if end.rounded else _colour(segment.index)
            axes.plot(
                x, y, mark, color=_colour(segment.index), markerfacecolor=face, markersize=11 if mark == "*" else 5
            )
            axes.annotate(str(end.waypoint), (x, y), textcoords="offset points", xytext=(4, 3), fontsize=7)
    axes.set_xlabel(f"{'xyz'[first]} of the tool centre point in the base frame [m]")
    axes.set_ylabel(f"{'xyz'[second]} [m]")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title("open: rounded, filled: stop, star: grasp verified", fontsize=8, loc="left")
    axes.legend(fontsize=7)


def _starts(plan: SkillPlan) -> list[float]:
    durations = [segment.duration for segment in plan.segments]
    return [float(start) for start in np.concatenate([[0.0], np.cumsum(durations)])]


def _speed(axes: Axes, plan: SkillPlan, tools: list[Array]) -> None:
    for segment, tool, start in zip(plan.segments, tools, _starts(plan), strict=False):
        if len(segment.times) > 1:
            speed = np.linalg.norm(np.diff(tool, axis=0), axis=1) / np.diff(segment.times)
            axes.plot(start + (segment.times[1:] + segment.times[:-1]) / 2.0, speed, color=_colour(segment.index))
    axes.axhline(plan.spec.linear_speed, color=LIMIT, linestyle="--", linewidth=0.9)
    axes.set_ylabel("speed of the tool centre point [m/s]")
    axes.set_xlabel("time of motion, without pauses of the gripper [s]")
    axes.set_title("dashed: linear_speed of the table", fontsize=8, loc="left")
    axes.set_ylim(bottom=0.0)


def _joints(axes: Axes, plan: SkillPlan, arm: Kinematics) -> None:
    origin = plan.segments[0].positions[0]
    starts = _starts(plan)
    for column, name in enumerate(arm.joints):
        times = np.concatenate([start + s.times for start, s in zip(starts, plan.segments, strict=False)])
        moved = np.concatenate([segment.positions[:, column] - origin[column] for segment in plan.segments])
        axes.plot(times, moved, color=_colour(column), label=name, linewidth=1.2)
    for start, segment in zip(starts, plan.segments, strict=False):
        if segment.gripper is not None:
            axes.axvline(start, color=ROUNDED, linewidth=0.8)
            axes.annotate(
                f"gripper {segment.gripper}",
                (start, 1.0),
                xycoords=("data", "axes fraction"),
                fontsize=7,
                rotation=90,
                va="top",
            )
    axes.set_ylabel("joints, from the start [rad]")
    axes.set_xlabel("time of motion [s]")
    axes.legend(fontsize=7, ncols=2, loc="lower left")
