# SPDX-License-Identifier: Apache-2.0

"""A client of the MCP tools as a process of its own, so that it can be killed: `python mcp_peer.py MODE URL|-- COMMAND`.

It connects, prints `ready`, and for each line that it reads calls vla_infer, prints `running` when the policy drives and
`end` with the result.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

MODE, TARGET = sys.argv[1], sys.argv[2:]
ARGUMENTS = {"policy": "act", "checkpoint_path": "run", "max_steps": 5000, "device": "cpu"}


def say(text):
    print(text, flush=True)


async def call(client):
    said = []

    async def progress(_value, _total, message):
        if message.startswith("run: step") and not said:
            said.append(message)
            say("running")

    result = await client.call_tool("vla_infer", ARGUMENTS, progress_callback=progress)
    say("end " + json.dumps(result.structured_content))


async def main():
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60.0) as http:
        if TARGET[0] == "--":
            target = StdioServerParameters(command=TARGET[1], args=TARGET[2:], env=dict(os.environ))
        else:
            target = streamable_http_client(TARGET[0], http_client=http)
        async with Client(target, mode=MODE) as client:
            say("ready")
            while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
                await call(client)


asyncio.run(main())
