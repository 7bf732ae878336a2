# SPDX-License-Identifier: Apache-2.0

"""The client of policy servers: this project's server, and servers of others played by short scripts."""

import dataclasses
import http.server
import threading

import numpy as np
import pytest
from policy_fixtures import small_frame, small_profile
from serving_fixtures import CHUNK, STEPS, GuidedPolicy, MoodyPolicy, ServerThread, run_folder
from vla_core.errors import CheckpointError
from vla_core.profile import load_profile
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import InferenceError, LoadRequest, Prefix, ServerLostError
from vla_policy.serving.keys_openvla import from_json, to_json
from vla_policy.serving.packing import pack, unpack
from vla_policy.serving.rig import Rig
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

UR5E = __file__.split("/vla_policy/")[0] + "/vla_bringup/robots/sim_ur5e_tiny.yaml"
Q = np.array([0.1, -1.6, 1.5, -1.5, -1.57, 0.2])


@pytest.fixture
def made():
    """Things to close at the end, last first."""
    things = []
    yield things
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def server(tmp_path, made):
    made.append(ServerThread(run_folder(tmp_path / "run", "1", "2"), small_profile()))
    return made[-1]


@pytest.fixture
def load(made):
    def make(port, **request):
        loaded = load_policy("remote", LoadRequest(port=port, **request))
        made.append(loaded.runner)
        return loaded

    return make


# --- this project's server


@pytest.mark.parametrize("protocol", ["positronic", "openpi"])
def test_the_chunk_is_the_same_bit_for_bit(server, load, protocol):
    loaded = load(server.port, protocol=protocol)
    assert loaded.profile.text == server.profile.text
    assert loaded.source.startswith(f"ws://127.0.0.1:{server.port}/")
    runner, local = loaded.runner, MoodyPolicy(server.profile, server.policy.path)
    assert (runner.chunk_size, runner.n_action_steps, runner.guidable) == (CHUNK, STEPS, False)
    for i in range(4):
        frame = small_frame(server.profile, t_ns=1000 + i)
        frame = dataclasses.replace(frame, state=frame.state + np.float32(0.1 * i))
        chunk = runner.infer(frame, "lift")
        assert chunk.values.tobytes() == local.infer(frame, "lift").values.tobytes()
        assert (chunk.t0_ns, chunk.dt_s) == (1000 + i, 0.1)
    assert set(runner.last_timing) == {"preprocess", "model", "postprocess"}
    assert server.policy.tasks[-1] == "lift"


def test_reset_opens_a_session_in_which_the_policy_is_reset(server, load):
    runner = load(server.port).runner
    assert server.policy.resets == 1
    runner.reset()
    assert server.policy.resets == 2


def test_a_checkpoint_and_fewer_steps(server, load):
    runner = load(server.port, checkpoint="1", n_action_steps=2).runner
    assert (runner.n_action_steps, server.policy.path.parent.name) == (2, "1")
    assert ", 1, chunk 6, 2 executed" in runner.description


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"checkpoint": "7"}, r"Checkpoint not found: 7. Available: \['1', '2'\]"),
        ({"checkpoint": "../1"}, "Checkpoint not found: ../1"),
        ({"checkpoint": "1", "protocol": "openpi"}, "protocol openpi cannot ask for a checkpoint .got '1'."),
        ({"protocol": "grpc"}, "choose one of positronic, openpi, openvla"),
        ({"n_action_steps": 7}, "n_action_steps 7 is more than the 6 steps of a chunk"),
        ({"guided": True}, "cannot be given a prefix.*--guided, or choose another strategy"),
        ({"dtype": "bfloat16", "compile": True}, "dtype, compile must be given to the server"),
        ({"options": {"holds": "1"}}, "unknown option 'holds'; did you mean 'hold_s'"),
        ({"options": {"hold_s": "soon"}}, "hold_s=soon: give a positive number"),
        ({"options": {"model": "pi1"}}, "model=pi1: choose one of pi0, pi05, pi0_fast"),
    ],
)
def test_what_cannot_be_had_is_said_before_anything_moves(server, load, request_, says):
    with pytest.raises(CheckpointError, match=says):
        load(server.port, **request_)


def test_a_profile_of_another_meaning_is_refused(server, load, tmp_path):
    file = tmp_path / "other.yaml"
    file.write_text(small_profile().text.replace("fps: 10", "fps: 20"))
    with pytest.raises(
        CheckpointError, match=r"another mapping than .*other.yaml:\n  fps: trained with 10.0, now 20.0\n"
    ):
        load(server.port, profile=file)
    file.write_text(small_profile().text.replace("joint_states", "left/joint_states"))
    assert load(server.port, profile=file).profile.state[0].topic == "left/joint_states"


