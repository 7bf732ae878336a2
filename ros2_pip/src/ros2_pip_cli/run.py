# SPDX-License-Identifier: Apache-2.0

"""``ros2 run``: one executable of a package, as a child that gets the signals of this process."""

import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ros2_pip_cli.errors import CliError
from ros2_pip_cli.pkg import executable_paths

NAME = "run"

_PREFIX = "[ros2run]:"
#: si_code of a signal that the kernel sent, as a terminal's Ctrl-C is (SI_KERNEL of Linux).
_FROM_KERNEL = 0x80
#: prctl(2) option: the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1
#: Upper bound, in seconds, for noticing the end of the child should its signal be lost.
_CHECK_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add package, executable and the arguments that go to it unchanged."""
    parser.add_argument(
        "--prefix",
        help="command that goes before the executable; quote it if it contains spaces, e.g. --prefix 'gdb -ex run --args'",
    )
    parser.add_argument("package_name", help="Name of the ROS package")
    parser.add_argument("executable_name", help="Name of the executable")
    parser.add_argument("argv", nargs=argparse.REMAINDER, help="Arguments for the executable")


def main(args: argparse.Namespace) -> int:
    """Run the executable and return its exit code; minus the signal number if a signal ended it."""
    path = _find(args.package_name, args.executable_name)
    command = [*shlex.split(args.prefix or ""), str(path), *args.argv]
    code = _supervise(command)
    if code < 0:
        print(_PREFIX, signal.strsignal(-code))
    elif code > 0:
        print(_PREFIX, f"Process exited with failure {code}")
    return code


def _find(package: str, executable: str) -> Path:
    paths = [path for path in executable_paths(package) if path.name == executable]
    if not paths:
        known = ", ".join(sorted({path.name for path in executable_paths(package)})) or "none"
        msg = f"No executable found: package '{package}' has no executable '{executable}' (it has: {known})"
        raise CliError(msg)
    if len(paths) > 1:
        msg = "Multiple executables found:" + "".join(f"\n- {path}" for path in paths)
        raise CliError(msg)
    return paths[0]


def _supervise(command: Sequence[str]) -> int:
    """Run the command; SIGINT and SIGTERM of this process go on to it, once, and its end is always awaited."""
    watched = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    # blocked signals are waited for instead of handled: only so is known who sent them
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    interactive = _is_interactive()
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    try:
        # At a terminal the child stays in the foreground group, where keys and Ctrl-C reach it. Elsewhere it gets a
        # group of its own, so that a signal to the group of this process does not reach it twice.
        child = subprocess.Popen(command, preexec_fn=prepare, process_group=None if interactive else 0)
        while child.poll() is None:
            received = signal.sigtimedwait(watched, _CHECK_S)
            if received is None or received.si_signo == signal.SIGCHLD:
                continue
            if not (interactive and received.si_signo == signal.SIGINT and received.si_code == _FROM_KERNEL):
                child.send_signal(received.si_signo)
        return child.returncode
    except OSError as error:
        msg = f"Cannot start {command[0]}: {error.strerror or error}"
        raise CliError(msg) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _is_interactive() -> bool:
    """Tell whether this process is in the foreground of a terminal."""
    try:
        return sys.stdin is not None and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
