# SPDX-License-Identifier: Apache-2.0

"""A UR as far as its prerequisites go: the Dashboard server's text protocol and the driver's ports, on this machine."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import cast

from vla_drivers.ur_prerequisites import UrPorts

_HOST_PORTS = 4


class _Dashboard(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        emulator = cast(_Server, self.server).emulator
        if not emulator.greeting:
            emulator.ended.wait()
            return
        with contextlib.suppress(ConnectionError):
            self.wfile.write(f"{emulator.greeting}\n".encode("ascii"))
            for number, line in enumerate(self.rfile):
                if number >= emulator.hang_up_after:
                    return
                question = line.decode("ascii", errors="replace").strip()
                answer = emulator.answers.get(question, f"could not understand: '{question}'")
                self.wfile.write(f"{answer}\n".encode("ascii"))


class _Silent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    emulator: DashboardEmulator


class DashboardEmulator:
    """One robot, ready to be driven until its answers are changed.

    Attributes:
        answers: By question.
        greeting: First line; empty: it never says a word.
        hang_up_after: How many questions it answers.
        ports: Where it listens; `ports.host` were free when it was made.
        ended: Set by `close`.
    """

    def __init__(self) -> None:
        """Start to answer on 127.0.0.1 at free ports."""
        self.ended = threading.Event()
        self.greeting = "Connected: Universal Robots Dashboard Server"
        self.hang_up_after = 1000
        self.answers = {
            "robotmode": "Robotmode: RUNNING",
            "safetystatus": "Safetystatus: NORMAL",
            "is in remote control": "true",
            "programState": "PLAYING external_control.urp",
            "get loaded program": "Loaded program: /programs/external_control.urp",
        }
        self._servers = [_Server(("127.0.0.1", 0), handler) for handler in (_Dashboard, _Silent, _Silent)]
        for server in self._servers:
            server.emulator = self
            threading.Thread(target=server.serve_forever, args=(0.05,), name="ur emulator", daemon=True).start()
        dashboard, *robot = (server.server_address[1] for server in self._servers)
        self.ports = UrPorts(dashboard=dashboard, robot=tuple(robot), host=_free_ports(_HOST_PORTS))

    def close(self) -> None:
        """Stop answering."""
        self.ended.set()
        servers, self._servers = self._servers, []
        for server in servers:
            server.shutdown()
            server.server_close()


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("0.0.0.0", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
