# SPDX-License-Identifier: Apache-2.0

"""One call of `vla_infer`: a goal of the policy node, with the client's life tied to it.

The call sends heartbeats while its client is there. Whatever ends that (a cancelled request, a closed connection, an
unanswered ping, the end of this program) stops the arm: by a cancelled goal where this program still can, else because
the policy node hears no more heartbeats.
"""

import contextlib
import dataclasses
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp.server.mcpserver import Context
from pydantic import BaseModel, Field
from vla_core.errors import VlaError
from vla_core.profile import load_profile
from vla_msgs.action import RunPolicy

from vla_policy.mcp_tool.checkpoint_list import Found, resolve
from vla_policy.mcp_tool.client_watch import client_lost
from vla_policy.mcp_tool.policy_client import PolicyClient

PolicyName = Literal["smolvla", "pi0", "pi05", "pi0_fast", "act", "diffusion"]
Device = Literal["cuda", "cpu"]
DEFAULT_FPS = 10
SCENE_PROGRESS = 0.01
BEATS_PER_TIMEOUT = 5
LEAST_PROGRESS = 1e-6
FEEDBACK_KEPT = 1000  # for a client that reads slowly
SLACK_S, SLACK_FACTOR = 30.0, 2.0  # of the time limit beside the step limit
Result = RunPolicy.Result
_SUCCESS = (Result.TERMINATION_COMPLETED, Result.TERMINATION_TIMEOUT)
_log = logging.getLogger(__name__)


