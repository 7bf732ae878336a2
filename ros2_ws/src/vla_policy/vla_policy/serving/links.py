# SPDX-License-Identifier: Apache-2.0

"""Connections of the client to policy servers: Positronic, openpi, OpenVLA. One request at a time, each with a time limit.

A request that is not answered in time ends its connection: an answer that comes later would be taken for that to the next
request.
"""

import http.client
import time
from contextlib import ExitStack
from typing import Any, Protocol
from urllib.parse import quote

from vla_core.errors import CheckpointError
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from vla_policy.policies.runner import InferenceError, ServerLostError
from vla_policy.serving.errors import ReplyError, WireError
from vla_policy.serving.http_routes import SESSION
from vla_policy.serving.keys_openvla import from_json, to_json
from vla_policy.serving.packing import pack, unpack

MAX_REPLY_BYTES = 64 << 20
CLOSE_TIMEOUT_S = 0.5
# A server that loads reports every few seconds.
STATUS_TIMEOUT_S = 30.0
_SHOWN = 2000


class Link(Protocol):
    """A connection to a server.

    Attributes:
        address: Of the server, for messages.
    """

    address: str

    def open(self, timeout_s: float) -> dict[str, Any]:
        """Connect, and return the server's metadata.

        Args:
            timeout_s: Limit for all of it, loading included [s].

        Raises:
            ServerLostError: nobody answers, or not in time.
            CheckpointError: the server refuses: no such checkpoint, wrong token.
        """
        ...

    def ask(self, message: dict[str, Any], timeout_s: float) -> Any:
        """Send an observation and return the actions of the answer.

        Raises:
            InferenceError: the server says that it could not.
            ServerLostError: the connection is gone, or no answer came in time; it is closed then.
        """
        ...

    def close(self) -> None:
        """Leave; without effect where there is no connection."""


class _Socket:
    """A WebSocket with the errors of a `Link`."""

    def __init__(self, url: str, authorization: str) -> None:
        self.address = url
        self._headers = {"Authorization": authorization} if authorization else None
        self._held = ExitStack()
        self._connection: ClientConnection | None = None

    def connect(self, timeout_s: float) -> None:
        """Connect."""
        self.close()
        try:
            opening = connect(
                self.address,
                additional_headers=self._headers,
                compression=None,
                max_size=MAX_REPLY_BYTES,
                open_timeout=timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=None,
            )
            self._connection = self._held.enter_context(opening)
        except InvalidStatus as error:
            raise self._refused(error) from error
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            raise ServerLostError(
                f"no policy server answers at {self.address} ({type(error).__name__}: {error}). Is it running, and are host "
                f"and port right? On the server: ros2 run vla_policy serve --checkpoints_dir DIR --host 0.0.0.0"
            ) from error

    def _refused(self, error: InvalidStatus) -> CheckpointError | ServerLostError:
        response = error.response
        body = bytes(response.body or b"").decode(errors="replace").strip()[:_SHOWN]
        text = f"{self.address} refuses the connection: {response.status_code} {response.reason_phrase}: {body}"
        if response.status_code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerLostError(text)
        hint = ". Give its token: token:=…" if response.status_code == http.HTTPStatus.UNAUTHORIZED else ""
        return CheckpointError(text + hint)

    def receive(self, timeout_s: float, too_late: str) -> bytes | str:
        """Return the next frame; `too_late` is the message when there is none in time."""
        connection = self._open()
        try:
            return connection.recv(timeout=timeout_s)
        except TimeoutError as error:
            self.close()
            raise ServerLostError(f"{self.address} {too_late}") from error
        except ConnectionClosed as error:
            raise self._lost(error) from error

    def exchange(self, data: bytes, timeout_s: float) -> bytes | str:
        """Send a frame and return the next one."""
        connection = self._open()
        try:
            connection.send(data)
        except ConnectionClosed as error:
            raise self._lost(error) from error
        late = f"did not answer within {timeout_s:g} s. Its own timing is at /metrics; for a slow model raise remote_timeout_s."
        return self.receive(timeout_s, late)

    def _open(self) -> ClientConnection:
        if self._connection is None:
            raise ServerLostError(f"there is no connection to {self.address}; the next run tries again")
        return self._connection

    def _lost(self, error: ConnectionClosed) -> ServerLostError:
        self.close()
        return ServerLostError(f"the connection to {self.address} was lost: {error}")

    def close(self) -> None:
        """Leave."""
        self._connection = None
        self._held.close()


