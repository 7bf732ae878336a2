# SPDX-License-Identifier: Apache-2.0

"""The server as a process of its own, without ROS; and what becomes of its clients when it dies."""

import ast
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import vla_policy
from policy_fixtures import make_act_checkpoint, small_frame, small_profile
from serving_fixtures import ServerThread, run_folder
from vla_core.frames import Frame
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import LoadRequest, ServerLostError
from vla_policy.serving.server import main
from vla_policy.tools.smoke import main as smoke

# A None in sys.modules makes every import of that name fail.
WITHOUT_ROS = """
import sys
for name in ("rclpy", "rosidl_runtime_py", "launch", "vla_msgs", "vla_common"):
    sys.modules[name] = None
from vla_policy.serving.server import main
sys.exit(main(sys.argv[1:]))
"""


class Process:
    """A server process; `port` is known once it listens."""

    def __init__(self, *arguments):
        command = [sys.executable, "-c", WITHOUT_ROS, "--port", "0", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on 127.0.0.1:"):
            raise AssertionError(self.process.communicate()[1])
        self.port = int(line.rpartition(":")[2])

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(60), self.process.stderr.read()

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start():
    made = []

    def make(*arguments):
        made.append(Process(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def scripted(tmp_path):
    """Arguments of a server whose policy needs no model library."""
    (tmp_path / "profile.yaml").write_text(small_profile().text)
    folder = run_folder(tmp_path / "run", "1")
    return ["--checkpoints_dir", str(folder), "--policy", "scripted", "--profile", str(tmp_path / "profile.yaml")]


def next_frame(frame, state, i) -> Frame:
    images = {"front": np.full((32, 32, 3), 40 * i, np.uint8)}
    return Frame(t_ns=i, state=state, state64=state.astype(float), images=images, action=None, ages_s={})


def closed_loop(port, run):
    """The same observations to a server and to the model in this process: the same actions, bit for bit."""
    local = load_policy("lerobot", LoadRequest(checkpoint=str(run)))
    for protocol in ("positronic", "openpi"):
        options = {"load_timeout_s": "300"}
        remote = load_policy("remote", LoadRequest(port=port, protocol=protocol, timeout_s=60.0, options=options))
        assert remote.profile.sha256 == local.profile.sha256
        assert (remote.runner.chunk_size, remote.runner.n_action_steps) == (8, 5)
        remote.runner.reset()
        local.runner.reset()
        seen_there = seen_here = small_frame(local.profile)
        for i in range(5):
            there = remote.runner.infer(seen_there, "lift")
            here = local.runner.infer(seen_here, "lift")
            assert there.values.tobytes() == here.values.tobytes()
            # The next observation is where the fourth action leads.
            seen_there, seen_here = (next_frame(one, one.values[3], i + 1) for one in (there, here))
        remote.runner.close()


@pytest.mark.timeout(300)  # the import of the model library takes a minute on a machine that is busy
def test_a_closed_loop_over_the_wire_is_the_one_in_the_node(tmp_path):
    make_act_checkpoint(tmp_path, small_profile())
    server = ServerThread(tmp_path, small_profile(), "--n-action-steps", "5", policy=None)
    try:
        closed_loop(server.port, tmp_path)
    finally:
        server.close()


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not os.environ.get("VLA_TEST_FULL"), reason="imports the model library once more; VLA_TEST_FULL=1 runs it"
)
def test_a_lerobot_policy_is_served_without_ros(start, tmp_path):
    make_act_checkpoint(tmp_path, small_profile())
    server = start("--checkpoints_dir", str(tmp_path), "--n-action-steps", "5")
    closed_loop(server.port, tmp_path)
    code, log = server.end(signal.SIGTERM)
    assert code == 0, log
    assert "Traceback" not in log


def test_nothing_that_a_server_needs_imports_ros():
    for folder in ("serving", "policies"):
        files = list((Path(vla_policy.__file__).parent / folder).glob("*.py"))
        assert files
        for file in files:
            modules = {
                name.split(".")[0]
                for node in ast.walk(ast.parse(file.read_text()))
                for name in (
                    [one.name for one in node.names] if isinstance(node, ast.Import) else
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                )
            }  # fmt: skip
            assert not modules & {"rclpy", "rosidl_runtime_py", "vla_common", "vla_msgs"}, file


def test_smoke_of_a_running_server(start, scripted, capsys):
    server = start(*scripted)
    for protocol in ("positronic", "openpi"):
        assert smoke(["--port", str(server.port), "--protocol", protocol, "--task", "pick up the ball"]) == 0
        told = capsys.readouterr().out
        assert "task: pick up the ball" in told
        assert "steps of 3 actions, 100.0 ms apart" in told
        assert "answer 3: " in told
        assert "shoulder.pos " in told
    assert smoke(["--port", str(server.port), "--step", "7"]) == 1
    assert "Checkpoint not found: 7. Available: ['1']" in capsys.readouterr().err
    server.close()
    assert smoke(["--port", str(server.port)]) == 1
    assert "no policy server answers" in capsys.readouterr().err


def test_a_killed_server_is_noticed_during_the_request_and_a_new_one_found(start, scripted):
    server = start(*scripted)
    runner = load_policy("remote", LoadRequest(port=server.port, timeout_s=30.0, options={"reconnect_s": "0.2"})).runner
    frame = small_frame(small_profile())
    os.kill(server.process.pid, signal.SIGSTOP)  # it takes the request and never answers
    threading.Timer(0.2, server.process.kill).start()
    with pytest.raises(ServerLostError, match=r"the connection to .* was lost"):
        runner.infer(frame, "")
    runner.reset()
    with pytest.raises(ServerLostError, match="no policy server answers"):
        runner.infer(frame, "")
    again = start(*scripted, "--port", str(server.port))
    runner.reset()
    assert runner.infer(frame, "").values.shape[1] == 3
    code, log = again.end(signal.SIGINT)
    assert code == 0, log
    assert "Traceback" not in log


def test_what_cannot_be_served_is_said(scripted, tmp_path, capsys):
    (tmp_path / "empty").write_text("\n")
    for arguments, says in (
        (["--checkpoints_dir", str(tmp_path)], f"serve: checkpoints_dir {tmp_path}: there is no folder 'checkpoints'"),
        ([*scripted, "--checkpoint", "5"], "serve: Checkpoint not found: 5. Available: ['1']"),
        ([*scripted, "--policy-options", "chunk=none", "--port", "0"], "serve: policy:=scripted"),
        ([*scripted, "--policy", "spoken", "--port", "0"], "serve: policy 'spoken': no installed package offers it"),
    ):
        assert main(arguments) == 1
        assert says in capsys.readouterr().err
    for arguments, says in (
        (["--token-file", str(tmp_path / "no")], "cannot be read"),
        (["--token-file", str(tmp_path / "empty")], "its first line is empty"),
        (["--port", "70000"], "a port lies between 0 and 65535"),
        (["--max-message-mb", "0"], "must be positive"),
    ):
        with pytest.raises(SystemExit):
            main([*scripted, *arguments])
        assert says in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(start, scripted, capsys):
    server = start(*scripted)
    assert main([*scripted, "--port", str(server.port)]) == 1
    assert f"cannot listen on 127.0.0.1:{server.port}: " in capsys.readouterr().err
