# SPDX-License-Identifier: Apache-2.0

"""A node inside a program that is none: a script, or a tool whose main loop belongs to somebody else.

It has a ROS context and an executor thread of its own, so it neither touches the program's signal handlers nor ends with
another node of the same process.
"""

import threading
import time
import traceback

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from vla_core.errors import VlaError

from vla_common.executor import BatchExecutor

LEROBOT_ROBOT = "lerobot_robot"
"""Name of the node behind LeRobot's robot: its teleoperator must not follow what this one publishes."""
_LOOK_S = 0.05  # between two looks for what is not discovered yet
_LONGEST_CALLBACK_S = 2.0  # a callback that takes longer is left alone at the end


class BackgroundError(VlaError):
    """The node in the background cannot work, or has ended."""


class BackgroundNode:
    """A node that a thread of its own serves, from `start` to `close`.

    Attributes:
        node: For publishers, subscriptions and clients, to be made before `start`.
    """

    def __init__(self, name: str, *, namespace: str = "", use_sim_time: bool = False) -> None:
        """Join the ROS network; nothing is served yet.

        Args:
            name: Of the node.
            namespace: Of the node; relative topics live in it.
            use_sim_time: Take the time from /clock.
        """
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(
            name,
            context=self._context,
            namespace=namespace,
            use_global_arguments=False,
            parameter_overrides=[Parameter("use_sim_time", value=use_sim_time)],
        )
        self._executor = BatchExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ended = threading.Event()
        self._failed = ""
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Serve the node from now on."""
        self._thread.start()

    @property
    def failed(self) -> str:
        """What ended the thread, or an empty text."""
        return self._failed

    def now_ns(self) -> int:
        """Time of the node's clock [ns]."""
        return int(self.node.get_clock().now().nanoseconds)

    def check_clock(self, option: str, *, patience_s: float = 5.0) -> None:
        """Find the two ways in which a program and a robot can disagree about the time.

        Args:
            option: What turns simulated time on, for the message, such as ``--robot.use_sim_time``.
            patience_s: How long a publisher of /clock may take to be discovered; only with simulated time.

        Raises:
            BackgroundError: /clock is published and not used, or used and not published.
        """
        simulated = self.node.get_parameter("use_sim_time").value
        publishers = self.node.count_publishers("/clock")
        deadline = time.monotonic() + patience_s
        while simulated and not publishers and time.monotonic() < deadline:
            self._ended.wait(_LOOK_S)
            publishers = self.node.count_publishers("/clock")
        if publishers and not simulated:
            raise BackgroundError(
                f"somebody publishes /clock, so the robot's stamps are simulated time and every message would look "
                f"decades old; add {option}=true"
            )
        if simulated and not publishers:
            raise BackgroundError(
                f"nobody publishes /clock, so simulated time stands still; start the simulation first, or add "
                f"{option}=false for a real robot"
            )

    def stop(self) -> None:
        """End the thread; nothing is received any more. Action clients may be destroyed from now on."""
        if self._thread.is_alive():
            self._executor.end(self._ended)
            self._thread.join(_LONGEST_CALLBACK_S)
        self._executor.shutdown(timeout_sec=0.0)

    def close(self) -> None:
        """End the thread and leave the ROS network."""
        self.stop()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _serve(self) -> None:
        try:
            self._executor.serve(self._ended)
        except Exception as error:  # noqa: BLE001  (border of a thread)
            self._failed = f"the thread that receives messages ended: {error}"
            self.node.get_logger().fatal(f"{self._failed}\n{traceback.format_exc()}")