class PositronicLink:
    """Positronic's protocol, version 1."""

    def __init__(self, host: str, port: int, *, checkpoint: str, token: str) -> None:
        """Remember the address; nothing is opened yet.

        Args:
            host: Of the server.
            port: Of the server.
            checkpoint: Id on the server; empty: its default.
            token: Bearer token; empty: none.
        """
        path = SESSION + (f"/{quote(checkpoint, safe='')}" if checkpoint else "")
        self._socket = _Socket(f"ws://{_host(host)}:{port}{path}", f"Bearer {token}" if token else "")
        self.address = self._socket.address

    def open(self, timeout_s: float) -> dict[str, Any]:
        """See `Link.open`."""
        end_s = time.monotonic() + timeout_s
        self._socket.connect(timeout_s)
        while True:
            left_s = end_s - time.monotonic()
            late = f"was not ready within {timeout_s:g} s; it is loading, or waits for other sessions to end"
            if left_s > STATUS_TIMEOUT_S:
                late = f"said nothing for {STATUS_TIMEOUT_S:g} s while it was to get ready"
            data = self._socket.receive(min(max(left_s, 0.0), STATUS_TIMEOUT_S), late)
            found = _map(data, self.address)
            status = found.get("status")
            if "error" in found or status == "error":
                self.close()
                raise CheckpointError(f"{self.address}: {found.get('error', 'the server gives no reason')}")
            if status == "ready":
                if found.get("protocol_version", 1) != 1:
                    self.close()
                    raise CheckpointError(
                        f"{self.address} speaks version {found['protocol_version']} of Positronic's protocol, this client 1"
                    )
                meta = found.get("meta")
                return meta if isinstance(meta, dict) else {}

    def ask(self, message: dict[str, Any], timeout_s: float) -> Any:
        """See `Link.ask`."""
        found = _map(self._socket.exchange(pack(message), timeout_s), self.address)
        if "error" in found:
            raise InferenceError(f"{self.address}: {found['error']}")
        if "result" not in found:
            raise ReplyError(f"{self.address}: an answer without 'result'; its keys are {sorted(map(str, found))}")
        return found["result"]

    def close(self) -> None:
        """See `Link.close`."""
        self._socket.close()


class OpenpiLink:
    """openpi's protocol."""

    def __init__(self, host: str, port: int, *, token: str) -> None:
        """Remember the address; nothing is opened yet."""
        self._socket = _Socket(f"ws://{_host(host)}:{port}/", f"Api-Key {token}" if token else "")
        self.address = self._socket.address

    def open(self, timeout_s: float) -> dict[str, Any]:
        """See `Link.open`."""
        end_s = time.monotonic() + timeout_s
        self._socket.connect(timeout_s)
        late = f"sent no metadata within {timeout_s:g} s; it is loading, or waits for other sessions to end"
        first = self._socket.receive(max(0.0, end_s - time.monotonic()), late)
        if isinstance(first, str):
            self.close()
            raise CheckpointError(f"{self.address}: {first[:_SHOWN]}")
        return _map(first, self.address)

    def ask(self, message: dict[str, Any], timeout_s: float) -> Any:
        """See `Link.ask`."""
        answered = self._socket.exchange(pack(message), timeout_s)
        if isinstance(answered, str):
            # The protocol ends the connection after an error; the next run opens a new one.
            self.close()
            raise InferenceError(f"{self.address}: {answered[:_SHOWN]}")
        found = _map(answered, self.address)
        if "actions" not in found:
            raise ReplyError(f"{self.address}: an answer without 'actions'; its keys are {sorted(map(str, found))}")
        return found["actions"]

    def close(self) -> None:
        """See `Link.close`."""
        self._socket.close()


class OpenVlaLink:
    """OpenVLA's `POST /act`; each request has a connection of its own."""

    def __init__(self, host: str, port: int, *, token: str) -> None:
        """Remember the address; nothing is opened yet."""
        self._host, self._port = host, port
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self.address = f"http://{_host(host)}:{port}/act"

    def open(self, timeout_s: float) -> dict[str, Any]:
        """See `Link.open`; the protocol has no metadata, so this only looks whether somebody listens."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.connect()
        except OSError as error:
            raise ServerLostError(
                f"no OpenVLA server answers at {self.address} ({error}). Are host and port right?"
            ) from error
        finally:
            connection.close()
        return {}

    def ask(self, message: dict[str, Any], timeout_s: float) -> Any:
        """See `Link.ask`."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request("POST", "/act", body=to_json(message), headers=self._headers)
            response = connection.getresponse()
            data = response.read(MAX_REPLY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise ServerLostError(
                f"{self.address} did not answer within {timeout_s:g} s or is gone: {error!r}"
            ) from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise InferenceError(
                f"{self.address}: {response.status} {response.reason}: {data[:_SHOWN].decode(errors='replace')}"
            )
        try:
            action = from_json(data)
        except WireError as error:
            raise ReplyError(f"{self.address}: {error}") from error
        if isinstance(action, str):
            # The server's way to say that it failed.
            raise InferenceError(f"{self.address} answered '{action[:_SHOWN]}'; its log has the reason")
        return action

    def close(self) -> None:
        """See `Link.close`."""


def _host(host: str) -> str:
    """The host as it stands in a URL: IPv6 addresses have brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _map(data: bytes | str, address: str) -> dict[Any, Any]:
    if isinstance(data, str):
        raise ReplyError(f"{address}: a text frame came instead of a msgpack map: {data[:_SHOWN]}")
    try:
        found = unpack(data)
    except WireError as error:
        raise ReplyError(f"{address}: {error}") from error
    if not isinstance(found, dict):
        raise ReplyError(f"{address}: expected a map, got a {type(found).__name__}")
    return found
