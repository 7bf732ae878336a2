# SPDX-License-Identifier: Apache-2.0

"""An action of which one goal runs at a time, in a worker thread that owns the control loop."""

import queue
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from vla_common.action_server import DeferredActionServer


class OneGoalServer:
    """Serves an action. The worker takes a goal, asks at each tick whether it is cancelled, and finishes it.

    A goal that comes meanwhile ends at once, ABORTED with a result that says why: a rejection could carry no text.
    """

    def __init__(self, node: Node, action_type: Any, name: str, *, busy: Callable[[ServerGoalHandle], Any]) -> None:
        """Serve an action.

        Args:
            node: offers it.
            action_type: generated type.
            name: relative name.
            busy: makes the result of a goal that comes while another one runs.
        """
        self._busy = busy
        self._waiting: queue.SimpleQueue[ServerGoalHandle] = queue.SimpleQueue()
        self._active: ServerGoalHandle | None = None
        self._cancelled = False
        self._server = DeferredActionServer(
            node, action_type, name, check=lambda _: True, accepted=self._accepted, cancel=self._cancel
        )

    def take(self) -> ServerGoalHandle | None:
        """The next goal to run, or None; from the worker."""
        return None if self._waiting.empty() else self._waiting.get()

    def cancelled(self) -> bool:
        """Whether the running goal is to end; from the worker."""
        self._server.serve_cancels()
        return self._cancelled

    def finish(self, handle: ServerGoalHandle, result: Any, *, succeeded: bool) -> None:
        """End a goal; one that was asked to cancel ends CANCELED."""
        status = GoalStatus.STATUS_SUCCEEDED if succeeded else GoalStatus.STATUS_ABORTED
        if handle.is_cancel_requested:
            status = GoalStatus.STATUS_CANCELED
        if self._active is handle:
            self._active = None
        self._server.finish(handle, status, result)

    def _accepted(self, handle: ServerGoalHandle) -> None:
        if self._active is None:
            self._active, self._cancelled = handle, False
            self._waiting.put(handle)
            return
        self.finish(handle, self._busy(handle), succeeded=False)

    def _cancel(self, handle: ServerGoalHandle) -> None:
        self._cancelled = self._cancelled or handle is self._active
