# SPDX-License-Identifier: Apache-2.0

import asyncio
import json
import threading
import time

import pytest
from aiohttp import ClientConnectionResetError, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from vla_web.server.door import Door, DoorError, is_loopback
from vla_web.server.site import Site
from vla_web.server.viewers import Viewer

TOKEN = "0123456789abcdef"


class FakeDesk:
    def __init__(self):
        self.viewers, self.commands, self.number, self.hanging = [], [], 0, threading.Event()

    def hello(self):
        return {"robot": "r", "cameras": ["front", "wrist"], "joints": ["j"], "history": []}

    def fast(self):
        return {"t": 1.0, "node_age": 0.0, "streams": [], "row": None, "chunk": None}

    def slow(self):
        return {"events": []}

    def pictures(self):
        self.number += 1
        return {"front": (self.number, b"front"), "wrist": (0, b"")}

    def watch(self, viewers):
        self.viewers.append(viewers)

    def command(self, name, arguments):
        if name == "hang":
            self.hanging.wait(20)
        elif name not in ("start", "stop"):
            raise KeyError(name)
        self.commands.append((name, dict(arguments)))
        return False, "the disk is full"

    def thumbnail(self, uuid):
        return b"jpeg" if uuid == "0123abcd" else None


def visit(test, *, host="127.0.0.1", token=""):
    """Run `test(client, desk, own)`; `own` are the headers that the page's own requests carry."""

    async def run():
        desk = FakeDesk()
        server = TestServer(Site(desk, Door(host, token), 10.0).application())
        async with TestClient(server) as client:
            own = {"Origin": f"http://127.0.0.1:{server.port}"}
            await asyncio.wait_for(test(client, desk, own), 30)

    asyncio.run(run())


def test_the_page_and_its_files_are_served_and_nothing_else():
    async def test(client, desk, own):
        answer = await client.get("/")
        assert answer.status == 200
        assert 'id="stop"' in await answer.text()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
            answer = await client.get(f"/{name}")
            assert (answer.status, answer.content_type) == (200, kind)
        for path in ("/nothing.js", "/..%2fpage_node.py", "/page_node.py", "/static/page.js"):
            assert (await client.get(path)).status == 404

    visit(test)


def test_another_host_name_is_turned_away():
    async def test(client, desk, own):
        for name in ("evil.example", "127.0.0.1.evil.example", ""):
            answer = await client.get("/", headers={"Host": name})
            assert answer.status == 403
        assert "open the page by 127.0.0.1 or localhost" in await answer.text()
        assert (await client.get("/", headers={"Host": "localhost:8080"})).status == 200

    visit(test)


def test_commands_and_the_live_stream_are_for_the_page_itself():
    async def test(client, desk, own):
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = await client.post("/command/start", json={}, headers=headers)
            assert answer.status == 403
            assert "commands are taken from the page only" in await answer.text()
            with pytest.raises(WSServerHandshakeError, match="403"):
                await client.ws_connect("/live", headers=headers)
        assert desk.commands == []
        assert desk.viewers == []

    visit(test)


def test_a_command_is_passed_on_and_its_refusal_comes_back():
    async def test(client, desk, own):
        answer = await client.post("/command/start", json={"task": "fold"}, headers=own)
        assert await answer.json() == {"ok": False, "text": "the disk is full"}
        assert desk.commands == [("start", {"task": "fold"})]
        answer = await client.post("/command/explode", json={}, headers=own)
        assert answer.status == 404
        assert await answer.text() == "there is no command 'explode'"

    visit(test)


def test_stop_waits_for_no_service_that_hangs():
    async def test(client, desk, own):
        hanging = [asyncio.create_task(client.post("/command/hang", json={}, headers=own)) for _ in range(12)]
        await asyncio.sleep(0)
        answer = await client.post("/command/stop", json={}, headers=own)
        assert answer.status == 200
        assert [name for name, _ in desk.commands] == ["stop"]  # the others still hang
        desk.hanging.set()
        await asyncio.gather(*hanging)

    visit(test)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"task": 3}', json.dumps({"task": "x" * 5000}).encode()])
def test_other_bodies_are_refused(body):
    async def test(client, desk, own):
        answer = await client.post("/command/start", data=body, headers=own)
        assert answer.status == 400
        assert desk.commands == []

    visit(test)


def test_large_requests_are_refused():
    async def test(client, desk, own):
        try:
            answer = await client.post("/command/start", data=b"x" * 100_000, headers=own)
            assert answer.status == 413
        except ClientConnectionResetError:
            pass  # refused before it was all sent
        assert desk.commands == []

    visit(test)


