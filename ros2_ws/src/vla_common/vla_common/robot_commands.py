# SPDX-License-Identifier: Apache-2.0

"""Commands to the robot, by whatever interface the profile names for each part of the action."""

import time

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from vla_core.codecs import JOINT_STATE
from vla_core.profile import Profile
from vla_core.trajectory import Trajectory

from vla_common.action_channel import ActionChannel, ControllerError
from vla_common.controller_state import manager_of
from vla_common.controllers import ControllerSwitch
from vla_common.stream_channel import STREAM, StreamChannel
from vla_common.targets import TargetPublisher

Array = NDArray[np.float64]
Channel = ActionChannel | StreamChannel
NO_INTERFACE = "none"
ANSWER_TIMEOUT_S = 20.0  # wall time: simulated time stands still meanwhile, so a busy machine may take its time
CANCEL_TIMEOUT_S = 1.0


class ActionCommands:
    """Sends to the controllers of a profile and publishes the targets in force on its record topics."""

    sends = True

    def __init__(self, node: Node, profile: Profile, *, lockstep: bool, group: CallbackGroup | None = None) -> None:
        """Make the clients and publishers; nothing is sent."""
        self._node = node
        self._lockstep = lockstep
        self._channels: dict[str, Channel] = {
            spec.name: (StreamChannel if spec.command.interface == STREAM else ActionChannel)(node, spec, group)
            for spec in profile.action
            if spec.command.interface != NO_INTERFACE
        }
        followed = [spec for spec in profile.action if spec.command.interface not in (NO_INTERFACE, STREAM)]
        self._managers = {
            manager: ControllerSwitch(node, manager=manager, group=group)
            for manager in dict.fromkeys(manager_of(spec.command) for spec in followed)
        }
        self._followed = tuple(followed)
        recorded = [spec.name for spec in profile.action if spec.record.type == JOINT_STATE]
        self._recorded = frozenset(recorded)
        self._targets = TargetPublisher(node, profile, recorded)

    def begin(self, timeout_s: float) -> None:
        """Begin a run: forget the goals of earlier ones and wait for the controllers.

        Raises:
            ControllerError: one is not there, or not active, after `timeout_s` wall seconds.
        """
        deadline = time.monotonic() + timeout_s
        for channel in self._channels.values():
            channel.forget()
        for channel in self._channels.values():
            channel.require_ready(max(0.0, deadline - time.monotonic()))
        self._require_active(ANSWER_TIMEOUT_S if self._lockstep else max(1.0, deadline - time.monotonic()))

    def _require_active(self, timeout_s: float) -> None:
        """Ask the controller managers, where there are any: a controller that is not active would reject each goal.

        Raises:
            ControllerError: one is not active; says who has the arm and how to switch.
        """
        for spec in self._followed:
            manager = self._managers[manager_of(spec.command)]
            problem = manager.why_not(spec.command.controller, timeout_s) if manager.offered() else None
            if problem is not None:
                raise ControllerError(f"action {spec.command.name}: {problem}")

    def trajectory(self, name: str, trajectory: Trajectory) -> None:
        """Send waypoints to the arm `name`; they replace the running goal."""
        if name in self._channels:
            self._channels[name].trajectory(trajectory)

    def gripper(self, name: str, position: float) -> None:
        """Send a target [rad or m] to the gripper `name`."""
        if name in self._channels:
            self._channels[name].gripper(position)

    def show(self, text: str) -> None:
        """Say what a plan commands, for those who debug."""
        self._node.get_logger().debug(text)

    def settle(self) -> None:
        """In lockstep: wait until the servers have answered."""
        if self._lockstep:
            for channel in self._channels.values():
                channel.settle(ANSWER_TIMEOUT_S)

    def failures(self) -> list[str]:
        """Goals that were rejected or aborted since the last call; a replaced goal is none."""
        return [text for channel in self._channels.values() for text in channel.take_failures()]

    def resting(self) -> bool:
        """Whether no trajectory is running; grippers do not count."""
        return all(channel.resting() for channel in self._channels.values() if not channel.spec.is_gripper)

    def in_force(self, t_ns: int, name: str, positions: Array) -> None:
        """Publish the joint target ``(k,)`` [rad or m] in force at `t_ns`; where positions are streamed, this is the command."""
        if name in self._channels:
            self._channels[name].in_force(t_ns, positions)
        if name in self._recorded:
            self._targets.publish(name, t_ns, positions)

    def stop(self) -> list[str]:
        """Bring the arms to rest; grippers finish their short motion and keep hold."""
        return [text for channel in self._channels.values() if (text := channel.stop(CANCEL_TIMEOUT_S)) is not None]

    def close(self) -> None:
        """Destroy the clients."""
        for channel in self._channels.values():
            channel.close()
