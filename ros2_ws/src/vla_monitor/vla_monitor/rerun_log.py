# SPDX-License-Identifier: Apache-2.0

"""What is logged to rerun, under which name; the one module that knows its archetypes. No ROS here.

| entity | holds |
|---|---|
| `cameras/<camera>` | images |
| `joints/<joint>/state`, `/target`, `/predicted` | measured, in force, and as the newest chunk has it for this moment [rad or m] |
| `world/<arm>/tool`, `/path`, `/chunk` | where the tool is, was, and will be [m, base frame] |
| `story` | phase and task whenever they change |
| `policy/…` | figures of PolicyStatus |
"""

from collections.abc import Mapping, Sequence

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from vla_monitor.arms import Arm
from vla_monitor.scene import PREDICTED as CHUNKS

Array = NDArray[np.float64]
TIMELINE = "time"
PLOT_COLUMNS = 4
STATE, TARGET, PREDICTED = "state", "target", "predicted"
COLORS = {STATE: (86, 180, 233), TARGET: (204, 121, 167), PREDICTED: (230, 159, 0)}
FIGURES = ("inference_ms", "observation_age_ms", "control_rate_hz", "held_percent", "overhead_ms_p95")
WIDTHS = {STATE: 2.5, TARGET: 1.0, PREDICTED: 1.5}
# Times before this are simulated time, which counts from 0, and no dates.
_FIRST_DATE_NS = 10**17


class RerunLog:
    """Writes to one recording; all methods belong to one thread."""

    def __init__(self, recording: rr.RecordingStream, robot: str, joints: Sequence[str], arms: Sequence[Arm]) -> None:
        """Name the series; nothing else is logged yet."""
        self._chunk_colors = {
            arm.name: [round(255 * part) for part in CHUNKS[index % len(CHUNKS)]] for index, arm in enumerate(arms)
        }
        self.recording = recording
        recording.send_recording_name(robot)
        for joint in joints:
            for kind, color in COLORS.items():
                series = rr.SeriesLines(colors=[color], names=[kind], widths=[WIDTHS[kind]])
                recording.log(f"joints/{joint}/{kind}", series, static=True)
        for name in FIGURES:
            recording.log(f"policy/{name}", rr.SeriesLines(names=[name]), static=True)
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for arm in arms:
            base = rr.Transform3D(translation=arm.mount[:3, 3], mat3x3=arm.mount[:3, :3])
            recording.log(f"world/{arm.name}/base", base, rr.TransformAxes3D(0.15), static=True)

    def at(self, t_ns: int) -> None:
        """What is logged from now on was true at `t_ns`: a date, or simulated time."""
        if t_ns >= _FIRST_DATE_NS:
            self.recording.set_time(TIMELINE, timestamp=np.datetime64(t_ns, "ns"))
        else:
            self.recording.set_time(TIMELINE, duration=np.timedelta64(t_ns, "ns"))

    def image(self, camera: str, data: bytes, media_type: str) -> None:
        """An encoded image of a camera."""
        self.recording.log(f"cameras/{camera}", rr.EncodedImage(contents=data, media_type=media_type))

    def joints(self, kind: str, values: Mapping[str, float]) -> None:
        """Values of joints [rad or m]; kind: state, target or predicted."""
        for joint, value in values.items():
            self.recording.log(f"joints/{joint}/{kind}", rr.Scalars(value))

    def tool(self, arm: str, place: Array) -> None:
        """Where the tool of an arm is (3,) [m]."""
        self.recording.log(f"world/{arm}/tool", rr.Points3D([place], colors=[COLORS[STATE]], radii=[0.012]))

    def path(self, arm: str, path: Array) -> None:
        """Where the tool of an arm was (n, 3) [m]."""
        self.recording.log(f"world/{arm}/path", rr.LineStrips3D([path], colors=[COLORS[STATE]], radii=[0.003]))

    def chunk(self, arm: str, points: Array) -> None:
        """Where the policy says that the tool will be (T, 3) [m]."""
        strip = rr.LineStrips3D([points], colors=[self._chunk_colors[arm]], radii=[0.003])
        self.recording.log(f"world/{arm}/chunk", strip)

    def story(self, t_ns: int, text: str) -> None:
        """Phase and task have changed at `t_ns`."""
        self.at(t_ns)
        self.recording.log("story", rr.TextLog(text, level=rr.TextLogLevel.INFO))

    def figures(self, t_ns: int, values: Mapping[str, float]) -> None:
        """Figures of the policy at `t_ns`; those that were not measured (NaN) are left out."""
        self.at(t_ns)
        for name, value in values.items():
            if np.isfinite(value):
                self.recording.log(f"policy/{name}", rr.Scalars(value))


def blueprint(cameras: Sequence[str], joints: Mapping[str, Sequence[str]]) -> rrb.Blueprint:
    """How it is laid out: cameras and the tool in space above, a plot per joint in the middle, policy and story below.

    Args:
        cameras: Names of the cameras.
        joints: Name of each action to its joints.
    """
    views = [rrb.Spatial2DView(origin=f"cameras/{name}", name=name) for name in cameras]
    plots = [
        rrb.TimeSeriesView(origin=f"joints/{joint}", name=joint, plot_legend=rrb.PlotLegend(visible=False))
        for names in joints.values()
        for joint in names
    ]
    rows = [
        rrb.Horizontal(*views, rrb.Spatial3DView(origin="world", name="tool and chunk")),
        rrb.Grid(*plots, grid_columns=PLOT_COLUMNS),
        rrb.Horizontal(
            rrb.TimeSeriesView(origin="policy", name="policy", plot_legend=rrb.PlotLegend(corner=rrb.Corner2D.LeftTop)),
            rrb.TextLogView(origin="story", name="phases"),
        ),
    ]
    heights = [4, 2 * -(-len(plots) // PLOT_COLUMNS), 3]
    return rrb.Blueprint(rrb.Vertical(*rows, row_shares=heights), collapse_panels=True)
