# SPDX-License-Identifier: Apache-2.0

"""Begins a dry run by itself as soon as every stream has come, for example while a bag is played."""

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from vla_common.action_client import GoalClient
from vla_core.frames import FrameBuilder
from vla_msgs.action import RunPolicy

PERIOD_S = 0.1


class AutoStart:
    """A client of the node's own action. After the streams went silent it waits for new ones and begins again."""

    def __init__(self, node: Node, builder: FrameBuilder) -> None:
        """Begin to look for messages; by wall time, since a bag may not play its clock yet."""
        self._builder = builder
        self._client = GoalClient(node, RunPolicy, "~/run")
        self._timer = node.create_timer(PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._active = False

    def _look(self) -> None:
        if self._active or not self._client.server_is_ready():
            return
        if any(self._builder.newest_ns(stream.key) is None for stream in self._builder.streams):
            return
        self._active = True
        self._client.send_goal_async(RunPolicy.Goal(dry_run=True)).add_done_callback(self._on_accepted)

    def _on_accepted(self, future: Future) -> None:
        handle: Any = future.result()
        handle.get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Future) -> None:
        response: Any = future.result()
        if response.result.termination == RunPolicy.Result.TERMINATION_STALE_INPUT:
            self._builder.clear()  # only messages that are still to come count as ready
            self._active = False
        else:
            self._timer.cancel()
