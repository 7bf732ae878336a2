# SPDX-License-Identifier: Apache-2.0

"""Action that runs a process for as long as the launch."""

import asyncio
import itertools
import re
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.action import Action
from launch.actions.arguments import as_text, boolean, boolean_or_substitution, optional, pairs, perform_pairs, text
from launch.actions.child_process import ChildProcess, LineSplitter
from launch.event import Event
from launch.event_handler import BaseEventHandler, EventHandler
from launch.event_handlers.general import OnShutdown
from launch.event_handlers.on_process import OnProcessExit
from launch.events import Shutdown
from launch.events.process import (
    ProcessExited,
    ProcessStarted,
    ProcessStderr,
    ProcessStdout,
    ProcessTargetedEvent,
    ShutdownProcess,
    SignalProcess,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger, get_output_loggers
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.names import LaunchConfiguration
from launch.utilities.substitutions import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
)

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

_OVERRIDE = "OVERRIDE_LAUNCH_PROCESS_OUTPUT"
_counter = itertools.count(1)


class ExecuteProcess(Action):
    """Runs a command; when the launch ends it gets SIGINT, then SIGTERM, then SIGKILL.

    Args:
        cmd: executable and arguments, each text or substitutions.
        prefix: goes before the command; default is the configuration ``launch-prefix``.
        name: what it is called in the log, without its number; default is the executable's file name.
        cwd: working directory.
        env: the whole environment, instead of that of the launch.
        additional_env: added to the environment.
        shell: give the command to a shell as one line.
        sigterm_timeout: seconds between SIGINT and SIGTERM, 5 by default.
        sigkill_timeout: seconds between SIGTERM and SIGKILL, 5 by default.
        emulate_tty: let standard output and error be terminals, so that the child writes line by line.
        output: screen, log, both, own_log, full, or a dictionary of stream to a set of screen, log, own_log.
        cached_output: keep the output for :meth:`get_stdout` and :meth:`get_stderr`.
        log_cmd: log the command line before the start.
        on_exit: entities to visit when the process ends, or a function of event and context.
        respawn: start it again whenever it ends.
        respawn_delay: seconds before that.
        respawn_max_retries: how often at most, -1 for ever.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        prefix: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: Mapping[Any, Any] | None = None,
        additional_env: Mapping[Any, Any] | None = None,
        shell: bool = False,
        sigterm_timeout: Any = None,
        sigkill_timeout: Any = None,
        emulate_tty: bool | SomeSubstitutionsType | None = None,
        output: Any = "log",
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: Any = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._prefix = optional(LaunchConfiguration("launch-prefix", default="") if prefix is None else prefix)
        self._prefix_filter = LaunchConfiguration("launch-prefix-filter", default="")
        self._base_name = optional(name)
        self._cwd = optional(cwd)
        self._env = pairs(env)
        self._additional_env = pairs(additional_env)
        self._shell = shell
        self._timeouts = [
            optional(LaunchConfiguration(setting, default=5) if value is None else value)
            for setting, value in (("sigterm_timeout", sigterm_timeout), ("sigkill_timeout", sigkill_timeout))
        ]
        tty = LaunchConfiguration("emulate_tty", default=False) if emulate_tty is None else emulate_tty
        self._emulate_tty = normalize_to_list_of_substitutions(as_text(tty))
        self._output = output
        self._cached_output = cached_output
        self._log_cmd = log_cmd
        self._on_exit = on_exit
        self._respawn = boolean_or_substitution("respawn", respawn)
        self._respawn_delay_s = 0.0 if respawn_delay is None else float(respawn_delay)
        self._respawn_max_retries = respawn_max_retries
        self._child: ChildProcess | None = None
        self._details: dict[str, Any] | None = None
        self._completed: asyncio.Future[None] | None = None
        self._stop_requested: asyncio.Event | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._return_code: int | None = None
        self._cache = {1: bytearray(), 2: bytearray()}

    @property
    def name(self) -> str | None:
        """Name with its number, e.g. ``talker-1``; None before the start."""
        return None if self._details is None else str(self._details["name"])

    @property
    def cmd(self) -> list[list[Substitution]]:
        """The command, unevaluated."""
        return self._cmd

    @property
    def process_details(self) -> dict[str, Any] | None:
        """Dictionary with name, cmd, cwd, env and (once started) pid; None before."""
        return self._details

    @property
    def return_code(self) -> int | None:
        """Exit code of the last run, minus the signal's number if a signal ended it; None before."""
        return self._return_code

    def get_stdout(self) -> bytes:
        """Return standard output so far; empty unless ``cached_output``."""
        return bytes(self._cache[1])

    def get_stderr(self) -> bytes:
        """Return standard error so far; empty unless ``cached_output``."""
        return bytes(self._cache[2])

    def describe(self) -> str:
        """Return one line with the command."""
        cmd = ", ".join(describe_substitutions(part) for part in self._cmd)
        cwd = None if self._cwd is None else describe_substitutions(self._cwd)
        return f"ExecuteProcess(cmd=[{cmd}], cwd={cwd}, env={self._env}, shell={self._shell})"

    def get_asyncio_future(self) -> "asyncio.Future[None] | None":
        """Return what is done when the process has ended for good."""
        return self._completed

    def execute(self, context: "LaunchContext") -> Sequence[LaunchDescriptionEntity] | None:
        """Start the process.

        Raises:
            RuntimeError: this action was executed before.
        """
        if context.is_shutdown or context.asyncio_loop is None:
            return None
        if self._completed is not None:
            raise RuntimeError(f"ExecuteProcess action '{self.name}' executed more than once: {self.describe()}")
        self._prepare(context)
        self._completed = context.asyncio_loop.create_future()
        self._stop_requested = asyncio.Event()
        handlers = self._make_handlers()
        for handler in handlers:
            context.register_event_handler(handler)
        if self._on_exit is not None:
            context.register_event_handler(OnProcessExit(target_action=self, on_exit=self._on_exit))
        task = context.asyncio_loop.create_task(self._run(context))
        task.add_done_callback(lambda done: self._finish(context, handlers, done))
        return None

    def _expand_cmd(self, context: "LaunchContext") -> list[str]:
        return [perform_substitutions(context, part) for part in self._cmd]

    def _prepare(self, context: "LaunchContext") -> None:
        cmd = self._expand_cmd(context)
        if not cmd:
            raise ValueError(f"{type(self).__name__}: empty command")
        base_name = Path(cmd[0].split()[0] if self._shell else cmd[0]).name
        if self._base_name is not None:
            base_name = perform_substitutions(context, self._base_name)
        name = f"{base_name}-{next(_counter)}"
        prefix = text(context, self._prefix) or ""
        wanted = re.compile(perform_substitutions(context, [self._prefix_filter]))
        if prefix and wanted.match(Path(cmd[0]).name):
            cmd = [*shlex.split(prefix), *cmd]
        env = dict(context.environment) if self._env is None else perform_pairs(context, self._env)
        env.update(perform_pairs(context, self._additional_env or []))
        self._details = {"name": name, "cmd": cmd, "cwd": text(context, self._cwd), "env": env}
        self._sigterm_timeout_s, self._sigkill_timeout_s = (
            float(text(context, timeout) or 0.0) for timeout in self._timeouts
        )
        self._tty = boolean(context, self._emulate_tty, "emulate_tty")
        self._respawning = boolean(context, self._respawn, "respawn")
        output = self._output
        if not isinstance(output, dict):
            output = perform_substitutions(context, normalize_to_list_of_substitutions(output))
        self._output_loggers = get_output_loggers(name, context.environment.get(_OVERRIDE) or output)
        self._logger = get_logger(name)

    def _make_handlers(self) -> list[BaseEventHandler]:
        def targeted(event: Event) -> bool:
            wanted = isinstance(event, SignalProcess | ShutdownProcess)
            return wanted and isinstance(event, ProcessTargetedEvent) and event.process_matcher(self)

        class _Requests(EventHandler):
            def handle(handler, event: Event, context: "LaunchContext") -> list[LaunchDescriptionEntity]:  # noqa: N805
                if isinstance(event, SignalProcess):
                    self._send_signal(event.signal)
                else:
                    self._stop(send_sigint=True)
                return []

        return [_Requests(matcher=targeted), OnShutdown(on_shutdown=self._on_shutdown)]

    def _on_shutdown(self, event: Shutdown, context: "LaunchContext") -> None:
        # a terminal has sent Ctrl-C to the children already
        self._stop(send_sigint=not event.due_to_sigint or context.noninteractive)

    def _stop(self, *, send_sigint: bool) -> None:
        assert self._stop_requested is not None  # handlers exist only after execute()
        if self._stop_requested.is_set():
            return
        self._stop_requested.set()
        if self._child is None:
            return
        if send_sigint:
            self._send_signal(signal.SIGINT)
        loop = asyncio.get_running_loop()
        both_s = self._sigterm_timeout_s + self._sigkill_timeout_s
        self._timers = [
            loop.call_later(self._sigterm_timeout_s, self._escalate, self._sigterm_timeout_s, "SIGINT", signal.SIGTERM),
            loop.call_later(both_s, self._escalate, both_s, "SIGTERM", signal.SIGKILL),
        ]

    def _escalate(self, after_s: float, previous: str, number: signal.Signals) -> None:
        self._logger.error(
            "process[%s] failed to terminate '%s' seconds after receiving '%s', escalating to '%s'",
            self.name,
            after_s,
            previous,
            number.name,
        )
        self._send_signal(number)

    def _send_signal(self, number: signal.Signals) -> None:
        if self._child is None:
            self._logger.debug("signal '%s' not sent to process[%s]: it does not run", number.name, self.name)
            return
        self._logger.info("sending signal '%s' to process[%s]", number.name, self.name)
        if not self._child.send_signal(number):
            self._logger.debug("process[%s] had ended already", self.name)

    async def _run(self, context: "LaunchContext") -> None:
        assert self._stop_requested is not None  # set by execute()
        for attempt in itertools.count():
            if self._stop_requested.is_set() or context.is_shutdown:
                return
            await self._run_once(context)
            exhausted = 0 <= self._respawn_max_retries <= attempt
            if not self._respawning or exhausted or self._stop_requested.is_set():
                return
            try:
                await asyncio.wait_for(self._stop_requested.wait(), self._respawn_delay_s)
            except TimeoutError:
                continue

    async def _run_once(self, context: "LaunchContext") -> None:
        assert self._details is not None  # set by execute()
        assert self._stop_requested is not None  # set by execute()
        details = self._details
        if self._log_cmd:
            self._logger.info(
                "process details: cmd='%s', cwd='%s', custom_env?=%s",
                " ".join(details["cmd"]),
                details["cwd"],
                self._env is not None or self._additional_env is not None,
            )
        splitters = {fd: LineSplitter(self._line_writer(fd)) for fd in (1, 2)}
        common: dict[str, Any] = {"action": self, **{key: details[key] for key in ("name", "cmd", "cwd", "env")}}

        def on_data(fd: int, data: bytes) -> None:
            splitters[fd].feed(data)
            if self._cached_output:
                self._cache[fd] += data
            event_class = ProcessStdout if fd == 1 else ProcessStderr
            event = event_class(text=data, pid=details.get("pid", 0), **common)
            if context.would_handle_event(event):
                context.emit_event_sync(event)

        child = await ChildProcess.start(
            details["cmd"],
            cwd=details["cwd"],
            env=details["env"],
            shell=self._shell,
            emulate_tty=self._tty,
            on_data=on_data,
        )
        details["pid"] = child.pid
        self._child = child
        self._logger.info("process started with pid [%s]", child.pid)
        context.emit_event_sync(ProcessStarted(pid=child.pid, **common))
        if self._stop_requested.is_set():
            # the request came while the process was being made
            self._stop_requested.clear()
            self._stop(send_sigint=True)
        code = self._return_code = await child.wait()
        self._child = None
        for splitter in splitters.values():
            splitter.close()
        self._log_end(child.pid, code)
        context.emit_event_sync(ProcessExited(pid=child.pid, returncode=code, **common))

    def _line_writer(self, fd: int) -> Any:
        logger = self._output_loggers[fd - 1]
        return lambda line: logger.write(f"[{self.name}] {line}")

    def _log_end(self, pid: int, code: int) -> None:
        if code == 0:
            self._logger.info("process has finished cleanly [pid %s]", pid)
            return
        assert self._details is not None  # set by execute()
        cmd = " ".join(self._details["cmd"])
        self._logger.error("process has died [pid %s, exit code %s, cmd '%s'].", pid, code, cmd)

    def _finish(self, context: "LaunchContext", handlers: list[BaseEventHandler], task: "asyncio.Task[None]") -> None:
        for timer in self._timers:
            timer.cancel()
        for handler in handlers:
            context.unregister_event_handler(handler)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._logger.error("exception occurred while executing process:", exc_info=error)
        assert self._completed is not None  # set by execute()
        if not self._completed.done():
            self._completed.set_result(None)


#: Older base of ExecuteProcess, here the same.
ExecuteLocal = ExecuteProcess
