# SPDX-License-Identifier: Apache-2.0

"""The web application: files of the page, the WebSocket, commands, thumbnails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from aiohttp import WSMsgType, web

from vla_web.server.desk import Desk
from vla_web.server.door import COOKIE, HEADERS, Door
from vla_web.server.viewers import Viewer, end

PERIOD_S = 0.1
_SLOW_EVERY = 5  # of the fast messages
_LARGEST_REQUEST = 16 * 1024  # [B]
_LONGEST_WORD = 4096  # of an argument of a command [characters]
_MOST_VIEWERS = 8
_URGENT = ("stop", "estop")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_UUID = re.compile(r"[0-9a-fA-F-]{8,64}")
_LOG = logging.getLogger(__name__)
Answer = web.StreamResponse


class Site:
    """Routes and viewers of one page."""

    def __init__(self, desk: Desk, door: Door, image_rate_hz: float) -> None:
        """Args: desk: what is shown. door: who comes in. image_rate_hz: pictures per second and camera, at most."""
        self._desk, self._door = desk, door
        self._picture_every = max(1, round(1.0 / (PERIOD_S * image_rate_hz)))
        self._viewers: set[Viewer] = set()
        # STOP must not wait behind a service that hangs, nor a button behind thumbnails.
        self._pools = {
            name: ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"page_{name}")
            for name, workers in (("stop", 2), ("command", 4), ("thumbnail", 1))
        }
        self._files = {path.name: path.read_bytes() for path in resources.files("vla_web").joinpath("static").iterdir()}

    def application(self) -> web.Application:
        """The application, ready to be served."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_REQUEST)
        app.router.add_get("/", self._index)
        app.router.add_get("/live", self._live)
        app.router.add_post("/enter", self._enter)
        app.router.add_post("/command/{name}", self._command)
        app.router.add_get("/thumbnail/{uuid}", self._thumbnail)
        app.router.add_get("/{file}", self._file)
        app.cleanup_ctx.append(self._pumping)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> Answer:
        if refusal := self._door.refusal(request):
            return _text(403, refusal)
        free = request.path == "/enter" or request.path.endswith((".css", ".svg"))
        if not free and not self._door.entered(request):
            return self._page("enter.html", status=401) if request.path == "/" else _text(401, "give the token first")
        answer: Answer = await handler(request)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _index(self, _: web.Request) -> Answer:
        return self._page("index.html")

    async def _file(self, request: web.Request) -> Answer:
        return self._page(request.match_info["file"])

    def _page(self, name: str, status: int = 200) -> Answer:
        kind = _KINDS.get(f".{name.rsplit('.', 1)[-1]}")
        if name not in self._files or kind is None:
            return _text(404, "no such file")
        return web.Response(status=status, body=self._files[name], content_type=kind, charset="utf-8", headers=HEADERS)

    async def _enter(self, request: web.Request) -> Answer:
        if foreign := self._door.foreign(request):
            return _text(403, foreign)
        form = await request.post()
        token = form.get("token", "")
        if not isinstance(token, str) or not self._door.right_token(token):
            await asyncio.sleep(1.0)  # guessing must be slow
            return self._page("enter.html", status=401)
        answer = web.HTTPSeeOther("/")
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", max_age=12 * 3600)
        return answer

    async def _command(self, request: web.Request) -> Answer:
        if foreign := self._door.foreign(request):
            return _text(403, foreign)
        try:
            given = await request.json()
        except ValueError:
            return _text(400, "the body is not JSON")
        if not isinstance(given, dict) or not all(
            isinstance(value, str) and len(value) <= _LONGEST_WORD for value in given.values()
        ):
            return _text(400, f"the body must be an object of texts of at most {_LONGEST_WORD} characters")
        name = request.match_info["name"]
        loop = asyncio.get_running_loop()
        try:
            pool = self._pools["stop" if name in _URGENT else "command"]
            done, said = await loop.run_in_executor(pool, self._desk.command, name, given)
        except KeyError:
            return _text(404, f"there is no command {name!r}")
        return web.json_response({"ok": done, "text": said})

    async def _thumbnail(self, request: web.Request) -> Answer:
        uuid = request.match_info["uuid"]
        if not _UUID.fullmatch(uuid):
            return _text(400, "that is no episode")
        pool = self._pools["thumbnail"]
        jpeg = await asyncio.get_running_loop().run_in_executor(pool, self._desk.thumbnail, uuid)
        if jpeg is None:
            return _text(404, "no picture")
        answer = web.Response(body=jpeg, content_type="image/jpeg", headers=HEADERS)
        answer.headers["Cache-Control"] = "private, max-age=3600"
        return answer

    async def _live(self, request: web.Request) -> Answer:
        if foreign := self._door.foreign(request):
            return _text(403, foreign)
        if len(self._viewers) >= _MOST_VIEWERS:
            return _text(503, f"{_MOST_VIEWERS} browsers look already; close one")
        socket = web.WebSocketResponse(heartbeat=5.0, max_msg_size=_LARGEST_REQUEST, compress=False)
        await socket.prepare(request)
        viewer = Viewer(socket)
        viewer.offer("hello", json.dumps({"hello": self._desk.hello()}))
        viewer.offer("slow", json.dumps({"slow": self._desk.slow()}))
        sending = asyncio.create_task(viewer.send())
        self._viewers.add(viewer)
        self._count()
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT and message.data in ("look", "away"):
                    viewer.looking = message.data == "look"
                    self._count()
        finally:
            self._viewers.discard(viewer)
            self._count()
            await end(socket, sending)
        return socket

    def _count(self) -> None:
        self._desk.watch(sum(viewer.looking for viewer in self._viewers))

    async def _pumping(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._pump())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    async def _pump(self) -> None:
        turn, sent = 0, dict[str, int]()
        while True:
            await asyncio.sleep(PERIOD_S)
            viewers = [viewer for viewer in self._viewers if viewer.looking]
            if not viewers:
                sent.clear()
                continue
            turn += 1
            self._show(viewers, "fast", json.dumps({"fast": self._desk.fast()}, separators=(",", ":")))
            if turn % _SLOW_EVERY == 0:
                self._show(viewers, "slow", json.dumps({"slow": self._desk.slow()}, separators=(",", ":")))
            if turn % self._picture_every == 0:
                for index, (name, (number, jpeg)) in enumerate(self._desk.pictures().items()):
                    if number and number != sent.get(name):
                        sent[name] = number
                        self._show(viewers, f"picture {name}", bytes([index]) + jpeg)

    @staticmethod
    def _show(viewers: list[Viewer], kind: str, payload: str | bytes) -> None:
        for viewer in viewers:
            viewer.offer(kind, payload)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers=HEADERS)
