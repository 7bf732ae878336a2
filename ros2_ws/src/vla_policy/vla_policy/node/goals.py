# SPDX-License-Identifier: Apache-2.0

"""Commands to the robot, by whatever interface the profile names for each part of the action, or to nowhere."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from vla_common.action_channel import ActionChannel, time_message
from vla_common.qos import COMMAND
from vla_core.codecs import JOINT_STATE
from vla_core.profile import Profile
from vla_core.trajectory import Trajectory

from vla_policy.node.stream_channel import STREAM, StreamChannel

Array = NDArray[np.float64]
Channel = ActionChannel | StreamChannel
NO_INTERFACE = "none"
ANSWER_TIMEOUT_S = 2.0
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
        self._publishers: dict[str, Publisher] = {
            spec.name: node.create_publisher(JointState, spec.record.topic, COMMAND)
            for spec in profile.action
            if spec.record.type == JOINT_STATE
        }
        self._joints = {spec.name: spec.joints for spec in profile.action}

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

    def trajectory(self, name: str, trajectory: Trajectory) -> None:
        """See `Commands.trajectory`."""
        if name in self._channels:
            self._channels[name].trajectory(trajectory)

    def gripper(self, name: str, position: float) -> None:
        """See `Commands.gripper`."""
        if name in self._channels:
            self._channels[name].gripper(position)

    def show(self, text: str) -> None:
        """See `Commands.show`."""
        self._node.get_logger().debug(text)

    def settle(self) -> None:
        """See `Commands.settle`."""
        if self._lockstep:
            for channel in self._channels.values():
                channel.settle(ANSWER_TIMEOUT_S)

    def failures(self) -> list[str]:
        """See `Commands.failures`."""
        return [text for channel in self._channels.values() for text in channel.take_failures()]

    def resting(self) -> bool:
        """Whether no trajectory is running; grippers do not count."""
        return all(channel.resting() for channel in self._channels.values() if not channel.spec.is_gripper)

    def in_force(self, t_ns: int, name: str, positions: Array) -> None:
        """See `Commands.in_force`; where positions are streamed, this is the command."""
        if name in self._channels:
            self._channels[name].in_force(t_ns, positions)
        if name not in self._publishers:
            return
        msg = JointState(name=list(self._joints[name]), position=[float(p) for p in positions])
        msg.header.stamp = time_message(t_ns)
        self._publishers[name].publish(msg)

    def stop(self) -> list[str]:
        """Bring the arms to rest; grippers finish their short motion and keep hold."""
        return [text for channel in self._channels.values() if (text := channel.stop(CANCEL_TIMEOUT_S)) is not None]

    def close(self) -> None:
        """Destroy the clients."""
        for channel in self._channels.values():
            channel.close()


class ShownCommands:
    """A dry run: everything is computed and shown, nothing leaves the node."""

    sends = False

    def __init__(self, write: Callable[[str], None]) -> None:
        """Args: write: takes one line per plan."""
        self._write = write

    def begin(self, timeout_s: float) -> None:
        """A dry run needs no servers."""

    def trajectory(self, name: str, trajectory: Trajectory) -> None:
        """Not sent; `show` has said it."""

    def gripper(self, name: str, position: float) -> None:
        """Not sent; only shown."""
        self._write(f"would move {name} to {position:.3f} rad")

    def show(self, text: str) -> None:
        """See `Commands.show`."""
        self._write(f"would command: {text}")

    def settle(self) -> None:
        """Nothing was sent."""

    def failures(self) -> list[str]:
        """Nothing was sent."""
        return []

    def resting(self) -> bool:
        """Nothing moves."""
        return True

    def in_force(self, t_ns: int, name: str, positions: Array) -> None:
        """Nothing is in force."""

    def stop(self) -> list[str]:
        """Nothing was sent."""
        return []

    def close(self) -> None:
        """Nothing to destroy."""
