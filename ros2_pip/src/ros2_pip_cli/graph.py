# SPDX-License-Identifier: Apache-2.0

"""The node of a command: joining the ROS graph, waiting for what is asked about, leaving cleanly.

There is no daemon: each command discovers the graph itself.
"""

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.topic_or_service_is_hidden import topic_or_service_is_hidden
from rclpy.validate_full_topic_name import validate_full_topic_name

from ros2_pip_cli.errors import CliError, Terminated

#: Longest wait, in seconds, for one wake-up of the executor: bounds how late Ctrl-C is seen.
SPIN_STEP_S = 0.1
#: A graph that did not change for this long, in seconds, is believed to be complete.
_QUIET_S = 0.25
#: Discovery is not waited for longer than this, in seconds, however restless, or empty, the graph is. Measured with stock
#: Fast DDS settings: when the first answer of a node is lost, its next one comes about 2 s later.
_SETTLE_LIMIT_S = 2.5
#: How long, in seconds, something that is asked for by name may take to be discovered.
FIND_S = 3.0
_POLL_S = 0.02


class CliNode:
    """A node of its own context with an executor, for the time of one command."""

    def __init__(self, name: str, *, use_sim_time: bool = False, cli_args: Sequence[str] = ()) -> None:
        self._context = Context()
        # Python's own handlers stay: Ctrl-C raises KeyboardInterrupt after the current, short, wait
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(
            name,
            context=self._context,
            use_global_arguments=False,
            cli_args=list(cli_args),
            start_parameter_services=False,
            parameter_overrides=[
                Parameter("use_sim_time", value=use_sim_time),
                Parameter("start_type_description_service", value=False),
            ],
        )
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)

    def spin_until(self, done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Run callbacks until ``done()``; return its last value (False: the timeout in seconds was reached)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            left = SPIN_STEP_S if deadline is None else min(SPIN_STEP_S, deadline - time.monotonic())
            if left <= 0:
                return done()
            self.executor.spin_once(timeout_sec=left)
        return True

    def wait_for(self, found: Callable[[], Any], timeout_s: float) -> Any:
        """Poll the graph until ``found()`` gives something true or the timeout in seconds; return its last value."""
        deadline = time.monotonic() + timeout_s
        while not (value := found()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return value

    def settle(self, spin_time_s: float) -> None:
        """Wait until the graph is known: at least ``spin_time_s``, and until it is quiet and not empty."""
        start = changed = time.monotonic()
        known: object = None
        while (now := time.monotonic()) - start < spin_time_s or now - changed < _QUIET_S or not self.nodes():
            seen = (self.node.get_topic_names_and_types(), self.node.get_service_names_and_types(), self.nodes())
            if seen != known:
                known, changed = seen, now
            if now - start > max(_SETTLE_LIMIT_S, spin_time_s):
                return
            time.sleep(_POLL_S)

    def nodes(self, *, hidden: bool = True) -> list[str]:
        """Return the sorted full names of the nodes in the graph, without this one."""
        own = f"{self.node.get_namespace().rstrip('/')}/{self.node.get_name()}"
        names = [f"{namespace.rstrip('/')}/{name}" for name, namespace in self.node.get_node_names_and_namespaces()]
        if own in names:
            names.remove(own)
        return sorted(name for name in names if hidden or not is_hidden(name))

    def topic_types(self, topic: str) -> list[str]:
        """Return the types under which a topic is known now; empty: unknown."""
        return dict(self.node.get_topic_names_and_types()).get(topic, [])

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        self._context.try_shutdown()


@contextlib.contextmanager
def cli_node(args: argparse.Namespace, name: str | None = None, *, cli_args: Sequence[str] = ()) -> Iterator[CliNode]:
    """Give a node for one command, with ROS arguments if need be; signals as in :func:`termination`."""
    with termination():
        use_sim_time = getattr(args, "use_sim_time", False)
        cli = CliNode(name or f"_ros2cli_{os.getpid()}", use_sim_time=use_sim_time, cli_args=cli_args)
        try:
            yield cli
        finally:
            cli.close()


@contextlib.contextmanager
def termination() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt and SIGTERM :class:`~ros2_pip_cli.errors.Terminated` in the main thread.

    SIGINT is taken also where the parent ignored it, as a shell does for what it starts with ``&``.
    """

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: on_sigterm}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def full_name(name: str) -> str:
    """Return the name of a topic, service or action with a leading slash; :class:`CliError` if it is no valid one."""
    full = name if name.startswith("/") else f"/{name}"
    try:
        validate_full_topic_name(full)
    except ValueError as error:
        msg = f"'{name}' is not a valid name: {error}"
        raise CliError(msg) from None
    return full


def is_hidden(name: str) -> bool:
    """Tell whether a part of the name begins with an underscore."""
    return bool(topic_or_service_is_hidden(name))
