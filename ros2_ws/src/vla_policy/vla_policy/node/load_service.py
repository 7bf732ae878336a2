# SPDX-License-Identifier: Apache-2.0

"""`~/load_policy`: another checkpoint in the place of the loaded one, without a restart."""

import traceback
from collections.abc import Callable

from rclpy.task import Future
from vla_common.run import ManagedNode
from vla_core.errors import VlaError
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import LoadPolicy

from vla_policy.node.loading import PolicyBusyError, PolicyHolder
from vla_policy.node.status import StatusPublisher


class LoadService:
    """Answers when the new policy is warm, or at once with the reason why it will not be loaded."""

    def __init__(
        self, node: ManagedNode, policy: PolicyHolder, status: StatusPublisher, set_task: Callable[[str], None]
    ) -> None:
        """Offer the service.

        Args:
            node: Whose service it is.
            policy: What is changed.
            status: Says that a policy is being loaded, and what became of it.
            set_task: Takes the request's instruction.
        """
        self._node = node
        self._policy = policy
        self._status = status
        self._set_task = set_task
        node.create_service(LoadPolicy, "~/load_policy", self._on_request)

    async def _on_request(self, request: LoadPolicy.Request, response: LoadPolicy.Response) -> LoadPolicy.Response:
        if not request.checkpoint.strip():
            response.message, response.policy = "the checkpoint is empty; name a folder", self._policy.description
            return response
        done = Future(executor=self._node.executor)
        self._node.start_thread(lambda: self._load(request, response, done), "load_policy")
        await done
        return response

    def _load(self, request: LoadPolicy.Request, response: LoadPolicy.Response, done: Future) -> None:
        """In a thread of its own: subscriptions, stop and status go on while a model is read."""
        log = self._node.get_logger()
        try:
            self._policy.load(request.checkpoint, begun=self._say_loading)
            response.success, response.message = True, f"loaded {self._policy.description}"
            if request.task.strip():
                self._set_task(request.task)
            log.info(response.message)
            self._status.publish(PolicyStatus.IDLE, response.message)
        except PolicyBusyError as error:  # the status belongs to what is going on
            response.message = str(error)
        except VlaError as error:
            response.message = f"{error}\nThe policy before stays loaded."
            cause = [] if error.__cause__ is None else traceback.format_exception(error.__cause__)
            text = "".join([response.message, "\n", *cause])
            log.error(text)
            self._status.publish(PolicyStatus.IDLE, response.message)
        finally:
            response.policy = self._policy.description
            done.set_result(None)
            if self._node.executor is not None:
                self._node.executor.wake()  # the waiting coroutine goes on when the executor turns round

    def _say_loading(self, what: str) -> None:
        self._status.publish(PolicyStatus.LOADING, what)
