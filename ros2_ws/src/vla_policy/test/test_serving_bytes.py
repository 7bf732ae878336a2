# SPDX-License-Identifier: Apache-2.0

"""The protocols byte by byte: requests, frames and messages written by hand, no library on the client's side."""

import contextlib
import socket
import struct

import pytest
from policy_fixtures import small_profile
from serving_fixtures import ServerThread, run_folder

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the example of RFC 6455, section 1.3
BINARY, TEXT, CLOSE = 0x2, 0x1, 0x8


def text(value: str) -> bytes:
    return (
        bytes([0xA0 + len(value)]) + value.encode()
        if len(value) < 32
        else b"\xd9" + bytes([len(value)]) + value.encode()
    )


def array(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """The map with byte-string keys __ndarray__, data, dtype, shape."""
    sides = b"".join(bytes([side]) if side < 128 else b"\xcc" + bytes([side]) for side in shape)
    return (
        b"\x84"
        + (b"\xc4\x0b__ndarray__" + b"\xc3")
        + (b"\xc4\x04data" + b"\xc6" + struct.pack(">I", len(data)) + data)
        + (b"\xc4\x05dtype" + text(dtype))
        + (b"\xc4\x05shape" + bytes([0x90 + len(shape)]) + sides)
    )


IMAGE = array("|u1", (32, 32, 3), bytes(32 * 32 * 3))
POSITRONIC_REQUEST = (
    b"\x84"
    + (text("robot_state.q") + array("<f4", (2,), struct.pack("<2f", 0.1, 0.2)))
    + (text("grip") + b"\xcb" + struct.pack(">d", 0.5))
    + (text("image.front") + IMAGE)
    + (text("task") + text("lift"))
)
OPENPI_REQUEST = (
    b"\x83"
    + (text("observation/image") + IMAGE)
    + (text("observation/state") + array("<f4", (3,), struct.pack("<3f", 0.1, 0.2, 0.5)))
    + (text("prompt") + text("lift"))
)


class Raw:
    """A socket that speaks WebSocket frames by hand."""

    def __init__(self, port: int, path: str):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.sendall(UPGRADE.format(path=path).encode())
        self.head = b""
        while b"\r\n\r\n" not in self.head:
            self.head += self._socket.recv(1)

    def send(self, payload: bytes, opcode: int = BINARY):
        mask = b"\x01\x02\x03\x04"
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", len(payload)) + mask + masked)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            assert part, "the server closed the connection"
            data += part
        return data

    def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; the server's frames are whole and not masked."""
        first, second = self._take(2)
        assert first & 0xF0 == 0x80
        length = {126: 2, 127: 8}.get(second)
        size = int.from_bytes(self._take(length), "big") if length else second
        return first & 0x0F, self._take(size)

    def close(self):
        self._socket.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = ServerThread(run_folder(tmp_path_factory.mktemp("bytes"), "1"), small_profile())
    yield made
    made.close()


@pytest.fixture
def raw(server):
    made = []

    def make(path):
        made.append(Raw(server.port, path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until_ready(connection: Raw) -> bytes:
    while True:
        opcode, payload = connection.receive()
        assert opcode == BINARY
        if payload.startswith(b"\x82" + text("status") + text("ready") + text("meta")):
            return payload
        assert payload.startswith(b"\x82" + text("status") + text("loading") + text("message"))


def test_positronic_by_hand(raw):
    connection = raw("/api/v1/session/1")
    assert connection.head.startswith(b"HTTP/1.1 101 ")
    assert ACCEPT in connection.head
    assert b"Sec-WebSocket-Extensions" not in connection.head  # no compression
    meta = until_ready(connection)
    assert text("checkpoint_id") + text("1") in meta
    assert text("local_stack") + b"\x81" + text("seq") + b"\x91\x81" + text("name") + text("chunked_schedule") in meta
    connection.send(POSITRONIC_REQUEST)
    opcode, reply = connection.receive()
    assert opcode == BINARY
    # {"result": [4 actions of 3 keys, the first with a robot command ...
    start = b"\x82" + text("result") + b"\x94\x83" + text("robot_command") + b"\x82" + text("type") + text("joint_pos")
    start += text("positions") + b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x10"
    assert reply.startswith(start)
    joints = struct.unpack("<2d", reply[len(start) :][:16])
    assert joints == pytest.approx((0.1, 0.2), abs=1e-6)
    assert text("timing") + b"\x85" + text("decode_ms") + b"\xcb" in reply
    connection.send(b"\x81" + text("task") + text("lift"))
    opcode, reply = connection.receive()
    assert (opcode, reply[: 1 + len(text("error"))]) == (BINARY, b"\x81" + text("error"))
    connection.send(POSITRONIC_REQUEST)
    assert connection.receive()[1].startswith(b"\x82" + text("result"))


def test_an_unknown_checkpoint_by_hand(raw):
    connection = raw("/api/v1/session/2")
    expected = "Checkpoint not found: 2. Available: ['1']"
    assert connection.receive() == (BINARY, b"\x82" + text("status") + text("error") + text("error") + text(expected))
    assert connection.receive() == (CLOSE, struct.pack(">H", 1008) + b"Checkpoint not found")


def test_openpi_by_hand(raw):
    connection = raw("/")
    opcode, metadata = connection.receive()
    assert opcode == BINARY
    assert metadata[0] & 0xF0 == 0x80  # a map, before anything was asked
    connection.send(OPENPI_REQUEST)
    opcode, reply = connection.receive()
    assert opcode == BINARY
    # {"actions": (6, 3) float32 = 72 bytes, "policy_timing": {"infer_ms": float}, "server_timing": {5 floats}}
    assert reply.startswith(b"\x83" + text("actions") + b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x48")
    assert b"\xc4\x05dtype\xa3<f4\xc4\x05shape\x92\x06\x03" in reply
    assert text("policy_timing") + b"\x81" + text("infer_ms") + b"\xcb" in reply
    assert text("server_timing") + b"\x85" in reply
    connection.send(OPENPI_REQUEST)
    assert text("server_timing") + b"\x86" in connection.receive()[1]  # with prev_total_ms
    connection.send(b"\x80")
    opcode, error = connection.receive()
    assert (opcode, error[:17]) == (TEXT, b"ObservationError:")
    opcode, closing = connection.receive()
    assert (opcode, closing[:2]) == (CLOSE, struct.pack(">H", 1011))


def test_a_half_closed_socket_is_let_go(raw, server):
    connection = raw("/")
    connection.receive()
    connection._socket.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        while connection._socket.recv(1024):
            pass
    with server.connect("/") as other:
        assert other.recv(timeout=10)
