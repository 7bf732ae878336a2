# SPDX-License-Identifier: Apache-2.0

"""Events of the launch as a whole; those of processes are in :mod:`launch.events.process`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from launch.event import Event
from launch.events import process
from launch.events.execution_complete import ExecutionComplete
from launch.events.matchers import matches_action, matches_executable, matches_name, matches_pid

if TYPE_CHECKING:
    from launch.launch_description_source import LaunchDescriptionSource

__all__ = [
    "ExecutionComplete",
    "IncludeLaunchDescription",
    "Shutdown",
    "TimerEvent",
    "matches_action",
    "matches_executable",
    "matches_name",
    "matches_pid",
    "process",
]


class Shutdown(Event):
    """The launch shall end."""

    name = "launch.events.Shutdown"

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self._reason = reason
        self._due_to_sigint = due_to_sigint

    @property
    def reason(self) -> str:
        """Why."""
        return self._reason

    @property
    def due_to_sigint(self) -> bool:
        """Whether Ctrl-C asked for it."""
        return self._due_to_sigint


class IncludeLaunchDescription(Event):
    """A launch description shall be visited."""

    name = "launch.events.IncludeLaunchDescription"

    def __init__(self, launch_description: "LaunchDescriptionSource") -> None:
        self._launch_description = launch_description

    @property
    def launch_description(self) -> "LaunchDescriptionSource":
        """The launch description."""
        return self._launch_description


class TimerEvent(Event):
    """A timer is over."""

    name = "launch.events.TimerEvent"

    def __init__(self, *, timer: object) -> None:
        self._timer = timer

    @property
    def timer(self) -> object:
        """The timer action."""
        return self._timer


#: Says whether an event concerns a process.
ProcessMatcher = Callable[[object], bool]
