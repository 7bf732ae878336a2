# SPDX-License-Identifier: Apache-2.0

"""A Robotiq 2F-85 behind the socket of its URCap, on this machine; a thread answers until `close`."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from typing import cast

OPEN, CLOSED = 3, 230
_FASTEST = 400.0  # 85 mm in 0.57 s [registers/s]
_SLOWEST = 53.0


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        emulator = cast(_Server, self.server).emulator
        emulator.links.append(self.connection)
        try:
            for line in self.rfile:
                time.sleep(emulator.delay_s)
                self.wfile.write(emulator.answer(line.decode("ascii", errors="replace").strip()).encode("ascii"))
        except (ConnectionError, ValueError):
            return  # the client or `die` closed the connection


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    emulator: RobotiqEmulator


class RobotiqEmulator:
    """One gripper; activated it is ready, and its fingers stop at what is between them.

    Attributes:
        registers: ACT, GTO, POS (as requested), SPE, FOR, ATR, ADR, FLT; change them under `lock`.
        object_at: Where something is between the fingers, or None [register].
        stuck: The fingers do not move, and it does not notice.
        delay_s: How long an answer takes [s].
        requests: Every line that was received.
    """

    def __init__(self, *, active: bool = True, activation_s: float = 0.3, port: int = 0) -> None:
        """Start to answer on 127.0.0.1; `port` 0 takes a free one."""
        self.lock = threading.Lock()
        self.registers = dict.fromkeys(("ACT", "GTO", "ATR", "ADR", "POS", "SPE", "FOR", "FLT"), 0)
        self.registers["ACT"] = int(active)
        self.object_at: float | None = None
        self.stuck = False
        self.delay_s = 0.0
        self.requests: list[str] = []
        self.links: list[socket.socket] = []
        self._activation_s = activation_s
        self._activated = -activation_s if active else 0.0
        self._position = float(OPEN)
        self._time = time.monotonic()
        self._activated += self._time
        self._server: _Server | None = None
        self.address = ("127.0.0.1", port)
        self.revive()

    def revive(self) -> None:
        """Answer (again) at the same address."""
        self._server = _Server(self.address, _Handler)
        self._server.emulator = self
        self.address = ("127.0.0.1", self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="robotiq emulator", daemon=True).start()

    def die(self) -> None:
        """Close all connections and accept none, as a robot that is switched off."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        links, self.links = self.links, []
        for link in links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client had closed it before

    def close(self) -> None:
        """Stop answering."""
        self.die()

    @property
    def position(self) -> float:
        """Where the fingers are [register]."""
        with self.lock:
            self._advance()
            return self._position

    def answer(self, line: str) -> str:
        """Return what the URCap answers to one line."""
        with self.lock:
            self.requests.append(line)
            self._advance()
            word, *rest = line.split() or [""]
            if word == "GET" and len(rest) == 1:
                value = self._value(rest[0])
                return "?\n" if value is None else f"{rest[0]} {value}\n"
            if word == "SET" and len(rest) % 2 == 0 and all(name in self.registers for name in rest[::2]):
                for name, value in zip(rest[::2], map(int, rest[1::2]), strict=True):
                    self._set(name, value)
                return "ack"
            return "?\n"

    def _set(self, name: str, value: int) -> None:
        if name == "ACT" and value and not self.registers["ACT"]:
            self._activated, self._position = time.monotonic(), float(OPEN)
            self.registers["FLT"] = self.registers["GTO"] = 0
        self.registers[name] = value

    def _value(self, name: str) -> int | None:
        if name == "STA":
            done = time.monotonic() - self._activated >= self._activation_s
            return 0 if not self.registers["ACT"] else 3 if done else 1
        if name == "POS":
            return round(self._position)
        if name == "PRE":
            return self.registers["POS"]
        if name == "OBJ":
            return self._object()
        return self.registers.get(name)

    def _end(self) -> float:
        """Where the fingers stop on the way to the request."""
        end = min(max(float(self.registers["POS"]), OPEN), CLOSED)
        if self.object_at is not None and end > self.object_at >= self._position:
            return self.object_at
        return end

    def _object(self) -> int:
        if abs(self._position - self._end()) > 0.5 or self.stuck:
            return 0
        return 2 if self._end() == self.object_at and self.registers["POS"] > self._position + 1 else 3

    def _advance(self) -> None:
        now = time.monotonic()
        elapsed, self._time = now - self._time, now
        if self.registers["GTO"] and self.registers["ACT"] and not self.registers["FLT"] and not self.stuck:
            reach = (_SLOWEST + (_FASTEST - _SLOWEST) * self.registers["SPE"] / 255) * elapsed
            self._position += min(max(self._end() - self._position, -reach), reach)
