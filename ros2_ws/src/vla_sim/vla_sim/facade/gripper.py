# SPDX-License-Identifier: Apache-2.0

"""The gripper's joint state and action, as ros2_robotiq_gripper offers them."""

from typing import Any

from control_msgs.action import GripperCommand, ParallelGripperCommand
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.action_server import DeferredActionServer
from vla_core.controller_outcome import GoalOutcome, GoalRefusedError

from vla_sim.cell_params import CellParams
from vla_sim.facade.streams import RATE_HZ, Jobs, OnPublished, Stream
from vla_sim.plant import Plant
from vla_sim.robot import Station

Command = tuple[float, float | None, float | None]  # position [rad or m], velocity [1/s], effort [N]


class GripperFacade:
    """Publishes the gripper's joint and takes gripper goals of the type that the parameter `gripper_action` names."""

    def __init__(
        self, node: Node, station: Station, plant: Plant, params: CellParams, jobs: Jobs, on_published: OnPublished
    ) -> None:
        self._plant = plant
        self._log = node.get_logger()
        grip = station.robot.gripper
        self._joint, self._name = grip.joint, station.topic(grip.controller)
        self._parallel = params.gripper_action == "parallel_gripper_command"
        self._type: Any = ParallelGripperCommand if self._parallel else GripperCommand
        state = JointState(name=[self._joint], position=[0.0], velocity=[0.0], effort=[0.0])
        self.joint_states = Stream(node, state, station.topic("joint_states"), on_published)
        self._server = DeferredActionServer(
            node,
            self._type,
            f"{self._name}/gripper_cmd",
            check=self._check,
            accepted=self._accepted,
            cancel=self._cancel,
        )
        jobs.every(round(RATE_HZ / params.gripper_state_rate_hz), self._send_joint_state)

    def serve_cancels(self) -> None:
        """See `DeferredActionServer.serve_cancels`; the plant is locked."""
        self._server.serve_cancels()

    def finish_goals(self) -> list[Any]:
        """Send the results of goals that have ended; returns the events to wait for."""
        outcomes, self._plant.gripper.outcomes = self._plant.gripper.outcomes, []
        return [self._finish(outcome) for outcome in outcomes]

    def _finish(self, outcome: GoalOutcome) -> Any:
        position, velocity, effort = self._plant.knuckle
        result = self._type.Result(stalled=outcome.stalled, reached_goal=outcome.reached)
        if self._parallel:
            result.state = JointState(name=[self._joint], position=[position], velocity=[velocity], effort=[effort])
        else:
            result.position, result.effort = position, effort
        return self._server.finish(outcome.token, outcome.status, result)

    def _command(self, goal: Any) -> Command:
        if not self._parallel:
            return goal.command.position, None, goal.command.max_effort
        command = goal.command
        if len(command.position) != 1:
            raise GoalRefusedError(f"the goal has {len(command.position)} positions, expected 1 ({self._joint})")
        velocity = command.velocity[0] if len(command.velocity) else None
        effort = command.effort[0] if len(command.effort) else None
        return command.position[0], velocity, effort

    def _check(self, goal: Any) -> bool:
        try:
            self._plant.gripper.check(*self._command(goal))
        except GoalRefusedError as error:
            self._log.error(f"{self._name}: goal rejected: {error}")
            return False
        return True

    def _accepted(self, handle: ServerGoalHandle) -> None:
        with self._plant.lock:
            self._plant.gripper.accept(*self._command(handle.request), token=handle, now_ns=self._plant.time_ns)

    def _cancel(self, handle: ServerGoalHandle) -> None:
        self._plant.gripper.cancel(handle, self._plant.knuckle[0])

    def _send_joint_state(self, t_ns: int) -> None:
        if not self.joint_states.wanted:
            return
        state = self.joint_states.message
        state.position[0], state.velocity[0], state.effort[0] = self._plant.knuckle
        self.joint_states.send(t_ns)
