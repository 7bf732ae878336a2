# SPDX-License-Identifier: Apache-2.0

"""Tools for agents: `ros2 run vla_policy mcp`, a server of the Model Context Protocol in front of the policy node.

vla_infer         run a policy: a goal of the policy node's action, with progress, cancellation and heartbeat
list_checkpoints  what there is to run
get_status        what the policy node is doing and how well
"""

import argparse
import hmac
import logging
import math
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
import rclpy
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel, Field
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from vla_core.errors import VlaError
from vla_msgs.msg import PolicyStatus

from vla_policy.mcp_tool.checkpoint_list import CheckpointList, list_checkpoints
from vla_policy.mcp_tool.infer import Device, InferResult, PolicyName, Request, Settings, infer
from vla_policy.mcp_tool.policy_client import PolicyClient

TOOLS = ("vla_infer", "list_checkpoints", "get_status")
PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHUTDOWN_S = 1  # for short calls; longer ones are cancelled then
KEEPALIVE_PROBES = 3
INSTRUCTIONS = (
    "Runs learned policies on a robot arm. Clear the workspace first, begin with dry_run and a small max_steps, and keep "
    "the emergency stop at hand. Cancel the request to stop the arm."
)
EXAMPLE = """examples:
  ros2 run vla_policy mcp --checkpoints_dir outputs
  ros2 run vla_policy mcp --checkpoints_dir outputs --transport http --port 8765 --token SECRET
"""
PolicyInput = Annotated[PolicyName, Field(description="Kind of policy; must be that of the checkpoint.")]
CheckpointInput = Annotated[str, Field(description="As listed by list_checkpoints.")]
SceneInput = Annotated[str, Field(description="Name stored with a recorded run.")]
DeviceInput = Annotated[
    Device, Field(description="Where it should compute; the policy node's own is used, a difference is said.")
]
StepsInput = Annotated[int, Field(description="Action steps after which the run ends.", ge=1, le=1_000_000)]
CamerasInput = Annotated[
    bool, Field(description="Require cameras. Which ones are used is the checkpoint's profile's business.")
]
FpsInput = Annotated[
    int,
    Field(description="Action steps per second; 10 stands for the checkpoint's own rate, any other must be it.", ge=1),
]
DebugInput = Annotated[bool, Field(description="Measures in the progress messages and in the server's log.")]
RecordInput = Annotated[bool, Field(description="Record the run; the recorder must be running.")]
DryRunInput = Annotated[bool, Field(description="Compute and show, send nothing to the robot.")]
TaskInput = Annotated[str | None, Field(description="Instruction; null: the policy node's.")]
STATES = {
    value: name.lower() for name, value in vars(PolicyStatus).items() if name.isupper() and isinstance(value, int)
}


class Status(BaseModel):
    """What the policy node says about itself; null where nothing was measured or nobody answers."""

    available: bool = Field(description="A policy node answers.")
    message: str = Field(description="Why it does not, or its own detail.")
    state: str | None = Field(default=None, description="idle, loading, running, stopping, fault, takeover or skill.")
    values: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, description="All fields of vla_msgs/PolicyStatus; times in ms, rates in Hz."
    )


def make_server(client: PolicyClient, settings: Settings, tools: tuple[str, ...] = TOOLS) -> MCPServer[Any]:
    """The server with the given tools.

    Args:
        client: Of the policy node.
        settings: What the operator decided.
        tools: Names of `TOOLS` to offer.
    """
    server: MCPServer[Any] = MCPServer("vla_policy", instructions=INSTRUCTIONS, log_level="WARNING")

    async def vla_infer(
        ctx: Context[Any, Any],
        policy: PolicyInput,
        checkpoint_path: CheckpointInput,
        scene_name: SceneInput = "default",
        device: DeviceInput = "cuda",
        max_steps: StepsInput = 500,
        enable_realsense: CamerasInput = False,
        fps: FpsInput = 10,
        debug: DebugInput = False,
        record_eval: RecordInput = False,
        dry_run: DryRunInput = False,
        task_prompt: TaskInput = None,
    ) -> InferResult:
        """Run a policy on the robot for a number of steps. The arm moves, unless dry_run. Cancel to stop it."""
        request = Request(
            policy=policy,
            checkpoint_path=checkpoint_path,
            scene_name=scene_name,
            device=device,
            max_steps=max_steps,
            enable_realsense=enable_realsense,
            fps=fps,
            debug=debug,
            record_eval=record_eval,
            dry_run=dry_run,
            task_prompt=task_prompt,
        )
        return await infer(request, ctx, client, settings)

    async def checkpoints() -> CheckpointList:
        """List the checkpoints that vla_infer can run."""
        return await anyio.to_thread.run_sync(list_checkpoints, settings.checkpoints_dir)

    async def get_status() -> Status:
        """What the policy node is doing and how well: state, counts, rates, latencies."""
        try:
            return describe(await client.status())
        except VlaError as error:
            return Status(available=False, message=str(error))

    functions: dict[str, Callable[..., Any]] = {
        "vla_infer": vla_infer,
        "list_checkpoints": checkpoints,
        "get_status": get_status,
    }
    for name in tools:
        server.add_tool(functions[name], name=name)
    return server


