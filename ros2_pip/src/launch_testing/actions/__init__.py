# SPDX-License-Identifier: Apache-2.0

"""Actions for launch tests."""

from typing import TYPE_CHECKING

from launch.action import Action
from launch.event import Event
from launch.unsupported import refuse

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

__all__ = ["ReadyToTest"]


class ReadyEvent(Event):
    """The tests can begin."""

    name = "launch_testing.events.ReadyEvent"


class ReadyToTest(Action):
    """Lets the tests begin."""

    def execute(self, context: "LaunchContext") -> None:
        """Emit the event that the runner waits for."""
        context.emit_event_sync(ReadyEvent())


__getattr__ = refuse(__name__, frozenset({"GTest", "PyTest", "Test"}))
