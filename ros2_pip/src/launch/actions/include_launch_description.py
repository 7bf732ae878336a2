# SPDX-License-Identifier: Apache-2.0

"""One launch file inside another."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.actions.arguments import name_value_pairs
from launch.actions.general import OpaqueFunction
from launch.actions.scopes import SetLaunchConfiguration
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_source import LaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext
    from launch.launch_description import LaunchDescription

_FILE = "current_launch_file_path"


class IncludeLaunchDescription(Action):
    """Visits the entities of another launch description.

    Its arguments become launch configurations and stay set afterwards, unless a GroupAction is around it.

    Args:
        launch_description_source: where it comes from; text is the path of a Python launch file.
        launch_arguments: pairs of name and value, e.g. ``{...}.items()``.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            # imported here: that module needs launch_description, which needs the actions
            from launch.launch_description_sources.python_file import AnyLaunchDescriptionSource  # noqa: PLC0415

            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self._source = launch_description_source
        self._arguments = name_value_pairs("launch_arguments", launch_arguments)

    @property
    def launch_description_source(self) -> LaunchDescriptionSource:
        """Where the description comes from."""
        return self._source

    def describe(self) -> str:
        """Return one line that names the source."""
        return f"IncludeLaunchDescription({self._source.location})"

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the description if it is known without a context."""
        description = self._source.try_get_launch_description_without_context()
        return [] if description is None else [description]

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity]:
        """Return what sets the arguments, the description, and what restores the file name.

        Raises:
            RuntimeError: an argument of the description is required and not given.
        """
        previous = context.get_locals_as_dict().get(_FILE)
        description = self._source.get_launch_description(context)
        if self._source.location:
            context.extend_locals({_FILE: self._source.location})
        arguments = {perform_substitutions(context, name): value for name, value in self._arguments}
        self._check_required(context, description, arguments)

        def restore(context: "LaunchContext") -> None:
            context.extend_locals({_FILE: previous})

        return [
            *(SetLaunchConfiguration(name, value) for name, value in arguments.items()),
            description,
            OpaqueFunction(function=restore),
        ]

    def _check_required(
        self, context: "LaunchContext", description: "LaunchDescription", arguments: dict[str, Any]
    ) -> None:
        for argument in description.get_launch_arguments():
            if argument.default_value is not None or argument.condition is not None:
                continue
            if argument.name not in arguments and argument.name not in context.launch_configurations:
                raise RuntimeError(
                    f"Included launch description missing required argument '{argument.name}' "
                    f"(description: '{argument.description}'), given: [{', '.join(arguments)}]"
                )