def describe(msg: PolicyStatus) -> Status:
    """The message as values of JSON, which has no NaN."""
    values: dict[str, bool | int | float | str | None] = {}
    for name, kind in msg.get_fields_and_field_types().items():
        value = getattr(msg, name)
        if kind == "double":
            values[name] = None if math.isnan(value) else value
        elif name not in ("stamp", "state"):
            values[name] = value
    return Status(available=True, message=msg.detail, state=STATES.get(msg.state, str(msg.state)), values=values)


class BearerToken:
    """Lets only requests with the token pass."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Args: app: what is protected. token: compared in constant time."""
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to any other request."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = JSONResponse(
                    {"error": "missing or wrong token; send the header 'Authorization: Bearer TOKEN' (--token)"},
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def listen(host: str, port: int, timeout_s: float) -> socket.socket:
    """A listening socket whose connections notice within about `timeout_s` that the other host is gone.

    Raises:
        VlaError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    seconds = max(1, round(timeout_s / KEEPALIVE_PROBES))
    for option, value in (
        (socket.TCP_KEEPIDLE, seconds),
        (socket.TCP_KEEPINTVL, seconds),
        (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
        (socket.TCP_USER_TIMEOUT, int(1e3 * timeout_s)),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise VlaError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host") from error
    return sock


async def serve_http(server: MCPServer[Any], host: str, port: int, token: str, timeout_s: float) -> None:
    """Serve streamable HTTP at `PATH` until a signal ends it; running calls are cancelled then."""
    sock = listen(host, port, timeout_s)
    app: ASGIApp = server.streamable_http_app(streamable_http_path=PATH, host=host)
    if token:
        app = BearerToken(app, token)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_S, lifespan="on")
    sys.stderr.write(f"serving http://{host}:{sock.getsockname()[1]}{PATH}\n")
    await uvicorn.Server(config).serve(sockets=[sock])


def parse(args: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: it cannot be used; the reason is on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="ros2 run vla_policy mcp",
        description="Serve the policy node's action as tools of the Model Context Protocol.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoints_dir", type=Path, required=True, help="folder with the checkpoints, the same for the policy node")
    add("--policy", default="policy", help="name of the policy node (default: %(default)s)")
    add("--tools", default=",".join(TOOLS), help="tools to offer (default: %(default)s)")
    add("--transport", choices=("stdio", "http"), default="stdio", help="default: %(default)s")
    add("--host", default="127.0.0.1", help="http: address to listen on (default: %(default)s)")
    add("--port", type=int, default=8765, help="http: port; 0 takes a free one (default: %(default)s)")
    add("--token", default="", help="http: bearer token that clients must send; needed beyond this machine")
    add(
        "--heartbeat_timeout",
        type=float,
        default=1.0,
        help="the arm stops after this silence [s] (default: %(default)s)",
    )
    add("--client_timeout", type=float, default=3.0, help="longest time for a ping's answer [s] (default: %(default)s)")
    add("--no_ready_pose", action="store_true", help="do not move to the profile's ready pose before and after a run")
    options = parser.parse_args(args)
    options.tools = tuple(name for name in options.tools.split(",") if name)
    unknown = [name for name in options.tools if name not in TOOLS]
    if unknown or not options.tools:
        parser.error(f"--tools: unknown or none: {', '.join(unknown) or '(empty)'}; allowed: {', '.join(TOOLS)}")
    if not options.checkpoints_dir.is_dir():
        parser.error(f"--checkpoints_dir {options.checkpoints_dir}: no such folder")
    if options.heartbeat_timeout <= 0.0 or options.client_timeout <= 0.0:
        parser.error("--heartbeat_timeout and --client_timeout must be positive")
    if options.transport == "http" and options.host not in LOOPBACK and not options.token:
        parser.error(f"--host {options.host}: whoever reaches this address could move the arm; set --token")
    if options.transport == "stdio" and options.token:
        parser.error("--token: there is nobody to check on stdio; it belongs to --transport http")
    return options


def main(args: list[str] | None = None) -> int:
    """Entry point of `mcp`."""
    given = sys.argv[1:] if args is None else args
    options = parse(remove_ros_args(["mcp", *given])[1:])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    client = PolicyClient(options.policy)
    settings = Settings(
        checkpoints_dir=options.checkpoints_dir.resolve(),
        heartbeat_timeout_s=options.heartbeat_timeout,
        client_timeout_s=options.client_timeout,
        ready_pose=not options.no_ready_pose,
    )
    server = make_server(client, settings, options.tools)
    try:
        if options.transport == "stdio":
            anyio.run(server.run_stdio_async)
        else:
            anyio.run(serve_http, server, options.host, options.port, options.token, options.client_timeout)
    except VlaError as error:
        sys.stderr.write(f"[FATAL] {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    finally:
        client.close()
        rclpy.try_shutdown()
    return 0
