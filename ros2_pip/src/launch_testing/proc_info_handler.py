# SPDX-License-Identifier: Apache-2.0

"""Which processes have started and ended."""

import threading
from collections.abc import Iterator
from typing import Any

from launch.actions import ExecuteProcess
from launch.events.process import ProcessExited, ProcessStarted, RunningProcessEvent

from launch_testing.util import resolveProcesses


class ProcInfoHandler:
    """Collects the ends of processes."""

    def __init__(self) -> None:
        self._events: dict[ExecuteProcess, RunningProcessEvent] = {}

    def append(self, process_info: RunningProcessEvent) -> None:
        """Note the start or the end of a process."""
        self._events[process_info.action] = process_info

    def __iter__(self) -> Iterator[ProcessExited]:
        return iter([event for event in list(self._events.values()) if isinstance(event, ProcessExited)])

    def processes(self) -> list[ExecuteProcess]:
        """Return the actions of all processes that were started."""
        return list(self._events)

    def process_names(self) -> list[str]:
        """Return the names of all processes that were started."""
        return [event.process_name for event in list(self._events.values())]

    def __getitem__(self, key: ExecuteProcess | str) -> ProcessExited:
        event = self._events[resolveProcesses(self, process=key)[0]]
        if not isinstance(event, ProcessExited):
            raise KeyError(f"process {event.process_name} has not ended")
        return event


class ActiveProcInfoHandler(ProcInfoHandler):
    """Collects starts and ends while tests run in another thread, and lets them wait."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def append(self, process_info: RunningProcessEvent) -> None:
        """Note the start or the end of a process, and wake those who wait."""
        with self._changed:
            super().append(process_info)
            self._changed.notify_all()

    def assertWaitForStartup(self, process: Any, cmd_args: Any = None, *, timeout: float = 10) -> None:  # noqa: N802
        """Wait until a process has started.

        Raises:
            AssertionError: it has not after ``timeout`` seconds.
        """
        self._wait(process, cmd_args, timeout, ProcessStarted | ProcessExited, "start")

    def assertWaitForShutdown(self, process: Any, cmd_args: Any = None, *, timeout: float = 10) -> None:  # noqa: N802
        """Wait until a process has ended.

        Raises:
            AssertionError: it has not after ``timeout`` seconds.
        """
        self._wait(process, cmd_args, timeout, ProcessExited, "finish")

    def _wait(self, process: Any, cmd_args: Any, timeout: float, event_class: Any, verb: str) -> None:
        def reached() -> bool:
            wanted = [
                action
                for action in self.processes()
                if isinstance(self._events[action], event_class) and _matches(action, process)
            ]
            return bool(wanted) and (
                cmd_args is None or bool(resolveProcesses(self, process=process, cmd_args=cmd_args))
            )

        with self._changed:
            if not self._changed.wait_for(reached, timeout):
                name = process if isinstance(process, str) else process.name or process.describe()
                known = ", ".join(self.process_names()) or "none"
                raise AssertionError(
                    f"Timed out waiting {timeout} s for process '{name}' to {verb}; started so far: {known}"
                )


def _matches(action: ExecuteProcess, process: Any) -> bool:
    return process in str(action.name) if isinstance(process, str) else action is process
