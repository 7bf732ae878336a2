# SPDX-License-Identifier: Apache-2.0

"""An action has done its work."""

from typing import TYPE_CHECKING

from launch.event import Event

if TYPE_CHECKING:
    from launch.action import Action


class ExecutionComplete(Event):
    """Carries the action that is done."""

    name = "launch.events.ExecutionComplete"

    def __init__(self, *, action: "Action") -> None:
        self._action = action

    @property
    def action(self) -> "Action":
        """The action that is done."""
        return self._action