def test_no_server_and_no_token_are_said(tmp_path, made, load):
    made.append(ServerThread(run_folder(tmp_path / "run", "1"), small_profile(), "--token", "s3cret"))
    for protocol in ("positronic", "openpi"):
        with pytest.raises(CheckpointError, match=r"refuses the connection: 401 .*Give its token: token:="):
            load(made[0].port, protocol=protocol)
        assert load(made[0].port, protocol=protocol, token="s3cret").runner.chunk_size == CHUNK
    for runner in made[1:]:
        runner.close()
    made[0].close()
    for protocol in ("positronic", "openpi", "openvla"):
        with pytest.raises(CheckpointError, match=rf"no .*server answers at .*:{made[0].port}/.*host and port right"):
            load(made[0].port, protocol=protocol, profile=UR5E)


@pytest.mark.parametrize("protocol", ["positronic", "openpi"])
def test_an_error_of_the_policy_is_not_a_lost_server(server, load, protocol):
    runner = load(server.port, protocol=protocol).runner
    server.policy.mood = "nan"
    with pytest.raises(InferenceError, match=r"the policy returned nan for 'elbow.pos' at step 2") as caught:
        runner.infer(small_frame(server.profile), "")
    assert not isinstance(caught.value, ServerLostError)
    server.policy.mood = "good"
    runner.reset()
    assert len(runner.infer(small_frame(server.profile), "")) == CHUNK


def test_a_slow_server_is_a_lost_server(server, load):
    runner = load(server.port, timeout_s=0.2).runner
    server.policy.mood = "held"
    with pytest.raises(ServerLostError, match=r"did not answer within 0.2 s.*raise remote_timeout_s"):
        runner.infer(small_frame(server.profile), "")
    with pytest.raises(ServerLostError, match="there is no connection"):  # a late answer is never taken for this one's
        runner.infer(small_frame(server.profile), "")
    server.policy.mood = "good"
    server.policy.go.set()
    runner.reset()
    assert len(runner.infer(small_frame(server.profile), "")) == CHUNK


def test_a_server_that_ends_during_a_request_is_lost_and_found_again(server, load, made):
    runner = load(server.port, options={"reconnect_s": "0.3"}).runner
    server.policy.mood = "held"
    threading.Timer(0.1, lambda: (server.policy.entered.wait(10), server.policy.go.set(), server.close())).start()
    with pytest.raises(ServerLostError, match=r"the connection to .* was lost: .*1001"):
        runner.infer(small_frame(server.profile), "")
    server.close()
    runner.reset()
    for _ in range(2):
        with pytest.raises(ServerLostError, match="no policy server answers"):
            runner.infer(small_frame(server.profile), "")
    folder = server._options.checkpoints_dir
    made.append(ServerThread(folder, small_profile(), "--port", str(server.port)))
    runner.reset()
    assert len(runner.infer(small_frame(server.profile), "")) == CHUNK


def test_another_policy_after_a_restart_is_refused(server, load, made):
    runner = load(server.port).runner
    server.close()
    other = small_profile(**{"fps: 10": "fps: 20"})
    made.append(ServerThread(server._options.checkpoints_dir, other, "--port", str(server.port)))
    runner.reset()
    says = r"serves another policy than at the start \(profile_sha256: .*load the policy again"
    with pytest.raises(ServerLostError, match=says):
        runner.infer(small_frame(server.profile), "")


def test_prefix_and_past_travel(tmp_path, made, load):
    made.append(ServerThread(run_folder(tmp_path / "run", "1"), small_profile(), policy=GuidedPolicy))
    runner = load(made[0].port, guided=True).runner
    profile, policy = made[0].profile, made[0].policy
    assert (runner.guidable, runner.history) == (True, 1)
    runner.infer(small_frame(profile, t_ns=100), "")
    assert len(policy.shown) == 2  # at the start of a run the first observation stands for those before it
    runner.observe(small_frame(profile, t_ns=200))
    prefix = Prefix(values=np.arange(6, dtype=np.float32).reshape(2, 3), frozen=1)
    runner.infer(small_frame(profile, t_ns=300), "", prefix)
    assert policy.frames[-1].t_ns - policy.shown[-1].t_ns == 100
    assert policy.prefixes[-1].values.tobytes() == prefix.values.tobytes()
    assert policy.prefixes[-1].frozen == 1
    runner.reset()
    runner.infer(small_frame(profile, t_ns=400), "")
    assert policy.frames[-1].t_ns == policy.shown[-1].t_ns  # the past ended with the run


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
