# SPDX-License-Identifier: Apache-2.0

"""Several actions under one condition and in one scope."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.actions.scopes import (
    PopEnvironment,
    PopLaunchConfigurations,
    PushEnvironment,
    PushLaunchConfigurations,
    ResetLaunchConfigurations,
    SetLaunchConfiguration,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.some_substitutions_type import SomeSubstitutionsType

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class GroupAction(Action):
    """Actions whose configurations and environment are forgotten after the group.

    Args:
        actions: the actions, in order.
        scoped: False lets changes out of the group.
        forwarding: False starts the group without the configurations outside.
        launch_configurations: configurations set at the start of the group.
    """

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: Mapping[SomeSubstitutionsType, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not scoped and not forwarding:
            raise ValueError("GroupAction: forwarding=False needs scoped=True")
        self._actions = list(actions)
        self._scoped = scoped
        self._forwarding = forwarding
        self._launch_configurations = dict(launch_configurations or {})

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the actions between those that open and close the scope."""
        start: list[LaunchDescriptionEntity] = []
        if self._forwarding:
            start += [SetLaunchConfiguration(name, value) for name, value in self._launch_configurations.items()]
        else:
            start.append(ResetLaunchConfigurations(self._launch_configurations))
        if not self._scoped:
            return [*start, *self._actions]
        opening = [PushLaunchConfigurations(), PushEnvironment()]
        return [*opening, *start, *self._actions, PopEnvironment(), PopLaunchConfigurations()]

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity]:
        """Return the actions to visit."""
        return self.get_sub_entities()
