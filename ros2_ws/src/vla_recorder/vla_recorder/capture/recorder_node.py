# SPDX-License-Identifier: Apache-2.0

"""The node `recorder`: one bag per episode, on request only."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.utilities import get_rmw_implementation_identifier
from vla_common.diagnostics import Diagnostics
from vla_common.params import declare
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_core.errors import BagError
from vla_core.profile import load_profile
from vla_core.specs import RecordingSpec
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, RecorderStatus

from vla_recorder.capture.about import Closed, RecordError, Request, Settings, read_attachment
from vla_recorder.capture.controller import Controller
from vla_recorder.capture.goals import EpisodeGoals
from vla_recorder.capture.labels import TRASH
from vla_recorder.capture.recorder_params import RecorderParams
from vla_recorder.capture.rivals import Rivals, refusal
from vla_recorder.capture.services import EpisodeServices
from vla_recorder.capture.session import leftovers
from vla_recorder.capture.status import StatusMaker
from vla_recorder.capture.streams import Streams
from vla_recorder.capture.topic_plan import Selection

Result = RecordEpisode.Result
_GUARD_PERIOD_S = 0.1
_FEEDBACK_PERIOD_S = 0.5
_DISCOVERY_PERIOD_S = 0.5
_STATUS_PERIOD_S = 1.0
_RESULT_TIMEOUT_S = 1.0
_GATHER_S = 0.01  # a hundredth of what subscriptions keep; times of reception are the middleware's


class RecorderNode(ManagedNode):
    """Subscriptions, services, action and status around the episode state machine."""

    def __init__(self, **kwargs: Any) -> None:
        """Subscribe to the profile's topics; nothing is written yet.

        Raises:
            ProfileError: The profile cannot be used.
            BagError: A message type of the profile is not installed, or an attachment cannot be read.
            SelectionError: A topic pattern cannot be used.
        """
        super().__init__("recorder", **kwargs)
        self._params = params = declare(self, RecorderParams)
        profile = load_profile(params.profile)
        self._status = self.create_publisher(RecorderStatus, "~/status", LATCHED)
        self._rivals = Rivals(self, self._status)
        self._rival_names: list[str] = []
        self._events = self.create_publisher(EpisodeEvent, "episode/event", LATCHED)
        self._diagnostics = Diagnostics(self, hardware_id=profile.robot)
        settings = self._settings(profile.recording)
        self.gather_s = 0.0 if settings.sim_time else _GATHER_S
        self._controller = Controller(
            settings,
            event_topic_name=self._events.topic_name,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            publish_event=self._publish_event,
            on_closed=self._on_closed,
        )
        self._maker = StatusMaker(self._controller)
        self._ticker = make_ticker(self, lockstep=params.lockstep)
        self._streams = Streams(
            self,
            profile,
            Selection(params.include, params.exclude, record_all=params.record_all),
            self._controller,
            ticker=self._ticker,
            diagnostics=self._diagnostics,
            prefer_compressed=params.prefer_compressed and profile.recording.prefer_compressed,
            motion_threshold=params.motion_threshold,
        )
        self._diagnostics.part("episode", self._diagnose)
        self._offered = EpisodeServices(self, self._controller, self._open, self._publish_status)
        self._offered.task, self._offered.operator = params.task or profile.task, params.operator
        self._goals = EpisodeGoals(self, self._open, self._close_canceled)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_GUARD_PERIOD_S, self._guard, clock=steady)
        self.create_timer(
            _FEEDBACK_PERIOD_S, lambda: self._goals.send_feedback(self._controller.snapshot()), clock=steady
        )
        self.create_timer(_DISCOVERY_PERIOD_S, self._discover, clock=steady)
        self.create_timer(_STATUS_PERIOD_S, self._each_second, clock=steady)
        self._report_leftovers(settings.output_dir)
        self.get_logger().info(
            f"ready to record {profile.robot} ({len(self._streams.taps.taps)} topics) into {settings.output_dir}; "
            f"start an episode with `ros2 service call {self.get_fully_qualified_name()}/start "
            "vla_msgs/srv/StartEpisode`, the action or the keyboard"
        )

    def close(self) -> None:
        """Close an open episode as incomplete and delete the discarded ones; the launcher gives five seconds."""
        if self._controller.recording:
            self._controller.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_SHUTDOWN)
        self._goals.wait(_RESULT_TIMEOUT_S)
        try:
            self._controller.shelf.purge()
        except BagError as error:
            self.get_logger().error(f"the discarded episodes were not deleted: {error}")
        self._ticker.close()

    def _settings(self, recording: RecordingSpec) -> Settings:
        params = self._params
        attachments = tuple(Path(path).expanduser().absolute() for path in params.attachments)
        for path in attachments:
            read_attachment(path)
        return Settings(
            output_dir=Path(params.output_dir).expanduser().absolute(),
            compression=params.compression,
            sync_period_s=params.sync_period_s,
            queue_bytes=params.queue_mib << 20,
            min_free_bytes=int(params.min_free_gb * 1e9),
            sim_time=bool(self.get_parameter("use_sim_time").value),
            from_start=params.record_from == "start",
            preroll_ns=int(params.preroll_s * 1e9),
            on_missing=params.on_missing_stream or recording.on_missing_stream,
            on_slow=params.on_slow_stream or recording.on_slow_stream,
            attachments=attachments,
            versions=_versions(),
            extra={"namespace": self.get_namespace()},
        )

    def _discover(self) -> None:
        self._streams.refresh()
        self._rivals.refresh()
        names = self._rivals.names(self._observed())
        if names and names != self._rival_names:
            self.get_logger().error(f"no episode will be started: {refusal(names)}")
        self._rival_names = names

    def _observed(self) -> list[str]:
        return [tap.name for tap in self._streams.taps if tap.plan.role == "observation"]

    def _open(self, request: Request) -> str:
        if rivals := self._rivals.names(self._observed()):
            raise RecordError(Result.ALREADY_RECORDING, refusal(rivals))
        asked = replace(
            request,
            task=request.task or self._offered.task,
            operator=request.operator or self._offered.operator,
            max_duration_s=request.max_duration_s if request.max_duration_s > 0 else self._params.max_duration_s,
        )
        uuid = self._controller.open(asked)
        waits = "recording" if self._params.record_from == "start" else "armed, waiting for motion,"
        self.get_logger().info(f"{waits} episode {uuid}: {asked.task!r}")
        self._publish_status()
        return uuid

    def _close_canceled(self) -> None:
        if self._controller.recording:
            self._controller.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_CANCELED)

    def _publish_event(self, event: EpisodeEvent) -> None:
        self._events.publish(event)
        if event.paused:
            self.get_logger().warning(f"recording {event.label}")

    def _on_closed(self, closed: Closed) -> None:
        where = f" -> {closed.path}" if closed.path else ""
        what = f"{closed.messages} messages"
        if closed.termination == Result.TERMINATION_DISCARDED:
            what = "discarded; the key u (service label, UNDO) brings it back until the next one is saved"
        summary = f"episode {closed.uuid}: {what}, {closed.duration_s:.1f} s{where}"
        if closed.error_msg:
            self.get_logger().error(f"{summary}: {closed.error_msg}")
        else:
            self.get_logger().info(summary)
        for warning in closed.warnings:
            self.get_logger().warning(warning)
        self._publish_status()
        self._goals.end(closed)

    def _guard(self) -> None:
        self._controller.guard()
        self._streams.report()

    def _each_second(self) -> None:
        self._maker.measure(self.get_clock().now().nanoseconds)
        self._publish_status()

    def _publish_status(self) -> None:
        status = self._maker.make(self._offered.task, self._offered.operator)
        status.stamp = self.get_clock().now().to_msg()
        self._rivals.published()
        self._status.publish(status)

    def _diagnose(self) -> tuple[bytes, str, dict[str, str]]:
        status = self._maker.make(self._offered.task, self._offered.operator)
        level = DiagnosticStatus.WARN if status.paused or status.dropped else DiagnosticStatus.OK
        values = {
            "messages": str(status.messages),
            "dropped": str(status.dropped),
            "disk free [GB]": f"{status.disk_free / 1e9:.2f}",
            "disk left [s]": f"{status.disk_left_s:.0f}" if status.disk_left_s else "",
        }
        return level, status.line, values

    def _report_leftovers(self, output_dir: Path) -> None:
        for folder in leftovers(output_dir):
            self.get_logger().warning(
                f"{folder}: left open by a recorder that was killed; its data up to that moment are in the MCAP file. "
                f"Finish it with `ros2 run vla_recorder repair {folder}`, or delete the folder if you do not need it"
            )
        if (output_dir / TRASH).is_dir():
            self.get_logger().warning(
                f"{output_dir / TRASH}: episodes that were discarded before their recorder was killed. Delete the folder, "
                "or move out of it what you want to keep"
            )


def _versions() -> dict[str, str]:
    try:
        own = version("vla_recorder")
    except PackageNotFoundError:
        own = "source"
    return {
        "vla_recorder": own,
        "ros_distro": os.environ.get("ROS_DISTRO", "jazzy"),
        "rmw": get_rmw_implementation_identifier(),
        "python": platform.python_version(),
    }


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; see `vla_common.run.run_node` for the exit code."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
