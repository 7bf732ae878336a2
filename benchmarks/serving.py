# SPDX-License-Identifier: Apache-2.0

"""How long a new client of the policy server waits while another one's inference runs, and what a request costs.

    python benchmarks/serving.py --json result.json
    python benchmarks/serving.py --quick

The server runs in a process of its own, with a policy that takes 200 ms and predicts nothing: `sleeping` (as one that
waits for a GPU) or `computing` (in Python, which is the worst for everybody else in the process). One client asks without
a pause; meanwhile others connect, one after the other, and the time until each can send its first observation is taken:
connection, upgrade, and metadata or `ready`.

`on_event_loop` is the baseline: the same protocol with the inference in the connection's handler, as servers do that
have no worker.

The second table is one client alone: round trip minus time in the policy, for two cameras of 640x480 raw.

The JSON holds `machine`, `load_average`, `bars` (name, value, limit, ok) and `rows` (`server`, `policy`, `what`, `p50_ms`,
`p95_ms`, `max_ms`, `count`). The exit code is 1 with --strict where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from vla_core.chunks import ActionChunk
from vla_core.frames import Frame
from vla_core.profile import Profile, load_profile
from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import Loaded, LoadRequest, Prefix
from vla_policy.serving.packing import pack, unpack
from vla_policy.serving.rig import synthetic_frame
from vla_policy.serving.server import SWITCH_INTERVAL_S, start
from vla_policy.serving.server_options import parse_options
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync.client import ClientConnection, connect

ROBOT = Path(__file__).resolve().parent.parent / "ros2_ws/src/vla_bringup/robots/sim_ur5e.yaml"
MODEL_S = 0.2
CONNECT_LIMIT_MS, OVERHEAD_LIMIT_MS = 20.0, 20.0
SESSION = "/api/v1/session"


class TimedPolicy:
    """Takes `seconds` for each chunk; stays where the robot is."""

    chunk_size, n_action_steps, guidable, description = 50, 25, False, "timed"

    def __init__(self, profile: Profile, kind: str, seconds: float) -> None:
        self._profile, self._kind, self._seconds = profile, kind, seconds

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, frame: Frame, task: str, prefix: Prefix | None = None) -> ActionChunk:
        """Take the time, then return the state."""
        end_s = time.perf_counter() + self._seconds
        if self._kind == "sleeping":
            time.sleep(self._seconds)
        while time.perf_counter() < end_s:
            sum(range(100))
        return ActionChunk(frame.t_ns, 1.0 / self._profile.fps, np.repeat(frame.state[None], self.chunk_size, axis=0))

    def close(self) -> None:
        """Nothing to give back."""


def serve_worker(folder: str, kind: str, seconds: float) -> None:
    """Run this project's server with a timed policy; prints its port."""
    profile = load_profile(write_profile(Path(folder)))
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def main() -> None:
        options = parse_options(["--checkpoints_dir", folder, "--port", "0"])
        running = await start(
            options, lambda path: Loaded(runner=TimedPolicy(profile, kind, seconds), profile=profile, source="")
        )
        print(running.port, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_on_loop(folder: str, kind: str, seconds: float) -> None:
    """Run the baseline: openpi's protocol with the inference in the handler; prints its port."""
    policy = TimedPolicy(load_profile(write_profile(Path(folder))), kind, seconds)
    frame = synthetic_frame(load_profile(write_profile(Path(folder))))

    async def handler(connection: ServerConnection) -> None:
        await connection.send(pack({}))
        async for data in connection:
            unpack(data)  # type: ignore[arg-type]
            await connection.send(pack({"actions": policy.infer(frame, "").values}))

    async def main() -> None:
        server = await serve(handler, "127.0.0.1", 0, compression=None, max_size=None)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


SERVERS: dict[str, Callable[[str, str, float], None]] = {"worker": serve_worker, "on_event_loop": serve_on_loop}


def write_profile(folder: Path) -> Path:
    """Return a profile with two cameras of 640x480, and make the folder look like a training output."""
    path = folder / "checkpoints" / "1" / "pretrained_model"
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text("{}")
    file = folder / "profile.yaml"
    file.write_text(load_profile(ROBOT).text.replace("- 240\n", "- 480\n").replace("- 320\n", "- 640\n"))
    return file


class Server:
    """A server process."""

    def __init__(self, name: str, kind: str, seconds: float, folder: str) -> None:
        command = [sys.executable, __file__, "--serve", name, kind, str(seconds), folder]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def connect(self, path: str) -> ClientConnection:
        """Connect; the caller receives."""
        return connect(
            f"ws://127.0.0.1:{self.port}{path}", compression=None, max_size=None, proxy=None, close_timeout=1.0
        )


class Busy(threading.Thread):
    """A client that asks without a pause until it is told to stop."""

    def __init__(self, server: Server, message: bytes) -> None:
        super().__init__(daemon=True)
        self._held = ExitStack()
        self._connection = self._held.enter_context(server.connect("/"))
        self._connection.recv()
        self._message, self._over = message, threading.Event()
        self.asked = threading.Event()

    def run(self) -> None:
        """Ask and ask."""
        while not self._over.is_set():
            self._connection.send(self._message)
            self.asked.set()
            self._connection.recv()

    def stop(self) -> None:
        """End after the running request."""
        self._over.set()
        self.join(10.0)
        self._held.close()


def open_session(path: str) -> Callable[[Server], float]:
    """Return a measurement of the milliseconds from nothing to the metadata, after which a client may ask."""

    def measure(server: Server) -> float:
        started_s = time.perf_counter()
        with server.connect(path) as connection:
            while unpack(connection.recv(timeout=30.0)).get("status", "ready") != "ready":
                continue
            return (time.perf_counter() - started_s) * 1e3

    return measure


def ask_health(server: Server) -> float:
    """Return the milliseconds of `GET /healthz`."""
    started_s = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30.0)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()
    return (time.perf_counter() - started_s) * 1e3


