# SPDX-License-Identifier: Apache-2.0

"""The recorder's state as a message, and in one line for people."""

from __future__ import annotations

from vla_core.episode import phase_name
from vla_msgs.msg import EpisodeEvent, RecorderStatus

from vla_recorder.capture.controller import Controller
from vla_recorder.capture.live_audit import MISSING


class StatusMaker:
    """Makes status messages; remembers what it needs for rates."""

    def __init__(self, controller: Controller) -> None:
        """Args: controller: the episodes."""
        self._controller = controller
        self._last = (0, 0)
        self._rate_hz = 0.0

    def measure(self, now_ns: int) -> None:
        """Measure rates; call it once a second.

        Args:
            now_ns: Node clock.
        """
        taps = self._controller.taps
        self._controller.disk.sample(taps.received_bytes, now_ns)
        messages = sum(tap.messages for tap in taps)
        before, before_ns = self._last
        if now_ns > before_ns and before_ns and messages >= before:
            self._rate_hz = (messages - before) * 1e9 / (now_ns - before_ns)
        self._last = (messages, now_ns)

    def make(self, task: str, operator: str) -> RecorderStatus:
        """Return the state now, without a stamp.

        Args:
            task: Of the next episode.
            operator: Who records the next episode.
        """
        controller = self._controller
        state = controller.snapshot()
        problems = controller.problems()
        status = RecorderStatus(recording=bool(state))
        status.phase = state.get("phase", EpisodeEvent.IDLE)
        status.episode_uuid = state.get("uuid", "")
        status.task = state.get("task", task)
        status.operator_name = state.get("operator", operator)
        status.notes = state.get("notes", "")
        status.bag_path = state.get("folder", "")
        status.elapsed_s = state.get("elapsed", 0.0)
        status.recorded_s = state.get("recorded", 0.0)
        status.messages = state.get("messages", 0)
        status.bytes = state.get("bytes", 0)
        status.writing = state.get("writing", False)
        status.paused = bool(state.get("paused", ""))
        status.dropped = state.get("dropped", 0)
        status.episodes_saved = controller.saved
        status.silent_topics = [problem.topic for problem in problems if problem.kind == MISSING]
        status.problems = [problem.text for problem in problems]
        status.rate_hz = self._rate_hz
        status.disk_free = controller.disk.free
        status.disk_left_s = controller.disk.seconds_left or 0.0
        last = controller.shelf.last
        if last is not None:
            status.last_uuid, status.last_bag_path, status.last_label = last.uuid, str(last.path), last.label
        status.can_undo = controller.shelf.can_undo
        status.line = status_line(status)
        return status


def status_line(status: RecorderStatus) -> str:
    """Return the state of the recorder in one line."""
    parts = [_what(status)]
    if status.recording:
        parts += [
            status.task,
            f"{status.messages} messages, {status.bytes / 1e6:.1f} MB",
            f"{status.rate_hz:.0f} Hz",
            f"{status.dropped} dropped",
        ]
    else:
        parts.append(f"task: {status.task}")
        parts.append(f"{status.episodes_saved} saved")
        if status.last_label:
            parts.append(f"last: {status.last_label}")
    parts.append(f"disk {_space(status)}")
    if status.problems:
        parts.append(f"! {'; '.join(status.problems)}")
    return "  ".join(parts)


def _what(status: RecorderStatus) -> str:
    if not status.recording:
        return "idle"
    minutes, seconds = divmod(int(status.elapsed_s), 60)
    clock = f"{minutes:02d}:{seconds:02d}"
    if status.paused:
        return f"PAUSED {clock}"
    if status.phase == EpisodeEvent.ARMED and not status.writing:
        return f"ARMED {clock} waiting for motion"
    return f"REC {phase_name(status.phase)} {clock}"


def _space(status: RecorderStatus) -> str:
    free = f"{status.disk_free / 1e9:.0f} GB"
    if not status.disk_left_s:
        return free
    hours = status.disk_left_s / 3600
    return f"{free}, {hours:.1f} h" if hours < 100 else free
