# SPDX-License-Identifier: Apache-2.0

"""Parameters as launch files describe them."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.actions.arguments import boolean_or_substitution
from launch.logging import launch_config
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.names import (
    AnonName,
    EnvironmentVariable,
    LaunchConfiguration,
    ThisLaunchFile,
    ThisLaunchFileDir,
)
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_boolean, perform_substitutions

from launch_ros.parameter_values import ParameterValue, Value, evaluate
from launch_ros.substitutions import ExecutableInPackage, FindPackagePrefix, FindPackageShare

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]


class Parameter:
    """One parameter with its name, given to the node on its command line."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, *, value_type: Any = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        self._value = value if value_type is None else ParameterValue(value, value_type=value_type)

    @property
    def name(self) -> list[Substitution]:
        """Name of the parameter."""
        return self._name

    def evaluate(self, context: "LaunchContext") -> tuple[str, Value]:
        """Return name and value."""
        name = perform_substitutions(context, self._name)
        return name, evaluate(name, self._value, context)


class ParameterFile:
    """A YAML file with parameters.

    Args:
        param_file: its path.
        allow_substs: replace ``$(var name)`` and the like in it.
    """

    def __init__(
        self,
        param_file: os.PathLike[str] | SomeSubstitutionsType,
        *,
        allow_substs: bool | SomeSubstitutionsType = False,
    ) -> None:
        path = os.fspath(param_file) if isinstance(param_file, os.PathLike) else param_file
        self._param_file = normalize_to_list_of_substitutions(path)
        self._allow_substs = boolean_or_substitution("allow_substs", allow_substs)

    @property
    def param_file(self) -> list[Substitution]:
        """Path of the file."""
        return self._param_file

    def evaluate(self, context: "LaunchContext") -> Path:
        """Return the file to give to the node: itself, or a temporary one with the substitutions replaced.

        Raises:
            SubstitutionFailure: a substitution in the file is unknown or has no value.
        """
        path = Path(perform_substitutions(context, self._param_file))
        if not perform_boolean(context, self._allow_substs):
            return path
        text = _replace_substitutions(path.read_text(encoding="utf-8"), str(path), context)
        return launch_config.write_temporary("launch_params_", text)


#: The innermost ``$(name arguments)``.
_PATTERN = re.compile(r"\$\(\s*([\w-]+)((?:\s+[^\s()$]+)*)\s*\)")

_FACTORIES: dict[str, Callable[..., Substitution]] = {
    "var": lambda name, default=None: LaunchConfiguration(name, default=default),
    "env": lambda name, default=None: EnvironmentVariable(name, default_value=default),
    "find-pkg-share": FindPackageShare,
    "find-pkg-prefix": FindPackagePrefix,
    "exec-in-pkg": ExecutableInPackage,
    "dirname": ThisLaunchFileDir,
    "filename": ThisLaunchFile,
    "anon": AnonName,
}


def _replace_substitutions(text: str, source: str, context: "LaunchContext") -> str:
    def value(match: re.Match[str]) -> str:
        name, arguments = match[1], [argument.strip("'\"") for argument in match[2].split()]
        if name not in _FACTORIES:
            known = ", ".join(_FACTORIES)
            raise SubstitutionFailure(f"{source}: unknown substitution '{match[0]}', supported are: {known}")
        try:
            substitution = _FACTORIES[name](*arguments)
        except TypeError as error:
            raise SubstitutionFailure(f"{source}: wrong number of arguments in '{match[0]}'") from error
        return substitution.perform(context)

    while _PATTERN.search(text):
        text = _PATTERN.sub(value, text)
    return text
