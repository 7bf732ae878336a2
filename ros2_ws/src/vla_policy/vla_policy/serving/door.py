# SPDX-License-Identifier: Apache-2.0

"""What the doors of the server share: the inbox of a session, and one request from bytes to an answer with its times."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from vla_policy.policies.runner import InferenceError
from vla_policy.serving.checkpoints import CheckpointFolder
from vla_policy.serving.errors import ObservationError, WireError
from vla_policy.serving.keys_exact import Observed
from vla_policy.serving.metrics import Metrics
from vla_policy.serving.model_host import Model, ModelHost
from vla_policy.serving.packing import pack, unpack

POLICY_VIOLATION, INTERNAL_ERROR = 1008, 1011
MAX_REASON_BYTES = 120
_WAITING_FRAMES = 4
_CODEC_THREADS = 2
_log = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client left while its request was being worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A request that was understood.

    Attributes:
        observed: What it says.
        encode: Makes the answer's actions from the chunk.
    """

    observed: Observed
    encode: Callable[[ActionChunk, Frame], Any]


class Dialect(Protocol):
    """Which keys a door speaks."""

    def __call__(self, model: Model, message: Any) -> Decoded:
        """Read a request.

        Raises:
            ObservationError: it is not an observation of the model.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every session needs.

    Attributes:
        host: The model.
        folder: The checkpoints on offer.
        metrics: The counters.
        server: Metadata of the server itself: host, port, device.
        codecs: Threads that unpack, resize and pack, so that the event loop stays free.
    """

    host: ModelHost
    folder: CheckpointFolder
    metrics: Metrics
    server: dict[str, Any]
    codecs: ThreadPoolExecutor

    def note_error(self, error: BaseException) -> str:
        """Count an error and return the text for the client; what nobody foresaw is logged with its traceback."""
        kinds: tuple[tuple[type, str], ...] = (
            (WireError, "wire"),
            (ObservationError, "observation"),
            (InferenceError, "inference"),
            (VlaError, "inference"),
        )
        kind = next((name for cls, name in kinds if isinstance(error, cls)), "internal")
        self.metrics.errors.labels(kind).inc()
        if kind == "internal":
            _log.error("unexpected %s in a session", type(error).__name__, exc_info=error)
            return f"internal error: {type(error).__name__}; the server's log has the details"
        _log.warning("%s error: %s", kind, error)
        return str(error)


def make_codec_threads() -> ThreadPoolExecutor:
    """Return the threads for `Context.codecs`."""
    return ThreadPoolExecutor(max_workers=_CODEC_THREADS, thread_name_prefix="codec")


class Inbox:
    """Reads a connection while its session works, so that a client that leaves is noticed at once."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._frames: asyncio.Queue[bytes | str] = asyncio.Queue(maxsize=_WAITING_FRAMES)
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> bytes | str | None:
        """Return the next frame in order, None when the connection has ended."""
        getter = asyncio.create_task(self._frames.get())
        try:
            await asyncio.wait({getter, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if getter.done() and not getter.cancelled():
                return getter.result()
        finally:
            getter.cancel()
        return None

    def newer(self) -> bytes | str | None:
        """Return the next frame if it has already arrived."""
        return None if self._frames.empty() else self._frames.get_nowait()

    async def while_open[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`, unless the client leaves first.

        Raises:
            ClientGoneError: it left; `work` was cancelled.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        raise ClientGoneError

    async def close(self) -> None:
        """Stop reading."""
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                await self._frames.put(frame)
        except ConnectionClosed as closed:
            _log.debug("connection lost: %s", closed)


async def answer(context: Context, model: Model, data: bytes, dialect: Dialect) -> tuple[Any, dict[str, float]]:
    """Return the actions for a request, and the milliseconds that each stage took.

    Args:
        context: Of the server.
        model: Of the session.
        data: The request as it came.
        dialect: How to read it.

    Returns:
        What `Decoded.encode` made, and decode_ms, queued_ms (waiting for the model), model_ms, infer_ms (queued, model and
        encoding), served_ms (everything so far).

    Raises:
        VlaError: the request or the model's answer is unusable.
    """
    run = asyncio.get_running_loop().run_in_executor
    received_s = time.perf_counter()
    decoded = await run(context.codecs, _decode, data, model, dialect)
    decoded_s = time.perf_counter()
    inferred = await context.host.infer(model, decoded.observed)
    actions = await run(context.codecs, decoded.encode, inferred.chunk, decoded.observed.frame)
    ended_s = time.perf_counter()
    timing = {
        "decode_ms": (decoded_s - received_s) * 1e3,
        "queued_ms": inferred.queued_s * 1e3,
        "model_ms": inferred.model_s * 1e3,
        "infer_ms": (ended_s - decoded_s) * 1e3,
        "served_ms": (ended_s - received_s) * 1e3,
    }
    context.metrics.observe(timing)
    return actions, timing


async def send_packed(context: Context, connection: ServerConnection, message: Any) -> None:
    """Pack a message beside the event loop and send it."""
    await connection.send(await asyncio.get_running_loop().run_in_executor(context.codecs, pack, message))


def model_meta(model: Model) -> dict[str, Any]:
    """What a client of this project wants to know of a model: the profile's text and hash, sizes, steps."""
    runner, profile = model.runner, model.profile
    return {
        "robot": profile.robot,
        "profile": profile.text,
        "profile_sha256": profile.sha256,
        "state_names": list(profile.state_names),
        "action_names": list(profile.action_names),
        "chunk_size": runner.chunk_size,
        "n_action_steps": runner.n_action_steps,
        "guidable": runner.guidable,
        "history": model.history,
        "checkpoint_id": model.checkpoint,
    }


def reason(text: str) -> str:
    """Return a text short enough for a closing frame."""
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


def _decode(data: bytes, model: Model, dialect: Dialect) -> Decoded:
    return dialect(model, unpack(data))
