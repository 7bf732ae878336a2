# SPDX-License-Identifier: Apache-2.0

"""A policy server in a thread, with a policy whose moods the test decides."""

import asyncio
import threading
from pathlib import Path

import numpy as np
from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_policy.policies.runner import InferenceError, Loaded
from vla_policy.serving.server import loader, start
from vla_policy.serving.server_options import parse_options
from websockets.sync.client import connect

CHUNK, STEPS = 6, 4


class MoodyPolicy:
    """Row k of its chunk is the state plus 0.01 k. `entered` and `go` let a test hold it inside an inference."""

    chunk_size, n_action_steps, guidable, description = CHUNK, STEPS, False, "moody"

    def __init__(self, profile, path: Path):
        self.profile, self.path = profile, path
        self.resets = 0
        self.closed = False
        self.tasks: list[str] = []
        self.frames: list = []
        self.prefixes: list = []
        self.mood = "good"
        self.entered, self.go = threading.Event(), threading.Event()

    def reset(self):
        self.resets += 1

    def infer(self, frame, task, prefix=None):
        self.tasks.append(task)
        self.frames.append(frame)
        self.prefixes.append(prefix)
        if self.mood == "held":
            self.entered.set()
            assert self.go.wait(20.0)
        if self.mood == "raises":
            raise InferenceError("the model is unwell")
        if self.mood == "crashes":
            raise KeyError("secret internals")
        values = frame.state + 0.01 * np.arange(CHUNK)[:, None]
        if self.mood == "nan":
            values[2, 1] = np.nan
        if self.mood == "narrow":
            values = values[:, :2]
        return ActionChunk(t0_ns=frame.t_ns, dt_s=1.0 / self.profile.fps, values=values.astype(np.float32))

    def close(self):
        self.closed = True


class GuidedPolicy(MoodyPolicy):
    """Takes a prefix and looks one observation back."""

    guidable = True
    history = 1

    def __init__(self, profile, path):
        super().__init__(profile, path)
        self.shown: list = []

    def observe(self, frame):
        self.shown.append(frame)


def run_folder(folder: Path, *ids: str) -> Path:
    """A training output with empty checkpoints of these numbers."""
    for name in ids:
        path = folder / "checkpoints" / name / "pretrained_model"
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
    return folder


class ServerThread:
    """A server on a free port of the loopback, in a thread; its policies are of `policy`, or LeRobot's where that is None."""

    def __init__(self, folder: Path, profile, *arguments: str, policy=MoodyPolicy, before_load=None):
        self.profile, self._policy, self._before = profile, policy, before_load
        self.loaded: list = []
        self._options = parse_options(["--checkpoints_dir", str(folder), "--port", "0", *arguments])
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20.0)
        if self._error is not None:
            raise self._error

    def _load(self, path: Path) -> Loaded:
        if self._before is not None:
            self._before(path)
        if self._policy is None:
            return loader(self._options)(path)
        self.loaded.append(self._policy(self.profile, path))
        return Loaded(runner=self.loaded[-1], profile=self.profile, source=str(path))

    async def _main(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            running = await start(self._options, self._load)
        except (VlaError, OSError) as error:
            self._error = error
            self._ready.set()
            return
        self.port = running.port
        self._ready.set()
        await self._stop.wait()
        await running.close()

    @property
    def policy(self):
        """The policy that was loaded last."""
        return self.loaded[-1]

    def connect(self, path="/", **options):
        """A bare WebSocket."""
        options = {"compression": None, "max_size": None, "proxy": None, "close_timeout": 1.0} | options
        return connect(f"ws://127.0.0.1:{self.port}{path}", **options)

    def close(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20.0)
            assert not self._thread.is_alive()
