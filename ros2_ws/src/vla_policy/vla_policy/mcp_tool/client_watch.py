# SPDX-License-Identifier: Apache-2.0

"""Whether the client of a running tool call is still there, for every transport of the protocol.

| transport, protocol        | client's process ends             | client hangs            |
|----------------------------|-----------------------------------|-------------------------|
| stdio, both                | end of input cancels the call     | ping (2025-11-25 only)  |
| http, 2025-11-25 and older | the response's connection closes  | ping                    |
| http, 2026-07-28           | the same, and cancels the call    | not seen                |

Protocol 2026-07-28 has no requests from server to client, so nothing can be asked there. A host that vanished with its
network is noticed by TCP (`--client_timeout` sets the user timeout of the connections).
"""

from typing import Any

import anyio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, EmptyResult, PingRequest

LOOK_PERIOD_S = 0.1
PING_PERIOD_S = 1.0


async def client_lost(ctx: Context[Any, Any], timeout_s: float) -> str:
    """Wait until the client is gone, and say how that was noticed; for ever while it is there.

    Args:
        ctx: Context of the tool call.
        timeout_s: Longest time for the answer to a ping [s].
    """
    why: list[str] = []
    async with anyio.create_task_group() as group:

        async def ending(watch: Any) -> None:
            why.append(await watch)
            group.cancel_scope.cancel()

        if ctx.request_context.request is not None:
            group.start_soon(ending, _disconnected(ctx.request_context.request))
        if ctx.session.can_send_request:
            group.start_soon(ending, _silent(ctx, timeout_s))
        await anyio.sleep_forever()
    return why[0]


async def _disconnected(request: Any) -> str:
    while not await request.is_disconnected():
        await anyio.sleep(LOOK_PERIOD_S)
    return "the client closed its connection"


async def _silent(ctx: Context[Any, Any], timeout_s: float) -> str:
    """Any answer is a sign of life, an error too."""
    while True:
        try:
            await ctx.session.send_request(
                PingRequest(),
                EmptyResult,
                request_read_timeout_seconds=timeout_s,
                metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
            )
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                return "the client closed its connection"
            if error.code == REQUEST_TIMEOUT:
                return f"the client did not answer a ping within {timeout_s:g} s"
        await anyio.sleep(PING_PERIOD_S)
