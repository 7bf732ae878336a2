# SPDX-License-Identifier: Apache-2.0

"""Single keys of the terminal that a command runs in, for commands that wait for other things too."""

import os
import queue
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

_POLL_S = 0.2


@contextmanager
def terminal_keys(found: queue.Queue[str], meanings: Mapping[str, str], source: TextIO | None = None) -> Iterator[bool]:
    """Put what the keys mean into a queue while the block runs; yields whether there is a terminal.

    Ctrl-c still ends the program, and the terminal is as before afterwards.

    Args:
        found: takes the meanings, from a thread.
        meanings: by key; other keys are ignored.
        source: where keys come from; standard input if left out.
    """
    stream = sys.stdin if source is None else source
    if not stream.isatty():
        yield False
        return
    descriptor = stream.fileno()
    before = termios.tcgetattr(descriptor)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([descriptor], [], [], _POLL_S)[0]:
                sent = os.read(descriptor, 64)
                if not sent:  # the terminal was closed
                    return
                for key in sent.decode(errors="ignore"):
                    if key in meanings:
                        found.put(meanings[key])

    reader = threading.Thread(target=read, name="keys", daemon=True)
    try:
        tty.setcbreak(descriptor)
        reader.start()
        yield True
    finally:
        ended.set()
        reader.join(timeout=1.0)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
