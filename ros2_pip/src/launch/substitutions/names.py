# SPDX-License-Identifier: Apache-2.0

"""Substitutions that look a value up: configurations, environment, places."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from launch.logging import launch_config
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


def _default_value(default: Any) -> list[Substitution] | None:
    if default is None:
        return None
    is_text = isinstance(default, str | Substitution)
    if not is_text and isinstance(default, Iterable):
        # lists may hold numbers and truth values, whose text is meant
        return [sub for item in default for sub in _default_value(item) or []]
    return normalize_to_list_of_substitutions(default if is_text else str(default))


class LaunchConfiguration(Substitution):
    """Value of a launch argument or configuration."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self._variable_name = normalize_to_list_of_substitutions(variable_name)
        self._default = _default_value(default)

    @property
    def variable_name(self) -> list[Substitution]:
        """Name of the configuration."""
        return self._variable_name

    def describe(self) -> str:
        """Return a readable form."""
        return f"LaunchConfig({describe_substitutions(self._variable_name)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the value.

        Raises:
            SubstitutionFailure: it is not set and there is no default.
        """
        name = perform_substitutions(context, self._variable_name)
        if name in context.launch_configurations:
            return str(context.launch_configurations[name])
        if self._default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return perform_substitutions(context, self._default)


class EnvironmentVariable(Substitution):
    """Value of an environment variable."""

    def __init__(self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        self._default = None if default_value is None else normalize_to_list_of_substitutions(default_value)

    @property
    def name(self) -> list[Substitution]:
        """Name of the variable."""
        return self._name

    def describe(self) -> str:
        """Return a readable form."""
        return f"EnvVar({describe_substitutions(self._name)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the value.

        Raises:
            SubstitutionFailure: it is not set and there is no default.
        """
        name = perform_substitutions(context, self._name)
        if name in context.environment:
            return context.environment[name]
        if self._default is None:
            raise SubstitutionFailure(f"environment variable '{name}' does not exist")
        return perform_substitutions(context, self._default)


class PathJoinSubstitution(Substitution):
    """Parts of a path, joined by the path separator."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self._parts = normalize_to_list_of_substitutions(substitutions)

    @property
    def substitutions(self) -> list[Substitution]:
        """The parts."""
        return self._parts

    def describe(self) -> str:
        """Return a readable form."""
        return f"PathJoin({describe_substitutions(self._parts)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the path."""
        parts = [context.perform_substitution(part) for part in self._parts]
        return os.path.join(*parts)  # noqa: PTH118 - keeps a separator at the end


class ThisLaunchFile(Substitution):
    """Path of the launch file that is being visited."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the path.

        Raises:
            SubstitutionFailure: no launch file is being visited.
        """
        path = context.get_locals_as_dict().get("current_launch_file_path")
        if path is None:
            raise SubstitutionFailure(f"{type(self).__name__} used outside of a launch file (in a script)")
        return str(path)


class ThisLaunchFileDir(ThisLaunchFile):
    """Folder of the launch file that is being visited."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the folder.

        Raises:
            SubstitutionFailure: no launch file is being visited.
        """
        return str(Path(super().perform(context)).parent)


class LaunchLogDir(Substitution):
    """Folder with the log files of this run."""

    def perform(self, context: "LaunchContext") -> str:
        """Return the folder."""
        return launch_config.log_dir


class LocalSubstitution(Substitution):
    """Attribute path of the local values of a handler, e.g. ``event.reason``."""

    def __init__(self, expression: str, description: str | None = None) -> None:
        self._expression = expression
        self._description = description

    def describe(self) -> str:
        """Return a readable form."""
        return f"LocalVar('{self._description or self._expression}')"

    def perform(self, context: "LaunchContext") -> str:
        """Return the text of the value.

        Raises:
            SubstitutionFailure: there is no such value here.
        """
        value: Any = context.locals
        for name in self._expression.split("."):
            try:
                value = getattr(value, name)
            except AttributeError as error:
                raise SubstitutionFailure(f"local value '{self._expression}' does not exist here: {error}") from error
        return str(value)


class AnonName(Substitution):
    """A name that no other launch has; the same argument gives the same name within one launch."""

    def __init__(self, name: SomeSubstitutionsType) -> None:
        self._name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        """Return a readable form."""
        return f"AnonName({describe_substitutions(self._name)})"

    def perform(self, context: "LaunchContext") -> str:
        """Return the name."""
        name = perform_substitutions(context, self._name)
        key = f"anon{name}"
        if key not in context.launch_configurations:
            host = socket.gethostname().replace(".", "_").replace("-", "_")
            context.launch_configurations[key] = f"{name}_{host}_{os.getpid()}_{uuid4().hex[:8]}"
        return str(context.launch_configurations[key])