def test_a_thumbnail_is_found_by_uuid_only():
    async def test(client, desk, own):
        answer = await client.get("/thumbnail/0123abcd")
        assert (answer.status, await answer.read(), answer.content_type) == (200, b"jpeg", "image/jpeg")
        assert (await client.get("/thumbnail/ffffffff")).status == 404
        assert (await client.get("/thumbnail/..%2f..%2fetc%2fpasswd")).status == 400

    visit(test)


def test_a_viewer_gets_state_and_pictures_and_counts_only_while_it_looks():
    async def test(client, desk, own):
        async with client.ws_connect("/live", headers=own) as socket:
            kinds, pictures = set(), []
            while not ({"hello", "fast", "slow"} <= kinds and len(pictures) >= 2):
                message = await socket.receive(timeout=10)
                if message.type == WSMsgType.BINARY:
                    pictures.append(message.data)
                else:
                    kinds |= json.loads(message.data).keys()
            assert set(pictures) == {b"\x00front"}
            await socket.send_str("away")
            while desk.viewers[-1] != 0:
                await asyncio.sleep(0.01)
            assert desk.viewers == [1, 0]
        while len(desk.viewers) < 3:
            await asyncio.sleep(0.01)
        assert desk.viewers[-1] == 0

    visit(test)


def test_a_ninth_browser_is_refused():
    async def test(client, desk, own):
        sockets = [await client.ws_connect("/live", headers=own) for _ in range(8)]
        with pytest.raises(WSServerHandshakeError, match="503"):
            await client.ws_connect("/live", headers=own)
        for socket in sockets:
            await socket.close()

    visit(test)


def test_with_a_token_nothing_is_shown_before_it_is_given():
    async def test(client, desk, own):
        answer = await client.get("/")
        assert answer.status == 401
        assert "web_token" in await answer.text()
        for path in ("/page.js", "/thumbnail/0123abcd"):
            assert (await client.get(path)).status == 401
        assert (await client.post("/command/start", json={}, headers=own)).status == 401
        with pytest.raises(WSServerHandshakeError, match="401"):
            await client.ws_connect("/live", headers=own)
        began = time.monotonic()
        answer = await client.post("/enter", data={"token": "wrong-token"}, headers=own)
        assert answer.status == 401
        assert time.monotonic() - began > 0.9
        answer = await client.post("/enter", data={"token": TOKEN}, headers={"Origin": "http://evil.example"})
        assert answer.status == 403
        answer = await client.post("/enter", data={"token": TOKEN}, headers=own, allow_redirects=False)
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        name, value = cookie.split(";")[0].split("=", 1)
        entered = {**own, "Cookie": f"{name}={value}"}
        assert (await client.get("/", headers=entered)).status == 200
        assert (await client.post("/command/start", json={}, headers=entered)).status == 200

    visit(test, host="0.0.0.0", token=TOKEN)


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", ""), ("192.168.1.5", ""), ("robot.local", "")])
def test_beyond_loopback_a_token_is_needed(host, token):
    with pytest.raises(DoorError, match=r"can be reached from other machines.*Set web_token.*ssh -L"):
        Door(host, token)


@pytest.mark.parametrize("token", ["short", "x" * 300])
def test_a_token_that_is_too_short_or_long_is_refused(token):
    with pytest.raises(DoorError, match=rf"web_token has {len(token)} characters; use 8 to 256.*openssl rand"):
        Door("127.0.0.1", token)


def test_loopback_addresses():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1", "0.0.0.0", "::", "pc")] == [
        *[True] * 4,
        *[False] * 3,
    ]


def test_a_slow_browser_loses_old_messages_and_holds_no_memory():
    class SlowSocket:
        def __init__(self):
            self.sent, self.free = [], asyncio.Event()

        async def send_str(self, text):
            await self.free.wait()
            self.sent.append(text)

    async def run():
        socket = SlowSocket()
        viewer = Viewer(socket)
        task = asyncio.create_task(viewer.send())
        for number in range(1000):
            viewer.offer("fast", f"fast {number}")
            viewer.offer("slow", f"slow {number}")
            await asyncio.sleep(0)
        assert viewer.waiting == 2
        socket.free.set()
        while len(socket.sent) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        assert sorted(socket.sent) == ["fast 0", "fast 999", "slow 999"]

    asyncio.run(asyncio.wait_for(run(), 20))
