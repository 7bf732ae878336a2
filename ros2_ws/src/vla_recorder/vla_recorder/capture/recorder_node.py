# SPDX-License-Identifier: Apache-2.0

"""The node `recorder`: services, action and topics around the episode state machine."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.utilities import get_rmw_implementation_identifier
from vla_common.diagnostics import Diagnostics, StreamMonitor
from vla_common.params import declare
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_core.profile import load_profile
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, RecorderStatus
from vla_msgs.srv import DiscardEpisode, SetTask, StartEpisode, StopEpisode

from vla_recorder.capture.controller import Closed, Controller, RecordError, Settings
from vla_recorder.capture.recorder_params import RecorderParams
from vla_recorder.capture.session import leftovers
from vla_recorder.capture.taps import Tap, Taps
from vla_recorder.capture.topic_plan import plan_topics

Result = RecordEpisode.Result
_GUARD_PERIOD_S = 0.1
_FEEDBACK_PERIOD_S = 0.5
_STATUS_PERIOD_S = 1.0
_RESULT_TIMEOUT_S = 1.0


class EpisodeServer(ActionServer):
    """An action server whose goals run without a thread of their own.

    A goal lasts as long as its episode, and the executor must serve subscriptions meanwhile. A waiting coroutine would
    keep rclpy's executor spinning, and a multi-threaded executor is far too slow for the message rates, so the goal is
    only marked as executing; ``conclude`` schedules the callback that delivers its result.
    """

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Do nothing yet; called by ``ServerGoalHandle.execute``."""

    def conclude(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Schedule the callback that ends the goal and returns its result."""
        super().notify_execute(goal_handle, execute_callback)


class RecorderNode(ManagedNode):
    """Records one bag per episode, on request only."""

    def __init__(self, **kwargs: Any) -> None:
        """Subscribe to the profile's topics; nothing is written yet.

        Raises:
            ProfileError: The profile cannot be used.
            BagError: A message type of the profile is not installed.
        """
        super().__init__("recorder", **kwargs)
        self._params = declare(self, RecorderParams)
        profile = load_profile(self._params.profile)
        self._task = self._params.task or profile.task
        self._goal: ServerGoalHandle | None = None
        self._goal_done = threading.Event()
        self._goal_done.set()
        self._status = self.create_publisher(RecorderStatus, "~/status", LATCHED)
        self._events = self.create_publisher(EpisodeEvent, "episode/event", LATCHED)
        self._diagnostics = Diagnostics(self, hardware_id=profile.robot)
        settings = Settings(
            output_dir=Path(self._params.output_dir).expanduser().absolute(),
            compression=self._params.compression,
            queue_bytes=self._params.queue_mib << 20,
            min_free_bytes=int(self._params.min_free_gb * 1e9),
            sim_time=bool(self.get_parameter("use_sim_time").value),
            robot=profile.robot,
            profile=profile.text,
            profile_sha256=profile.sha256,
            versions=_versions(),
            extra={"namespace": self.get_namespace()},
        )
        self._controller = Controller(
            settings,
            event_topic=self._events.topic_name,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            publish_event=self._events.publish,
            on_closed=self._on_closed,
        )
        self._ticker = make_ticker(self, lockstep=self._params.lockstep)
        self._monitors: dict[str, StreamMonitor] = {}
        plans = plan_topics(profile)
        for plan in plans:
            name = self.resolve_topic_name(plan.topic)
            if plan.max_age_s is not None:
                self._monitors[name] = self._diagnostics.stream(
                    name, expected_hz=plan.rate_hz, max_age_s=plan.max_age_s
                )
        self._controller.taps = Taps(self, plans, self._receive)
        for tap in self._controller.taps.taps.values():
            if tap.stamped:
                self._ticker.watch(tap.name)
        self._serve()
        self._report_leftovers(settings.output_dir)
        self.get_logger().info(
            f"ready to record {profile.robot} ({len(plans)} topics) into {settings.output_dir}; "
            f"start an episode with `ros2 service call {self.get_fully_qualified_name()}/start "
            "vla_msgs/srv/StartEpisode`, the action or the keyboard"
        )

    def close(self) -> None:
        """Close an open episode as incomplete; the launcher gives five seconds."""
        if self._controller.recording:
            self._controller.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_SHUTDOWN)
        self._goal_done.wait(_RESULT_TIMEOUT_S)
        self._ticker.close()

    def _serve(self) -> None:
        self.create_service(StartEpisode, "~/start", self._start)
        self.create_service(StopEpisode, "~/stop", self._stop)
        self.create_service(DiscardEpisode, "~/discard", self._discard)
        self.create_service(SetTask, "~/set_task", self._set_task)
        self._action = EpisodeServer(
            self,
            RecordEpisode,
            "~/record_episode",
            execute_callback=self._refuse_unplanned,
            goal_callback=lambda _: GoalResponse.ACCEPT,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_GUARD_PERIOD_S, self._controller.guard, clock=steady)
        self.create_timer(_FEEDBACK_PERIOD_S, self._send_feedback, clock=steady)
        self.create_timer(_STATUS_PERIOD_S, self._each_second, clock=steady)

    def _receive(self, tap: Tap, data: bytes, stamp_ns: int) -> None:
        self._controller.receive(tap, data, stamp_ns)
        monitor = self._monitors.get(tap.name)
        if monitor is not None:
            monitor.tick(tap.last_ns)
        if tap.stamped:
            self._ticker.notice(tap.name, stamp_ns)

    def _open(self, task: str, seed: int, max_duration_s: float) -> str:
        task = task or self._task
        limit = max_duration_s if max_duration_s > 0 else self._params.max_duration_s
        uuid = self._controller.open(task, seed, limit)
        self.get_logger().info(f"recording episode {uuid}: {task!r}")
        self._publish_status()
        return uuid

    def _start(self, request: Any, response: Any) -> Any:
        try:
            response.episode_uuid = self._open(request.task, request.seed, 0.0)
        except RecordError as error:
            self.get_logger().error(f"no episode was started: {error}")
            response.success, response.message = False, str(error)
            return response
        response.success = True
        response.bag_path = self._controller.snapshot().get("folder", "")
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        try:
            closed = self._controller.close(request.outcome, Result.TERMINATION_STOPPED)
        except RecordError as error:
            response.success, response.message = False, str(error)
            return response
        response.success = not closed.error_msg
        response.message = closed.error_msg or "; ".join(closed.warnings)
        response.bag_path = str(closed.path)
        return response

    def _discard(self, _: Any, response: Any) -> Any:
        try:
            closed = self._controller.discard()
        except RecordError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = not closed.error_msg, closed.error_msg
        return response

    def _set_task(self, request: Any, response: Any) -> Any:
        if not request.task.strip():
            response.success = False
            response.message = "the task is empty; give the instruction of the next episode"
            return response
        self._task = request.task
        self._publish_status()
        response.success = True
        response.message = "used by the next episode" if self._controller.recording else ""
        return response

    def _accept(self, goal: ServerGoalHandle) -> None:
        goal.execute()
        try:
            self._open(goal.request.task, goal.request.seed, goal.request.max_duration)
        except RecordError as error:
            self.get_logger().error(f"no episode was started: {error}")
            result = Result(error_code=error.code, error_msg=str(error), termination=Result.TERMINATION_ERROR)

            def abort(handle: ServerGoalHandle) -> Any:
                handle.abort()
                return result

            self._action.conclude(goal, abort)
            return
        self._goal = goal
        self._goal_done.clear()

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if self._goal is None or goal.goal_id != self._goal.goal_id:
            return CancelResponse.REJECT
        # The goal must be in the canceling state before it can end as canceled, so the episode is closed one turn later.
        if self.executor is not None:
            self.executor.create_task(self._close_canceled)
        return CancelResponse.ACCEPT

    def _close_canceled(self) -> None:
        if self._controller.recording:
            self._controller.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_CANCELED)

    def _refuse_unplanned(self, goal: ServerGoalHandle) -> Any:
        goal.abort()
        return Result(error_code=Result.CANNOT_WRITE, error_msg="the episode was not recorded")

    def _on_closed(self, closed: Closed) -> None:
        where = f" -> {closed.path}" if closed.path else ""
        summary = f"episode {closed.uuid}: {closed.messages} messages, {closed.duration_s:.1f} s{where}"
        if closed.error_msg:
            self.get_logger().error(f"{summary}: {closed.error_msg}")
        else:
            self.get_logger().info(summary)
        for warning in closed.warnings:
            self.get_logger().warning(warning)
        self._publish_status()
        if self._goal is not None:
            goal, self._goal = self._goal, None
            self._action.conclude(goal, lambda handle: self._end_goal(handle, closed))

    def _end_goal(self, goal: ServerGoalHandle, closed: Closed) -> Any:
        if goal.is_cancel_requested:
            goal.canceled()
        elif closed.error_code != Result.NONE or closed.termination == Result.TERMINATION_SHUTDOWN:
            goal.abort()
        else:
            goal.succeed()
        self._goal_done.set()
        return Result(
            error_code=closed.error_code,
            error_msg=closed.error_msg,
            termination=closed.termination,
            outcome=closed.outcome,
            episode_uuid=closed.uuid,
            bag_path="" if closed.path is None else str(closed.path),
            messages=closed.messages,
            duration=closed.duration_s,
        )

    def _send_feedback(self) -> None:
        state = self._controller.snapshot()
        if self._goal is None or not state:
            return
        feedback = RecordEpisode.Feedback()
        feedback.elapsed = state["elapsed"]
        feedback.messages = state["messages"]
        feedback.bytes = state["bytes"]
        feedback.phase = state["phase"]
        self._goal.publish_feedback(feedback)

    def _each_second(self) -> None:
        self._controller.taps.refresh()
        self._publish_status()

    def _publish_status(self) -> None:
        state = self._controller.snapshot()
        status = RecorderStatus(stamp=self.get_clock().now().to_msg(), recording=bool(state))
        status.phase = state.get("phase", EpisodeEvent.IDLE)
        status.episode_uuid = state.get("uuid", "")
        status.task = state.get("task", self._task)
        status.bag_path = state.get("folder", "")
        status.elapsed_s = state.get("elapsed", 0.0)
        status.messages = state.get("messages", 0)
        status.bytes = state.get("bytes", 0)
        status.episodes_saved = self._controller.saved
        status.silent_topics = self._controller.taps.silent_topics(self.get_clock().now().nanoseconds)
        self._status.publish(status)

    def _report_leftovers(self, output_dir: Path) -> None:
        for folder in leftovers(output_dir):
            self.get_logger().warning(
                f"{folder}: left open by a recorder that was killed; its data up to that moment are in the MCAP file. "
                "The converter skips it; delete the folder if you do not need it"
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
