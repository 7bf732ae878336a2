# SPDX-License-Identifier: Apache-2.0

"""What a running launch knows: configurations, environment, handlers and waiting events."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from copy import copy
from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.substitution import Substitution

if TYPE_CHECKING:
    from launch.event_handler import BaseEventHandler


class Locals:
    """Values of the present scope as attributes: ``context.locals.event``, ``context.locals.current_launch_file_path``."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"context.locals has no attribute '{name}'") from None


class LaunchContext:
    """State shared by all entities of one launch.

    Args:
        argv: arguments of the program, for reference only.
        noninteractive: no terminal sends Ctrl-C to the children, so the launch has to.
    """

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self._argv = [] if argv is None else list(argv)
        self._noninteractive = noninteractive
        self._launch_configurations: dict[str, Any] = {}
        self._configuration_stack: list[dict[str, Any]] = []
        self._environment_stack: list[dict[str, str]] = []
        self._globals: dict[str, Any] = {}
        self._locals_stack: list[dict[str, Any]] = [{}]
        self._handlers: deque[BaseEventHandler] = deque()
        self._events: deque[Event] = deque()
        self._futures: list[asyncio.Future[None]] = []
        self._wake: Callable[[], None] = lambda: None
        self._is_shutdown = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def argv(self) -> list[str]:
        """Arguments of the program."""
        return self._argv

    @property
    def noninteractive(self) -> bool:
        """Whether no terminal sends Ctrl-C to the children."""
        return self._noninteractive

    @property
    def is_shutdown(self) -> bool:
        """Whether the launch is ending; nothing new is started then."""
        return self._is_shutdown

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop of the running launch service, None while there is none."""
        return self._loop

    @property
    def launch_configurations(self) -> dict[str, Any]:
        """Values of launch arguments and configurations in the present scope."""
        return self._launch_configurations

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The environment that substitutions see and children get: that of this process."""
        return os.environ

    @property
    def locals(self) -> Locals:
        """Values of the present scope."""
        return Locals(self.get_locals_as_dict())

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return the values of the present scope."""
        return {**self._globals, **self._locals_stack[-1]}

    def extend_globals(self, extensions: dict[str, Any]) -> None:
        """Add values to all scopes."""
        self._globals.update(extensions)

    def extend_locals(self, extensions: dict[str, Any]) -> None:
        """Add values to the present scope."""
        self._locals_stack[-1].update(extensions)

    def _remove_local(self, name: str) -> None:
        self._locals_stack[-1].pop(name, None)

    def _push_locals(self) -> None:
        self._locals_stack.append(dict(self._locals_stack[-1]))

    def _pop_locals(self) -> None:
        if len(self._locals_stack) == 1:
            raise RuntimeError("locals stack unexpectedly empty")
        self._locals_stack.pop()

    def _push_launch_configurations(self) -> None:
        # values such as the parameter list are extended in place by nobody, so a shallow copy is a scope
        self._configuration_stack.append({key: copy(value) for key, value in self._launch_configurations.items()})

    def _pop_launch_configurations(self) -> None:
        if not self._configuration_stack:
            raise RuntimeError("launch configurations stack unexpectedly empty")
        self._launch_configurations = self._configuration_stack.pop()

    def _push_environment(self) -> None:
        self._environment_stack.append(dict(os.environ))

    def _pop_environment(self) -> None:
        if not self._environment_stack:
            raise RuntimeError("environment stack unexpectedly empty")
        previous = self._environment_stack.pop()
        for name in set(os.environ) - set(previous):
            del os.environ[name]
        os.environ.update(previous)

    def perform_substitution(self, sub: Substitution) -> str:
        """Return the value of one substitution."""
        return sub.perform(self)

    def register_event_handler(self, event_handler: "BaseEventHandler", append: bool = False) -> None:
        """Add a handler; the newest is asked first unless ``append``."""
        if append:
            self._handlers.append(event_handler)
        else:
            self._handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: "BaseEventHandler") -> None:
        """Remove a handler.

        Raises:
            ValueError: it is not registered.
        """
        self._handlers.remove(event_handler)

    def would_handle_event(self, event: Event) -> bool:
        """Return whether a handler matches the event."""
        return any(handler.matches(event) for handler in tuple(self._handlers))

    def matching_handlers(self, event: Event) -> list["BaseEventHandler"]:
        """Return the handlers of the event, the newest first."""
        return [handler for handler in tuple(self._handlers) if handler.matches(event)]

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event; callable from any thread."""
        self._events.append(event)
        self._wake()

    async def emit_event(self, event: Event) -> None:
        """Queue an event from a coroutine."""
        self.emit_event_sync(event)

    def add_completion_future(self, completion_future: "asyncio.Future[None]") -> None:
        """Keep the launch alive until the future is done."""
        self._futures.append(completion_future)
        completion_future.add_done_callback(lambda _: self._wake())

    def _next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def _finished_and_pending(self) -> "tuple[list[asyncio.Future[None]], list[asyncio.Future[None]]]":
        finished = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        return finished, self._futures

    def _attach(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake, self._is_shutdown = loop, wake, False

    def _detach(self) -> None:
        self._loop, self._wake = None, lambda: None

    def _set_shutdown(self) -> None:
        self._is_shutdown = True
