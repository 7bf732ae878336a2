# SPDX-License-Identifier: Apache-2.0

"""Helpers of launch tests: find a process, keep the launch alive."""

import sys
from typing import Any, Protocol

from launch.actions import ExecuteProcess

__all__ = ["NO_CMD_ARGS", "KeepAliveProc", "NoMatchingProcessException", "resolveProcesses"]

#: Matches only processes without arguments.
NO_CMD_ARGS = object()

_SLEEP = """\
import signal
signal.signal(signal.SIGINT, lambda *_: exit(0))
signal.signal(signal.SIGTERM, lambda *_: exit(0))
signal.pause()
"""


class NoMatchingProcessException(Exception):  # noqa: N818 - name of the original
    """No process is the one that was asked for, or more than one is."""


class KeepAliveProc(ExecuteProcess):
    """A process that does nothing until it is stopped, so that the launch does not end before the tests."""

    def __init__(self) -> None:
        super().__init__(cmd=[sys.executable, "-c", _SLEEP], name="keep_alive")


class HasProcesses(Protocol):
    """Something that knows processes."""

    def processes(self) -> list[ExecuteProcess]:
        """Return them."""
        ...


def resolveProcesses(  # noqa: N802 - name of the original
    info_obj: HasProcesses, *, process: Any = None, cmd_args: Any = None, strict_proc_matching: bool = True
) -> list[ExecuteProcess]:
    """Return the processes that match.

    Args:
        info_obj: knows the processes.
        process: an action, a part of a process name, or None for all.
        cmd_args: text that the command line contains, :data:`NO_CMD_ARGS`, or None for any.
        strict_proc_matching: text must match one process only.

    Raises:
        NoMatchingProcessException: none matches, or several do in strict mode.
    """
    known = info_obj.processes()
    if process is None:
        return known
    by_name = isinstance(process, str)
    matching = [item for item in known if (process in str(item.name) if by_name else item is process)]
    if cmd_args is not None:
        matching = [item for item in matching if _has_arguments(item, cmd_args)]
    names = ", ".join(sorted(str(item.name) for item in known)) or "none"
    if not matching:
        wanted = repr(process) if by_name else process.describe()
        raise NoMatchingProcessException(f"Did not find any process matching {wanted}; known processes: {names}")
    if by_name and strict_proc_matching and len(matching) > 1:
        several = ", ".join(str(item.name) for item in matching)
        raise NoMatchingProcessException(f"Found multiple processes matching '{process}': {several}")
    return matching


def _has_arguments(action: ExecuteProcess, cmd_args: Any) -> bool:
    arguments = (action.process_details or {"cmd": []})["cmd"][1:]
    if cmd_args is NO_CMD_ARGS:
        return not arguments
    return str(cmd_args) in " ".join(arguments)
