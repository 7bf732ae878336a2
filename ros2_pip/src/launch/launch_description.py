# SPDX-License-Identifier: Apache-2.0

"""A list of entities: what a launch file returns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from launch.action import Action
from launch.actions.declare_launch_argument import DeclareLaunchArgument
from launch.launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class LaunchDescription(LaunchDescriptionEntity):
    """Entities that are visited in order."""

    def __init__(self, initial_entities: Iterable[LaunchDescriptionEntity] | None = None) -> None:
        self._entities = [] if initial_entities is None else list(initial_entities)

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities in order."""
        return self._entities

    def visit(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity]:
        """Return the entities."""
        return self._entities

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities."""
        return self._entities

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self._entities.append(entity)

    def add_action(self, action: Action) -> None:
        """Append an action."""
        self.add_entity(action)

    def get_launch_arguments(self, conditional_inclusion: bool = False) -> list[DeclareLaunchArgument]:
        """Return the arguments declared here and in included files that can be read without a context.

        Args:
            conditional_inclusion: also those that are only declared if a condition holds.
        """
        found: list[DeclareLaunchArgument] = []
        _collect_arguments(self._entities, conditional_inclusion, found)
        unique: dict[str, DeclareLaunchArgument] = {}
        for argument in found:
            unique.setdefault(argument.name, argument)
        return list(unique.values())


def _collect_arguments(
    entities: Iterable[LaunchDescriptionEntity], conditional: bool, found: list[DeclareLaunchArgument]
) -> None:
    for entity in entities:
        if isinstance(entity, DeclareLaunchArgument):
            found.append(entity)
            continue
        _collect_arguments(entity.describe_sub_entities(), conditional, found)
        if conditional:
            for _, inner in entity.describe_conditional_sub_entities():
                _collect_arguments(inner, conditional, found)
