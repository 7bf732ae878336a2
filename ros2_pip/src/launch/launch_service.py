# SPDX-License-Identifier: Apache-2.0

"""Runs a launch: takes events, visits entities, and ends when nothing is left to do."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from launch.event import Event
from launch.event_handlers.general import OnIncludeLaunchDescription
from launch.events import IncludeLaunchDescription, Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_source import LaunchDescriptionSource
from launch.logging import get_logger, launch_config
from launch.utilities.entities import normalize_to_list_of_entities

_logger = get_logger("launch")


class LaunchService:
    """Runs launch descriptions.

    Args:
        argv: arguments of the program, for reference only.
        noninteractive: no terminal sends Ctrl-C to the children, so the launch has to.
        debug: log the inner workings, with tracebacks.
    """

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False, debug: bool = False) -> None:
        if debug:
            launch_config.level = logging.DEBUG
        get_logger("launch").info("All log files can be found below %s", launch_config.log_dir)
        get_logger("launch").info("Default logging verbosity is set to %s", logging.getLevelName(launch_config.level))
        self._context = LaunchContext(argv=argv, noninteractive=noninteractive)
        self._context.register_event_handler(OnIncludeLaunchDescription())
        self._return_code = 0
        self._sigint_received = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def context(self) -> LaunchContext:
        """The context of this launch."""
        return self._context

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        """The running loop, None if the service does not run."""
        return self._loop

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Visit a launch description, at the start or, if the service runs, at once."""
        self.emit_event(IncludeLaunchDescription(LaunchDescriptionSource(launch_description)))

    def emit_event(self, event: Event) -> None:
        """Queue an event; callable from any thread."""
        self._context.emit_event_sync(event)

    def shutdown(self, force_sync: bool = False) -> None:
        """End the launch; returns at once, :meth:`run` returns when the processes have ended."""
        self.emit_event(Shutdown(reason="LaunchService.shutdown() called"))

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run until the launch has ended; return 0, or 1 if an entity raised.

        In the main thread SIGINT, SIGTERM and SIGQUIT end the launch: the children get SIGINT, and are awaited.
        """
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self.run_async(shutdown_when_idle=shutdown_when_idle))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """Run in the present loop; see :meth:`run`.

        Raises:
            RuntimeError: the service runs already.
        """
        if self._loop is not None:
            raise RuntimeError("LaunchService.run() called while it is running already")
        loop = self._loop = asyncio.get_running_loop()
        self._return_code = 0
        woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                _logger.debug("event after the end of the launch")

        self._context._attach(loop, wake)
        restore_signals = self._install_signal_handlers(loop)
        try:
            await self._run_loop(woken, shutdown_when_idle)
        finally:
            restore_signals()
            self._context._detach()
            self._loop = None
        return self._return_code

    async def _run_loop(self, woken: asyncio.Event, shutdown_when_idle: bool) -> None:
        while True:
            while (event := self._context._next_event()) is not None:
                self._guarded(self._process_event, event)
                # lets output and exits of processes come in between
                await asyncio.sleep(0)
            finished, pending = self._context._finished_and_pending()
            for future in finished:
                if not future.cancelled() and future.exception() is not None:
                    self._fail(future.exception())
            if self._context._events:
                continue
            if not pending and self._context.is_shutdown:
                return
            if not pending and shutdown_when_idle:
                self.emit_event(Shutdown(reason="idle"))
                continue
            await woken.wait()
            woken.clear()

    def _guarded(self, function: Callable[[Event], None], event: Event) -> None:
        try:
            function(event)
        except Exception as error:  # noqa: BLE001 - border to the entities of the user; changes the return code
            self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        _logger.debug("An exception was raised in the launch", exc_info=error)
        _logger.error("Caught exception in launch (see debug for traceback): %s", error)
        self._return_code = 1
        if not self._context.is_shutdown:
            self.emit_event(Shutdown(reason=f"Caught exception in launch: {error}"))

    def _process_event(self, event: Event) -> None:
        if isinstance(event, Shutdown):
            if self._context.is_shutdown:
                return  # the first reason is the one that counts
            self._context._set_shutdown()
            _logger.debug("shutting down: %s", event.reason)
        for handler in self._context.matching_handlers(event):
            self._context._push_locals()
            try:
                for entity in normalize_to_list_of_entities(handler.handle(event, self._context)):
                    self._visit(entity)
            finally:
                self._context._pop_locals()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        inner = entity.visit(self._context)
        future = entity.get_asyncio_future()
        if future is not None:
            self._context.add_completion_future(future)
        for sub_entity in inner or ():
            self._visit(sub_entity)

    def _install_signal_handlers(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: self._on_sigint,
            signal.SIGTERM: lambda: self._on_terminate(signal.SIGTERM),
            signal.SIGQUIT: lambda: self._on_terminate(signal.SIGQUIT),
        }
        previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {
            number: signal.getsignal(number) for number in handlers
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)

        def restore() -> None:
            for number, handler in previous.items():
                loop.remove_signal_handler(number)
                if handler is not None:
                    signal.signal(number, handler)

        return restore

    def _on_sigint(self) -> None:
        if self._sigint_received:
            _logger.warning("user interrupted with ctrl-c (SIGINT) again, ignoring...")
            return
        self._sigint_received = True
        _logger.warning("user interrupted with ctrl-c (SIGINT)")
        self.emit_event(Shutdown(reason="ctrl-c (SIGINT)", due_to_sigint=True))

    def _on_terminate(self, number: signal.Signals) -> None:
        _logger.warning("received %s: shutting down launched system", number.name)
        self.emit_event(Shutdown(reason=f"received {number.name}"))
