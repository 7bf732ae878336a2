# SPDX-License-Identifier: Apache-2.0

"""Assertions on exit codes and output."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from launch.events.process import ProcessExited

from launch_testing.io_handler import Expected, IoHandler
from launch_testing.proc_info_handler import ProcInfoHandler
from launch_testing.util import NO_CMD_ARGS, resolveProcesses

__all__ = [
    "EXIT_OK",
    "EXIT_SIGINT",
    "EXIT_SIGKILL",
    "EXIT_SIGQUIT",
    "EXIT_SIGSEGV",
    "NO_CMD_ARGS",
    "SequentialTextChecker",
    "assertExitCodes",
    "assertInStderr",
    "assertInStdout",
    "assertSequentialStdout",
]

EXIT_OK = 0
EXIT_SIGINT = 130
EXIT_SIGQUIT = 131
EXIT_SIGKILL = 137
EXIT_SIGSEGV = 139


def assertExitCodes(  # noqa: N802 - name of the original
    proc_info: ProcInfoHandler,
    allowable_exit_codes: Iterable[int] = (EXIT_OK,),
    process: Any = None,
    cmd_args: Any = None,
    *,
    strict_proc_matching: bool = True,
) -> None:
    """Check that processes ended with allowed codes; a signal that ended one counts as minus its number.

    Raises:
        AssertionError: one did not, or has not ended.
    """
    allowed = list(allowable_exit_codes)
    matching = resolveProcesses(
        proc_info, process=process, cmd_args=cmd_args, strict_proc_matching=strict_proc_matching
    )
    for action in matching:
        event: ProcessExited = proc_info[action]
        if event.returncode not in allowed:
            raise AssertionError(
                f"Proc {event.process_name} exited with code {event.returncode}, allowed are {allowed}"
            )


def assertInStdout(  # noqa: N802 - name of the original
    proc_output: IoHandler, expected_output: Expected, process: Any, cmd_args: Any = None, **options: Any
) -> None:
    """Check that a process wrote something to standard output; options as in :meth:`IoHandler.find`.

    Raises:
        AssertionError: it did not.
    """
    _assert_in(proc_output, expected_output, process, cmd_args, {**options, "stream": "stdout"})


def assertInStderr(  # noqa: N802 - name of the original
    proc_output: IoHandler, expected_output: Expected, process: Any, cmd_args: Any = None, **options: Any
) -> None:
    """Check that a process wrote something to standard error; options as in :meth:`IoHandler.find`.

    Raises:
        AssertionError: it did not.
    """
    _assert_in(proc_output, expected_output, process, cmd_args, {**options, "stream": "stderr"})


def _assert_in(
    proc_output: IoHandler, expected: Expected, process: Any, cmd_args: Any, options: dict[str, Any]
) -> None:
    if not proc_output.find(expected, process=process, cmd_args=cmd_args, **options):
        names = ", ".join(
            str(action.name) for action in resolveProcesses(proc_output, process=process, cmd_args=cmd_args)
        )
        raise AssertionError(f"Did not find {expected!r} in {options['stream']} of any of the processes: {names}")


class SequentialTextChecker:
    """Checks that texts follow each other in an output."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._position = 0

    def assertInStdout(self, msg: str) -> None:  # noqa: N802 - name of the original
        """Check that the text comes after those checked before.

        Raises:
            AssertionError: it does not.
        """
        found = self._output.find(msg, self._position)
        if found < 0:
            raise AssertionError(f"'{msg}' not found in output after position {self._position}")
        self._position = found + len(msg)


@contextmanager
def assertSequentialStdout(  # noqa: N802 - name of the original
    proc_output: IoHandler, process: Any, cmd_args: Any = None
) -> Iterator[SequentialTextChecker]:
    """Give a checker for the standard output of one process."""
    action = resolveProcesses(proc_output, process=process, cmd_args=cmd_args)[0]
    yield SequentialTextChecker(proc_output.text_of(action, "stdout"))


#: Turns the output into what is searched.
OutputFilter = Callable[[str], str]
