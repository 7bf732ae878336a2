# SPDX-License-Identifier: Apache-2.0

"""The ROS side of the tools: a client of the policy node's action, driven from an asyncio loop.

The node's executor spins in a thread of its own; its futures are awaited in the loop.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.task import Future
from vla_common.action_client import GoalClient
from vla_common.executor import ExecutorThread
from vla_common.qos import EVENT, LATCHED
from vla_core.errors import VlaError
from vla_msgs.action import RunPolicy
from vla_msgs.msg import Heartbeat, PolicyStatus

FIND_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30.0  # the way back to rest, not to the ready pose: a cancelled run stays where it is
FIND_PERIOD_S = 0.05
LOOK_PERIOD_S, GONE_S = 0.5, 3.0


class PolicyClientError(VlaError):
    """The policy node is not there or does not answer."""


class PolicyClient:
    """Sends goals to one policy node and knows its status."""

    def __init__(self, policy: str = "policy") -> None:
        """Make the node and let it spin; rclpy is initialised already.

        Args:
            policy: Name of the policy node, relative to the namespace of this program.
        """
        self.policy = policy
        self._node = Node("vla_mcp")
        self._goals = GoalClient(self._node, RunPolicy, f"{policy}/run")
        self._parameters = self._node.create_client(GetParameters, f"{policy}/get_parameters")
        self._heartbeats = self._node.create_publisher(Heartbeat, f"{policy}/heartbeat", EVENT)
        self._status: PolicyStatus | None = None
        self._node.create_subscription(PolicyStatus, f"{policy}/status", self._on_status, LATCHED)
        self._thread = ExecutorThread(self._node)

    def close(self) -> None:
        """Leave the graph."""
        self._thread.close()
        self._node.destroy_node()

    def log(self, text: str) -> None:
        """Write a line to the log (standard error and /rosout)."""
        self._node.get_logger().info(text)

    def beat(self, client: str) -> None:
        """Say that the client of a goal is alive."""
        self._heartbeats.publish(Heartbeat(stamp=self._node.get_clock().now().to_msg(), client=client))

    async def status(self) -> PolicyStatus:
        """The policy node's last status.

        Raises:
            PolicyClientError: no policy node has published one.
        """
        await self._until(
            lambda: self._status is not None and self._node.count_publishers(f"{self.policy}/status") > 0,
            f"nothing was published on {self.policy}/status",
        )
        assert self._status is not None
        return self._status

    async def parameter(self, name: str) -> Any:
        """The value of a parameter of the policy node.

        Raises:
            PolicyClientError: the node does not answer.
        """
        await self._until(self._parameters.service_is_ready, f"the node {self.policy} is not there")
        future = self._parameters.call_async(GetParameters.Request(names=[name]))
        response = await _result(future, ANSWER_TIMEOUT_S, f"{self.policy}/get_parameters")
        return parameter_value_to_python(response.values[0])

    async def start(self, goal: RunPolicy.Goal, feedback: Callable[[RunPolicy.Feedback], None]) -> "Run":
        """Send a goal; once it was sent, a cancellation of the caller waits until the goal can be cancelled too.

        Args:
            goal: The goal.
            feedback: Called in the loop with each feedback message.

        Raises:
            PolicyClientError: nobody offers the action, or it does not answer.
        """
        await self._until(self._goals.server_is_ready, f"nobody offers the action {self.policy}/run")
        loop = asyncio.get_running_loop()

        def forward(msg: Any) -> None:
            loop.call_soon_threadsafe(feedback, msg.feedback)

        with anyio.CancelScope(shield=True):
            future = self._goals.send_goal_async(goal, feedback_callback=forward)
            handle = await _result(future, ANSWER_TIMEOUT_S, f"action {self.policy}/run")
        if not handle.accepted:
            raise PolicyClientError(f"action {self.policy}/run: the goal was rejected; the node's log says why")
        return Run(handle, f"action {self.policy}/run", self._goals.server_is_ready)

    async def _until(self, ready: Callable[[], bool], what: str) -> None:
        with anyio.move_on_after(FIND_TIMEOUT_S):
            while not ready():
                await anyio.sleep(FIND_PERIOD_S)
        if not ready():
            raise PolicyClientError(
                f"{what} within {FIND_TIMEOUT_S:g} s. Is the policy node running, in the same ROS domain and under this "
                f"name? Start it: ros2 launch vla_bringup infer.launch.py checkpoint:=DIR"
            )

    def _on_status(self, msg: PolicyStatus) -> None:
        self._status = msg


class Run:
    """One accepted goal."""

    def __init__(self, handle: Any, name: str, server_is_ready: Callable[[], bool]) -> None:
        """Ask for the result at once, so that it cannot be missed."""
        self._handle = handle
        self._name = name
        self._server_is_ready = server_is_ready
        self._future: Future = handle.get_result_async()

    @property
    def ended(self) -> bool:
        """Whether the goal has ended; the arm then rests."""
        return bool(self._future.done())

    async def result(self) -> RunPolicy.Result:
        """Wait for the end.

        Raises:
            PolicyClientError: the policy node is gone.
        """
        done = _event(self._future)
        missing = 0
        while not done.is_set():
            with anyio.move_on_after(LOOK_PERIOD_S):
                await done.wait()
            missing = 0 if self._server_is_ready() else missing + 1
            if missing > GONE_S / LOOK_PERIOD_S:
                raise PolicyClientError(
                    f"{self._name}: the policy node is gone while the goal ran. The arm's controller plays what it was "
                    f"sent last to its end; see the node's log before the next run"
                )
        response: Any = self._future.result()
        result: RunPolicy.Result = response.result
        return result

    async def stop(self) -> None:
        """Cancel the goal and wait until it has ended, whatever becomes of the caller.

        The policy node answers the end of a goal only after the arm's controllers have answered their cancel requests.

        Raises:
            PolicyClientError: the goal does not end.
        """
        with anyio.CancelScope(shield=True):
            self._handle.cancel_goal_async()
            with anyio.move_on_after(STOP_TIMEOUT_S):
                await self.result()
        if not self.ended:
            raise PolicyClientError(
                f"{self._name}: the goal has not ended {STOP_TIMEOUT_S:g} s after it was cancelled. Stop the arm by hand"
            )


def _event(future: Future) -> asyncio.Event:
    """An event of the running loop that is set when a future of rclpy is complete."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake(_: Future) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    return done


async def _result(future: Future, timeout_s: float, what: str) -> Any:
    """Await a future of rclpy.

    Raises:
        PolicyClientError: it was not complete after `timeout_s` seconds.
    """
    done = _event(future)
    with anyio.move_on_after(timeout_s):
        await done.wait()
    if not future.done():
        raise PolicyClientError(f"{what}: no answer within {timeout_s:g} s. Is the policy node busy or gone?")
    return future.result()
