# SPDX-License-Identifier: Apache-2.0

"""A client of the MCP tools as a process of its own, so that it can be killed: `python mcp_peer.py MODE URL|-- COMMAND`.

It connects, prints `ready`, waits for a line, calls vla_infer, and prints `running` when the policy drives and `end`
with the result.
"""

import asyncio
import json
import os
import sys

from mcp import Client, StdioServerParameters

MODE, TARGET = sys.argv[1], sys.argv[2:]


def say(text):
    print(text, flush=True)


async def main():
    if TARGET[0] == "--":
        target = StdioServerParameters(command=TARGET[1], args=TARGET[2:], env=dict(os.environ))
    else:
        target = TARGET[0]
    said = []

    async def progress(_value, _total, message):
        if message.startswith("run: step") and not message.startswith("run: step 0") and not said:
            said.append(message)
            say("running")

    async with Client(target, mode=MODE) as client:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        arguments = {"policy": "act", "checkpoint_path": "run", "max_steps": 5000, "device": "cpu"}
        result = await client.call_tool("vla_infer", arguments, progress_callback=progress)
        say("end " + json.dumps(result.structured_content))


asyncio.run(main())
