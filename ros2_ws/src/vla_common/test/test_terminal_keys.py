# SPDX-License-Identifier: Apache-2.0

"""Keys of a terminal, by a pseudo terminal."""

import io
import os
import pty
import queue
import termios

from vla_common.terminal_keys import terminal_keys


def test_keys_arrive_one_by_one_and_the_terminal_is_given_back():
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    found: queue.Queue[str] = queue.Queue()
    with (
        os.fdopen(terminal, "r", closefd=False) as source,
        terminal_keys(found, {"a": "add", "\n": "save"}, source) as there,
    ):
        assert there
        os.write(keyboard, b"xa\na")
        assert [found.get(timeout=5.0) for _ in range(3)] == ["add", "save", "add"]
        assert not termios.tcgetattr(terminal)[3] & termios.ICANON
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    os.close(keyboard)


def test_without_a_terminal_there_are_no_keys():
    found: queue.Queue[str] = queue.Queue()
    with terminal_keys(found, {"a": "add"}, io.StringIO("a")) as there:
        assert not there
    assert found.empty()
