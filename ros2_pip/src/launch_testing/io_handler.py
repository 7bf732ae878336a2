# SPDX-License-Identifier: Apache-2.0

"""What processes have written."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from launch.actions import ExecuteProcess
from launch.events.process import ProcessIO

from launch_testing.util import NoMatchingProcessException, resolveProcesses

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

#: Text, a compiled pattern, or a list of them that must follow each other.
Expected = Any


class IoHandler:
    """Collects output by process."""

    def __init__(self) -> None:
        self._output: dict[ExecuteProcess, list[ProcessIO]] = {}
        self._order: list[ProcessIO] = []

    def track(self, action: ExecuteProcess) -> None:
        """Know a process before it writes."""
        self._output.setdefault(action, [])

    def append(self, process_io: ProcessIO) -> None:
        """Note a piece of output."""
        self._output.setdefault(process_io.action, []).append(process_io)
        self._order.append(process_io)

    def __iter__(self) -> Iterator[ProcessIO]:
        return iter(list(self._order))

    def processes(self) -> list[ExecuteProcess]:
        """Return the actions of the processes."""
        return list(self._output)

    def process_names(self) -> list[str]:
        """Return the names of the processes."""
        return [str(action.name) for action in self._output]

    def __getitem__(self, key: ExecuteProcess | str) -> list[ProcessIO]:
        return list(self._output[resolveProcesses(self, process=key)[0]])

    def text_of(self, process: ExecuteProcess, stream: str, *, strip_ansi: bool = True) -> str:
        """Return all that a process has written to ``stdout`` or ``stderr``."""
        pieces = [io.text for io in list(self._output[process]) if io.from_stdout == (stream == "stdout")]
        text = b"".join(pieces).decode("utf-8", errors="replace").replace("\r\n", "\n")
        return _ANSI.sub("", text) if strip_ansi else text

    def find(
        self,
        expected_output: Expected,
        *,
        process: Any = None,
        cmd_args: Any = None,
        strict_proc_matching: bool = True,
        output_filter: Callable[[str], str] | None = None,
        strip_ansi_escape_sequences: bool = True,
        stream: str = "stderr",
    ) -> bool:
        """Return whether one of the processes has written what is expected.

        Raises:
            ValueError: ``stream`` is neither stdout nor stderr.
            launch_testing.util.NoMatchingProcessException: no process matches.
        """
        if stream not in ("stdout", "stderr"):
            raise ValueError(f"stream must be 'stdout' or 'stderr', got '{stream}'")
        matching = resolveProcesses(self, process=process, cmd_args=cmd_args, strict_proc_matching=strict_proc_matching)
        for action in matching:
            text = self.text_of(action, stream, strip_ansi=strip_ansi_escape_sequences)
            if _contains(text if output_filter is None else output_filter(text), expected_output):
                return True
        return False


class ActiveIoHandler(IoHandler):
    """Collects output while tests run in another thread, and lets them wait."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def track(self, action: ExecuteProcess) -> None:
        """Know a process before it writes, and wake those who wait for it."""
        with self._changed:
            super().track(action)
            self._changed.notify_all()

    def append(self, process_io: ProcessIO) -> None:
        """Note a piece of output, and wake those who wait."""
        with self._changed:
            super().append(process_io)
            self._changed.notify_all()

    def waitFor(  # noqa: N802 - name of the original
        self,
        expected_output: Expected,
        process: Any = None,
        cmd_args: Any = None,
        *,
        timeout: float = 10,
        **options: Any,
    ) -> bool:
        """Wait until a process has written what is expected; return False if it has not after ``timeout`` seconds.

        ``options`` are those of :meth:`IoHandler.find`; note that ``stream`` is ``stderr`` by default.
        """

        def reached() -> bool:
            try:
                return self.find(expected_output, process=process, cmd_args=cmd_args, **options)
            except NoMatchingProcessException:
                return False

        with self._changed:
            return self._changed.wait_for(reached, timeout)

    def assertWaitFor(self, expected_output: Expected, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Wait as :meth:`waitFor` does.

        Raises:
            AssertionError: it was not written in time.
        """
        if not self.waitFor(expected_output, *args, **kwargs):
            stream = kwargs.get("stream", "stderr")
            known = ", ".join(self.process_names()) or "none"
            raise AssertionError(f"Waiting for output timed out: {expected_output!r} on {stream}; processes: {known}")


def _contains(text: str, expected: Expected) -> bool:
    position = 0
    for item in expected if isinstance(expected, list | tuple) else [expected]:
        pattern = item if isinstance(item, re.Pattern) else re.compile(re.escape(str(item)))
        match = pattern.search(text, position)
        if match is None:
            return False
        position = match.end()
    return True
