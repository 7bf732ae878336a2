# SPDX-License-Identifier: Apache-2.0

"""openpi's protocol: metadata first, then an observation and an answer in turn, each one binary msgpack frame.

Only `actions` of an answer is an array, because the clients' chunk brokers index every array by step. An error is sent as
a text frame and ends the connection with code 1011.
"""

import asyncio
import time
from typing import Any

from vla_core.errors import VlaError
from websockets.asyncio.server import ServerConnection

from vla_policy.serving.door import (
    INTERNAL_ERROR,
    ClientGoneError,
    Context,
    Decoded,
    Inbox,
    answer,
    model_meta,
    send_packed,
)
from vla_policy.serving.errors import WireError
from vla_policy.serving.keys_exact import ExactKeys
from vla_policy.serving.model_host import Model

PROTOCOL = "openpi"
CLOSING_REASON = "Internal server error. Traceback included in previous frame."


async def openpi_session(context: Context, connection: ServerConnection) -> None:
    """Serve one client of the default checkpoint."""

    async def tell(status: str, message: str) -> None:
        """The protocol has no word for waiting; the client waits for the metadata."""

    try:
        checkpoint, path = context.folder.resolve("")
        model = await context.host.acquire(checkpoint, path, tell)
    except VlaError as error:
        await _fail(context, connection, error)
        return
    try:
        reset = context.host.reset(model)
        await send_packed(context, connection, {**context.server, "vla": model_meta(model)})
        await _loop(context, connection, model, reset)
    finally:
        context.host.release()


async def _loop(context: Context, connection: ServerConnection, model: Model, reset: "asyncio.Future[None]") -> None:
    inbox = Inbox(connection)
    previous_ms: float | None = None
    try:
        while (frame := await inbox.next()) is not None:
            started_s = time.perf_counter()
            reply = await inbox.while_open(_reply(context, model, frame, reset))
            if isinstance(reply, BaseException):
                await _fail(context, connection, reply)
                return
            if previous_ms is not None:
                reply["server_timing"]["prev_total_ms"] = previous_ms
            await send_packed(context, connection, reply)
            previous_ms = (time.perf_counter() - started_s) * 1e3
    except ClientGoneError:
        return
    finally:
        await inbox.close()


async def _reply(
    context: Context, model: Model, frame: bytes | str, reset: "asyncio.Future[None]"
) -> dict[str, Any] | BaseException:
    try:
        await asyncio.shield(reset)
        if isinstance(frame, str):
            raise WireError("a text frame came; send observations as binary frames, one msgpack map each")
        actions, timing = await answer(context, model, frame, _dialect)
    except Exception as error:  # noqa: BLE001  the session's border: the client is told, the log has the traceback
        return error
    context.metrics.inferences.labels(PROTOCOL).inc()
    return {"actions": actions, "policy_timing": {"infer_ms": timing["model_ms"]}, "server_timing": dict(timing)}


async def _fail(context: Context, connection: ServerConnection, error: BaseException) -> None:
    """Clients print the text under the words "Error in inference server"."""
    await connection.send(f"{type(error).__name__}: {context.note_error(error)}")
    await connection.close(INTERNAL_ERROR, CLOSING_REASON)


def _dialect(model: Model, message: Any) -> Decoded:
    """The profile's own keys where the observation has them, openpi's otherwise."""
    if ExactKeys.fits(message):
        return Decoded(observed=model.exact.observe(message), encode=model.exact.actions)
    keys = model.openpi()
    return Decoded(observed=keys.observe(message), encode=keys.actions)
