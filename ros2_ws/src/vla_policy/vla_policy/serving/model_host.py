# SPDX-License-Identifier: Apache-2.0

"""The one model of a server: loaded, shared between sessions, exchanged, and asked, all on one worker thread.

The event loop never computes, so a second client connects while the first one's inference runs. Sessions on the same
checkpoint share the model; one that asks for another checkpoint waits until the last session of the old one has ended.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError, VlaError
from vla_core.frames import Frame
from vla_core.profile import Profile

from vla_policy.policies.runner import InferenceError, Loaded, PolicyRunner
from vla_policy.serving.errors import ObservationError
from vla_policy.serving.keys_exact import HISTORY_KEY, ExactKeys, Observed
from vla_policy.serving.keys_openpi import OpenpiKeys
from vla_policy.serving.keys_positronic import PositronicKeys
from vla_policy.serving.metrics import Metrics

WAITING, LOADING = "waiting", "loading"
STATUS_PERIOD_S = 2.0
_EPOCH_NS = 3_600_000_000_000
Load = Callable[[Path], Loaded]
Tell = Callable[[str, str], Awaitable[None]]
_log = logging.getLogger(__name__)


class Model:
    """A loaded policy and the keys that it can be asked in.

    Attributes:
        checkpoint: Its id.
        runner: The policy; only the worker thread may call it.
        profile: What its numbers mean.
        exact: The profile's own keys.
        history: Earlier observations that the policy reads beside the present one.
    """

    def __init__(self, checkpoint: str, loaded: Loaded, image_fit: str) -> None:
        self.checkpoint = checkpoint
        self.runner: PolicyRunner = loaded.runner
        self.profile: Profile = loaded.profile
        self.exact = ExactKeys(self.profile)
        self.history: int = getattr(self.runner, "history", 0)
        self._fit = image_fit
        self._positronic: PositronicKeys | None = None
        self._openpi: OpenpiKeys | None = None

    def positronic(self) -> PositronicKeys:
        """Positronic's keys.

        Raises:
            ObservationError: the profile cannot be asked in them.
        """
        if self._positronic is None:
            self._positronic = PositronicKeys(self.profile, self._fit)
        return self._positronic

    def openpi(self) -> OpenpiKeys:
        """The keys of openpi.

        Raises:
            ObservationError: the profile cannot be asked in them.
        """
        if self._openpi is None:
            self._openpi = OpenpiKeys(self.profile, image_fit=self._fit)
        return self._openpi


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """An answer of the model.

    Attributes:
        chunk: What it wants to do.
        queued_s: Wait for the worker thread [s].
        model_s: Time in the policy, pre- and post-processing included [s].
    """

    chunk: ActionChunk
    queued_s: float
    model_s: float


class ModelHost:
    """See the module. All methods but the thread's own belong to the event loop."""

    def __init__(self, load: Load, metrics: Metrics, *, image_fit: str) -> None:
        """Start the worker thread; nothing is loaded yet.

        Args:
            load: Makes a policy from a checkpoint folder; called on the worker thread.
            metrics: Counts loads.
            image_fit: What happens to images of another size.
        """
        self._load = load
        self._metrics = metrics
        self._fit = image_fit
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._current: Model | None = None  # belongs to the worker thread
        self._checkpoint: str | None = None
        self._task: asyncio.Task[Model] | None = None
        self._sessions = 0
        self._epoch_ns = 0
        self._ended = asyncio.Event()

    def preload(self, checkpoint: str, path: Path) -> "asyncio.Task[Model]":
        """Begin to load a checkpoint before anybody asks for it."""
        return self._begin(checkpoint, path)

    async def acquire(self, checkpoint: str, path: Path, tell: Tell) -> Model:
        """Claim a checkpoint for a session; `release` gives it back.

        Args:
            checkpoint: Its id.
            path: Its folder.
            tell: Called with a status and a text before every wait, at least every `STATUS_PERIOD_S`.

        Raises:
            CheckpointError: it cannot be loaded. The server stays without a model until the next session.
        """
        # The event is taken before the look, so that a session that ends in between is not missed.
        ended = self._ended
        while self._checkpoint != checkpoint and self._sessions > 0:
            await tell(WAITING, f"Waiting for {self._sessions} session(s) on checkpoint {self._checkpoint} to end")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), STATUS_PERIOD_S)
            ended = self._ended
        self._sessions += 1
        try:
            if self._checkpoint != checkpoint or self._task is None:
                self._begin(checkpoint, path)
            task = self._task
            assert task is not None
            while not task.done():
                await tell(LOADING, f"Loading checkpoint {checkpoint}")
                await asyncio.wait({task}, timeout=STATUS_PERIOD_S)
            return task.result()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """A session ended, whose `acquire` had succeeded."""
        self._sessions -= 1
        self._ended.set()
        self._ended = asyncio.Event()

    def reset(self, model: Model) -> "asyncio.Future[None]":
        """Let the policy forget the past; when a session opens.

        Returns:
            Done when it has. The worker thread takes turns in order, so a session need not wait for it before it goes on.
        """
        return asyncio.get_running_loop().run_in_executor(self._pool, _guarded, model.runner.reset)

    async def infer(self, model: Model, observed: Observed) -> Inferred:
        """Ask the model. A cancelled call that waits for the worker thread is never computed.

        Raises:
            InferenceError: the policy raised, or returned something unusable.
            ObservationError: a prefix was sent to a policy that cannot be guided, or a policy that looks back was asked
                without the past.
        """
        if observed.prefix is not None and not model.runner.guidable:
            raise ObservationError(
                "a 'prefix' was sent, but this policy cannot be guided; its metadata says guidable: false"
            )
        if model.history and not observed.history:
            raise ObservationError(
                f"this policy reads {model.history} earlier observation(s), {1.0 / model.profile.fps:g} s apart; send them "
                f"under '{HISTORY_KEY}', oldest first (only the profile's own keys can)"
            )
        asked_s = time.perf_counter()
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._pool, self._infer, model, observed, asked_s)

    def close(self) -> None:
        """Wait for a running inference and give the model back."""
        self._pool.submit(self._unload)
        self._pool.shutdown(wait=True)

    def _begin(self, checkpoint: str, path: Path) -> "asyncio.Task[Model]":
        self._checkpoint = checkpoint
        self._task = asyncio.create_task(self._exchange(checkpoint, path))
        self._task.add_done_callback(_note_failure)
        return self._task

    async def _exchange(self, checkpoint: str, path: Path) -> Model:
        self._metrics.now_loaded(None)
        started_s = time.perf_counter()
        try:
            run = asyncio.get_running_loop().run_in_executor
            model = await run(self._pool, self._replace, checkpoint, path)
        except BaseException:
            if self._checkpoint == checkpoint:
                self._checkpoint = self._task = None
            raise
        _log.info("loaded checkpoint %s in %.1f s", checkpoint, time.perf_counter() - started_s)
        if self._checkpoint == checkpoint:
            self._metrics.now_loaded(checkpoint)
        return model

    def _replace(self, checkpoint: str, path: Path) -> Model:
        self._unload()
        try:
            loaded = self._load(path)
        except VlaError:
            raise
        except Exception as error:
            _log.exception("loading checkpoint %s", checkpoint)
            raise CheckpointError(f"checkpoint {checkpoint}: loading raised {type(error).__name__}: {error}") from error
        self._current = Model(checkpoint, loaded, self._fit)
        return self._current

    def _unload(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.runner.close()

    def _infer(self, model: Model, observed: Observed, asked_s: float) -> Inferred:
        started_s = time.perf_counter()
        frame = self._shown(model, observed) if model.history else observed.frame
        chunk = _guarded(lambda: model.runner.infer(frame, observed.task, observed.prefix))
        ended_s = time.perf_counter()
        check_chunk(chunk, model.profile)
        return Inferred(chunk=chunk, queued_s=started_s - asked_s, model_s=ended_s - started_s)

    def _shown(self, model: Model, observed: Observed) -> Frame:
        """Show the policy a request's past, and return its present, in a stretch of time of their own.

        Sessions share the policy, and their clocks have nothing to do with each other; so far apart, no request's past is
        taken for another's.
        """
        self._epoch_ns += _EPOCH_NS
        shift_ns = self._epoch_ns - observed.frame.t_ns
        for past in observed.history:
            shown = dataclasses.replace(past, t_ns=past.t_ns + shift_ns)
            _guarded(partial(model.runner.observe, shown))  # type: ignore[attr-defined]  # optional, see PolicyRunner
        return dataclasses.replace(observed.frame, t_ns=self._epoch_ns)


def _note_failure(task: "asyncio.Task[Model]") -> None:
    """Log a failed load here, because the session that asked for it may be gone."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s", error)


def check_chunk(chunk: ActionChunk, profile: Profile) -> None:
    """Refuse a chunk that is not finite numbers of the profile's action.

    Raises:
        InferenceError: names the action, the step and the value.
    """
    names = profile.action_names
    if chunk.values.shape[1] != len(names):
        raise InferenceError(
            f"the policy returned {chunk.values.shape[1]} actions per step, the profile has {len(names)}"
        )
    bad = np.argwhere(~np.isfinite(chunk.values))
    if bad.size:
        step, column = bad[0]
        raise InferenceError(f"the policy returned {chunk.values[step, column]} for '{names[column]}' at step {step}")


def _guarded[T](call: Callable[[], T]) -> T:
    """Return what a policy returns; whatever it raises is logged and becomes an InferenceError."""
    try:
        return call()
    except InferenceError:
        raise
    except Exception as error:
        _log.exception("the policy raised")
        raise InferenceError(f"the policy raised {type(error).__name__}: {error}") from error
