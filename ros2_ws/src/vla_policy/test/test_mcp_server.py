# SPDX-License-Identifier: Apache-2.0

"""The MCP tools with the official client, over real transports, against a policy node that drives a fake robot."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from policy_cell import Cell, RampRunner, wait_until
from policy_fixtures import small_profile
from vla_msgs.action import RunPolicy

TOKEN = "a-token"
SERVER = [sys.executable, "-c", "from vla_policy.mcp_tool.server import main; raise SystemExit(main())"]
PEER = [sys.executable, str(__file__).replace("test_mcp_server.py", "mcp_peer.py")]
ARGUMENTS = {"policy": "act", "checkpoint_path": "run", "device": "cpu"}
FULL = os.environ.get("VLA_TEST_FULL") == "1"
HEARTBEAT_S, PING_S = 4.0, 1.5
MODES = ("legacy", "auto")


def die_with_parent():
    """A test run that is killed leaves no process."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Bench:
    """A cell, an HTTP server in front of it, and connected client processes."""

    def __init__(self, folder):
        patient = {"watchdog_s: 0.3": "watchdog_s: 5.0", "max_age_s: 0.2": "max_age_s: 2.0"}  # not what is tested here
        profile = small_profile(**patient)
        runner = RampRunner(profile, steps=20, slope=0.0005)  # slow enough to stay inside the limits for all tests
        self.cell = Cell(folder, runner=runner, profile=profile, max_duration_s=600.0)
        (folder / "run" / "pretrained_model" / "config.json").write_text(json.dumps({"type": "act"}))
        self.options = ["--checkpoints_dir", str(folder), "--client_timeout", str(PING_S)]
        self.options += ["--heartbeat_timeout", str(HEARTBEAT_S)]
        self.processes = []
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self):
        """Start the server and the clients."""
        self.server, self.url = self.serve()
        stdio = ["--", *SERVER, *self.options]
        self.peers = {
            "http legacy": self.peer("legacy", self.url),
            "http auto": self.peer("auto", self.url),
            "stdio auto": self.peer("auto", *stdio),
            "last": self.peer("auto", self.url),
        }
        if FULL:
            self.peers["stdio legacy"] = self.peer("legacy", *stdio)
        for peer in self.peers.values():
            assert peer.stdout.readline() == "ready\n"

    def serve(self):
        """An HTTP server as a process; returns it and its address."""
        command = [*SERVER, *self.options, "--transport", "http", "--port", "0", "--token", TOKEN]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.processes.append(process)
        for line in process.stderr:
            if line.startswith("serving "):
                threading.Thread(target=process.stderr.read, daemon=True).start()  # else a full pipe would block it
                return process, line.split()[1]
        raise AssertionError("the server has not started")

    def peer(self, mode, *target):
        """A client process that connects and waits to be told."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "preexec_fn": die_with_parent}
        environment = {**os.environ, "TOKEN": TOKEN}
        self.processes.append(subprocess.Popen([*PEER, mode, *target], env=environment, **pipes))
        return self.processes[-1]

    def drive(self, process):
        """Tell a client to call the tool and wait until the policy drives."""
        goals = self.cell.robot.arm_goals
        before = len(goals)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "running\n"
        wait_until(lambda: len(goals) > before, 30.0, "a goal at the arm")

    @contextlib.contextmanager
    def stopping(self, limit_s):
        """The run ends within `limit_s` after what is done inside, which it does once the arm has answered its cancel."""
        begun_s = time.monotonic()
        yield
        wait_until(lambda: not self.cell.node._sequence._active, 30.0, "the end of the run")
        assert time.monotonic() - begun_s < limit_s
        assert self.cell.robot.cancelled > 0

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.cell.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("mcp"))
    yield made
    made.close()


@contextlib.asynccontextmanager
async def connected(bench, mode, token=TOKEN):
    """The official client, over HTTP."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30.0) as http,
        Client(streamable_http_client(bench.url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", MODES)
def test_a_run_reports_rising_progress_and_ends_after_its_steps(bench, mode):
    events = []

    async def progress(value, total, message):
        events.append((value, total, message))

    async def run():
        async with connected(bench, mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            result = await client.call_tool("vla_infer", {**ARGUMENTS, "max_steps": 12}, progress_callback=progress)
            return tools, result, await client.call_tool("get_status", {})

    tools, result, status = asyncio.run(run())
    assert set(tools) == {"vla_infer", "list_checkpoints", "get_status"}
    assert not result.is_error
    answer = result.structured_content
    assert (answer["success"], answer["eval_dir"]) == (True, None), answer
    assert 12 <= answer["num_steps"] <= 14
    assert "the limit of 12 action steps was reached" in answer["message"]
    assert json.loads(result.content[0].text) == answer
    values = [value for value, _, _ in events]
    assert all(a < b for a, b in pairwise(values)), values
    assert (values[0], values[-1]) == (0.01, 1.0)
    assert {total for _, total, _ in events} == {1.0}
    stages = [message.split(":")[0].split(",")[0] for _, _, message in events]
    assert list(dict.fromkeys(stages))[:4] == ["scene default", "connect", "load", "run"]
    assert status.structured_content["available"] is True
    assert status.structured_content["state"] == "idle"
    assert status.structured_content["values"]["steps"] >= 12


@pytest.mark.parametrize("mode", MODES)
def test_a_cancelled_request_stops_the_arm(bench, mode):
    """Sooner than the heartbeat would."""

    async def run():
        driving = anyio.Event()

        async def progress(_value, _total, message):
            if message.startswith("run: step"):
                driving.set()

        async with connected(bench, mode) as client, anyio.create_task_group() as group:

            async def call():
                await client.call_tool("vla_infer", {**ARGUMENTS, "max_steps": 5000}, progress_callback=progress)

            group.start_soon(call)
            await driving.wait()
            sent = len(bench.cell.robot.arm_goals)
            while len(bench.cell.robot.arm_goals) <= sent + 1:  # goals are under way
                await anyio.sleep(0.01)
            begun_s = time.monotonic()
            group.cancel_scope.cancel()
        return begun_s

    begun_s = asyncio.run(run())
    wait_until(lambda: not bench.cell.node._sequence._active, 30.0, "the end of the run")
    assert time.monotonic() - begun_s < HEARTBEAT_S
    assert bench.cell.reports()[-1]["termination"] == "canceled"


def test_a_dry_run_sends_nothing_and_leaves_nothing_connected(bench):
    cell = bench.cell

    async def run():
        async with connected(bench, "auto") as client:
            return await client.call_tool("vla_infer", {**ARGUMENTS, "max_steps": 5, "dry_run": True})

    sent = len(cell.robot.arm_goals), len(cell.robot.gripper_goals), len(cell.targets["command/arm"])
    clients = cell.client_node.count_clients("arm_controller/follow_joint_trajectory/_action/send_goal")
    answer = asyncio.run(run()).structured_content
    assert answer["success"], answer
    assert answer["message"].startswith("dry run, nothing was sent: ")
    assert answer["num_steps"] >= 5
    assert (len(cell.robot.arm_goals), len(cell.robot.gripper_goals), len(cell.targets["command/arm"])) == sent
    assert cell.client_node.count_clients("arm_controller/follow_joint_trajectory/_action/send_goal") == clients
    assert not cell.node._sequence._active


def test_what_cannot_be_done_is_said(bench):
    calls = [
        ({"policy": "act", "checkpoint_path": "nowhere"}, "checkpoint not found"),
        ({"policy": "pi0", "checkpoint_path": "run"}, "policy pi0: "),
        ({**ARGUMENTS, "fps": 25}, "fps 25: the checkpoint was trained at 10 Hz"),
        ({**ARGUMENTS, "checkpoint_path": "../elsewhere"}, "lies outside"),
        ({**ARGUMENTS, "record_eval": True, "max_steps": 5}, "record"),
    ]

    async def run():
        async with connected(bench, "auto") as client:
            answers = [await client.call_tool("vla_infer", arguments) for arguments, _ in calls]
            unknown = await client.call_tool("vla_infer", {"policy": "gpt", "checkpoint_path": "run"})
            listed = await client.call_tool("list_checkpoints", {})
            return answers, unknown, listed

    answers, unknown, listed = asyncio.run(run())
    for (_, text), result in zip(calls, answers, strict=True):
        assert not result.is_error
        assert result.structured_content["success"] is False
        assert result.structured_content["num_steps"] == 0
        assert text in result.structured_content["message"]
    assert unknown.is_error
    assert "'smolvla', 'pi0'" in unknown.content[0].text
    assert [entry["checkpoint_path"] for entry in listed.structured_content["checkpoints"]] == ["run"]


def test_a_wrong_token_is_refused(bench):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        answer = httpx2.post(bench.url, headers=headers, json={})
        assert answer.status_code == 401
        assert "--token" in answer.json()["error"]
    assert httpx2.post(bench.url, headers={"Authorization": f"Bearer {TOKEN}"}, json={}).status_code != 401


def test_a_client_that_hangs_stops_the_arm(bench):
    process = bench.peers["http legacy"]
    bench.drive(process)
    with bench.stopping(PING_S + 2.0):
        process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    end = json.loads(process.stdout.readline().removeprefix("end "))
    assert end["success"] is False
    assert "cancelled" in end["message"]


@pytest.mark.parametrize("name", ["http legacy", "http auto", "stdio auto", *(["stdio legacy"] if FULL else [])])
def test_a_client_that_is_killed_stops_the_arm(bench, name):
    process = bench.peers[name]
    bench.drive(process)
    graph = bench.cell.client_node
    servers = graph.count_publishers("/policy/heartbeat")
    with bench.stopping(HEARTBEAT_S):
        process.send_signal(signal.SIGKILL)
    assert bench.cell.reports()[-1]["termination"] == "canceled", "cancelled before a heartbeat was missed"
    left = servers - name.startswith("stdio")
    wait_until(lambda: graph.count_publishers("/policy/heartbeat") == left, what="the end of the client's own server")


@pytest.mark.skipif(not FULL, reason="another server takes seconds to start; VLA_TEST_FULL=1 runs it")
def test_a_server_that_is_told_to_end_cancels_the_run(bench):
    server, url = bench.serve()
    peer = bench.peer("legacy", url)
    assert peer.stdout.readline() == "ready\n"
    bench.drive(peer)
    with bench.stopping(HEARTBEAT_S):
        server.send_signal(signal.SIGTERM)
    assert bench.cell.reports()[-1]["termination"] == "canceled"
    assert server.wait(10.0) is not None


def test_a_server_that_is_killed_stops_the_arm(bench):
    """The last test: the others need the server."""
    bench.drive(bench.peers["last"])
    with bench.stopping(2.0 * HEARTBEAT_S):
        bench.server.kill()
    report = bench.cell.reports()[-1]
    assert report["error_code"] == RunPolicy.Result.CLIENT_LOST
    assert "mcp-" in report["message"]
