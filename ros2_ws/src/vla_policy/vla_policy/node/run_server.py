# SPDX-License-Identifier: Apache-2.0

"""The `RunPolicy` action server: hands one goal at a time to a control thread that is attached to the ticks."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from vla_common.run import ManagedNode
from vla_common.ticks import Ticker
from vla_msgs.action import RunPolicy

Result = RunPolicy.Result
POLL_S = 0.2
ATTACH_TIMEOUT_S = 2.0
GOAL_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Request:
    """One accepted goal on its way through the control thread."""

    goal: ServerGoalHandle
    done: Future


class RunServer:
    """Serves `~/run`. A second goal is aborted with NOT_READY while one is active.

    The control thread attaches to the ticks before a goal is accepted: in lockstep the run then starts at the tick that
    its client saw, whatever the threads do.
    """

    def __init__(
        self,
        node: ManagedNode,
        ticker: Ticker,
        *,
        control: Callable[[ServerGoalHandle], RunPolicy.Result],
        cancel: Callable[[], None],
    ) -> None:
        """Begin to serve.

        Args:
            node: Whose action it is.
            ticker: Attached while `control` runs.
            control: Runs one goal to its end, in the control thread, and returns the result.
            cancel: Asks the active run to stop; from the executor's thread.
        """
        self._node = node
        self._ticker = ticker
        self._control = control
        self._cancel = cancel
        self._requests: queue.Queue[_Request | None] = queue.Queue()
        self._busy = threading.Lock()
        self._grants: deque[bool] = deque()  # one per accepted goal, in the order of their execution
        self._prepare, self._attached, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._ending = threading.Event()
        self._server = ActionServer(
            node,
            RunPolicy,
            "~/run",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self._thread = node.start_thread(self._work, "control")

    def close(self, timeout_s: float) -> bool:
        """Serve no more goals and wait for the active one to end; returns whether it has."""
        self._closing.set()
        self._requests.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _on_goal(self, _goal: RunPolicy.Goal) -> GoalResponse:
        # A client that has its result may ask for more before the control thread has left the ticks.
        wait_s = ATTACH_TIMEOUT_S if self._ending.is_set() else 0.0
        granted = not self._closing.is_set() and self._busy.acquire(timeout=wait_s)
        if granted:
            self._ending.clear()
            self._attached.clear()
            self._prepare.set()
            self._attached.wait(ATTACH_TIMEOUT_S)
        self._grants.append(granted)
        return GoalResponse.ACCEPT

    def _on_cancel(self, _goal: ServerGoalHandle) -> CancelResponse:
        self._cancel()
        return CancelResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> RunPolicy.Result:
        if not self._grants.popleft():
            goal.abort()
            return RunPolicy.Result(
                error_code=Result.NOT_READY,
                error_msg="another run is active, or the node is closing; cancel that run first",
                termination=Result.TERMINATION_ERROR,
            )
        request = _Request(goal=goal, done=Future(executor=self._node.executor))
        self._requests.put(request)
        result: RunPolicy.Result = await request.done
        return result

    def _work(self) -> None:
        while not self._closing.is_set():
            if not self._prepare.wait(POLL_S):
                continue
            self._prepare.clear()
            try:
                with self._ticker.attached():
                    self._attached.set()
                    self._serve()
            finally:
                self._busy.release()

    def _serve(self) -> None:
        """Run one goal from acceptance to result."""
        try:
            request = self._requests.get(timeout=GOAL_TIMEOUT_S)
        except queue.Empty:
            return  # the client went away between asking and being accepted
        if request is None:
            return
        result = RunPolicy.Result(
            termination=Result.TERMINATION_ERROR,
            error_code=Result.INFERENCE,
            error_msg="the control loop failed; the node's log has the traceback",
        )
        try:
            result = self._control(request.goal)
        finally:
            self._ending.set()
            _finish(request.goal, result)
            request.done.set_result(result)
            if self._node.executor is not None:
                self._node.executor.wake()  # the waiting coroutine goes on when the executor turns round


def _finish(handle: ServerGoalHandle, result: RunPolicy.Result) -> None:
    """Bring the goal into the state that fits the result."""
    if handle.is_cancel_requested:
        handle.canceled()
    elif result.error_code or result.termination == Result.TERMINATION_SHUTDOWN:
        handle.abort()
    else:
        handle.succeed()
