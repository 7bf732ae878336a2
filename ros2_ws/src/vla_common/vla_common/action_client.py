# SPDX-License-Identifier: Apache-2.0

"""An action client for programs in which one thread sends goals and another spins the executor."""

import threading
from typing import Any

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future


class GoalClient(ActionClient):
    """`rclpy.action.ActionClient` that never loses the answer to a request.

    rclpy remembers a request only after it has sent it, without a lock. A server that answers at once, on a machine that
    switches threads at that moment, is told off as "unexpected", and whoever waits for the answer waits for ever. Here
    the executor looks at answers only while nobody is between sending and remembering.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sending = threading.Lock()
        super().__init__(*args, **kwargs)

    def send_goal_async(self, *args: Any, **kwargs: Any) -> Future:
        """See `rclpy.action.ActionClient.send_goal_async`."""
        with self._sending:
            future: Future = super().send_goal_async(*args, **kwargs)
        return future

    def _cancel_goal_async(self, goal_handle: ClientGoalHandle) -> Future:
        with self._sending:
            future: Future = super()._cancel_goal_async(goal_handle)
        return future

    def _get_result_async(self, goal_handle: ClientGoalHandle) -> Future:
        with self._sending:
            future: Future = super()._get_result_async(goal_handle)
        return future

    async def execute(self, taken_data: Any) -> None:
        """Deliver what was received; called by the executor."""
        with self._sending:
            pass  # whoever was sending has remembered its request now
        await super().execute(taken_data)
