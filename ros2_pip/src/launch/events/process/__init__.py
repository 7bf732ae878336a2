# SPDX-License-Identifier: Apache-2.0

"""Events about one process, and requests to one."""

import signal as signal_module
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from launch.event import Event

if TYPE_CHECKING:
    from launch.actions.execute_process import ExecuteLocal

__all__ = [
    "ProcessExited",
    "ProcessIO",
    "ProcessStarted",
    "ProcessStderr",
    "ProcessStdout",
    "ProcessTargetedEvent",
    "RunningProcessEvent",
    "ShutdownProcess",
    "SignalProcess",
]


class RunningProcessEvent(Event):
    """Something happened to a process that was started."""

    name = "launch.events.process.RunningProcessEvent"

    def __init__(
        self,
        *,
        action: "ExecuteLocal",
        name: str,
        cmd: Sequence[str],
        cwd: str | None,
        env: dict[str, str] | None,
        pid: int,
    ) -> None:
        self._action = action
        self._process_name = name
        self._cmd = list(cmd)
        self._cwd = cwd
        self._env = env
        self._pid = pid

    @property
    def action(self) -> "ExecuteLocal":
        """The action that started the process."""
        return self._action

    @property
    def execute_process_action(self) -> "ExecuteLocal":
        """The action that started the process (older name)."""
        return self._action

    @property
    def process_name(self) -> str:
        """Name with its number, e.g. ``talker-1``."""
        return self._process_name

    @property
    def cmd(self) -> list[str]:
        """Command line."""
        return self._cmd

    @property
    def cwd(self) -> str | None:
        """Working directory, None for that of the launch."""
        return self._cwd

    @property
    def env(self) -> dict[str, str] | None:
        """Environment of the process."""
        return self._env

    @property
    def pid(self) -> int:
        """Process id."""
        return self._pid


class ProcessStarted(RunningProcessEvent):
    """A process runs."""

    name = "launch.events.process.ProcessStarted"


class ProcessExited(RunningProcessEvent):
    """A process has ended."""

    name = "launch.events.process.ProcessExited"

    def __init__(self, *, returncode: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._returncode = returncode

    @property
    def returncode(self) -> int:
        """Exit code; minus the number of the signal that ended it."""
        return self._returncode


class ProcessIO(RunningProcessEvent):
    """A process wrote something."""

    name = "launch.events.process.ProcessIO"

    def __init__(self, *, text: bytes, fd: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._text = text
        self._fd = fd

    @property
    def text(self) -> bytes:
        """What was written, as it came."""
        return self._text

    @property
    def from_stdin(self) -> bool:
        """Whether it is about standard input."""
        return self._fd == 0

    @property
    def from_stdout(self) -> bool:
        """Whether it came from standard output."""
        return self._fd == 1

    @property
    def from_stderr(self) -> bool:
        """Whether it came from standard error."""
        return self._fd == 2


class ProcessStdout(ProcessIO):
    """A process wrote to standard output."""

    name = "launch.events.process.ProcessStdout"

    def __init__(self, *, text: bytes, **kwargs: Any) -> None:
        super().__init__(text=text, fd=1, **kwargs)


class ProcessStderr(ProcessIO):
    """A process wrote to standard error."""

    name = "launch.events.process.ProcessStderr"

    def __init__(self, *, text: bytes, **kwargs: Any) -> None:
        super().__init__(text=text, fd=2, **kwargs)


class ProcessTargetedEvent(Event):
    """A request to the processes that a matcher chooses."""

    name = "launch.events.process.ProcessTargetedEvent"

    def __init__(self, *, process_matcher: "Callable[[ExecuteLocal], bool]") -> None:
        self._process_matcher = process_matcher

    @property
    def process_matcher(self) -> "Callable[[ExecuteLocal], bool]":
        """Says whether an action's process is meant."""
        return self._process_matcher


class ShutdownProcess(ProcessTargetedEvent):
    """The process shall end: SIGINT, and more if it does not."""

    name = "launch.events.process.ShutdownProcess"


class SignalProcess(ProcessTargetedEvent):
    """The process shall get a signal, given by name or number."""

    name = "launch.events.process.SignalProcess"

    def __init__(
        self,
        *,
        signal_number: "str | signal_module.Signals",
        process_matcher: "Callable[[ExecuteLocal], bool]",
    ) -> None:
        super().__init__(process_matcher=process_matcher)
        if isinstance(signal_number, str):
            self._signal = signal_module.Signals[signal_number]
        else:
            self._signal = signal_module.Signals(signal_number)

    @property
    def signal(self) -> signal_module.Signals:
        """The signal."""
        return self._signal

    @property
    def signal_name(self) -> str:
        """Its name, e.g. ``SIGINT``."""
        return self._signal.name
