# SPDX-License-Identifier: Apache-2.0

"""Actions on events: emit one, register a handler, end the launch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.event import Event
from launch.event_handler import BaseEventHandler
from launch.events import Shutdown as ShutdownEvent
from launch.events.process import ProcessExited
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class EmitEvent(Action):
    """Emits an event."""

    def __init__(self, *, event: Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, Event):
            raise RuntimeError(f"EmitEvent() expected an event instance, got '{event}'")
        self._event = event

    @property
    def event(self) -> Event:
        """The event."""
        return self._event

    def describe(self) -> str:
        """Return one line that names the event."""
        return f"EmitEvent(event='{self._event.name}')"

    def execute(self, context: "LaunchContext") -> None:
        """Queue the event."""
        context.emit_event_sync(self._event)


class Shutdown(EmitEvent):
    """Ends the launch; as ``on_exit`` of a process it makes that process a required one."""

    def __init__(self, *, reason: str = "reason not given", **kwargs: Any) -> None:
        super().__init__(event=ShutdownEvent(reason=reason), **kwargs)

    def execute(self, context: "LaunchContext") -> None:
        """Queue the event, and say which process was required."""
        event = context.get_locals_as_dict().get("event")
        if isinstance(event, ProcessExited):
            get_logger("launch").info("process[%s] was required: shutting down launched system", event.process_name)
        super().execute(context)


class RegisterEventHandler(Action):
    """Adds an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._event_handler = event_handler

    @property
    def event_handler(self) -> BaseEventHandler:
        """The handler."""
        return self._event_handler

    def describe(self) -> str:
        """Return one line that names the handler."""
        return f"RegisterEventHandler('{self._event_handler}'):"

    def execute(self, context: "LaunchContext") -> None:
        """Add it."""
        context.register_event_handler(self._event_handler)

    def describe_conditional_sub_entities(self) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return the entities of the handler."""
        text, entities = self._event_handler.describe()
        return [(text, entities)]


class UnregisterEventHandler(Action):
    """Removes an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._event_handler = event_handler

    @property
    def event_handler(self) -> BaseEventHandler:
        """The handler."""
        return self._event_handler

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Remove it."""
        context.unregister_event_handler(self._event_handler)
        return None
