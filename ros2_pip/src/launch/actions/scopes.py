# SPDX-License-Identifier: Apache-2.0

"""Actions on launch configurations and on scopes of them and of the environment."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class SetLaunchConfiguration(Action):
    """Sets a launch configuration."""

    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)

    def execute(self, context: "LaunchContext") -> None:
        """Set it."""
        name = perform_substitutions(context, self._name)
        context.launch_configurations[name] = perform_substitutions(context, self._value)


class UnsetLaunchConfiguration(Action):
    """Removes a launch configuration if it is set."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)

    def execute(self, context: "LaunchContext") -> None:
        """Remove it."""
        context.launch_configurations.pop(perform_substitutions(context, self._name), None)


class ResetLaunchConfigurations(Action):
    """Removes all launch configurations but the given ones, which are evaluated first."""

    def __init__(
        self,
        launch_configurations: Mapping[SomeSubstitutionsType, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kept = dict(launch_configurations or {})

    def execute(self, context: "LaunchContext") -> None:
        """Remove the others."""
        kept = {
            perform_substitutions(context, normalize_to_list_of_substitutions(name)): perform_substitutions(
                context, normalize_to_list_of_substitutions(value)
            )
            for name, value in self._kept.items()
        }
        context.launch_configurations.clear()
        context.launch_configurations.update(kept)


class PushLaunchConfigurations(Action):
    """Opens a scope of launch configurations."""

    def execute(self, context: "LaunchContext") -> None:
        """Open it."""
        context._push_launch_configurations()


class PopLaunchConfigurations(Action):
    """Closes a scope of launch configurations."""

    def execute(self, context: "LaunchContext") -> None:
        """Close it."""
        context._pop_launch_configurations()


class PushEnvironment(Action):
    """Opens a scope of the environment."""

    def execute(self, context: "LaunchContext") -> None:
        """Open it."""
        context._push_environment()


class PopEnvironment(Action):
    """Closes a scope of the environment."""

    def execute(self, context: "LaunchContext") -> None:
        """Close it."""
        context._pop_environment()
