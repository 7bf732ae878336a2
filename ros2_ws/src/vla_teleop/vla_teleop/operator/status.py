# SPDX-License-Identifier: Apache-2.0

"""The line that the operator reads once a second. Knows no ROS."""

from __future__ import annotations

from typing import Any

from vla_core.episode import PHASES

from vla_teleop.operator.day import Day


def status_line(day: Day, recorder: Any, *, t: float, loop_hz: float, fps: float) -> str:
    """Phase, time, loop rate, what is in the bag, and what to press next.

    Args:
        day: The operator's day.
        recorder: Newest vla_msgs/RecorderStatus.
        t: Now [s, node clock].
        loop_hz: Measured rate of the operator's loop [Hz].
        fps: Frames per second of the profile; a recorded second holds that many.
    """
    if not day.open:
        return f"{day.state.name} | loop {loop_hz:.0f} Hz | {recorder.episodes_saved} saved | {day.advice}"
    phase = PHASES[recorder.phase] if recorder.phase < len(PHASES) else str(recorder.phase)
    skill = f" {day.skill}" if day.skill else ""
    parts = [
        f"{phase}{skill} {t - day.opened_s:.0f} s",
        f"loop {loop_hz:.0f} Hz",
        f"{round(recorder.recorded_s * fps)} frames, {recorder.messages} messages at {recorder.rate_hz:.0f} Hz",
        *(("PAUSED: " + "; ".join(recorder.problems),) if recorder.paused else ()),
        day.state.value,
    ]
    return " | ".join(parts)
