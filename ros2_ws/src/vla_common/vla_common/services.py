# SPDX-License-Identifier: Apache-2.0

"""Blocking calls of services and actions from a worker thread, with a time limit and clear errors.

Never call these from a callback of the executor that serves the node: the answer could not arrive. Time limits are wall
time, so they also work while simulated time stands still.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.client import Client
from rclpy.task import Future
from vla_core.errors import VlaError


class CallError(VlaError):
    """A service or action server is absent, did not answer in time, or refused."""


class GoalRejectedError(CallError):
    """An action server refused a goal."""


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """How a goal ended: `status` is a constant of action_msgs/GoalStatus, `result` the action's result."""

    status: int
    result: Any

    @property
    def succeeded(self) -> bool:
        """Whether the server reported success."""
        return bool(self.status == GoalStatus.STATUS_SUCCEEDED)


def wait_future(future: Future, timeout_s: float, what: str) -> Any:
    """The result of `future`, which the executor completes in another thread.

    Raises:
        CallError: it was not complete after `timeout_s` wall seconds; the message starts with `what`.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout_s):
        future.cancel()
        raise CallError(f"{what}: no answer within {timeout_s:g} s. Is the node running and not blocked?")
    return future.result()


def call_service(client: Client, request: Any, timeout_s: float = 10.0) -> Any:
    """Call a service and wait for its response.

    Raises:
        CallError: the service does not exist or does not answer within `timeout_s` wall seconds.
    """
    if not client.wait_for_service(timeout_sec=timeout_s):
        raise CallError(f"service {client.service_name}: nobody offers it after {timeout_s:g} s. Is its node running?")
    future = client.call_async(request)
    try:
        return wait_future(future, timeout_s, f"service {client.service_name}")
    finally:
        client.remove_pending_request(future)


def call_checked(client: Client, request: Any, timeout_s: float = 10.0) -> Any:
    """Like `call_service`, for services whose response has `success` and `message`; a refusal raises too.

    Raises:
        CallError: no service, no answer, or `success` is false (the message is then the service's own).
    """
    response = call_service(client, request, timeout_s)
    if not response.success:
        raise CallError(f"service {client.service_name} refused: {response.message}")
    return response


class GoalRun:
    """One accepted goal; `finished` may be polled, `wait` blocks, `cancel` asks the server to stop."""

    def __init__(self, name: str, handle: ClientGoalHandle) -> None:
        self._name = name
        self._handle = handle
        self._done = threading.Event()
        self._outcome: ActionOutcome | None = None
        handle.get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Future) -> None:
        response = cast(Any, future.result())
        self._outcome = ActionOutcome(status=response.status, result=response.result)
        self._done.set()

    @property
    def outcome(self) -> ActionOutcome | None:
        """The outcome, or None while the goal runs."""
        return self._outcome

    def wait(self, timeout_s: float) -> ActionOutcome:
        """Block until the goal has ended.

        Raises:
            CallError: it has not ended after `timeout_s` wall seconds.
        """
        if not self._done.wait(timeout_s):
            raise CallError(f"action {self._name}: the goal has not ended after {timeout_s:g} s")
        assert self._outcome is not None
        return self._outcome

    def request_cancel(self) -> None:
        """Ask the server to cancel the goal, without waiting for its answer; `outcome` tells how it ends."""
        self._handle.cancel_goal_async()

    def cancel(self, timeout_s: float = 10.0) -> None:
        """Ask the server to cancel the goal and wait for its answer to the request (not for the end of the goal)."""
        wait_future(self._handle.cancel_goal_async(), timeout_s, f"action {self._name}: cancel request")


def send_goal(
    client: ActionClient, goal: Any, timeout_s: float = 10.0, feedback: Callable[[Any], None] | None = None
) -> GoalRun:
    """Send a goal and wait until it is accepted.

    Args:
        client: of the action.
        goal: the action's goal message.
        timeout_s: wall seconds for the server to be there, and again for its answer.
        feedback: called by the executor with each feedback message.

    Raises:
        GoalRejectedError: the server refused the goal.
        CallError: there is no server or no answer.
    """
    name = str(client._action_name)  # rclpy has no public accessor
    if not client.wait_for_server(timeout_sec=timeout_s):
        raise CallError(f"action {name}: nobody offers it after {timeout_s:g} s. Is its node running?")
    callback = None if feedback is None else (lambda msg: feedback(msg.feedback))
    handle = wait_future(client.send_goal_async(goal, feedback_callback=callback), timeout_s, f"action {name}")
    if not handle.accepted:
        raise GoalRejectedError(f"action {name}: the server rejected the goal; its log says why")
    return GoalRun(name, handle)
