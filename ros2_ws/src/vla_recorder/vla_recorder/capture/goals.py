# SPDX-License-Identifier: Apache-2.0

"""The action `record_episode`: a goal lasts as long as its episode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vla_msgs.action import RecordEpisode

from vla_recorder.capture.about import Closed, RecordError, Request

Result = RecordEpisode.Result


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


class EpisodeGoals:
    """Turns goals into episodes and the end of an episode into a result."""

    def __init__(self, node: Node, open_episode: Callable[[Request], object], cancel: Callable[[], None]) -> None:
        """Offer the action.

        Args:
            node: Of the recorder.
            open_episode: Opens an episode; RecordError if that cannot be done.
            cancel: Closes it because the client wants so.
        """
        self._node = node
        self._open_episode = open_episode
        self._cancel_episode = cancel
        self._goal: ServerGoalHandle | None = None
        self._done = threading.Event()
        self._done.set()
        self._server = EpisodeServer(
            node,
            RecordEpisode,
            "~/record_episode",
            execute_callback=self._refuse_unplanned,
            goal_callback=lambda _: GoalResponse.ACCEPT,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,
        )

    def wait(self, timeout_s: float) -> None:
        """Wait until the result of an ended goal is on its way, so that its client learns of it."""
        self._done.wait(timeout_s)

    def end(self, closed: Closed) -> None:
        """Deliver the result of the goal whose episode has ended, if a goal started it."""
        if self._goal is not None:
            goal, self._goal = self._goal, None
            self._server.conclude(goal, lambda handle: self._result(handle, closed))

    def send_feedback(self, state: Mapping[str, Any]) -> None:
        """Tell the client how the episode gets on; `state` as from `Controller.snapshot`."""
        if self._goal is not None and state:
            self._goal.publish_feedback(
                RecordEpisode.Feedback(
                    elapsed=state["elapsed"], messages=state["messages"], bytes=state["bytes"], phase=state["phase"]
                )
            )

    def _accept(self, goal: ServerGoalHandle) -> None:
        goal.execute()
        asked = goal.request
        try:
            self._open_episode(
                Request(
                    task=asked.task,
                    seed=asked.seed,
                    operator=asked.operator_name,
                    notes=asked.notes,
                    max_duration_s=asked.max_duration,
                )
            )
        except RecordError as error:
            self._node.get_logger().error(f"no episode was started: {error}")
            result = Result(error_code=error.code, error_msg=str(error), termination=Result.TERMINATION_ERROR)

            def abort(handle: ServerGoalHandle) -> Any:
                handle.abort()
                return result

            self._server.conclude(goal, abort)
            return
        self._goal = goal
        self._done.clear()

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if self._goal is None or goal.goal_id != self._goal.goal_id:
            return CancelResponse.REJECT
        # The goal must be in the canceling state before it can end as canceled, so the episode is closed one turn later.
        if self._node.executor is not None:
            self._node.executor.create_task(self._cancel_episode)
        return CancelResponse.ACCEPT

    def _refuse_unplanned(self, goal: ServerGoalHandle) -> Any:
        goal.abort()
        return Result(error_code=Result.CANNOT_WRITE, error_msg="the episode was not recorded")

    def _result(self, goal: ServerGoalHandle, closed: Closed) -> Any:
        if goal.is_cancel_requested:
            goal.canceled()
        elif closed.error_code != Result.NONE or closed.termination == Result.TERMINATION_SHUTDOWN:
            goal.abort()
        else:
            goal.succeed()
        self._done.set()
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
