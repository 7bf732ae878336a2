# SPDX-License-Identifier: Apache-2.0

"""The emergency stop service `~/estop`: everything that brings the robot to rest, each step on its own.

It is software and goes through the same network and drivers as everything else: it does not replace the red button.
No step waits for another one, and none is skipped because another one failed. Afterwards no goal runs until
`~/reset_estop`.
"""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger
from vla_common.run import ManagedNode
from vla_common.services import CallError, wait_future
from vla_core.errors import VlaError
from vla_core.profile import Profile

from vla_policy.execution.hooks import Stop
from vla_policy.node.guards import EstopGuard

FIND_TIMEOUT_S = 0.5
STEP_TIMEOUT_S = 2.0
NO_ACTION = ("none", "joint_group_position")
_REASONS = {
    CancelGoal.Response.ERROR_REJECTED: "the server refused to cancel",
    CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID: "the server knows no such goal",
}
Step = Callable[[], str]


class EmergencyStop:
    """Serves `~/estop` and `~/reset_estop` (std_srvs/Trigger)."""

    def __init__(
        self,
        node: ManagedNode,
        profile: Profile,
        guard: EstopGuard,
        *,
        request_stop: Callable[[Stop], None],
    ) -> None:
        """Serve.

        Args:
            node: Whose services they are.
            profile: Names the actions and the `estop` services of the robot.
            guard: Keeps the next goals from running.
            request_stop: Ends the active goal.
        """
        self._node, self._guard, self._request_stop = node, guard, request_stop
        self._steps: dict[str, Step] = {}
        group = ReentrantCallbackGroup()  # answers of the steps arrive while the service is being served
        for spec in profile.action:
            if spec.command.interface not in NO_ACTION:
                self._steps[f"cancel {spec.command.name}"] = self._cancel_all(spec.command.name, group)
        for service in profile.estop:
            self._steps[f"call {service}"] = self._trigger(service, group)
        node.create_service(Trigger, "~/estop", self._on_estop, callback_group=group)
        node.create_service(Trigger, "~/reset_estop", self._on_reset, callback_group=group)

    async def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._guard.tripped = True
        self._request_stop(self._guard.stop)
        self._node.get_logger().error("emergency stop called")
        done = Future(executor=self._node.executor)
        self._node.start_thread(lambda: self._carry_out(done), "estop")
        failed, said = await done
        response.success = not failed
        response.message = "; ".join([*failed, *said])
        log = self._node.get_logger().error if failed else self._node.get_logger().info
        log(f"emergency stop: {response.message}")
        return response

    def _carry_out(self, done: Future) -> None:
        """Take all steps side by side; the executor's thread delivers their answers meanwhile."""
        failed, said = [], ["the run ends and no other begins until reset_estop"]
        try:
            with ThreadPoolExecutor(max_workers=max(1, len(self._steps)), thread_name_prefix="estop") as pool:
                running = {name: pool.submit(step) for name, step in self._steps.items()}
                for name, future in running.items():
                    try:
                        said.append(f"{name}: {future.result()}")
                    except VlaError as error:
                        failed.append(f"{name} FAILED: {error}")
                    except Exception as error:  # noqa: BLE001  (a step must not keep the others from being told)
                        self._node.get_logger().error(traceback.format_exc())
                        failed.append(f"{name} FAILED: {type(error).__name__}: {error}")
        finally:
            done.set_result((failed, said))
            if self._node.executor is not None:
                self._node.executor.wake()  # the waiting coroutine goes on when the executor turns round

    def _cancel_all(self, action: str, group: CallbackGroup) -> Step:
        """Cancel every goal of an action, whoever sent it: a zero id and stamp mean all (action_msgs/CancelGoal)."""
        client = self._node.create_client(CancelGoal, f"{action}/_action/cancel_goal", callback_group=group)

        def step() -> str:
            reply = self._ask(client, CancelGoal.Request())
            if reply.return_code in _REASONS:
                raise CallError(_REASONS[reply.return_code])
            return f"{len(reply.goals_canceling)} goals cancelled" if reply.goals_canceling else "no goal was running"

        return step

    def _trigger(self, service: str, group: CallbackGroup) -> Step:
        client = self._node.create_client(Trigger, service, callback_group=group)

        def step() -> str:
            reply = self._ask(client, Trigger.Request())
            if not reply.success:
                raise CallError(f"refused: {reply.message}")
            return str(reply.message) or "done"

        return step

    def _ask(self, client: Any, request: Any) -> Any:
        """The answer of a service."""
        if not client.wait_for_service(timeout_sec=FIND_TIMEOUT_S):
            raise CallError("nobody offers it; is the robot's driver running?")
        future = client.call_async(request)
        try:
            return wait_future(future, STEP_TIMEOUT_S, str(client.service_name))
        finally:
            client.remove_pending_request(future)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        was, self._guard.tripped = self._guard.tripped, False
        response.success = True
        response.message = "goals may run again" if was else "the emergency stop was not called; nothing to reset"
        self._node.get_logger().info(response.message)
        return response
