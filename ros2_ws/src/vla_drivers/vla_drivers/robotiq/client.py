# SPDX-License-Identifier: Apache-2.0

"""The text protocol of Robotiq's URCap on a UR (TCP 63352): ``GET VAR`` answers ``VAR number``, ``SET VAR number …`` answers ``ack``.

Source: the URCap's own script interface. The server counts nothing, so that an answer that comes late would be taken for the
next one: after any trouble the connection is closed, and the next question opens a new one.
"""

from __future__ import annotations

import re
import socket
import time

from vla_drivers.errors import LinkError

PORT = 63352


class GripperClient:
    """One connection. Not thread-safe."""

    def __init__(self, ip: str, port: int = PORT, *, timeout_s: float = 0.5, connect_s: float = 2.0) -> None:
        """Connect nothing yet.

        Args:
            ip: Of the UR.
            port: Of the URCap.
            timeout_s: Longest wait for one answer [s].
            connect_s: Longest wait for the connection [s].
        """
        self.ip, self.port = ip, port
        self._timeout_s, self._connect_s = timeout_s, connect_s
        self._link: socket.socket | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._link is not None

    def connect(self) -> None:
        """Open the connection and ask for the gripper's state.

        Raises:
            LinkError: nobody answers there, or no gripper is behind it.
        """
        self.close()
        try:
            self._link = socket.create_connection((self.ip, self.port), timeout=self._connect_s)
        except OSError as error:
            raise LinkError(f"gripper at {self.ip}:{self.port} cannot be reached: {_why(error)}") from error
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.get("STA")

    def close(self) -> None:
        """Close the connection; no error if there is none."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def get(self, name: str) -> int:
        """Return the value of a variable.

        Raises:
            LinkError: no answer in time, or another one; the connection is closed.
        """
        match = re.fullmatch(rf"{name} (\d+)", self._ask(f"GET {name}", re.compile(rf"{name} \d+|\?")))
        if match is None:
            self.close()
            raise LinkError(
                f"gripper at {self.ip}:{self.port} does not know its {name}: is the gripper plugged into the wrist, and does the "
                "Gripper toolbar on the pendant show it?"
            )
        return int(match.group(1))

    def set(self, **values: int) -> None:
        """Set variables together; they take effect in one step.

        Raises:
            LinkError: as `get`.
        """
        self._ask("SET " + " ".join(f"{name} {value}" for name, value in values.items()), re.compile("ack"))

    def _ask(self, request: str, expected: re.Pattern[str]) -> str:
        if self._link is None:
            raise LinkError(f"gripper at {self.ip}:{self.port}: not connected")
        deadline, answer = time.monotonic() + self._timeout_s, ""
        try:
            self._link.sendall(f"{request}\n".encode("ascii"))
            # An answer may or may not end with a line end; it is whole when it fits.
            while not expected.fullmatch(answer.strip()):
                self._link.settimeout(max(0.001, deadline - time.monotonic()))
                part = self._link.recv(1024)
                if not part:
                    raise ConnectionResetError("the robot closed the connection")
                answer += part.decode("ascii", errors="replace")
                if len(answer) > 200:
                    raise ConnectionAbortedError(f"it answers {answer[:40]!r}; is another program behind this port?")
        except OSError as error:
            self.close()
            heard = f" after {answer.strip()!r}" if answer.strip() else ""
            why = (
                f"no answer to {request!r} within {self._timeout_s:g} s{heard}"
                if isinstance(error, TimeoutError)
                else str(error)
            )
            raise LinkError(f"gripper at {self.ip}:{self.port} was lost: {why}") from error
        return answer.strip()


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer. Is the robot on, the address right (pendant: Settings, System, Network) and the cable plugged in?"
    if isinstance(error, ConnectionRefusedError):
        return (
            "refused. A computer is there, but no gripper server: is it the robot's address, and is Robotiq's URCap (Grippers) "
            "installed and the gripper configured in its installation?"
        )
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}. Give the IPv4 address that the pendant shows under Settings, System, Network"
    return f"{error}. Check the address and the network"
