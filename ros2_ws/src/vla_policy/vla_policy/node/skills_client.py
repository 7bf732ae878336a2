# SPDX-License-Identifier: Apache-2.0

"""Client of the action `skills/execute`: precise motions by name, run by another node while the policy waits."""

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from vla_common.action_client import GoalClient
from vla_common.services import CallError, wait_future
from vla_msgs.action import ExecuteSkill

ACTION = "skills/execute"
ANSWER_TIMEOUT_S = 5.0
CANCEL_TIMEOUT_S = 2.0
_CODES = {value: name for name, value in vars(ExecuteSkill.Result).items() if name.isupper() and isinstance(value, int)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillOutcome:
    """How a skill ended.

    Attributes:
        succeeded: Whether it did what it was for, as far as it can verify.
        verification_failed: Whether the gripper holds nothing, which a correction may mend.
        message: Why not, for people.
    """

    succeeded: bool
    verification_failed: bool = False
    message: str = ""


class SkillsClient:
    """Runs one skill at a time; started, polled and cancelled by the control thread."""

    def __init__(self, node: Node, *, lockstep: bool, group: CallbackGroup | None = None) -> None:
        """Args: lockstep: wait for answers to requests, because simulated time stands still meanwhile."""
        self._client = GoalClient(node, ExecuteSkill, ACTION, callback_group=group)
        self._lockstep = lockstep
        self._changed = threading.Condition()
        self._number = 0
        self._handle: Any = None
        self._outcome: SkillOutcome | None = None
        self._running = False
        self._answered = False
        self._sent_s = 0.0
        self._skill = ""

    @property
    def running(self) -> bool:
        """Whether a skill was started whose end is not known."""
        return self._running

    def wait_for_server(self, timeout_s: float) -> bool:
        """Whether somebody offers skills, waiting up to `timeout_s` wall seconds."""
        return bool(self._client.wait_for_server(timeout_sec=timeout_s))

    def start(self, skill: str, *, resume: bool) -> None:
        """Send a goal; `poll` tells how it ends."""
        with self._changed:
            self._number += 1
            number = self._number
            self._handle, self._outcome = None, None
            self._running, self._answered = True, False
            self._sent_s, self._skill = time.monotonic(), skill
        goal = ExecuteSkill.Goal(skill=skill, resume=resume)
        self._client.send_goal_async(goal).add_done_callback(partial(self._on_response, number))
        if self._lockstep:
            with self._changed:
                self._changed.wait_for(lambda: self._answered, ANSWER_TIMEOUT_S)

    def poll(self) -> SkillOutcome | None:
        """How the skill has ended, once; None while it runs."""
        with self._changed:
            if not self._running:
                return None
            if self._outcome is None and not self._answered and time.monotonic() - self._sent_s > ANSWER_TIMEOUT_S:
                self._number += 1  # an answer that still comes is of no interest
                self._outcome = SkillOutcome(
                    succeeded=False,
                    message=f"skill '{self._skill}': no answer on {ACTION} within {ANSWER_TIMEOUT_S:g} s. Is the skill "
                    f"server still running?",
                )
            if self._outcome is None:
                return None
            self._running = False
            return self._outcome

    def cancel(self) -> str:
        """End the running skill and wait until it has ended; returns what went wrong, if anything did."""
        with self._changed:
            if not self._running:
                return ""
            self._changed.wait_for(lambda: self._answered, CANCEL_TIMEOUT_S)
            handle, self._running = self._handle, False
        if handle is None:
            return ""
        try:
            wait_future(handle.cancel_goal_async(), CANCEL_TIMEOUT_S, f"action {ACTION}: cancel request")
        except CallError as error:
            return str(error)
        if self._lockstep:
            return ""  # it ends at one of its own ticks, which wait for this one
        with self._changed:
            ended = self._changed.wait_for(lambda: self._outcome is not None, CANCEL_TIMEOUT_S)
        return "" if ended else f"skill '{self._skill}' has not ended {CANCEL_TIMEOUT_S:g} s after its cancel"

    def close(self) -> None:
        """Destroy the client."""
        self._client.destroy()

    def _on_response(self, number: int, future: Future) -> None:
        handle: Any = future.result()
        with self._changed:
            if number != self._number:
                return
            self._answered = True
            if handle.accepted:
                self._handle = handle
            else:
                self._outcome = SkillOutcome(
                    succeeded=False,
                    message=f"skill '{self._skill}' was refused on {ACTION}; the skill server's log says why",
                )
            self._changed.notify_all()
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, number))

    def _on_result(self, number: int, future: Future) -> None:
        response: Any = future.result()
        with self._changed:
            if number == self._number:
                self._outcome = _outcome(self._skill, response)
                self._changed.notify_all()


def _outcome(skill: str, response: Any) -> SkillOutcome:
    result = response.result
    if response.status == GoalStatus.STATUS_SUCCEEDED and not result.error_code:
        return SkillOutcome(succeeded=True)
    code = _CODES.get(result.error_code, str(result.error_code))
    if response.status == GoalStatus.STATUS_CANCELED and not result.error_code:
        code = "it was cancelled by another client"
    return SkillOutcome(
        succeeded=False,
        verification_failed=result.error_code == ExecuteSkill.Result.VERIFICATION_FAILED,
        message=f"skill '{skill}' failed: {code} ({result.error_msg or 'no further text'})",
    )
