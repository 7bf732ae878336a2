# SPDX-License-Identifier: Apache-2.0

"""The client of policy servers of others, which are played by short scripts."""

import http.server
import threading

import numpy as np
import pytest
from vla_core.errors import CheckpointError
from vla_core.profile import load_profile
from vla_policy.policies.runner import InferenceError
from vla_policy.serving.keys_openvla import from_json, to_json
from vla_policy.serving.packing import pack, unpack
from vla_policy.serving.rig import Rig
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

UR5E = __file__.split("/vla_policy/")[0] + "/vla_bringup/robots/sim_ur5e_tiny.yaml"
Q = np.array([0.1, -1.6, 1.5, -1.5, -1.57, 0.2])


# --- servers of others


class Foreign:
    """A WebSocket server of a script: `speak(connection, path)`."""

    def __init__(self, speak):
        def handler(connection):
            try:
                speak(connection, connection.request.path)
            except ConnectionClosed:
                return

        self._server = serve(handler, "127.0.0.1", 0, compression=None, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join(10)


def ur5e_frame(t_ns=0):
    profile = load_profile(UR5E)
    images = {c.name: np.full((*c.frame_size, 3), 99, np.uint8) for c in profile.cameras}
    return Rig(profile).frame(Q, 0.25, images, t_ns)


@pytest.fixture
def openpi(made):
    """A server that speaks as openpi's: metadata, then (50, 32) padded actions around the state; keeps the requests."""
    requests = []

    def speak(connection, path):
        connection.send(pack({}))
        while True:
            requests.append(unpack(connection.recv()))
            actions = np.zeros((50, 32), np.float32)
            actions[:, :7] = requests[-1]["observation/state"] + 0.001 * np.arange(50)[:, None]
            actions[:, 6] = 0.5
            connection.send(pack({"actions": actions, "state": np.zeros(7), "server_timing": {"infer_ms": 1.0}}))

    made.append(Foreign(speak))
    made[-1].requests = requests
    return made[-1]


def test_a_foreign_server_needs_a_profile(openpi, load):
    with pytest.raises(CheckpointError, match=r"does not tell the robot profile.*profile:=FILE or robot:=NAME"):
        load(openpi.port, protocol="openpi")


def test_openpi_on_a_ur5e(openpi, load):
    runner = load(openpi.port, protocol="openpi", profile=UR5E, n_action_steps=10).runner
    assert (runner.chunk_size, runner.n_action_steps) == (50, 10)
    chunk = runner.infer(ur5e_frame(t_ns=5), "pick up the block")
    asked = openpi.requests[-1]
    assert {key: (value.shape, value.dtype.str) for key, value in asked.items() if key != "prompt"} == {
        "observation/image": ((224, 224, 3), "|u1"),
        "observation/wrist_image": ((224, 224, 3), "|u1"),
        "observation/state": ((7,), "<f4"),
    }
    assert asked["prompt"] == "pick up the block"
    assert np.allclose(asked["observation/state"], [*Q, 0.25])
    assert (chunk.t0_ns, chunk.values.shape) == (5, (50, 7))
    assert np.allclose(chunk.values[0], [*Q, 0.5], atol=1e-6)


def test_ten_steps_at_15_hz_make_one_and_a_half_requests_per_second(openpi, load, tmp_path):
    file = tmp_path / "15hz.yaml"
    file.write_text(load_profile(UR5E).text.replace("fps: 10.0", "fps: 15.0").replace("fps: 10\n", "fps: 15\n"))
    loaded = load(openpi.port, protocol="openpi", profile=file, n_action_steps=10)
    assert loaded.profile.fps == 15.0
    before, seconds, rows = len(openpi.requests), 8, []
    for tick in range(15 * seconds):
        if not rows:
            chunk = loaded.runner.infer(ur5e_frame(round(tick / 15 * 1e9)), "go")
            rows = list(chunk.values[: loaded.runner.n_action_steps])
        rows.pop(0)
    assert (len(openpi.requests) - before) / seconds == 1.5


def test_an_openpi_error_ends_its_connection_not_the_client(made, load):
    answers = [pack({"actions": np.zeros((3, 7))}), "Traceback: no GPU"]

    def speak(connection, path):
        connection.send(pack({}))
        for answer in answers:
            connection.recv()
            connection.send(answer)
        connection.close(1011)

    made.append(Foreign(speak))
    runner = load(made[0].port, protocol="openpi", profile=UR5E).runner
    with pytest.raises(InferenceError, match="Traceback: no GPU"):
        runner.infer(ur5e_frame(), "")
    runner.reset()
    assert len(runner.infer(ur5e_frame(), "")) == 3


def test_positronic_of_others(made, load):
    paths, asked = [], []

    def speak(connection, path):
        paths.append(path)
        for status in ("waiting", "loading"):
            connection.send(pack({"status": status, "message": "…"}))
        connection.send(pack({"status": "ready", "meta": {"type": "act", "action_fps": 5.0}}))
        while True:
            asked.append(unpack(connection.recv()))
            rows = [
                {
                    "robot_command": {"type": "joint_pos", "positions": asked[-1]["robot_state.q"] + 0.01 * k},
                    "target_grip": 1.0,
                    "timestamp": 0.2 * k,
                }
                for k in range(8)
            ]
            connection.send(pack({"result": rows}))

    made.append(Foreign(speak))
    runner = load(made[0].port, profile=UR5E, checkpoint="10000").runner
    chunk = runner.infer(ur5e_frame(t_ns=9), "pick")
    assert paths == ["/api/v1/session/10000"]
    assert set(asked[-1]) == {
        "robot_state.q", "grip", "task", "image.front", "image.wrist", "obs_time_ns", "wall_time_ns",
    }  # fmt: skip
    assert chunk.dt_s == pytest.approx(0.2)  # the server's steps, not the profile's
    assert np.allclose(chunk.values[3], [*(Q + 0.03), 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (pack({"status": "error", "error": "No checkpoints available"}), "No checkpoints available"),
        (pack({"status": "ready", "meta": {}, "protocol_version": 3}), "speaks version 3 .* this client 1"),
        (pack([1]), "expected a map, got a list"),
        ("hello", "a text frame came instead of a msgpack map: hello"),
        (b"\xc1", "no msgpack message"),
    ],
)
def test_strange_handshakes_are_named(made, load, first, says):
    def speak(connection, path):
        connection.send(first)
        connection.recv()

    made.append(Foreign(speak))
    with pytest.raises(CheckpointError, match=says):
        load(made[0].port, profile=UR5E)


def test_a_server_that_never_gets_ready(made, load):
    def speak(connection, path):
        while True:
            connection.send(pack({"status": "loading", "message": "…"}))
            if connection.ping().wait(0.05):
                continue

    made.append(Foreign(speak))
    with pytest.raises(CheckpointError, match=r"was not ready within 1.5 s"):
        load(made[0].port, profile=UR5E, options={"load_timeout_s": "1.5"})


@pytest.fixture
def openvla(made):
    """A server with OpenVLA's POST /act; keeps the requests, answers what `answer` holds."""

    class Handler(http.server.BaseHTTPRequestHandler):
        requests, answer, status = [], np.array([0.01] * 6 + [0.0]), 200

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            Handler.requests.append((self.path, from_json(body)))
            self.send_response(Handler.status)
            self.end_headers()
            self.wfile.write(to_json(Handler.answer))

        def log_message(self, *arguments):
            return

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    class Closing:
        def close(self):
            listening.shutdown()
            listening.server_close()
            thread.join(10)

    made.append(Closing())
    Handler.port = listening.server_address[1]
    return Handler


def test_openvla(openvla, load):
    runner = load(
        openvla.port, protocol="openvla", profile=UR5E, options={"unnorm_key": "ur5e", "hold_s": "0.5"}
    ).runner
    chunk = runner.infer(ur5e_frame(), "lift the block")
    path, asked = openvla.requests[-1]
    assert (path, asked["instruction"], asked["unnorm_key"]) == ("/act", "lift the block", "ur5e")
    assert asked["image"].shape == (224, 224, 3)
    assert chunk.values.shape == (5, 7)
    assert np.allclose(chunk.values, [*(Q + 0.01), 1.0], atol=1e-6)  # its gripper is 1 when open
    openvla.answer = "error"
    with pytest.raises(InferenceError, match="answered 'error'; its log has the reason"):
        runner.infer(ur5e_frame(), "")
    openvla.status = 500
    with pytest.raises(InferenceError, match="500 Internal Server Error"):
        runner.infer(ur5e_frame(), "")