def row(server: str, policy: str, what: str, taken: list[float]) -> dict[str, Any]:
    """Return a line of the table."""
    ordered = sorted(taken)
    return {
        "server": server,
        "policy": policy,
        "what": what,
        "p50_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
        "max_ms": round(ordered[-1], 2),
        "count": len(ordered),
    }


def second_clients(name: str, kind: str, count: int, folder: str) -> list[dict[str, Any]]:
    """Measure clients that come while an inference runs."""
    frame = synthetic_frame(load_profile(write_profile(Path(folder))))
    message = pack(
        {
            "observation/image": frame.images["front"],
            "observation/wrist_image": frame.images["wrist"],
            "observation/state": frame.state,
            "prompt": "",
        }
    )
    measures: dict[str, Callable[[Server], float]] = {"ready, openpi": open_session("/")}
    if name == "worker":
        measures |= {"ready, positronic": open_session(SESSION), "GET /healthz": ask_health}
    rows = []
    with Server(name, kind, MODEL_S, folder) as server:
        busy = Busy(server, message)
        busy.start()
        busy.asked.wait(30.0)
        for what, measure in measures.items():
            taken = []
            for i in range(count):
                # At all phases of the running inference.
                time.sleep(0.013 * (i % 16))
                taken.append(measure(server))
            rows.append(row(name, kind, what, taken))
        busy.stop()
    return rows


def round_trips(count: int, folder: str) -> list[dict[str, Any]]:
    """Measure what a request costs beside the policy."""
    rows = []
    with Server("worker", "sleeping", 0.0, folder) as server:
        for protocol in ("positronic", "openpi"):
            loaded = load_policy("remote", LoadRequest(port=server.port, protocol=protocol))
            frame = synthetic_frame(loaded.profile)
            taken = []
            for _ in range(count):
                started_s = time.perf_counter()
                loaded.runner.infer(frame, "")
                taken.append((time.perf_counter() - started_s) * 1e3)
            loaded.runner.close()
            rows.append(row("worker", "none", f"round trip, {protocol}, 2 x 640x480", taken))
    return rows


def main() -> int:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to store the result")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where a bar is missed")
    parser.add_argument("--serve", nargs=4, metavar=("SERVER", "KIND", "SECONDS", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        name, kind, seconds, folder = given.serve
        SERVERS[name](folder, kind, float(seconds))
        return 0
    count = 20 if given.quick else 100
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in SERVERS:
            for kind in ("sleeping", "computing"):
                rows += second_clients(name, kind, count, folder)
        rows += round_trips(count, folder)
    bars = [
        {"name": f"{r['what']} ({r['policy']}) p50", "value": r["p50_ms"], "limit": limit, "ok": r["p50_ms"] <= limit}
        for r in rows
        if r["server"] == "worker"
        for limit in (OVERHEAD_LIMIT_MS if "round trip" in r["what"] else CONNECT_LIMIT_MS,)
    ]
    print(f"{'server':<14}{'policy':<11}{'what':<38}{'p50':>9}{'p95':>9}{'max':>9}  ms")
    for r in rows:
        print(f"{r['server']:<14}{r['policy']:<11}{r['what']:<38}{r['p50_ms']:>9}{r['p95_ms']:>9}{r['max_ms']:>9}")
    for bar in bars:
        print(f"{'ok    ' if bar['ok'] else 'MISSED'} {bar['name']}: {bar['value']} ms (limit {bar['limit']})")
    result = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result |= {"load_average": os.getloadavg()[0], "bars": bars, "rows": rows}  # type: ignore[dict-item]
    if given.json:
        given.json.write_text(json.dumps(result, indent=2))
    return 1 if given.strict and not all(bar["ok"] for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