class InferResult(BaseModel):
    """How a run ended."""

    success: bool = Field(description="The run ended as intended; whether the task was achieved is not judged.")
    message: str = Field(description="Why it ended, and what was done otherwise than asked.")
    num_steps: int = Field(description="Action steps executed.")
    eval_dir: str | None = Field(description="Recorded run (record_eval), or null.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of one call; see the tool's schema."""

    policy: PolicyName
    checkpoint_path: str
    scene_name: str
    device: Device
    max_steps: int
    enable_realsense: bool
    fps: int
    debug: bool
    record_eval: bool
    dry_run: bool
    task_prompt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator of this server decided.

    Attributes:
        checkpoints_dir: Folder that checkpoint paths are relative to.
        heartbeat_timeout_s: The policy node stops after this silence of the client [s].
        client_timeout_s: A client that answers no ping for so long is gone [s].
        ready_pose: Move to the profile's ready pose before and after each run.
    """

    checkpoints_dir: Path
    heartbeat_timeout_s: float = 1.0
    client_timeout_s: float = 3.0
    ready_pose: bool = True


class RefusedError(VlaError):
    """An argument cannot be honoured."""


async def infer(request: Request, ctx: Context[Any, Any], client: PolicyClient, settings: Settings) -> InferResult:
    """Carry out one call; every failure becomes a result with `success` false."""
    progress = _Progress(ctx, debug=request.debug)
    try:
        await progress.say(SCENE_PROGRESS, f"scene {request.scene_name}")
        found = await anyio.to_thread.run_sync(resolve, settings.checkpoints_dir, request.checkpoint_path)
        given = str(await client.parameter("profile") or "")
        if given:  # the node runs under this one, whatever travels with the checkpoint
            found = dataclasses.replace(found, profile=load_profile(Path(given).expanduser()))
        notes = check(request, found)
        device = str(await client.parameter("device"))
        if device.split(":")[0] != request.device:
            notes.append(f"the policy node computes on {device}, not on {request.device} as asked")
        goal = make_goal(request, found, settings, name=f"mcp-{uuid.uuid4().hex[:12]}")
        result = await _run(goal, ctx, client, settings, progress)
    except VlaError as error:
        return InferResult(success=False, message=str(error), num_steps=0, eval_dir=None)
    success = result.error_code == Result.NONE and result.termination in _SUCCESS
    if success:
        await progress.say(1.0, "done")
    return InferResult(
        success=success,
        message="; ".join([_ending(result, request), *notes]),
        num_steps=result.steps,
        eval_dir=result.eval_dir or None,
    )


def check(request: Request, found: Found) -> list[str]:
    """Compare the arguments with the checkpoint.

    Returns:
        What will be done otherwise than asked, for the message of the result.

    Raises:
        RefusedError: an argument contradicts the checkpoint.
    """
    notes: list[str] = []
    kind, profile = found.checkpoint.policy_type, found.profile
    if kind != request.policy:
        raise RefusedError(f"policy {request.policy}: {found.checkpoint.path} holds a policy of type {kind}")
    if profile is None:
        return notes
    if request.enable_realsense and not profile.cameras:
        raise RefusedError(
            f"enable_realsense: the profile '{profile.robot}' of the checkpoint has no cameras; leave it false"
        )
    if request.fps != profile.fps:
        if request.fps != DEFAULT_FPS:
            raise RefusedError(
                f"fps {request.fps}: the checkpoint was trained at {profile.fps:g} Hz and runs at no other rate; leave "
                f"fps out or give {profile.fps:g}"
            )
        notes.append(f"runs at {profile.fps:g} Hz, the rate that the checkpoint was trained at")
    return notes


def make_goal(request: Request, found: Found, settings: Settings, *, name: str) -> RunPolicy.Goal:
    """The goal of one call. Its time limit lies well beyond its step limit: it only ends what would never end."""
    fps = found.profile.fps if found.profile is not None else float(DEFAULT_FPS)
    return RunPolicy.Goal(
        task=request.task_prompt or "",
        max_steps=request.max_steps,
        max_duration=SLACK_FACTOR * request.max_steps / fps + SLACK_S,
        dry_run=request.dry_run,
        checkpoint=str(found.checkpoint.path),
        ready_pose=settings.ready_pose and found.profile is not None and found.profile.ready is not None,
        record_eval=request.record_eval,
        scene=request.scene_name,
        client=name,
        heartbeat_timeout=settings.heartbeat_timeout_s,
    )


class _Progress:
    """Progress notifications of 1.0 in all; the protocol wants each to be more than the one before."""

    def __init__(self, ctx: Context[Any, Any], *, debug: bool) -> None:
        self._ctx = ctx
        self._debug = debug
        self._last = -LEAST_PROGRESS

    async def say(self, progress: float, message: str) -> None:
        """Notify the client."""
        self._last = max(self._last + LEAST_PROGRESS, progress)
        await self._ctx.report_progress(self._last, 1.0, message)

    async def feedback(self, msg: RunPolicy.Feedback) -> None:
        """Pass on what the policy node says."""
        text = f"{msg.stage}: step {msg.step}" if msg.stage == "run" else msg.stage
        if msg.detail:
            text += f", {msg.detail}"
        if self._debug:
            text += f" [queue {msg.queue}, inference {msg.inference_ms:.0f} ms, observation {msg.observation_age_ms:.0f} ms old]"
            _log.info("%s", text)
        await self.say(float(msg.progress), text)


async def _run(
    goal: RunPolicy.Goal, ctx: Context[Any, Any], client: PolicyClient, settings: Settings, progress: _Progress
) -> RunPolicy.Result:
    """Send the goal and accompany it to its end."""
    send, receive = anyio.create_memory_object_stream[RunPolicy.Feedback](FEEDBACK_KEPT)

    def keep(msg: RunPolicy.Feedback) -> None:
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.WouldBlock):
            send.send_nowait(msg)

    run = await client.start(goal, keep)
    lost: list[str] = []
    try:
        async with send, receive, anyio.create_task_group() as group:

            async def beat() -> None:
                while True:
                    client.beat(goal.client)
                    await anyio.sleep(settings.heartbeat_timeout_s / BEATS_PER_TIMEOUT)

            async def forward() -> None:
                async for msg in receive:
                    await progress.feedback(msg)

            async def watch() -> None:
                lost.append(await client_lost(ctx, settings.client_timeout_s))
                group.cancel_scope.cancel()

            for task in (beat, forward, watch):
                group.start_soon(task)
            await run.result()
            group.cancel_scope.cancel()
    finally:
        if not run.ended:
            client.log(f"the goal is cancelled: {lost[0] if lost else 'the request was cancelled'}")
            await run.stop()
    return await run.result()


def _ending(result: RunPolicy.Result, request: Request) -> str:
    text = result.error_msg or "the run ended"
    return f"dry run, nothing was sent: {text}" if request.dry_run else text
