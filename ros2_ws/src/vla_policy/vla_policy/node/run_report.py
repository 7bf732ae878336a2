# SPDX-License-Identifier: Apache-2.0

"""The end of a run as an action result and as one object of the report file."""

from typing import Any

from vla_msgs.action import RunPolicy

from vla_policy.execution.hooks import Stop
from vla_policy.execution.policy_run import PolicyRun, Result

TERMINATIONS = {
    value: name.removeprefix("TERMINATION_").lower()
    for name in (
        "TERMINATION_COMPLETED",
        "TERMINATION_CANCELED",
        "TERMINATION_TIMEOUT",
        "TERMINATION_STALE_INPUT",
        "TERMINATION_LIMIT",
        "TERMINATION_ERROR",
        "TERMINATION_SHUTDOWN",
        "TERMINATION_ESTOP",
        "TERMINATION_STARVED",
    )
    for value in (getattr(Result, name),)
}


def result_message(run: PolicyRun, stop: Stop) -> RunPolicy.Result:
    """The action result; `error_msg` also says why a run without an error ended."""
    measures = run.measures
    return RunPolicy.Result(
        error_code=stop.error_code,
        error_msg=stop.message,
        termination=stop.termination,
        chunks=measures.chunks,
        goals_sent=measures.goals_sent,
        steps=run.steps,
        frames_missing=measures.frames_missing,
        duration=run.duration_s,
        inference_ms_p50=measures.inference_ms.percentile(50),
        inference_ms_p95=measures.inference_ms.percentile(95),
        obs_to_action_ms_p95=measures.obs_to_action_ms.percentile(95),
    )


def report(run: PolicyRun, stop: Stop) -> dict[str, Any]:
    """Everything that was measured; docs/reference/measures.md has the keys."""
    return {
        "task": run.task,
        "termination": TERMINATIONS[stop.termination],
        "error_code": stop.error_code,
        "message": stop.message,
        "duration_s": round(run.duration_s, 3),
        "steps": run.steps,
        **run.measures.summary(),
    }
