# SPDX-License-Identifier: Apache-2.0

"""The server on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from aiohttp import web
from vla_core.errors import VlaError

_STOP_S = 3.0


class ServingError(VlaError):
    """The address cannot be used."""


class WebServer:
    """Serves an application until it is closed.

    Attributes:
        port: The TCP port, once `run` has opened it; 0 before.
    """

    def __init__(self, make: Callable[[], web.Application], host: str, port: int) -> None:
        """Args: make: makes the application on the server's own loop. host, port: to listen on."""
        self._make, self._host, self._wanted = make, host, port
        self.port = 0
        self._opened = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve; returns after `close`.

        Raises:
            ServingError: The address is in use, or not this machine's.
        """
        try:
            asyncio.run(self._serve())
        finally:
            self._opened.set()
            self._ended.set()

    def wait_open(self, timeout_s: float) -> bool:
        """Whether the server is open within `timeout_s`; also returns when it ended instead."""
        return self._opened.wait(timeout_s) and self.port > 0

    def close(self) -> None:
        """End `run`; from any thread."""
        loop, ending = self._loop, self._ending
        if loop is None or ending is None or self._ended.is_set():
            return
        loop.call_soon_threadsafe(ending.set)
        self._ended.wait(_STOP_S)

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._make(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._wanted).start()
        except OSError as error:
            await runner.cleanup()
            raise ServingError(
                f"the page cannot be served on {self._host}:{self._wanted}: {error.strerror or error}. Is another page "
                "running? Choose another port with web_port:=8081"
            ) from error
        self.port = runner.addresses[0][1]
        self._opened.set()
        await self._ending.wait()
        await runner.cleanup()
