# SPDX-License-Identifier: Apache-2.0

"""The server over real sockets, with a policy that does what the test says."""

import json

import numpy as np
import pytest
from policy_fixtures import small_profile
from serving_fixtures import CHUNK, STEPS, GuidedPolicy, ServerThread, run_folder
from serving_messages import SESSION, STATE, ask, exact, get, handshake, openpi, positronic, session
from vla_core.errors import CheckpointError
from vla_policy.serving.packing import pack, unpack
from vla_policy.serving.positronic_door import SUPERSEDED
from websockets.exceptions import ConnectionClosed

# --- plain HTTP


def test_models_are_numbered_folders_in_numerical_order(server):
    (server._options.checkpoints_dir / "checkpoints" / "last").symlink_to("900")
    (server._options.checkpoints_dir / "checkpoints" / "30000").mkdir()
    status, body, headers = get(server, "/api/v1/models")
    assert (status, json.loads(body)) == (200, {"models": ["900", "10000", "20000"]})
    assert headers["Content-Type"] == "application/json"


def test_health_and_keepalive(server):
    assert get(server, "/healthz")[:2] == (200, "OK\n")
    assert get(server, "/api/v1/keepalive", "POST")[:2] == (200, '{"alive_seconds": null}')


def test_other_requests_are_told_what_there_is(server):
    for path, method, expected in (("/nowhere", "GET", 404), ("/api/v1/models", "DELETE", 405)):
        status, body, _ = get(server, path, method)
        assert status == expected
        assert "/api/v1/models" in body


def test_metrics_count_what_happens(server):
    with session(server) as one:
        ask(one, exact())
        ask(one, {"observation.state": 1})
    with server.connect("/") as two:
        two.recv(timeout=20)
        ask(two, openpi())
        text = get(server, "/metrics")[1]
    for line in (
        'vla_policy_sessions_opened_total{protocol="positronic"} 1.0',
        'vla_policy_inferences_total{protocol="positronic"} 1.0',
        'vla_policy_inferences_total{protocol="openpi"} 1.0',
        'vla_policy_errors_total{kind="observation"} 1.0',
        'vla_policy_loaded_checkpoint{checkpoint="20000"} 1.0',
        'vla_policy_sessions{protocol="openpi"} 1.0',
        'vla_policy_stage_seconds_count{stage="model"} 2.0',
        "vla_policy_loads_total 1.0",
    ):
        assert line in text.splitlines()


# --- Positronic


def test_handshake_and_answers_of_positronic(server):
    with server.connect(SESSION) as connection:
        _, meta = handshake(connection)
        assert (meta["checkpoint_id"], meta["port"], meta["device"]) == ("20000", server.port, "cpu")
        assert meta["checkpoint_path"] == "checkpoints/20000/pretrained_model"
        assert (meta["action_fps"], meta["action_horizon_sec"]) == (10.0, STEPS / 10.0)
        assert meta["local_stack"] == {"seq": [{"name": "chunked_schedule"}]}
        assert meta["vla"]["profile"] == server.profile.text
        reply = ask(connection, positronic())
        assert server.policy.resets == 1
    assert [set(row) for row in reply["result"]] == [{"robot_command", "target_grip", "timestamp"}] * STEPS
    assert np.allclose([row["robot_command"]["positions"][0] for row in reply["result"]], 0.1 + 0.01 * np.arange(STEPS))
    assert [row["timestamp"] for row in reply["result"]] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert set(reply["timing"]) == {"decode_ms", "queued_ms", "model_ms", "infer_ms", "served_ms"}
    assert reply["timing"]["served_ms"] >= reply["timing"]["infer_ms"] >= reply["timing"]["model_ms"] >= 0.0
    assert server.policy.tasks == ["lift"]


def test_own_keys_get_the_whole_chunk(server):
    with session(server) as connection:
        rows = ask(connection, exact())["result"]
    assert len(rows) == CHUNK
    wanted = (np.array(STATE, np.float32) + 0.01 * np.arange(CHUNK)[:, None]).astype(np.float32)
    assert np.stack([row["action"] for row in rows]).tobytes() == wanted.tobytes()


def test_a_session_may_name_its_checkpoint(server):
    for written in ("900", "10000", "%39%30%30"):
        with server.connect(f"{SESSION}/{written}") as connection:
            assert handshake(connection)[1]["checkpoint_id"] == server.policy.path.parent.name
    assert [policy.path.parent.name for policy in server.loaded] == ["20000", "900", "10000", "900"]
    assert [policy.closed for policy in server.loaded] == [True, True, True, False]


