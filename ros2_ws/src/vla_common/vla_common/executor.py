# SPDX-License-Identifier: Apache-2.0

"""An executor for nodes that read fast streams."""

import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.subscription import Subscription

_BATCH = 64  # messages of one topic before the others get their turn


class BatchExecutor(SingleThreadedExecutor):
    """Takes all waiting messages of a topic at once.

    rclpy's executor builds a new wait set after each message of a topic, which costs more than a small message: ten
    joint states that arrived together are served ten times as dear as one. Order within a topic is kept; after `_BATCH`
    messages the other topics, services and timers come first. Other threads may destroy subscriptions while it spins, which
    now and then ends rclpy's own.

    Attributes:
        gather_s: How long messages may gather before they are served together [s]. What a wait set costs is then paid
            this often and not once per message; nothing is lost meanwhile if the history of each subscription lasts
            longer. Whoever gathers takes the time of a message from the middleware, which notes it on arrival.
    """

    def __init__(self, *, gather_s: float = 0.0, context: Context | None = None) -> None:
        super().__init__(context=context)
        self.gather_s = gather_s

    def serve(self, ended: threading.Event) -> None:
        """Execute callbacks until ROS is shut down, or until `end` was called with the same event.

        rclpy's `shutdown` does not wait for the thread that spins: it takes the guard condition away from under a callback
        that is just being executed, which then ends the thread with `'NoneType' object has no attribute 'trigger'`.
        """
        while self._context.ok() and not ended.is_set():
            self._spin_once_impl(None, ended.is_set)

    def end(self, ended: threading.Event) -> None:
        """Let `serve` return after the callback that it executes; from any thread."""
        ended.set()
        self.wake()

    def _wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        if self.gather_s > 0:
            time.sleep(self.gather_s)
        while True:
            try:
                yield from super()._wait_for_ready_callbacks(*args, **kwargs)
            except InvalidHandle:
                continue  # another thread destroyed something between the look at it and the wait: look again
            return

    def _take_subscription(self, sub: Subscription) -> Callable[[], Coroutine[Any, Any, None]] | None:
        take = super()._take_subscription
        first = take(sub)
        if first is None:
            return None

        async def execute() -> None:
            serve = first
            for _ in range(_BATCH):
                await serve()
                serve = take(sub)
                if serve is None:
                    return
            await serve()

        return execute


class ExecutorThread:
    """A thread of its own that serves nodes until `close`; for programs and parts that are no `run_node`."""

    def __init__(self, *nodes: Node, context: Context | None = None, name: str = "executor") -> None:
        """Start to serve.

        Args:
            nodes: Served from now on.
            context: Of the nodes; None: rclpy's default one.
            name: Of the thread.
        """
        self._executor = BatchExecutor(context=context)
        for node in nodes:
            self._executor.add_node(node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Wait for the callback that is being executed, then let go of the nodes; they can be destroyed after it."""
        self._executor.end(self._ended)
        self._thread.join(timeout_s)
        self._executor.shutdown(timeout_sec=0.0)

    def _serve(self) -> None:
        with suppress(ExternalShutdownException):  # ROS is being shut down: the end as well
            self._executor.serve(self._ended)
