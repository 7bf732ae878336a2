# SPDX-License-Identifier: Apache-2.0

"""The main function of every node: start, spin, stop cleanly, exit code.

`run_node` installs its own signal handlers instead of rclpy's, which shut the ROS context down at once: a node that is
told to stop can still finish its bag, answer its action clients and cancel the robot's goal. A second ctrl-c is
expected (the terminal and the launcher both send one) and ignored while the node closes.
"""

import contextlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import rclpy
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import ExternalShutdownException, ShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_default_context
from vla_core.errors import VlaError

from vla_common.executor import BatchExecutor

EXIT_OK = 0
EXIT_FAILURE = 1  # the node stopped because of an error
EXIT_USAGE = 2  # it never started: wrong parameters or files
_LONGEST_CALLBACK_S = 2.0  # a callback that takes longer is left alone when the program ends


class StopRequest:
    """Why a node ends; the first reason wins. Thread-safe."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self.code = EXIT_OK
        self.reason = ""

    def set(self, code: int = EXIT_OK, reason: str = "") -> None:
        """Ask the program to end with exit code `code`; later calls change nothing."""
        with self._lock:
            if not self._event.is_set():
                self.code, self.reason = code, reason
                self._event.set()

    def is_set(self) -> bool:
        """Whether the program is to end."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the program is to end, or for `timeout_s`; returns whether it is."""
        return self._event.wait(timeout_s)


class ManagedNode(Node):
    """A node that can end its program and that is closed before ROS is shut down.

    Attributes:
        stop: `stop.set(code, reason)` ends the program.
        gather_s: how long `run_node` lets messages gather before they are served (see `BatchExecutor`) [s].
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.stop = StopRequest()
        self.gather_s = 0.0

    def create_publisher(self, *args: Any, **kwargs: Any) -> Publisher:
        """As rclpy's, but without default event handlers.

        The executor looks at every handler before every callback; those of the publishers double what a callback costs.
        A subscriber with an incompatible QoS is still warned by its own handler.
        """
        if kwargs.get("event_callbacks") is None:
            kwargs["event_callbacks"] = PublisherEventCallbacks(use_default_callbacks=False)
        return super().create_publisher(*args, **kwargs)

    def close(self) -> None:
        """Finish: runs in the main thread while the executor still spins and ROS is still up."""

    def run_guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work` for a thread: an exception is logged with its traceback and ends the program with code 1."""

        def guarded() -> None:
            try:
                work()
            except (ExternalShutdownException, ShutdownException):
                pass  # the program is ending already
            except VlaError as error:
                self.get_logger().fatal(str(error))
                self.stop.set(EXIT_FAILURE, str(error))
            except Exception as error:  # noqa: BLE001  (border of a thread)
                self.get_logger().fatal(f"{error}\n{traceback.format_exc()}")
                self.stop.set(EXIT_FAILURE, str(error))

        return guarded

    def start_thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Start a guarded thread (see `run_guarded`)."""
        thread = threading.Thread(target=self.run_guarded(work), name=name, daemon=True)
        thread.start()
        return thread


@contextlib.contextmanager
def _signals_set(stop: StopRequest) -> Iterator[None]:
    def handle(number: int, _: FrameType | None) -> None:
        stop.set(EXIT_OK, f"received {signal.Signals(number).name}")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            # The interpreter ends next; a late second ctrl-c must not turn a clean exit into exit code -2.
            signal.signal(number, signal.SIG_IGN if handler is signal.default_int_handler else handler)


def run_node(
    factory: Callable[[], ManagedNode],
    args: Sequence[str] | None = None,
) -> int:
    """Start the node, spin it in a thread until it, a signal or an error ends it, and close it.

    Args:
        factory: makes the node; a `VlaError` that it raises is printed without a traceback.
        args: the command line, None for `sys.argv`.

    Returns:
        The exit code: 0 after SIGINT, SIGTERM or the node's own wish, 1 after an error, 2 if the node could not start.
    """
    signalled = StopRequest()
    with _signals_set(signalled):
        rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = factory()
        except VlaError as error:
            print(f"[FATAL] {error}", file=sys.stderr, flush=True)  # noqa: T201  (there is no node to log with)
            rclpy.try_shutdown()
            return EXIT_USAGE
        try:
            return _serve(node, BatchExecutor(gather_s=node.gather_s), signalled)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()


def _serve(node: ManagedNode, executor: BatchExecutor, signalled: StopRequest) -> int:
    executor.add_node(node)
    ended = threading.Event()

    def spin() -> None:
        try:
            executor.serve(ended)
        finally:
            if not signalled.is_set():
                node.stop.set(EXIT_OK if not get_default_context().ok() else EXIT_FAILURE, "the executor ended")

    spinner = threading.Thread(target=node.run_guarded(spin), name="executor", daemon=True)
    spinner.start()
    try:
        while not (node.stop.is_set() or signalled.is_set()):
            # A signal handler runs between two waits of the main thread; it cannot wake a wait on another event.
            signalled.wait(0.1)
        node.stop.set(signalled.code, signalled.reason)
        if node.stop.reason:
            node.get_logger().info(f"stopping: {node.stop.reason}")
        node.close()
    except Exception:  # noqa: BLE001  (border of the program)
        node.get_logger().fatal(f"closing failed\n{traceback.format_exc()}")
        node.stop = StopRequest()
        node.stop.set(EXIT_FAILURE, "closing failed")
    finally:
        executor.end(ended)
        spinner.join(timeout=_LONGEST_CALLBACK_S)
        executor.shutdown(timeout_sec=0.0)
    return node.stop.code
