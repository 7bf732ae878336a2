# SPDX-License-Identifier: Apache-2.0

"""One browser: what it has not got yet, the newest of each kind and no more."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

_SEND_TIMEOUT_S = 10.0  # a browser that takes nothing for so long is gone


class Viewer:
    """Sends to a WebSocket. A slow one gets fewer messages: a newer one of the same kind replaces what still waits."""

    def __init__(self, socket: Any) -> None:
        """Args: socket: with `send_str` and `send_bytes`, as aiohttp's WebSocketResponse."""
        self._socket = socket
        self._waiting: dict[str, str | bytes] = {}
        self._some = asyncio.Event()
        self.looking = True

    @property
    def waiting(self) -> int:
        """Messages that wait; never more than there are kinds."""
        return len(self._waiting)

    def offer(self, kind: str, payload: str | bytes) -> None:
        """Send when there is time; takes the place of an older one of the same kind."""
        self._waiting[kind] = payload
        self._some.set()

    async def send(self) -> None:
        """Send what is offered until the connection ends."""
        while True:
            await self._some.wait()
            while self._waiting:
                kind = next(iter(self._waiting))
                payload = self._waiting.pop(kind)
                text = isinstance(payload, str)
                sent = self._socket.send_str(payload) if text else self._socket.send_bytes(payload)
                await asyncio.wait_for(sent, _SEND_TIMEOUT_S)
            self._some.clear()


async def end(socket: web.WebSocketResponse, task: asyncio.Task[None]) -> None:
    """Close a viewer's connection and its task."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await socket.close()
