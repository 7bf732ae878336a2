# SPDX-License-Identifier: Apache-2.0

"""What the policy node says about itself: `~/status` and the action's feedback."""

from rclpy.node import Node
from vla_common.qos import LATCHED
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus

from vla_policy.execution.policy_run import PolicyRun


class StatusPublisher:
    """Publishes `PolicyStatus`; a late subscriber gets the last one."""

    def __init__(self, node: Node, *, task: str, dry_run: bool) -> None:
        """Say that the policy is being loaded."""
        self._node = node
        self._publisher = node.create_publisher(PolicyStatus, "~/status", LATCHED)
        self.task = task
        self.dry_run = dry_run
        self.publish(PolicyStatus.LOADING, "")

    def publish(self, state: int, detail: str, run: PolicyRun | None = None) -> None:
        """Publish a state, with the counts of the active run.

        Args:
            state: Constant of PolicyStatus.
            detail: For people: why it waits, why it stopped.
            run: The active run, if there is one.
        """
        status = PolicyStatus(state=state, task=self.task, detail=detail, dry_run=self.dry_run)
        status.stamp = self._node.get_clock().now().to_msg()
        if run is not None:
            status.task = run.task
            status.chunks, status.goals_sent = run.measures.chunks, run.measures.goals_sent
            status.frames_missing = run.measures.frames_missing
            status.inference_ms = _last(run.measures.inference_ms)
            status.observation_age_ms = _last(run.measures.obs_to_action_ms)
        self._publisher.publish(status)


def feedback(run: PolicyRun) -> RunPolicy.Feedback:
    """The action's feedback on a run."""
    return RunPolicy.Feedback(
        step=run.steps,
        queue=run.queue(),
        detail=run.detail,
        inference_ms=_last(run.measures.inference_ms),
        observation_age_ms=_last(run.measures.obs_to_action_ms),
    )


def _last(values: list[float]) -> float:
    return values[-1] if values else 0.0
