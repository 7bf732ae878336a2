# SPDX-License-Identifier: Apache-2.0

"""The action, topic and services through which an SO-101 follower is commanded."""

from __future__ import annotations

import threading
from typing import Any

from control_msgs.action import FollowJointTrajectory
from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers, SwitchController
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from vla_common.action_server import DeferredActionServer
from vla_common.qos import COMMAND
from vla_core.controller_outcome import GoalRefusedError
from vla_core.controller_trajectory import Plan, Tolerances

from vla_drivers.so101.motion import FORWARD_CONTROLLER, TRAJECTORY_CONTROLLER, Motion


class Controllers:
    """Turns goals, streamed positions and switches into calls of `Motion`, under one lock."""

    def __init__(self, node: Node, motion: Motion, lock: threading.RLock, rate_hz: float) -> None:
        """Offer them.

        Args:
            node: Which offers them; names are relative to its namespace.
            motion: What they act on.
            lock: Held around every call of `motion`.
            rate_hz: Of the control cycle, for the list of controllers [Hz].
        """
        self._node, self._motion, self._lock, self._rate_hz = node, motion, lock, rate_hz
        self._log = node.get_logger()
        self._checked: tuple[Plan, Tolerances] | None = None
        self._server = DeferredActionServer(
            node,
            FollowJointTrajectory,
            f"{TRAJECTORY_CONTROLLER}/follow_joint_trajectory",
            check=self._check,
            accepted=self._accepted,
            cancel=self._cancel,
        )
        node.create_subscription(Float64MultiArray, f"{FORWARD_CONTROLLER}/commands", self._on_positions, COMMAND)
        node.create_service(ListControllers, "controller_manager/list_controllers", self._list)
        node.create_service(SwitchController, "controller_manager/switch_controller", self._switch)

    def serve_cancels(self) -> None:
        """See `DeferredActionServer.serve_cancels`; from the control loop, which holds the lock."""
        self._server.serve_cancels()

    def finish_goals(self) -> None:
        """Send the results of goals that have ended; from the control loop."""
        with self._lock:
            outcomes, self._motion.trajectory.outcomes = self._motion.trajectory.outcomes, []
        for outcome in outcomes:
            if outcome.code:
                self._log.warning(f"{TRAJECTORY_CONTROLLER}: goal ended {outcome.status.name}: {outcome.text}")
            result = FollowJointTrajectory.Result(error_code=outcome.code, error_string=outcome.text)
            self._server.finish(outcome.token, outcome.status, result)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _check(self, goal: FollowJointTrajectory.Goal) -> bool:
        with self._lock:
            try:
                if goal.multi_dof_trajectory.joint_names or goal.multi_dof_trajectory.points:
                    raise GoalRefusedError("the goal has a multi_dof_trajectory; the arm has single joints only")
                plan = self._motion.check_goal(goal.trajectory, self._now_ns())
                self._checked = (plan, self._motion.trajectory.tolerances_for(goal))
            except GoalRefusedError as error:
                self._log.error(f"{TRAJECTORY_CONTROLLER}: goal rejected: {error}")
                return False
        return True

    def _accepted(self, handle: ServerGoalHandle) -> None:
        assert self._checked is not None  # rclpy calls this right after `_check`, in the same thread
        with self._lock:
            self._motion.accept_goal(self._checked[0], handle, self._checked[1])

    def _cancel(self, handle: ServerGoalHandle) -> None:
        self._motion.cancel(handle)

    def _on_positions(self, message: Float64MultiArray) -> None:
        with self._lock:
            try:
                self._motion.stream(message.data, self._now_ns())
            except GoalRefusedError as error:
                self._log.error(f"{FORWARD_CONTROLLER}: dropped: {error}", throttle_duration_sec=1.0)

    def _list(self, _: Any, response: Any) -> Any:
        with self._lock:
            for controller in self._motion.manager.controllers.values():
                response.controller.append(
                    ControllerState(
                        name=controller.name,
                        state="active" if controller.active else "inactive",
                        type=controller.type,
                        update_rate=round(self._rate_hz),
                        claimed_interfaces=list(controller.interfaces) if controller.active else [],
                        required_command_interfaces=list(controller.interfaces),
                    )
                )
        return response

    def _switch(self, request: Any, response: Any) -> Any:
        with self._lock:
            response.ok, response.message = self._motion.manager.switch(
                request.activate_controllers, request.deactivate_controllers, request.strictness
            )
        if response.message:
            self._log.error(f"switch_controller: {response.message}")
        return response