@pytest.mark.parametrize(
    "written",
    [
        "77",
        "..",
        "../../etc",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/900",
        "900%00",
        "last",
        "",
        "900/..",
        "%EF%BC%99",
        "+900",
    ],
)
def test_checkpoints_that_are_not_on_offer_are_refused(server, written):
    with server.connect(f"{SESSION}/{written or '%20'}") as connection:
        _, found = handshake(connection)
        assert found["error"].startswith("Checkpoint not found: ")
        assert found["error"].endswith("Available: ['900', '10000', '20000']")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Checkpoint not found")
    with session(server) as connection:
        assert "result" in ask(connection, exact())


def test_links_that_lead_out_of_the_folder_are_not_offered(server, tmp_path):
    outside = run_folder(tmp_path / "outside", "5") / "checkpoints" / "5"
    (server._options.checkpoints_dir / "checkpoints" / "5").symlink_to(outside)
    (server._options.checkpoints_dir / "checkpoints" / "6").symlink_to("900")
    assert json.loads(get(server, "/api/v1/models")[1])["models"] == ["6", "900", "10000", "20000"]
    with server.connect(f"{SESSION}/5") as connection:
        assert "Checkpoint not found: 5" in handshake(connection)[1]["error"]


def test_the_default_is_fixed_at_the_start(server):
    run_folder(server._options.checkpoints_dir, "99999")
    with server.connect(SESSION) as connection:
        assert handshake(connection)[1]["checkpoint_id"] == "20000"
    for name in ("900", "10000", "20000", "99999"):
        (server._options.checkpoints_dir / "checkpoints" / name / "pretrained_model" / "config.json").unlink()
        if name == "10000":
            with server.connect(f"{SESSION}/900") as connection:
                assert handshake(connection)[1]["error"] == "Checkpoint not found: 900. Available: ['20000', '99999']"
        if name == "20000":
            with server.connect(SESSION) as connection:
                found = handshake(connection)[1]["error"]
                assert found == "Configured checkpoint not found: 20000. Available: ['99999']"
    with server.connect(SESSION) as connection:
        assert "No checkpoints available" in handshake(connection)[1]["error"]
    assert json.loads(get(server, "/api/v1/models")[1]) == {"models": []}


def test_a_chosen_default_and_bad_choices(serve, tmp_path):
    with serve("--checkpoint", "900").connect(SESSION) as connection:
        assert handshake(connection)[1]["checkpoint_id"] == "900"
    with pytest.raises(CheckpointError, match=r"Checkpoint not found: 5. Available: \['900'\]"):
        serve("--checkpoint", "5", ids=("900",))
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"No checkpoints available in .*empty/checkpoints"):
        ServerThread(tmp_path / "empty", small_profile())
    with pytest.raises(CheckpointError, match=r"there is no folder 'checkpoints' in it. Give a training output"):
        ServerThread(tmp_path, small_profile())


def test_query_parameters_are_refused_by_name(server):
    with server.connect(f"{SESSION}?codec.fps=5") as connection:
        assert "Unknown session parameters: 'codec.fps=5'" in handshake(connection)[1]["error"]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"robot_state.q": 1}, "lacks 'grip' (0 open to 1 closed), 'image.front'"),
        (
            positronic(**{"image.front": np.zeros((3, 3))}),
            "image.front: expected an (H, W, 3) uint8 RGB image, got float64",
        ),
        (
            exact(**{"observation.state": [1.0, 2.0]}),
            "observation.state: expected numbers of shape (3,), got shape (2,)",
        ),
        ("text", "a text frame came"),
        (b"\xc1\xc1", "no msgpack message"),
        (exact(prefix=np.zeros((2, 3)), prefix_frozen=1), "cannot be guided"),
    ],
)
def test_an_error_does_not_end_a_positronic_session(server, message, says):
    with session(server) as connection:
        assert says in ask(connection, message)["error"]
        assert "result" in ask(connection, exact())


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("raises", "the model is unwell"),
        ("crashes", "the policy raised KeyError"),
        ("nan", "the policy returned nan for 'elbow.pos' at step 2"),
        ("narrow", "the policy returned 2 actions per step, the profile has 3"),
    ],
)
def test_bad_answers_of_the_policy_are_errors(server, mood, says):
    with session(server) as connection:
        server.policy.mood = mood
        assert says in ask(connection, exact())["error"]
        server.policy.mood = "good"
        assert "result" in ask(connection, exact())


