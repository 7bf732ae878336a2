# SPDX-License-Identifier: Apache-2.0

"""Base of conditions."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class Condition:
    """Decides in a context whether an action is executed."""

    def __init__(self, *, predicate: "Callable[[LaunchContext], bool] | None" = None) -> None:
        self._predicate = predicate

    def describe(self) -> str:
        """Return a readable form."""
        return f"{type(self).__name__}({self._predicate})"

    def evaluate(self, context: "LaunchContext") -> bool:
        """Return whether the condition holds."""
        return True if self._predicate is None else self._predicate(context)
