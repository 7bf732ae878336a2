# SPDX-License-Identifier: Apache-2.0

"""Base of actions: entities with a condition."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from launch.condition import Condition
from launch.events.execution_complete import ExecutionComplete
from launch.launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class Action(LaunchDescriptionEntity):
    """Something to do, if its condition holds."""

    def __init__(self, *, condition: Condition | None = None) -> None:
        if condition is not None and not isinstance(condition, Condition):
            raise TypeError(f"{type(self).__name__}: condition must be a launch Condition, got {condition!r}")
        self._condition = condition

    @property
    def condition(self) -> Condition | None:
        """The condition, None if the action is always executed."""
        return self._condition

    def describe(self) -> str:
        """Return one line that names this action."""
        return f"Action('{self}')"

    def visit(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Execute the action if its condition holds."""
        if self._condition is not None and not self._condition.evaluate(context):
            return None
        result = self.execute(context)
        self._announce_completion(context)
        return result

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Do the work; return the entities to visit next."""
        return None

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities inside this action that are known without a context."""
        return []

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities inside, if no condition guards them."""
        return self.get_sub_entities() if self._condition is None else []

    def describe_conditional_sub_entities(self) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return the entities inside, if a condition guards them."""
        return (
            []
            if self._condition is None
            else [("Conditionally included by " + self.describe(), self.get_sub_entities())]
        )

    def _announce_completion(self, context: "LaunchContext") -> None:
        event = ExecutionComplete(action=self)
        if not context.would_handle_event(event):
            return
        future = self.get_asyncio_future()
        if future is None:
            context.emit_event_sync(event)
        else:
            future.add_done_callback(lambda _: context.emit_event_sync(event))
