# SPDX-License-Identifier: Apache-2.0

"""Several clients of one server, who is let in, and what ends a connection only."""

import contextlib
import socket
import threading
import time

import pytest
from serving_fixtures import MoodyPolicy
from serving_messages import SESSION, ask, exact, get, handshake, openpi, session
from vla_core.errors import CheckpointError
from vla_policy.serving.packing import pack, unpack
from websockets.exceptions import ConnectionClosed, InvalidStatus

# --- one model, several clients


def test_a_switch_waits_for_the_old_sessions(server):
    with session(server), server.connect(f"{SESSION}/900") as other:
        found = unpack(other.recv(timeout=10))
        assert found["status"] == "waiting"
        assert found["message"] == "Waiting for 1 session(s) on checkpoint 20000 to end"
        with session(server) as same:  # joins at once
            assert "result" in ask(same, exact())
        assert len(server.loaded) == 1
        # Told again and again, so that clients with a limit of 30 s between messages stay.
        assert unpack(other.recv(timeout=10))["status"] == "waiting"
    with server.connect(f"{SESSION}/900") as other:
        statuses, meta = handshake(other)
    assert meta["checkpoint_id"] == "900"
    assert set(statuses) <= {"loading"}
    assert server.loaded[0].closed


def test_loading_is_told_and_outlives_the_client_that_asked(serve):
    gate = threading.Event()
    server = serve(before_load=lambda path: path.parent.name == "900" and gate.wait(20))
    with server.connect(f"{SESSION}/900") as impatient:
        while unpack(impatient.recv(timeout=10))["message"] != "Loading checkpoint 900":
            pass
    with server.connect(f"{SESSION}/900") as patient:
        assert unpack(patient.recv(timeout=10)) == {"status": "loading", "message": "Loading checkpoint 900"}
        gate.set()
        assert handshake(patient)[1]["checkpoint_id"] == "900"
    assert [policy.path.parent.name for policy in server.loaded] == ["20000", "900"]


def test_a_checkpoint_that_cannot_be_loaded_ends_one_session_only(serve):
    def before(path):
        if path.parent.name == "900":
            raise CheckpointError("the weight file is cut short")
        if path.parent.name == "10000":
            raise RuntimeError("out of memory")

    server = serve(before_load=before)
    for name, says in (
        ("900", "the weight file is cut short"),
        ("10000", "loading raised RuntimeError: out of memory"),
    ):
        with server.connect(f"{SESSION}/{name}") as connection:
            assert says in handshake(connection)[1]["error"]
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
            assert closed.value.rcvd.code == 1008
    with session(server) as connection:
        assert "result" in ask(connection, exact())


def test_a_second_client_gets_ready_while_an_inference_runs(server):
    with session(server) as busy:
        server.policy.mood = "held"
        busy.send(pack(exact()))
        assert server.policy.entered.wait(10)
        server.policy.resets = 0
        started_s = time.perf_counter()
        assert get(server, "/healthz")[0] == 200
        with server.connect(SESSION) as positronic, server.connect("/") as openpi:
            handshake(positronic)
            assert "vla" in unpack(openpi.recv(timeout=10))
            assert time.perf_counter() - started_s < 2.0  # the inference would have gone on for 20
            assert server.policy.resets == 0  # it waits for its turn
            positronic.send(pack(exact()))
            server.policy.mood = "good"
            server.policy.go.set()
            assert "result" in unpack(positronic.recv(timeout=10))
            assert server.policy.resets == 2
        assert "result" in unpack(busy.recv(timeout=10))


def test_a_policy_that_cannot_be_reset_is_an_error_of_the_first_request(serve):
    class Stuck(MoodyPolicy):
        def reset(self):
            raise OSError("the weights are gone")

    server = serve(policy=Stuck)
    with session(server) as connection:
        assert ask(connection, exact())["error"] == "the policy raised OSError: the weights are gone"


def test_the_queued_request_of_a_client_that_left_is_not_computed(server):
    with session(server) as busy, session(server) as leaver:
        server.policy.mood = "held"
        busy.send(pack(exact(task="busy")))
        assert server.policy.entered.wait(10)
        leaver.send(pack(exact(task="leaver")))
        assert leaver.ping().wait(10)
        leaver.close()
        deadline = time.monotonic() + 10
        while 'vla_policy_sessions{protocol="positronic"} 1.0' not in get(server, "/metrics")[1]:
            assert time.monotonic() < deadline
        server.policy.go.set()
        assert "result" in unpack(busy.recv(timeout=10))
        server.policy.mood = "good"
        assert "result" in ask(busy, exact(task="after"))
    assert server.policy.tasks == ["busy", "after"]


def test_a_client_that_vanishes_during_its_inference_does_no_harm(server):
    with session(server) as connection:
        server.policy.mood = "held"
        connection.send(pack(exact()))
        assert server.policy.entered.wait(10)
        connection.socket.shutdown(socket.SHUT_RDWR)
    server.policy.go.set()
    server.policy.mood = "good"
    with session(server) as connection:
        assert "result" in ask(connection, exact())


# --- who may come in, and with what


def test_without_the_token_nobody_comes_in(serve, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    server = serve("--token-file", str(tmp_path / "token"))
    for shown in (None, "Bearer wrong", "Bearer ", "Basic s3cret", "s3cret", "Bearer s3cret2"):
        headers = {"Authorization": shown} if shown else {}
        assert get(server, "/api/v1/models", **headers)[0] == 401
        assert get(server, "/metrics", **headers)[0] == 401
        for path in (SESSION, "/"):
            with pytest.raises(InvalidStatus) as refused:
                server.connect(path, additional_headers=headers)
            assert refused.value.response.status_code == 401
            assert b"Authorization: Bearer" in refused.value.response.body
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/api/v1/models", Authorization="bearer s3cret")[0] == 200
    with session(server, additional_headers={"Authorization": "Bearer s3cret"}) as connection:
        assert "result" in ask(connection, exact())
    with server.connect("/", additional_headers={"Authorization": "Api-Key s3cret"}) as connection:
        connection.recv(timeout=10)
        assert "actions" in ask(connection, openpi())


def test_an_oversized_message_ends_its_connection_only(serve):
    server = serve("--max-message-mb", "0.5")
    with session(server) as connection:
        # The server may close before all of it is sent.
        with contextlib.suppress(ConnectionClosed):
            connection.send(b"\x00" * (600 * 1024))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd.code == 1009
        assert "524288" in closed.value.rcvd.reason
    with session(server) as connection:
        assert "result" in ask(connection, exact())


def test_sessions_beyond_the_limit_are_refused(serve):
    server = serve("--max-sessions", "1")
    with session(server), pytest.raises(InvalidStatus) as refused:
        server.connect(SESSION)
    assert refused.value.response.status_code == 503
    assert refused.value.response.body == b"all 1 sessions are taken\n"


def test_noise_on_the_port_does_no_harm(server):
    for noise in (
        b"",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET " + b"a" * 20000,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(noise)
            raw.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while raw.recv(65536):
                    pass
    with session(server) as connection:
        assert "result" in ask(connection, exact())


def test_the_end_of_the_server_is_told(serve):
    server = serve()
    with session(server) as connection:
        server.close()
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
    assert closed.value.rcvd.code == 1001
    assert server.policy.closed
    assert isinstance(server.policy, MoodyPolicy)
