# SPDX-License-Identifier: Apache-2.0

"""Actions on the environment of the launch and of its later children."""

import os
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.actions.arguments import boolean_or_substitution
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_boolean, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class SetEnvironmentVariable(Action):
    """Sets an environment variable."""

    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)

    def execute(self, context: "LaunchContext") -> None:
        """Set it."""
        context.environment[perform_substitutions(context, self._name)] = perform_substitutions(context, self._value)


class UnsetEnvironmentVariable(Action):
    """Removes an environment variable if it is set."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)

    def execute(self, context: "LaunchContext") -> None:
        """Remove it."""
        context.environment.pop(perform_substitutions(context, self._name), None)


class AppendEnvironmentVariable(Action):
    """Adds a value to a list in an environment variable, at its end or its beginning."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        value: SomeSubstitutionsType,
        prepend: bool | SomeSubstitutionsType = False,
        separator: SomeSubstitutionsType = os.pathsep,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)
        self._prepend = boolean_or_substitution("prepend", prepend)
        self._separator = normalize_to_list_of_substitutions(separator)

    def execute(self, context: "LaunchContext") -> None:
        """Add it.

        Raises:
            ValueError: ``prepend`` is no truth value.
        """
        name, value, separator = (
            perform_substitutions(context, subs) for subs in (self._name, self._value, self._separator)
        )
        prepend = perform_boolean(context, self._prepend)
        if prepend is None:
            got = perform_substitutions(context, self._prepend)
            raise ValueError(f"AppendEnvironmentVariable: prepend expected one of [true, 1, false, 0] but got '{got}'")
        present = context.environment.get(name)
        if present is not None:
            value = separator.join([value, present] if prepend else [present, value])
        context.environment[name] = value
