# SPDX-License-Identifier: Apache-2.0

"""Actions after a time."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.actions.arguments import boolean_or_substitution
from launch.event_handler import EventHandler
from launch.event_handlers.general import OnShutdown
from launch.events import TimerEvent
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities.substitutions import normalize_to_list_of_substitutions, perform_boolean, perform_substitutions

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class TimerAction(Action):
    """Visits actions after a time; the launch is kept alive until then.

    Args:
        period: seconds of wall time.
        actions: what is visited then.
        cancel_on_shutdown: False lets the timer go on while the launch ends.
    """

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._period = normalize_to_list_of_substitutions(str(period) if isinstance(period, float) else period)
        self._actions = list(actions)
        self._cancel_on_shutdown = boolean_or_substitution("cancel_on_shutdown", cancel_on_shutdown)
        self._done: asyncio.Future[None] | None = None
        self._handle: asyncio.TimerHandle | None = None

    @property
    def period(self) -> Any:
        """The period, unevaluated."""
        return self._period

    @property
    def actions(self) -> list[LaunchDescriptionEntity]:
        """What is visited after the time."""
        return self._actions

    def describe_conditional_sub_entities(self) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return the actions."""
        return [("After the timer expires", self._actions)]

    def get_asyncio_future(self) -> "asyncio.Future[None] | None":
        """Return what is done when the time is over or the timer cancelled."""
        return self._done

    def cancel(self) -> None:
        """Stop the timer; its actions are not visited."""
        if self._handle is not None:
            self._handle.cancel()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Start the timer.

        Raises:
            ValueError: the period is no number.
        """
        loop = context.asyncio_loop
        if loop is None or context.is_shutdown:
            return None
        period_s = float(perform_substitutions(context, self._period))
        self._done = loop.create_future()
        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, TimerEvent) and event.timer is self,
                entities=self._actions,
                handle_once=True,
            )
        )
        if perform_boolean(context, self._cancel_on_shutdown):
            context.register_event_handler(OnShutdown(on_shutdown=lambda _event, _context: self.cancel()))
        self._handle = loop.call_later(period_s, self._expire, context)
        return None

    def _expire(self, context: "LaunchContext") -> None:
        context.emit_event_sync(TimerEvent(timer=self))
        assert self._done is not None  # set by execute() before the timer runs
        if not self._done.done():
            self._done.set_result(None)
