# SPDX-License-Identifier: Apache-2.0

"""One action server of the robot: goals to it, and what becomes of them.

What trajectory controllers do (ros2_controllers, joint_trajectory_controller): a new goal replaces the running one,
which then ends ABORTED; that is how chunks follow each other and no failure. Goals whose last velocity is not zero or
whose end lies in the past are rejected. Gripper controllers that stall on an object report success with `stalled`.
"""

import threading
from array import array
from functools import partial
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Time
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectoryPoint
from vla_core.errors import VlaError
from vla_core.specs import ActionSpec
from vla_core.stamps import split_ns, to_ns
from vla_core.trajectory import Trajectory

from vla_common.action_client import GoalClient
from vla_common.services import CallError, wait_future

Array = NDArray[np.float64]
TRAJECTORY = "follow_joint_trajectory"
ACTION_TYPES = {
    TRAJECTORY: FollowJointTrajectory,
    "parallel_gripper_command": ParallelGripperCommand,
    "gripper_command": GripperCommand,
}
_TRAJECTORY_CODES = {
    value: name
    for name, value in vars(FollowJointTrajectory.Result).items()
    if name.isupper() and isinstance(value, int)
}


class ControllerError(VlaError):
    """What is to take the commands is absent or not active."""


class ActionChannel:
    """One action server. Goals are numbered; only the newest goal's end counts, the others were replaced."""

    def __init__(self, node: Node, spec: ActionSpec, group: CallbackGroup | None) -> None:
        """Args: group: callback group of the client; None takes the node's default."""
        self.spec = spec
        self.name = spec.command.name
        self.kind = spec.command.interface
        self._client = GoalClient(node, ACTION_TYPES[self.kind], self.name, callback_group=group)
        self._condition = threading.Condition()
        self._newest = 0
        self._unanswered = 0
        self._active: Any = None
        self._cancelling = False
        self._failures: list[str] = []

    def require_ready(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` wall seconds until somebody offers the action.

        Raises:
            ControllerError: nobody does.
        """
        if not self._client.wait_for_server(timeout_sec=timeout_s):
            raise ControllerError(
                f"action {self.name}: nobody offers it after {timeout_s:g} s. Is the robot's driver running and "
                f"is the name in the profile right? Try: ros2 action list"
            )

    def trajectory(self, trajectory: Trajectory) -> None:
        """Send waypoints; they replace the running goal."""
        self.send(trajectory_goal(trajectory))

    def gripper(self, position: float, velocity: float | None = None) -> None:
        """Send a target of a gripper [rad or m] and its velocity [rad/s or m/s], see `gripper_goal`."""
        self.send(gripper_goal(self.spec, position, velocity))

    def in_force(self, t_ns: int, positions: Array) -> None:
        """The controller interpolates its goal by itself."""

    def send(self, goal: Any) -> None:
        """Send a goal without waiting; it replaces the running one."""
        with self._condition:
            self._newest += 1
            self._unanswered += 1
            self._cancelling = False
            number = self._newest
        self._client.send_goal_async(goal).add_done_callback(partial(self._on_response, number))

    def settle(self, timeout_s: float) -> None:
        """Wait until all goals were answered; a server that does not answer is a failure."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._unanswered == 0, timeout_s):
                self._failures.append(f"action {self.name}: no answer to a goal within {timeout_s:g} s")
                self._unanswered = 0

    def stop(self, timeout_s: float) -> str | None:
        """Cancel a running trajectory, which brings the arm to rest; returns what went wrong, if anything did.

        A gripper finishes its short motion and keeps hold.
        """
        if self.kind != TRAJECTORY:
            return None
        self.settle(timeout_s)
        with self._condition:
            handle, self._cancelling = self._active, True
        if handle is None:
            return None
        try:
            wait_future(handle.cancel_goal_async(), timeout_s, f"action {self.name}: cancel request")
        except CallError as error:
            return str(error)
        return None

    def forget(self) -> None:
        """What becomes of earlier goals is no longer of interest; between runs a robot may be reset or moved by hand."""
        with self._condition:
            self._newest += 1
            self._active = None
            self._failures = []

    def resting(self) -> bool:
        """Whether no goal is running or waits for its answer."""
        with self._condition:
            return self._unanswered == 0 and self._active is None

    def take_failures(self) -> list[str]:
        """Failures since the last call."""
        with self._condition:
            taken, self._failures = self._failures, []
        return taken

    def close(self) -> None:
        """Destroy the client."""
        self._client.destroy()

    def _on_response(self, number: int, future: Future) -> None:
        handle: Any = future.result()
        with self._condition:
            self._unanswered = max(0, self._unanswered - 1)
            if not handle.accepted:
                self._failures.append(
                    f"action {self.name}: the goal was rejected. Is its controller active and the robot's program "
                    f"running? The controller's log says why"
                )
            elif number == self._newest:
                self._active = handle
            self._condition.notify_all()
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, number))

    def _on_result(self, number: int, future: Future) -> None:
        response: Any = future.result()
        with self._condition:
            if number != self._newest:
                return  # replaced by a newer goal, which is reported as an abort
            self._active = None
            if response.status == GoalStatus.STATUS_SUCCEEDED or self._cancelling:
                return
            if self.kind != TRAJECTORY and response.result.stalled:
                return  # holds an object
            self._failures.append(self._ended(response))

    def _ended(self, response: Any) -> str:
        how = "was cancelled by another client" if response.status == GoalStatus.STATUS_CANCELED else "was aborted"
        if self.kind != TRAJECTORY:
            return f"action {self.name}: the goal {how}"
        code = response.result.error_code
        why = response.result.error_string or "no further text"
        return f"action {self.name}: the goal {how} with {_TRAJECTORY_CODES.get(code, code)} ({why})"


def trajectory_goal(trajectory: Trajectory) -> Any:
    """The goal message of a trajectory: header stamp plus time_from_start, as the trajectory controller counts."""
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.header.stamp = time_message(trajectory.start_ns)
    goal.trajectory.joint_names = list(trajectory.joint_names)
    goal.trajectory.points = [
        _point(*row)
        for row in zip(trajectory.time_from_start.tolist(), trajectory.positions, trajectory.velocities, strict=True)
    ]
    return goal


def _point(seconds: float, positions: Array, velocities: Array) -> JointTrajectoryPoint:
    """One waypoint. Messages take an `array` as it is, but look at each number of a list."""
    point = JointTrajectoryPoint(positions=array("d", positions.tobytes()), velocities=array("d", velocities.tobytes()))
    point.time_from_start.sec, point.time_from_start.nanosec = split_ns(to_ns(seconds))
    return point


def takes_velocity(spec: ActionSpec) -> bool:
    """Whether a goal of this gripper can say how fast it is to move."""
    return spec.command.interface == "parallel_gripper_command"


def gripper_goal(spec: ActionSpec, position: float, velocity: float | None = None) -> Any:
    """The goal message of a gripper, of the type that the profile names.

    Args:
        spec: Gripper action of the profile.
        position: Target [rad or m].
        velocity: Of the motion [rad/s or m/s]; None: the controller's own, and all that `gripper_command` can do.
    """
    if spec.command.interface == "gripper_command":
        goal = GripperCommand.Goal()
        goal.command.position = position
        return goal
    goal = ParallelGripperCommand.Goal()
    goal.command = JointState(name=list(spec.joints), position=[position])
    if velocity is not None:
        goal.command.velocity = [velocity]
    return goal


def time_message(t_ns: int) -> Time:
    """A builtin_interfaces/Time of nanoseconds."""
    sec, nanosec = split_ns(t_ns)
    return Time(sec=sec, nanosec=nanosec)
