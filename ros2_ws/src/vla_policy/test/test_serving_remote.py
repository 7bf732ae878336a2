# SPDX-License-Identifier: Apache-2.0

"""The client of policy servers, against this project's server."""

import dataclasses
import threading

import numpy as np
import pytest
from policy_fixtures import small_frame, small_profile
from serving_fixtures import CHUNK, STEPS, GuidedPolicy, MoodyPolicy, ServerThread, run_folder
from vla_core.errors import CheckpointError
from vla_policy.policies.runner import InferenceError, Prefix, ServerLostError

UR5E = __file__.split("/vla_policy/")[0] + "/vla_bringup/robots/sim_ur5e_tiny.yaml"
Q = np.array([0.1, -1.6, 1.5, -1.5, -1.57, 0.2])


@pytest.fixture
def server(tmp_path, made):
    made.append(ServerThread(run_folder(tmp_path / "run", "1", "2"), small_profile()))
    return made[-1]


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
