# SPDX-License-Identifier: Apache-2.0

"""One child process in an asyncio loop: its pipes or terminals, its lines, its end."""

import asyncio
import codecs
import os
import pty
import signal
import termios
from collections.abc import Callable, Sequence
from typing import IO, Any

#: How long output is still read after the end of the process; a grandchild may keep the pipe open for ever.
_DRAIN_S = 0.5

OnData = Callable[[int, bytes], None]


class LineSplitter:
    """Turns pieces of bytes into lines of text."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Take a piece; give each line that it completes."""
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._on_line(line.removesuffix("\r"))

    def close(self) -> None:
        """Give the last line, if it has no end."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        if rest:
            self._on_line(rest)


class ChildProcess:
    """A started child; make it with :meth:`start`.

    ``on_data`` gets 1 or 2 for the stream, and the bytes as they come.
    """

    def __init__(self, on_data: OnData) -> None:
        self._on_data = on_data
        self._exited = asyncio.get_running_loop().create_future()
        self._open_streams: set[int] = set()
        self._all_closed = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None
        self._terminals: list[asyncio.ReadTransport] = []
        self._early: list[tuple[int, bytes]] | None = []

    @classmethod
    async def start(
        cls,
        cmd: Sequence[str],
        *,
        cwd: str | None,
        env: dict[str, str] | None,
        shell: bool,
        emulate_tty: bool,
        on_data: OnData,
    ) -> "ChildProcess":
        """Start a command; a shell gets it as one line.

        Raises:
            OSError: the executable or the folder is missing, or may not be used.
        """
        self = cls(on_data)
        terminals: dict[int, tuple[int, int]] = {}
        try:
            if emulate_tty:
                terminals = {1: _open_terminal(), 2: _open_terminal()}
            await self._spawn(cmd, cwd, env, shell, {fd: slave for fd, (_, slave) in terminals.items()})
        except BaseException:
            for master, _ in terminals.values():
                os.close(master)
            raise
        finally:
            for _, slave in terminals.values():
                os.close(slave)
        for fd, (master, _) in terminals.items():
            await self._read_terminal(fd, os.fdopen(master, "rb", buffering=0))
        return self

    async def _spawn(
        self, cmd: Sequence[str], cwd: str | None, env: dict[str, str] | None, shell: bool, slaves: dict[int, int]
    ) -> None:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {
            "cwd": cwd,
            "env": env,
            "stdin": asyncio.subprocess.PIPE,
            "stdout": slaves.get(1, asyncio.subprocess.PIPE),
            "stderr": slaves.get(2, asyncio.subprocess.PIPE),
        }
        self._open_streams = {1, 2}
        if shell:
            transport, _ = await loop.subprocess_shell(lambda: _Protocol(self), " ".join(cmd), **options)
        else:
            transport, _ = await loop.subprocess_exec(lambda: _Protocol(self), *cmd, **options)
        self._transport = transport

    async def _read_terminal(self, fd: int, master: IO[bytes]) -> None:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _TerminalProtocol(self, fd), master)
        self._terminals.append(transport)

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._transport is not None  # start() returns only with one
        return self._transport.get_pid()

    def send_signal(self, number: signal.Signals) -> bool:
        """Send a signal; return False if the process has ended."""
        if self._transport is None or self._exited.done():
            return False
        try:
            self._transport.send_signal(number)
        except ProcessLookupError:
            return False
        return True

    async def wait(self) -> int:
        """Return the exit code after the end, when the output has been read."""
        assert self._transport is not None  # start() returns only with one
        early, self._early = self._early or [], None
        for fd, data in early:
            self._on_data(fd, data)
        await self._exited
        try:
            await asyncio.wait_for(self._all_closed.wait(), _DRAIN_S)
        except TimeoutError:
            for terminal in self._terminals:
                terminal.close()
        code = self._transport.get_returncode()
        self._transport.close()
        assert code is not None  # the process has exited
        return code

    def data_received(self, fd: int, data: bytes) -> None:
        """Pass a piece of output on, but not before the start was announced."""
        if self._early is None:
            self._on_data(fd, data)
        else:
            self._early.append((fd, data))

    def stream_closed(self, fd: int) -> None:
        """Note the end of a stream."""
        self._open_streams.discard(fd)
        if not self._open_streams:
            self._all_closed.set()

    def exited(self) -> None:
        """Note the end of the process."""
        if not self._exited.done():
            self._exited.set_result(None)


class _Protocol(asyncio.SubprocessProtocol):
    def __init__(self, child: ChildProcess) -> None:
        self._child = child

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._child.data_received(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd != 0:
            self._child.stream_closed(fd)

    def process_exited(self) -> None:
        self._child.exited()


class _TerminalProtocol(asyncio.Protocol):
    def __init__(self, child: ChildProcess, fd: int) -> None:
        self._child = child
        self._fd = fd

    def data_received(self, data: bytes) -> None:
        self._child.data_received(self._fd, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._child.stream_closed(self._fd)


def _open_terminal() -> tuple[int, int]:
    """Return both ends of a terminal that leaves line ends as they are."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    return master, slave
