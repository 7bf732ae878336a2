# SPDX-License-Identifier: Apache-2.0

"""What the policy node says about itself: `~/status`, the action's feedback, and a part of `/diagnostics`."""

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from vla_common.diagnostics import Diagnostics
from vla_common.qos import LATCHED
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus

from vla_policy.execution.measures import Measures
from vla_policy.execution.policy_run import PolicyRun

STATES = {
    getattr(PolicyStatus, name): name.lower()
    for name in ("IDLE", "LOADING", "RUNNING", "STOPPING", "FAULT", "TAKEOVER", "SKILL")
}
FIGURES = (
    "control_rate_hz",
    "control_jitter_ms_p99",
    "held_percent",
    "seam_jump",
    "acceleration_p99",
    "observation_age_ms_p95",
    "inference_ms_p50",
    "inference_ms_p95",
    "inference_ms_max",
    "overhead_ms_p95",
    "replan_rate_hz",
    "stop_ms",
)


class StatusPublisher:
    """Publishes `PolicyStatus`; a late subscriber gets the last one.

    Attributes:
        task: Instruction of the next run.
        dry_run: Nothing is sent.
        loaded: Says what is loaded, for people, and its folder or address.
        strategy: How chunks are joined.
        mode: e2e, planner or correction.
        enabled: Says whether motion is allowed.
        interventions: Says how many times a person took over in the active or the last run.
        note: What is said in front of every detail; empty: nothing.
        driver: Says who drives while a run is active: RUNNING (the policy), TAKEOVER or SKILL.
    """

    def __init__(self, node: Node, *, task: str, dry_run: bool) -> None:
        """Say that the policy is being loaded."""
        self._node = node
        self._publisher = node.create_publisher(PolicyStatus, "~/status", LATCHED)
        self.task = task
        self.dry_run = dry_run
        self.loaded: Callable[[], tuple[str, str]] = lambda: ("", "")
        self.strategy = ""
        self.mode = "e2e"
        self.enabled: Callable[[], bool] = lambda: True
        self.interventions: Callable[[], int] = lambda: 0
        self.driver: Callable[[], int] = lambda: int(PolicyStatus.RUNNING)
        self.note: Callable[[], str] = lambda: ""
        self._last = PolicyStatus()
        self._measures = Measures()
        self._steps = 0
        self._warned = (0, 0, 0)  # counts at the last diagnosis
        self.publish(PolicyStatus.LOADING, "")

    def publish(self, state: int, detail: str, run: PolicyRun | None = None) -> PolicyStatus:
        """Publish a state, with the measures of the active run, and return what was published.

        Args:
            state: Constant of PolicyStatus.
            detail: For people: why it waits, why it stopped.
            run: The active run, if there is one.
        """
        status = self.snapshot(run)
        status.state, status.detail = state, "; ".join(filter(None, (self.note(), detail)))
        self._last = status
        self._publisher.publish(status)
        return status

    def snapshot(self, run: PolicyRun | None) -> PolicyStatus:
        """The present values as a message; without a run, the measures are those of the last one."""
        policy, checkpoint = self.loaded()
        status = PolicyStatus(
            state=self._last.state,
            policy=policy,
            checkpoint=checkpoint,
            strategy=self.strategy,
            mode=self.mode,
            task=self.task,
            dry_run=self.dry_run,
            enabled=self.enabled(),
            interventions=self.interventions(),
        )
        status.stamp = self._node.get_clock().now().to_msg()
        if run is not None:
            status.task, self._measures, self._steps = run.task, run.measures, run.steps
        status.steps = self._steps
        _fill(status, self._measures)
        return status

    def driver_changed(self) -> bool:
        """Whether somebody else drives than was published last."""
        return bool(self.driver() != self._last.state)

    def diagnose(self, diagnostics: Diagnostics) -> None:
        """Report the execution as a part of `/diagnostics`: `<node>: execution`."""
        diagnostics.part("execution", self._diagnosis)

    def _diagnosis(self) -> tuple[bytes, str, dict[str, str]]:
        """Level, text and values: an error after a fault, a warning where something went wrong since the last one."""
        status = self._last
        counts = (status.held_ticks, status.refused_chunks, status.stale_chunks)
        texts = ("the arm waited for a chunk", "a chunk was refused", "a chunk came too late")
        news = [text for text, now, before in zip(texts, counts, self._warned, strict=True) if now > before]
        self._warned = counts
        values = {name: f"{getattr(status, name):.4g}" for name in FIGURES}
        values |= {"held_ticks": str(counts[0]), "refused_chunks": str(counts[1]), "stale_chunks": str(counts[2])}
        state = STATES[status.state]
        if status.state == PolicyStatus.FAULT:
            return DiagnosticStatus.ERROR, f"{state}: {status.detail}", values
        if news:
            return DiagnosticStatus.WARN, f"{state}: {', '.join(news)}", values
        return DiagnosticStatus.OK, state, values


def _fill(status: PolicyStatus, measures: Measures) -> None:
    """Write the measures into the message."""
    status.ticks, status.chunks, status.goals_sent = measures.ticks, measures.chunks, measures.goals_sent
    status.frames_missing, status.stale_chunks = measures.frames_missing, measures.stale_chunks
    status.refused_chunks, status.clamped_values = measures.refused, measures.clamped
    status.skipped_steps, status.held_ticks = measures.skipped_steps, measures.held_ticks
    status.observation_age_ms = measures.observation_age_ms.last
    status.inference_ms = measures.inference_ms.last
    figures = measures.figures()
    for name in FIGURES:
        setattr(status, name, figures[name])


def feedback(run: PolicyRun) -> RunPolicy.Feedback:
    """The action's feedback on a run."""
    return RunPolicy.Feedback(
        step=run.steps,
        queue=run.queue(),
        detail=run.detail,
        inference_ms=run.measures.inference_ms.last,
        observation_age_ms=run.measures.observation_age_ms.last,
    )