def test_images_of_another_size_are_fitted_or_refused(serve):
    picture = np.full((32, 64, 3), 255, np.uint8)
    padded, refusing = serve(), serve("--image-fit", "refuse")
    with session(padded) as connection:
        assert "result" in ask(connection, positronic(**{"image.front": picture}))
    seen = padded.policy.frames[-1].images["front"]
    assert (seen[:8].max(), seen[8:24].min(), seen[24:].max()) == (0, 255, 0)
    with session(refusing) as connection:
        assert "image.front: 32x64 pixels" in ask(connection, positronic(**{"image.front": picture}))["error"]


def test_only_the_newest_waiting_observation_is_computed(server):
    with session(server) as connection:
        server.policy.mood = "held"
        connection.send(pack(exact(task="first")))
        assert server.policy.entered.wait(10)
        for task in ("second", "third"):
            connection.send(pack(exact(task=task)))
        connection.send(pack(exact(task="fourth")))
        # The frames above have arrived when this ping, which came after them, is answered.
        assert connection.ping().wait(10)
        server.policy.go.set()
        replies = [unpack(connection.recv(timeout=10)) for _ in range(4)]
    assert [reply.get("error") for reply in replies] == [None, SUPERSEDED, SUPERSEDED, None]
    assert server.policy.tasks == ["first", "fourth"]


def test_a_policy_that_looks_back_and_can_be_guided(serve):
    server = serve(policy=GuidedPolicy)
    with session(server) as connection:
        past = {**exact(), "obs_time_ns": 100}
        del past["task"]
        message = exact(obs_time_ns=100_000_100, history=[past], prefix=np.ones((2, 3), np.float32), prefix_frozen=1)
        for _ in range(2):
            assert "result" in ask(connection, message)
        assert (
            "reads 1 earlier observation(s), 0.1 s apart; send them under 'history'"
            in ask(connection, exact())["error"]
        )
        assert "reads 1 earlier" in ask(connection, positronic())["error"]
    frames, shown = server.policy.frames, server.policy.shown
    assert [frame.t_ns - past.t_ns for frame, past in zip(frames, shown, strict=True)] == [100_000_000] * 2
    assert shown[1].t_ns - frames[0].t_ns > 1_000_000_000_000  # no request's past is near another's
    assert server.policy.prefixes[0].frozen == 1


# --- openpi


def test_openpi_speaks_first_and_answers_in_turn(server):
    with server.connect("/any/path") as connection:
        assert unpack(connection.recv(timeout=20))["vla"]["chunk_size"] == CHUNK
        first, second = ask(connection, openpi()), ask(connection, openpi(prompt=None))
    assert (first["actions"].shape, first["actions"].dtype) == ((CHUNK, 3), np.float32)
    assert np.allclose(first["actions"][:, 0], 0.1 + 0.01 * np.arange(CHUNK))
    arrays = [key for key, value in first.items() if isinstance(value, np.ndarray)]
    assert arrays == ["actions"]  # chunk brokers index every array by step
    assert first["policy_timing"]["infer_ms"] == first["server_timing"]["model_ms"]
    assert "prev_total_ms" not in first["server_timing"]
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"]
    assert server.policy.tasks == ["lift", server.profile.task]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (openpi(**{"observation/image": None}), "ObservationError: the observation lacks 'observation/image'"),
        (openpi(**{"observation/state": np.zeros(7)}), "observation/state: expected numbers of shape (3,)"),
        (b"\x00\x00", "WireError: "),
        ("text", "WireError: a text frame came"),
    ],
)
def test_an_openpi_error_is_text_and_the_end(server, message, says):
    with server.connect() as connection:
        connection.recv(timeout=20)
        connection.send(message if isinstance(message, bytes | str) else pack(message))
        text = connection.recv(timeout=10)
        assert isinstance(text, str)
        assert says in text
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd.code == 1011
        assert closed.value.rcvd.reason == "Internal server error. Traceback included in previous frame."
    with server.connect() as connection:
        connection.recv(timeout=20)
        assert "actions" in ask(connection, openpi())


def test_internals_stay_inside(server):
    with server.connect() as connection:
        connection.recv(timeout=20)
        server.policy.mood = "crashes"
        connection.send(pack(openpi()))
        text = connection.recv(timeout=10)
    assert text == "InferenceError: the policy raised KeyError: 'secret internals'"
    assert ".py" not in text
