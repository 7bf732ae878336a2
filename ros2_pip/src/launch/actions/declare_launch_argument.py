# SPDX-License-Identifier: Apache-2.0

"""Arguments of a launch file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution, TextSubstitution
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

#: Local value of the context: names of all arguments declared so far.
DECLARED = "declared_launch_arguments"
_NO_DESCRIPTION = "no description given"


class DeclareLaunchArgument(Action):
    """An argument that can be given as ``name:=value``; its value is a launch configuration of that name.

    Args:
        name: name of the argument.
        default_value: what it is if not given; without one it must be given.
        description: for ``ros2 launch --show-args``.
        choices: the allowed values.

    Raises:
        RuntimeError: the default is none of the choices.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._name = name
        self._default = None if default_value is None else normalize_to_list_of_substitutions(default_value)
        self._choices = None if choices is None else list(choices)
        self._description = description or _NO_DESCRIPTION
        if self._choices is not None:
            self._check_default(self._choices)
            if description is None:
                self._description = f"One of: {self._choices}"
            else:
                separator = "" if description.rstrip().endswith(".") else "."
                self._description = f"{description.rstrip()}{separator} Valid choices are: {self._choices}"

    def _check_default(self, choices: list[str]) -> None:
        if self._default is None or not all(isinstance(sub, TextSubstitution) for sub in self._default):
            return
        default = "".join(sub.text for sub in self._default if isinstance(sub, TextSubstitution))
        if default not in choices:
            message = f'Provided default_value "{default}" is not in provided choices "{choices}".'
            get_logger("launch.actions.declare_launch_argument").error("%s", message)
            raise RuntimeError(message)

    @property
    def name(self) -> str:
        """Name of the argument."""
        return self._name

    @property
    def default_value(self) -> list[Substitution] | None:
        """Default, None if the argument must be given."""
        return self._default

    @property
    def description(self) -> str:
        """What the argument is for, with the choices."""
        return self._description

    @property
    def choices(self) -> list[str] | None:
        """Allowed values, None if any text is."""
        return self._choices

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Set the launch configuration if it is not set yet.

        Raises:
            RuntimeError: no value, or one that is none of the choices.
        """
        # whoever gave the arguments can ask later which of them were known
        context.extend_globals({DECLARED: {*context.get_locals_as_dict().get(DECLARED, ()), self._name}})
        if self._name not in context.launch_configurations:
            if self._default is None:
                raise RuntimeError(
                    f"Required launch argument '{self._name}' (description: '{self._description}') was not provided"
                )
            context.launch_configurations[self._name] = perform_substitutions(context, self._default)
        value = context.launch_configurations[self._name]
        if self._choices is not None and value not in self._choices:
            message = (
                f'Argument "{self._name}" provided value "{value}" is not valid. Valid options are: {self._choices}'
            )
            get_logger("launch.actions.declare_launch_argument").error("%s", message)
            raise RuntimeError(message)
        return None
