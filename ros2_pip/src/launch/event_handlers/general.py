# SPDX-License-Identifier: Apache-2.0

"""Handlers for the end of the launch, the end of an action, and inclusion."""

from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.event_handler import BaseEventHandler
from launch.event_handlers.base import Reaction, ReactionHandler, TargetedHandler
from launch.events import IncludeLaunchDescription, Shutdown
from launch.events.execution_complete import ExecutionComplete
from launch.launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class OnShutdown(ReactionHandler):
    """Reacts to the end of the launch."""

    def __init__(self, *, on_shutdown: Reaction, handle_once: bool = False) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown), reaction=on_shutdown, handle_once=handle_once
        )

    @property
    def matcher_description(self) -> str:
        """Which events match, readable."""
        return "event is type launch.events.Shutdown"


class OnExecutionComplete(TargetedHandler):
    """Reacts when an action has done its work."""

    def __init__(self, *, target_action: Any = None, on_completion: Reaction, handle_once: bool = False) -> None:
        super().__init__(
            event_class=ExecutionComplete, target_action=target_action, reaction=on_completion, handle_once=handle_once
        )


class OnIncludeLaunchDescription(BaseEventHandler):
    """Visits a launch description that an event brings."""

    def __init__(self) -> None:
        super().__init__(matcher=lambda event: isinstance(event, IncludeLaunchDescription))

    def handle(self, event: Event, context: "LaunchContext") -> LaunchDescriptionEntity:
        """Return the launch description of the event."""
        super().handle(event, context)
        assert isinstance(event, IncludeLaunchDescription)  # the matcher said so
        return event.launch_description.get_launch_description(context)
