# SPDX-License-Identifier: Apache-2.0

"""Positronic's protocol, version 1: `WS /api/v1/session[/<checkpoint>]`, one msgpack map per binary frame.

The server reports `waiting` and `loading` until the model is there, then `ready` with its metadata. Afterwards every
frame of the client is an observation, answered by ``{"result": [action, ...], "timing": {...}}`` or
``{"error": text}``; an error does not end the session. Of observations that arrive while the model is busy only the newest is
computed; the others are answered, in order, by an error that says so.
"""

import asyncio
from typing import Any

from vla_core.chunks import ActionChunk
from vla_core.errors import VlaError
from vla_core.frames import Frame
from websockets.asyncio.server import ServerConnection

from vla_policy.serving.checkpoints import UnknownCheckpointError
from vla_policy.serving.door import (
    POLICY_VIOLATION,
    ClientGoneError,
    Context,
    Decoded,
    Inbox,
    answer,
    model_meta,
    reason,
    send_packed,
)
from vla_policy.serving.errors import WireError
from vla_policy.serving.keys_exact import ExactKeys
from vla_policy.serving.model_host import Model

PROTOCOL = "positronic"
SUPERSEDED = "superseded: a newer observation had arrived before this one's turn"
# What the client's side of the protocol runs: play a chunk to its end, then ask.
LOCAL_STACK = {"seq": [{"name": "chunked_schedule"}]}


async def positronic_session(context: Context, connection: ServerConnection, requested: str, query: str) -> None:
    """Serve one session.

    Args:
        context: Of the server.
        connection: The open connection.
        requested: Checkpoint as the client wrote it in the path; empty: the default.
        query: Query string of the request.
    """
    try:
        if query:
            raise UnknownCheckpointError(
                "Unknown session parameter", f"Unknown session parameters: {query[:100]!r}. There are none"
            )
        checkpoint, path = context.folder.resolve(requested)
    except UnknownCheckpointError as error:
        await _refuse(context, connection, str(error), error.reason)
        return

    async def tell(status: str, message: str) -> None:
        await send_packed(context, connection, {"status": status, "message": message})

    try:
        model = await context.host.acquire(checkpoint, path, tell)
    except VlaError as error:
        await _refuse(context, connection, str(error), str(error))
        return
    try:
        reset = context.host.reset(model)
        await send_packed(context, connection, {"status": "ready", "meta": _meta(context, model)})
        await _loop(context, connection, model, reset)
    finally:
        context.host.release()


async def _refuse(context: Context, connection: ServerConnection, text: str, short: str) -> None:
    context.metrics.errors.labels("checkpoint").inc()
    await send_packed(context, connection, {"status": "error", "error": text})
    await connection.close(POLICY_VIOLATION, reason(short))


async def _loop(context: Context, connection: ServerConnection, model: Model, reset: "asyncio.Future[None]") -> None:
    inbox = Inbox(connection)
    try:
        while (frame := await inbox.next()) is not None:
            while (newer := inbox.newer()) is not None:
                context.metrics.errors.labels("superseded").inc()
                await send_packed(context, connection, {"error": SUPERSEDED})
                frame = newer
            await send_packed(context, connection, await inbox.while_open(_reply(context, model, frame, reset)))
    except ClientGoneError:
        return
    finally:
        await inbox.close()


async def _reply(context: Context, model: Model, frame: bytes | str, reset: "asyncio.Future[None]") -> dict[str, Any]:
    try:
        await asyncio.shield(reset)
        if isinstance(frame, str):
            raise WireError("a text frame came; send observations as binary frames, one msgpack map each")
        result, timing = await answer(context, model, frame, _dialect)
    except Exception as error:  # noqa: BLE001  the session's border: the client is told, the log has the traceback
        return {"error": context.note_error(error)}
    context.metrics.inferences.labels(PROTOCOL).inc()
    return {"result": result, "timing": timing}


def _dialect(model: Model, message: Any) -> Decoded:
    """The profile's own keys where the observation has them, Positronic's otherwise."""
    if ExactKeys.fits(message):
        return Decoded(observed=model.exact.observe(message), encode=model.exact.result)
    keys = model.positronic()

    def encode(chunk: ActionChunk, frame: Frame) -> list[dict[str, Any]]:
        # These clients play what they get to its end, so they get what is meant to be executed.
        return keys.result(ActionChunk(chunk.t0_ns, chunk.dt_s, chunk.values[: model.runner.n_action_steps]), frame)

    return Decoded(observed=keys.observe(message), encode=encode)


def _meta(context: Context, model: Model) -> dict[str, Any]:
    """The handshake's metadata: what version 1 defines, and under `vla` what this project's client wants to know."""
    profile = model.profile
    return {
        **context.server,
        "type": "vla_policy",
        "checkpoint_id": model.checkpoint,
        "checkpoint_path": f"checkpoints/{model.checkpoint}/pretrained_model",
        "image_sizes": {camera.name: list(camera.frame_size) for camera in profile.cameras},
        "action_fps": profile.fps,
        "action_horizon_sec": model.runner.n_action_steps / profile.fps,
        "local_stack": LOCAL_STACK,
        "compress_images": False,
        "vla": model_meta(model),
    }
