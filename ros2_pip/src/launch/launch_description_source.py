# SPDX-License-Identifier: Apache-2.0

"""Where an included launch description comes from."""

from typing import TYPE_CHECKING

from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext
    from launch.launch_description import LaunchDescription


class LaunchDescriptionSource:
    """A launch description, or the place of a file that holds one.

    Args:
        launch_description: the description itself, if there is no file.
        location: path of the file.
        method: how it is obtained, for messages.
    """

    def __init__(
        self,
        launch_description: "LaunchDescription | None" = None,
        location: SomeSubstitutionsType = "",
        method: str = "unspecified mechanism from a script",
    ) -> None:
        self._launch_description = launch_description
        self._location_subs = normalize_to_list_of_substitutions(location)
        self._expanded_location: str | None = None
        self._method = method

    @property
    def location(self) -> str:
        """The path; its unevaluated form before the file was read."""
        if self._expanded_location is not None:
            return self._expanded_location
        return describe_substitutions(self._location_subs)

    @property
    def method(self) -> str:
        """How the description is obtained."""
        return self._method

    def try_get_launch_description_without_context(self) -> "LaunchDescription | None":
        """Return the description if it is known already."""
        return self._launch_description

    def get_launch_description(self, context: "LaunchContext") -> "LaunchDescription":
        """Return the description, read from the file at the first call."""
        if self._expanded_location is None:
            self._expanded_location = perform_substitutions(context, self._location_subs)
        if self._launch_description is None:
            self._launch_description = self._get_launch_description(self._expanded_location)
        return self._launch_description

    def _get_launch_description(self, location: str) -> "LaunchDescription":
        raise NotImplementedError(f"{type(self).__name__} does not define how to read {location}")
