# SPDX-License-Identifier: Apache-2.0

"""Small actions: say something, call a function."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class LogInfo(Action):
    """Logs a message as ``launch.user``."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._msg = normalize_to_list_of_substitutions(msg)

    @property
    def msg(self) -> list[Substitution]:
        """The message."""
        return self._msg

    def describe(self) -> str:
        """Return one line with the message."""
        return f"LogInfo({describe_substitutions(self._msg)})"

    def execute(self, context: "LaunchContext") -> None:
        """Log it."""
        get_logger("launch.user").info("%s", perform_substitutions(context, self._msg))


class OpaqueFunction(Action):
    """Calls ``function(context, *args, **kwargs)``, which may return entities to visit."""

    def __init__(
        self,
        *,
        function: Callable[..., Sequence[LaunchDescriptionEntity] | None],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **left_over: Any,
    ) -> None:
        super().__init__(**left_over)
        if not callable(function):
            raise TypeError(f"OpaqueFunction expected a callable for 'function', got {type(function).__name__}")
        self._function = function
        self._args = [] if args is None else list(args)
        self._kwargs = {} if kwargs is None else kwargs

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Call the function."""
        return self._function(context, *self._args, **self._kwargs)
