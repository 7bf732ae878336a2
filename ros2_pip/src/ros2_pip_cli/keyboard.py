# SPDX-License-Identifier: Apache-2.0

"""Single keys from the terminal, without Return, for commands that run on."""

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

from ros2_pip_cli.errors import CliError

PAUSE = " "
NEXT = "\x1b[C"


class Keyboard:
    """Reads keys; without a terminal there are none."""

    def __init__(self, *, enabled: bool) -> None:
        self._fd = sys.stdin.fileno() if enabled else None

    def key(self, timeout_s: float = 0.0) -> str:
        """Return the next key (an arrow as its escape sequence), or an empty text after the timeout in seconds."""
        if self._fd is None:
            select.select([], [], [], max(0.0, timeout_s))
            return ""
        if not select.select([self._fd], [], [], max(0.0, timeout_s))[0]:
            return ""
        read = os.read(self._fd, 8)
        if not read:
            self._fd = None  # the terminal has gone
        return read.decode(errors="replace")


def require_keys(option: str, *, enabled: bool) -> None:
    """Refuse an option that only a key can end where no key can be pressed.

    Raises:
        CliError: standard input is no terminal, or keys are disabled.
    """
    if not enabled or not _is_terminal():
        msg = f"{option} needs a terminal and its keyboard: only the SPACE key resumes"
        raise CliError(msg)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@contextlib.contextmanager
def keyboard(*, enabled: bool) -> Iterator[Keyboard]:
    """Give a keyboard and restore the terminal afterwards; disabled where standard input is no terminal."""
    usable = enabled and _is_terminal()
    saved = termios.tcgetattr(sys.stdin) if usable else None
    try:
        if usable:
            tty.setcbreak(sys.stdin)
        yield Keyboard(enabled=usable)
    finally:
        if saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
