# SPDX-License-Identifier: Apache-2.0

"""The policy server: `ros2 run vla_policy serve`, or without ROS `python -m vla_policy.serving.server`.

One port, one loaded model, two protocols; see `positronic_door` and `openpi_door`.
"""

import asyncio
import errno
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from vla_core.errors import CheckpointError, VlaError
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from vla_policy.policies.registry import load_policy
from vla_policy.policies.runner import Loaded, LoadRequest
from vla_policy.serving import openpi_door, positronic_door
from vla_policy.serving.checkpoints import CheckpointFolder
from vla_policy.serving.door import Context, make_codec_threads
from vla_policy.serving.http_routes import SESSION, HttpRoutes
from vla_policy.serving.metrics import Metrics
from vla_policy.serving.model_host import Load, ModelHost
from vla_policy.serving.server_options import ServerOptions, parse_options

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A thread that computes in Python gives way to the event loop after this long; the default of 5 ms makes a new client
# wait several times as long.
SWITCH_INTERVAL_S = 0.0005
CLOSE_TIMEOUT_S = 2.0
_WAITING_FRAMES = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that accepts connections.

    Attributes:
        context: What its sessions share.
        server: Of websockets.
        loading: The default checkpoint on its way.
    """

    context: Context
    server: Server
    loading: "asyncio.Task"

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Say goodbye to the clients (code 1001), wait for a running inference, and give the model back."""
        self.server.close()
        await self.server.wait_closed()
        await asyncio.to_thread(self.context.host.close)
        self.context.codecs.shutdown(wait=True)


async def start(options: ServerOptions, load: Load | None = None) -> Running:
    """Open the port and begin to load the default checkpoint.

    Args:
        options: See `server_options`.
        load: Makes a policy from a checkpoint folder; by default the one that the options name.

    Raises:
        CheckpointError: there is nothing to serve.
        OSError: the port cannot be opened.
    """
    folder = CheckpointFolder(options.checkpoints_dir, options.checkpoint)
    metrics = Metrics()
    host = ModelHost(load or loader(options), metrics, image_fit=options.image_fit)
    server_meta = {"host": options.host, "port": options.port, "device": options.device}
    context = Context(host=host, folder=folder, metrics=metrics, server=server_meta, codecs=make_codec_threads())

    async def session(connection: ServerConnection) -> None:
        await _session(context, connection)

    server = await serve(
        session,
        options.host,
        options.port,
        process_request=HttpRoutes(context, token=options.token, max_sessions=options.max_sessions),
        compression=None,
        max_size=options.max_message_bytes,
        max_queue=_WAITING_FRAMES,
        close_timeout=CLOSE_TIMEOUT_S,
        server_header=None,
    )
    server_meta["port"] = server.sockets[0].getsockname()[1]
    return Running(context=context, server=server, loading=host.preload(*folder.resolve("")))


def loader(options: ServerOptions) -> Load:
    """Return the function that makes a policy from a checkpoint folder, as the options say."""

    def load(path: Path) -> Loaded:
        request = LoadRequest(
            checkpoint=str(path),
            profile=options.profile,
            device=options.device,
            dtype=options.dtype,
            compile=options.compile,
            accelerate=options.accelerate,
            torch_threads=options.torch_threads,
            seed=options.seed,
            n_action_steps=options.n_action_steps,
            guided=options.guided,
            options=dict(options.policy_options),
        )
        return load_policy(options.policy, request)

    return load


async def _session(context: Context, connection: ServerConnection) -> None:
    assert connection.request is not None
    path, _, query = connection.request.path.partition("?")
    positronic = path == SESSION or path.startswith(f"{SESSION}/")
    protocol = positronic_door.PROTOCOL if positronic else openpi_door.PROTOCOL
    open_now = context.metrics.sessions.labels(protocol)
    context.metrics.opened.labels(protocol).inc()
    open_now.inc()
    _log.info("%s session from %s", protocol, connection.remote_address)
    try:
        if positronic:
            await positronic_door.positronic_session(context, connection, path[len(SESSION) + 1 :], query)
        else:
            await openpi_door.openpi_session(context, connection)
    except ConnectionClosed as closed:
        _log.info("%s client %s left: %s", protocol, connection.remote_address, closed)
    finally:
        open_now.dec()


async def _run(options: ServerOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = await start(options)
    if options.host not in LOOPBACK and not options.token:
        _log.warning(
            "anybody who reaches %s:%d may use this policy; give --token-file FILE", options.host, running.port
        )
    sys.stdout.write(f"listening on {options.host}:{running.port}\n")
    sys.stdout.flush()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, running.loading}, return_when=asyncio.FIRST_COMPLETED)
    failed = running.loading.done() and running.loading.exception() is not None
    if not failed:
        await stopping
    stopping.cancel()
    await running.close()
    if failed:
        raise CheckpointError(str(running.loading.exception()))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code: 0 after Ctrl-C, 1 where there is nothing to serve or no port."""
    try:
        options = parse_options(arguments)
        logging.basicConfig(
            level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        logging.getLogger("websockets").setLevel(logging.ERROR)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return asyncio.run(_run(options))
    except VlaError as error:
        sys.stderr.write(f"serve: {error}\n")
    except OSError as error:
        hint = "; is another server running? Choose another --port" if error.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"serve: cannot listen on {options.host}:{options.port}: {error.strerror}{hint}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
