# SPDX-License-Identifier: Apache-2.0

"""What happens, in words: phase, task and state of the policy, as recorder and policy node publish them."""

from collections.abc import Callable

from rclpy.node import Node
from vla_common.qos import LATCHED
from vla_core.episode import IDLE, phase_name
from vla_msgs.msg import EpisodeEvent, PolicyStatus, RecorderStatus

RUNNING = {PolicyStatus.RUNNING: "POLICY", PolicyStatus.TAKEOVER: "TAKEOVER", PolicyStatus.SKILL: "SKILL"}


class Story:
    """Listens to `episode/event`, `recorder/status` and `policy/status`.

    Attributes:
        phase: Of the episode; without one, what the policy node does, or IDLE.
        task: Instruction; of the policy while it runs, else of the recorder.
    """

    def __init__(self, node: Node, on_policy: Callable[[PolicyStatus], None] | None = None) -> None:
        """Args: on_policy: gets each status of the policy node."""
        self._episode, self._policy = IDLE, PolicyStatus()
        self._recorder_task = ""
        self._on_policy = on_policy
        node.create_subscription(EpisodeEvent, "episode/event", self._on_event, LATCHED)
        node.create_subscription(RecorderStatus, "recorder/status", self._on_recorder, LATCHED)
        node.create_subscription(PolicyStatus, "policy/status", self._on_status, LATCHED)

    @property
    def phase(self) -> str:
        """See the class."""
        if self._episode != IDLE:
            return phase_name(self._episode)
        return RUNNING.get(self._policy.state, phase_name(IDLE))

    @property
    def task(self) -> str:
        """See the class."""
        running = self._policy.state in RUNNING
        return str(self._policy.task if running else self._recorder_task or self._policy.task)

    def _on_event(self, msg: EpisodeEvent) -> None:
        self._episode = msg.phase

    def _on_recorder(self, msg: RecorderStatus) -> None:
        self._recorder_task = msg.task

    def _on_status(self, msg: PolicyStatus) -> None:
        self._policy = msg
        if self._on_policy is not None:
            self._on_policy(msg)
