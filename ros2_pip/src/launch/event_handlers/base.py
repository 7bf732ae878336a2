# SPDX-License-Identifier: Apache-2.0

"""Handler whose entities are fixed or come from a function."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.event_handler import BaseEventHandler
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.some_entities_type import SomeEntitiesType
from launch.utilities.entities import normalize_to_list_of_entities

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

#: Entities, or a function of event and context that returns some.
Reaction = SomeEntitiesType | Callable[[Any, "LaunchContext"], SomeEntitiesType | None]


class ReactionHandler(BaseEventHandler):
    """Gives entities, or calls a function that does."""

    def __init__(self, *, matcher: Callable[[Event], bool], reaction: Any, handle_once: bool = False) -> None:
        super().__init__(matcher=matcher, handle_once=handle_once)
        self._function = reaction if _is_function(reaction) else None
        self._entities = [] if self._function is not None else normalize_to_list_of_entities(reaction)

    @property
    def handler_description(self) -> str:
        """What the handler does, readable."""
        return "<actions>" if self._function is None else f"{self._function}"

    def describe(self) -> tuple[str, Sequence[LaunchDescriptionEntity]]:
        """Return one readable line and the entities known beforehand."""
        return super().describe()[0], self._entities

    def handle(self, event: Event, context: "LaunchContext") -> SomeEntitiesType | None:
        """Return the entities for the event."""
        super().handle(event, context)
        if self._function is None:
            return self._entities
        return normalize_to_list_of_entities(self._function(event, context))


def _is_function(reaction: Any) -> bool:
    return callable(reaction) and not isinstance(reaction, LaunchDescriptionEntity)


class TargetedHandler(ReactionHandler):
    """Reacts to events of one class, of one action or of all."""

    def __init__(self, *, event_class: type[Event], target_action: Any, reaction: Any, handle_once: bool) -> None:
        self._event_class = event_class
        self._target = target_action
        is_action = isinstance(target_action, LaunchDescriptionEntity)
        if target_action is not None and not is_action and not callable(target_action):
            raise ValueError(
                f"{type(self).__name__} requires an action or a function as target_action, got {target_action!r}"
            )

        def matcher(event: Event) -> bool:
            if not isinstance(event, event_class):
                return False
            action = event.action  # type: ignore[attr-defined]
            return target_action is None or (action is target_action if is_action else bool(target_action(action)))

        super().__init__(matcher=matcher, reaction=reaction, handle_once=handle_once)

    @property
    def matcher_description(self) -> str:
        """Which events match, readable."""
        target = "" if self._target is None else f" and event.action == {type(self._target).__name__}"
        return f"event == {self._event_class.__name__}{target}"
