# SPDX-License-Identifier: Apache-2.0

"""Handlers: which events they take and which entities they give for them."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from launch.event import Event
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.some_entities_type import SomeEntitiesType
from launch.utilities.entities import normalize_to_list_of_entities

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class BaseEventHandler:
    """Matches events.

    Args:
        matcher: says whether an event is for this handler.
        handle_once: leave after the first event.
    """

    def __init__(self, *, matcher: Callable[[Event], bool], handle_once: bool = False) -> None:
        self._matcher = matcher
        self._handle_once = handle_once

    @property
    def handle_once(self) -> bool:
        """Whether the handler leaves after the first event."""
        return self._handle_once

    @property
    def handler_description(self) -> str:
        """What the handler does, readable."""
        return "<actions>"

    @property
    def matcher_description(self) -> str:
        """Which events match, readable."""
        return getattr(self._matcher, "__name__", str(self._matcher))

    def matches(self, event: Event) -> bool:
        """Return whether the event is for this handler."""
        return self._matcher(event)

    def describe(self) -> tuple[str, Sequence[LaunchDescriptionEntity]]:
        """Return one readable line and the entities that are known beforehand."""
        text = (
            f"{type(self).__name__}(matcher='{self.matcher_description}', "
            f"handler='{self.handler_description}', handle_once={self._handle_once})"
        )
        return text, []

    def handle(self, event: Event, context: "LaunchContext") -> SomeEntitiesType | None:
        """Take the event; subclasses add the entities to visit next."""
        context.extend_locals({"event": event})
        if self._handle_once:
            context.unregister_event_handler(self)
        return None


class EventHandler(BaseEventHandler):
    """Gives fixed entities for a matching event."""

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: SomeEntitiesType | None = None,
        handle_once: bool = False,
    ) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self._entities = normalize_to_list_of_entities(entities)

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities to visit for an event."""
        return self._entities

    def describe(self) -> tuple[str, Sequence[LaunchDescriptionEntity]]:
        """Return one readable line and the entities."""
        return super().describe()[0], self._entities

    def handle(self, event: Event, context: "LaunchContext") -> Iterable[LaunchDescriptionEntity]:
        """Return the entities for the event."""
        super().handle(event, context)
        return self._entities
