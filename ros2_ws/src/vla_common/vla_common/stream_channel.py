# SPDX-License-Identifier: Apache-2.0

"""Positions streamed to a forward command controller, at the rate of the control loop.

Such a controller (ros2_controllers, forward_command_controller) has no interpolation, no limit and no time-out: the arm
goes to the last command as fast as it can and stays there. So the interpolation happens here, on the spline in force;
no command is further from the one before than the profile's velocity allows; and a stop is to send nothing more. The
controller takes numbers without names, so the profile must list the joints in the controller's order.
"""

import threading

import numpy as np
from controller_manager_msgs.srv import ListControllers
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Float64MultiArray
from vla_core.specs import ActionSpec
from vla_core.stamps import to_ns, to_s
from vla_core.trajectory import Trajectory

from vla_common.action_channel import ControllerError
from vla_common.controller_state import manager_of, why_not_active, why_wrong_order
from vla_common.qos import COMMAND
from vla_common.services import CallError, call_service

Array = NDArray[np.float64]
STREAM = "joint_group_position"
LIST, SWITCH = "list_controllers", "switch_controller"
LOOK_S = 1.0  # how often it is looked whether the controller is still active
SLACK = 1e-6


class StreamChannel:
    """One arm that takes positions. The counterpart of `ActionChannel` without goals."""

    def __init__(self, node: Node, spec: ActionSpec, group: CallbackGroup | None) -> None:
        """Args: group: callback group of the client; None takes the node's default."""
        self.spec = spec
        self.name = spec.command.name
        self._publisher = node.create_publisher(Float64MultiArray, self.name, COMMAND)
        service = f"{manager_of(spec.command)}/{LIST}"
        self._manager = node.create_client(ListControllers, service, callback_group=group)
        self._lock = threading.Lock()
        self._failures: list[str] = []
        self._sent: tuple[int, Array] | None = None
        self._end_ns: int | None = None
        self._looked_ns = 0
        self._looking: Future | None = None

    def forget(self) -> None:
        """A new run begins; where the arm was sent before means nothing any more."""
        with self._lock:
            self._failures = []
        self._sent = self._end_ns = None

    def require_ready(self, timeout_s: float) -> None:
        """Ask the controller manager whether the controller is active, and takes the joints in the profile's order.

        Raises:
            ControllerError: it is not or does not, or there is no controller manager; says what to do.
        """
        try:
            response = call_service(self._manager, ListControllers.Request(), timeout_s)
        except CallError as error:
            raise ControllerError(
                f"topic {self.name}: whether {self.spec.command.controller} is active cannot be found out: {error}"
            ) from error
        problem = self._problem(response)
        if problem is not None:
            raise ControllerError(problem)

    def trajectory(self, trajectory: Trajectory) -> None:
        """Its positions come one by one through `in_force`; only its end is remembered."""
        self._end_ns = trajectory.end_ns

    def gripper(self, position: float) -> None:
        """Send a target at once [rad or m]."""
        self._publisher.publish(Float64MultiArray(data=[position]))

    def in_force(self, t_ns: int, positions: Array) -> None:
        """Send the positions (k,) of this tick, unless a joint would have to be faster than the profile allows."""
        problem = self._too_far(t_ns, positions)
        if problem is not None:
            self._fail(problem)
            return
        if self._publisher.get_subscription_count() == 0:
            self._fail(f"topic {self.name}: nobody listens any more; is the robot's driver running?")
            return
        self._sent = (t_ns, np.array(positions))
        self._publisher.publish(Float64MultiArray(data=[float(p) for p in positions]))
        self._look(t_ns)

    def settle(self, timeout_s: float) -> None:
        """Wait until the controller has what was sent."""
        if not self._publisher.wait_for_all_acked(Duration(seconds=timeout_s)):
            self._fail(f"topic {self.name}: a command was not received within {timeout_s:g} s")

    def stop(self, timeout_s: float) -> str | None:
        """Send nothing more: the controller holds the last position."""
        self._sent = self._end_ns = None
        return None

    def resting(self) -> bool:
        """Whether the positions of the last trajectory were all sent."""
        return self._end_ns is None or (self._sent is not None and self._sent[0] >= self._end_ns)

    def take_failures(self) -> list[str]:
        """Failures since the last call."""
        with self._lock:
            taken, self._failures = self._failures, []
        return taken

    def close(self) -> None:
        """Nothing is held that the node does not destroy."""

    def _fail(self, text: str) -> None:
        with self._lock:
            self._failures.append(text)

    def _too_far(self, t_ns: int, positions: Array) -> str | None:
        limits = self.spec.limits.max_velocity
        if self._sent is None or limits is None:
            return None
        before_ns, before = self._sent
        seconds = to_s(t_ns - before_ns)
        excess = np.abs(positions - before) - np.array(limits) * seconds - SLACK
        worst = int(np.argmax(excess))
        if excess[worst] <= 0.0:
            return None
        return (
            f"topic {self.name}: {self.spec.joints[worst]} would have to move {abs(positions - before)[worst]:.4f} rad in "
            f"{seconds:.3f} s, more than its limit of {limits[worst]:g} rad/s; the arm stays at the command before"
        )

    def _look(self, t_ns: int) -> None:
        """Ask the controller manager now and then, without waiting for its answer."""
        if self._looking is not None or t_ns - self._looked_ns < to_ns(LOOK_S) or not self._manager.service_is_ready():
            return
        self._looked_ns = t_ns
        self._looking = self._manager.call_async(ListControllers.Request())
        self._looking.add_done_callback(self._on_answer)

    def _on_answer(self, future: Future) -> None:
        self._looking = None
        problem = self._problem(future.result())
        if problem is not None:
            self._fail(problem)

    def _problem(self, response: ListControllers.Response) -> str | None:
        """Why the controller would not take commands, or None."""
        name = self.spec.command.controller
        states = {controller.name: controller for controller in response.controller}
        own = states.get(name)
        if own is None:
            return (
                f"topic {self.name}: the controller manager knows no {name}; loaded are {', '.join(sorted(states))}. "
                "Correct command.name or command.controller in the profile"
            )
        switch = self._manager.service_name.replace(LIST, SWITCH)
        problem = why_not_active(own, response.controller, switch) or why_wrong_order(own, self.spec.joints)
        return None if problem is None else f"topic {self.name}: {problem}"
