# SPDX-License-Identifier: Apache-2.0

"""An action server whose goals are ended by a control loop instead of by a blocking execute callback.

rclpy runs one execute callback per goal: a blocking one needs a thread for each goal, and a waiting coroutine makes the
executor spin without rest. Here a goal is only marked as executing; `finish` runs the last part when the goal has
ended.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

_END = {
    GoalStatus.STATUS_SUCCEEDED: ServerGoalHandle.succeed,
    GoalStatus.STATUS_ABORTED: ServerGoalHandle.abort,
    GoalStatus.STATUS_CANCELED: ServerGoalHandle.canceled,
}


class DeferredActionServer(ActionServer):
    """Goals run until `finish` is called for them; a canceled goal is finished as its owner says."""

    def __init__(
        self,
        node: Node,
        action_type: Any,
        name: str,
        *,
        check: Callable[[Any], bool],
        accepted: Callable[[ServerGoalHandle], None],
        cancel: Callable[[ServerGoalHandle], None],
    ) -> None:
        """Serve an action.

        Args:
            node: offers it.
            action_type: generated type.
            name: relative name.
            check: whether the goal message is accepted.
            accepted: starts the goal.
            cancel: tells the owner to end the goal; the goal may end later, by `finish`.
        """

        def on_cancel(handle: ServerGoalHandle) -> CancelResponse:
            self._canceling.append(handle)
            return CancelResponse.ACCEPT

        def on_accepted(handle: ServerGoalHandle) -> None:
            handle.execute()
            accepted(handle)

        self._cancel = cancel
        self._canceling: deque[ServerGoalHandle] = deque()
        super().__init__(
            node,
            action_type,
            name,
            execute_callback=lambda handle: action_type.Result(),
            goal_callback=lambda goal: GoalResponse.ACCEPT if check(goal) else GoalResponse.REJECT,
            handle_accepted_callback=on_accepted,
            cancel_callback=on_cancel,
        )

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Called by rclpy when a goal starts to execute; nothing runs until `finish`."""

    def serve_cancels(self) -> None:
        """Hand cancel requests on, once rclpy has marked the goals as canceling; from the control loop only."""
        for _ in range(len(self._canceling)):
            handle = self._canceling.popleft()
            if handle.is_cancel_requested:
                self._cancel(handle)
            elif handle.is_active:
                self._canceling.append(handle)

    def finish(self, handle: ServerGoalHandle, status: int, result: Any) -> threading.Event:
        """End a goal; the executor's thread sends the result. The event is set when the state has changed.

        Args:
            handle: of the goal.
            status: SUCCEEDED, ABORTED or CANCELED of action_msgs/GoalStatus.
            result: message of the action.
        """
        done = threading.Event()

        def end(goal: ServerGoalHandle) -> Any:
            try:
                if goal.is_active:
                    _END[status](goal)
            finally:
                done.set()
            return result

        super().notify_execute(handle, end)
        return done
