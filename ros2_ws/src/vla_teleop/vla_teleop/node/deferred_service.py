# SPDX-License-Identifier: Apache-2.0

"""A service that is answered later, by a control loop, instead of by its callback.

A callback that waits holds up every other message of its executor, and a waiting coroutine makes the executor spin without
rest.
"""

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node


class Answer:
    """The open answer to one request; may be given once, from any thread, before or after the callback has returned."""

    def __init__(self, response: Any) -> None:
        """Args: response: message that will be sent."""
        self._response = response
        self._lock = threading.Lock()
        self._send: Callable[[Any], None] | None = None
        self._given = False

    def give(self, success: bool, message: str) -> None:
        """Answer; later calls change nothing."""
        with self._lock:
            if self._given:
                return
            self._given = True
            self._response.success, self._response.message = success, message
            send = self._send
        if send is not None:
            send(self._response)

    def opened(self, send: Callable[[Any], None]) -> None:
        """The way back to the client is known; called once."""
        with self._lock:
            self._send = send
            given = self._given
        if given:
            send(self._response)


class DeferredService:
    """A service whose response type has `success` and `message`."""

    def __init__(
        self,
        node: Node,
        kind: Any,
        name: str,
        serve: Callable[[Any, Answer], None],
        *,
        group: CallbackGroup | None = None,
    ) -> None:
        """Offer it.

        Args:
            node: Offers it.
            kind: Service type.
            name: Relative name.
            serve: Takes a request and its answer; must not wait.
            group: Callback group; None takes the node's default.
        """
        self._serve = serve
        self._answer: Answer | None = None
        self._service = node.create_service(kind, name, self._on_request, callback_group=group)
        self._really_send = self._service.send_response
        # The executor sends what a callback returns at once; this is the only place between the two.
        self._service.send_response = self._later  # type: ignore[method-assign, assignment]

    def _on_request(self, request: Any, response: Any) -> Any:
        self._answer = Answer(response)
        self._serve(request, self._answer)
        return response

    def _later(self, _: Any, header: Any) -> None:
        """Called by the executor right after the callback, in the same thread."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.opened(lambda response: self._really_send(response, header))
