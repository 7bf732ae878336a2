# SPDX-License-Identifier: Apache-2.0

"""Handlers for the start, the end and the output of processes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.event_handlers.base import Reaction, TargetedHandler
from launch.events.process import ProcessExited, ProcessIO, ProcessStarted
from launch.some_entities_type import SomeEntitiesType

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

_OnText = Callable[[ProcessIO], SomeEntitiesType | None]


class OnProcessStart(TargetedHandler):
    """Reacts to the start of a process: of one action, of those a function chooses, or of all."""

    def __init__(self, *, target_action: Any = None, on_start: Reaction, handle_once: bool = False) -> None:
        super().__init__(
            event_class=ProcessStarted, target_action=target_action, reaction=on_start, handle_once=handle_once
        )


class OnProcessExit(TargetedHandler):
    """Reacts to the end of a process: of one action, of those a function chooses, or of all."""

    def __init__(self, *, target_action: Any = None, on_exit: Reaction, handle_once: bool = False) -> None:
        super().__init__(
            event_class=ProcessExited, target_action=target_action, reaction=on_exit, handle_once=handle_once
        )


class OnProcessIO(TargetedHandler):
    """Calls a function with each piece of output."""

    def __init__(
        self,
        *,
        target_action: Any = None,
        on_stdout: _OnText | None = None,
        on_stderr: _OnText | None = None,
        handle_once: bool = False,
    ) -> None:
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr
        super().__init__(
            event_class=ProcessIO, target_action=target_action, reaction=self._dispatch, handle_once=handle_once
        )

    def _dispatch(self, event: Event, context: "LaunchContext") -> SomeEntitiesType | None:
        assert isinstance(event, ProcessIO)  # the matcher said so
        function = self._on_stdout if event.from_stdout else self._on_stderr
        return None if function is None else function(event)
