# SPDX-License-Identifier: Apache-2.0

"""Closed-loop trials of a policy: reset the scene to a seed, run the policy, score it; repeated over seeds.

The score comes from the simulator-only topic `sim/task_state`, which the policy never sees.
"""

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vla_common.action_client import GoalClient
from vla_common.params import declare
from vla_common.qos import LATCHED
from vla_common.run import EXIT_OK, ManagedNode, run_node
from vla_common.services import ActionOutcome, CallError, GoalRejectedError, GoalRun, send_goal
from vla_common.ticks import make_ticker
from vla_core.profile import load_profile
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus

from vla_sim import constants as c
from vla_sim import skills, tasks
from vla_sim.errors import SceneError, SimError
from vla_sim.operator_node import common
from vla_sim.recorder_client import RecorderClient
from vla_sim.scene_client import Scene, SceneClient
from vla_sim.trial_params import TrialParams

_END_S = 10.0  # simulated time that the policy gets for ending after a cancel or its time limit
_ALIGN_NS = 100_000_000  # three frames at 30 Hz, five ticks at 50 Hz
_ALIGN_TICKS = 25  # a paced clock may skip a grid point
_BLANK = " "  # a policy node takes an empty text for its own
_ACCEPT_RETRY_S = 120.0  # wall time for a policy that is still loading its checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One trial, as in the result file. Distances from the tool centre point to the block centre [m].

    `taken` is the block that was lifted first: "named" (by the task's own sentence), "other", or empty. `other_success`:
    the other block lies where the named one belongs; the trial ends with it.
    """

    seed: int
    instruction: str
    success: bool
    taken: str
    other_success: bool
    duration_s: float
    wall_s: float
    start_distance: float
    min_distance: float
    final_distance: float
    grasped: bool
    termination: int
    error_code: int
    error_msg: str
    chunks: int
    goals_sent: int
    steps: int
    frames_missing: int
    inference_ms_p50: float
    inference_ms_p95: float
    obs_to_action_ms_p95: float
    bag: str
    displaced: bool


class _Score:
    """What a trial has come to so far."""

    def __init__(self, params: TrialParams, start: Scene, scale: float) -> None:
        self._scale = scale
        self._hold_s = params.hold_s
        self._blocks = params.task in tasks.BLOCK_TASKS
        self._held_ns: int | None = None
        self.start = self.nearest = start.task.tool_distance
        self.taken = ""
        self.success = False

    def update(self, now: int, scene: Scene) -> bool:
        """Take note of a tick; true when a block or part has been for long enough where it belongs."""
        task, other = scene.task, scene.other
        self.nearest = min(self.nearest, task.tool_distance)
        if self._blocks and not self.taken:
            self.taken = "named" if self._lifted(task) else "other" if other is not None and self._lifted(other) else ""
        there = bool(task.success) or (other is not None and bool(other.success))
        self._held_ns = (self._held_ns or now) if there else None
        if self._held_ns is None or (now - self._held_ns) * 1e-9 < self._hold_s:
            return False
        self.success = bool(task.success)
        return True

    def _lifted(self, state: Any) -> bool:
        height = state.object_pose.position.z / self._scale - c.BLOCK_HALF
        return bool(state.grasped) and height >= c.LIFT_HEIGHT


class TrialNode(ManagedNode):
    """Runs `episodes` trials, writes the result file and ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("trial", **kwargs)
        self.params = declare(self, TrialParams)
        _check_sentence(self.params)
        self._ticker = make_ticker(self, lockstep=self.params.lockstep)
        profile = load_profile(self.params.profile)
        self._scene = SceneClient(self, self._ticker, profile, other=self.params.task == "pick_which")
        self._client = GoalClient(self, RunPolicy, "policy/run")
        self._recorder = RecorderClient(self)
        self._skill = False
        if self.params.displaced_trials:
            skills.displacement(
                self.params.task, np.random.default_rng(0)
            )  # refuses other tasks before the first trial
            self.create_subscription(PolicyStatus, "policy/status", self._on_status, LATCHED)
        self._results: list[TrialResult] = []
        self.start_thread(self._work, "trial")

    def close(self) -> None:
        """Leave the lockstep."""
        self._ticker.close()

    def _on_status(self, msg: PolicyStatus) -> None:
        self._skill = msg.state == PolicyStatus.SKILL

    def _work(self) -> None:
        params = self.params
        with self._ticker.attached():
            for index in range(params.episodes):
                result = self._trial(
                    params.first_seed + index,
                    record=index < params.record_episodes,
                    displace=index < params.displaced_trials,
                )
                self._results.append(result)
                self._write()
                why = f": {result.error_msg}" if result.error_msg else ""
                why = ", the other block was taken" * (result.taken == "other") + why
                self.get_logger().info(
                    f"trial {index + 1}/{params.episodes} seed {result.seed}: "
                    f"{'success' if result.success else 'FAILED'} after {result.duration_s:.2f} s, tool "
                    f"{1e3 * result.final_distance:.0f} mm from the block{why}"
                )
        good = sum(result.success for result in self._results)
        self.get_logger().info(f"{good} of {len(self._results)} trials succeeded")
        self.stop.set(EXIT_OK, "all trials are done")

    def _trial(self, seed: int, *, record: bool, displace: bool) -> TrialResult:
        wall = time.monotonic()
        scene = self._scene.reset(seed, self.params.task)
        score, sentence = _Score(self.params, scene, self._scene.scale), self._sentence(seed)
        self._align()
        run = self._start(sentence, record=record)
        begin = now = self._scene.tick()
        displaced = False
        while run.outcome is None and (now - begin) * 1e-9 < self.params.max_duration_s + _END_S:
            now = self._scene.tick()
            if displace and self._skill and not displaced:
                self._scene.displace(skills.displacement(self.params.task, np.random.default_rng(seed)))
                displaced = True
            if score.update(now, self._now()):
                break
        duration_s = (now - begin) * 1e-9
        last = self._now()
        if run.outcome is not None:  # the policy has ended by itself, or a skill that followed it
            score.success = score.success or bool(last.task.success)
        outcome = self._end(run)
        if outcome.result.eval_dir:
            self._recorder.label(score.success, seed)
        wall_s = time.monotonic() - wall
        return _result(seed, sentence, score, duration_s, wall_s, last, outcome.result, displaced)

    def _sentence(self, seed: int) -> str:
        """What the policy is told in the trial of a seed."""
        params = self.params
        if params.instruction:
            return params.instruction
        if params.sentence == "empty":
            return _BLANK
        return (tasks.swapped if params.sentence == "swapped" else tasks.instruction)(params.task, seed)

    def _align(self) -> None:
        """Begin where the camera and control grids meet, so that a seed gives the same observations in every run."""
        for _ in range(_ALIGN_TICKS):
            if self._scene.tick() % _ALIGN_NS == 0:
                return

    def _start(self, sentence: str, *, record: bool) -> GoalRun:
        """Send the goal; a policy that is still loading refuses it, so it is repeated for a while."""
        goal = RunPolicy.Goal(
            task=sentence,
            max_duration=self.params.max_duration_s,
            record_eval=record,
            scene=self.params.task,
            client="trial",
        )
        give_up = time.monotonic() + _ACCEPT_RETRY_S
        while True:
            try:
                return send_goal(self._client, goal, timeout_s=60.0)
            except GoalRejectedError as error:
                if self._results or time.monotonic() > give_up:
                    raise CallError(f"{error}. /policy/status shows what the policy waits for") from error
                self._scene.tick()

    def _end(self, run: GoalRun) -> ActionOutcome:
        if run.outcome is None:
            run.cancel()
        begin = now = self._scene.tick()
        while run.outcome is None:
            if (now - begin) * 1e-9 > _END_S:
                raise SimError(f"the policy has not ended {_END_S:g} s of simulated time after it was told to")
            now = self._scene.tick()
        return run.outcome

    def _now(self) -> Any:
        scene = self._scene.latest()
        assert scene is not None  # `reset` has returned one
        return scene

    def _write(self) -> None:
        if not self.params.result_file:
            return
        good = sum(result.success for result in self._results)
        report = {
            "task": self.params.task,
            "instruction": common(result.instruction for result in self._results),
            "sentence": self.params.sentence,
            "n": len(self._results),
            "ok": good,
            "rate": good / len(self._results),
            "other_taken": sum(result.taken == "other" for result in self._results),
            "trials": [asdict(result) for result in self._results],
        }
        path = Path(self.params.result_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _check_sentence(params: TrialParams) -> None:
    """Refuse a sentence that cannot be, before the first trial.

    Raises:
        SceneError: an instruction beside a choice of sentence, or a task whose sentence cannot be swapped.
    """
    if params.instruction and params.sentence != "own":
        raise SceneError(
            f"sentence '{params.sentence}' is about the task's own sentence; leave out the instruction "
            f"'{params.instruction}'"
        )
    if params.sentence == "swapped":
        tasks.swapped(params.task, 0)


def _result(
    seed: int, sentence: str, score: _Score, duration_s: float, wall_s: float, scene: Scene, run: Any, displaced: bool
) -> TrialResult:
    last = scene.task
    return TrialResult(
        seed=seed,
        instruction=sentence,
        success=score.success,
        taken=score.taken,
        other_success=scene.other is not None and bool(scene.other.success),
        duration_s=duration_s,
        wall_s=wall_s,
        start_distance=score.start,
        min_distance=min(score.nearest, last.tool_distance),
        final_distance=last.tool_distance,
        grasped=last.grasped,
        termination=run.termination,
        error_code=run.error_code,
        error_msg=run.error_msg,
        chunks=run.chunks,
        goals_sent=run.goals_sent,
        steps=run.steps,
        frames_missing=run.frames_missing,
        inference_ms_p50=_finite(run.inference_ms_p50),
        inference_ms_p95=_finite(run.inference_ms_p95),
        obs_to_action_ms_p95=_finite(run.obs_to_action_ms_p95),
        bag=run.eval_dir,
        displaced=displaced,
    )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def main(args: list[str] | None = None) -> int:
    """Run the trials and end with exit code 0, whatever the policy's success, or 1 after an error."""
    return run_node(TrialNode, args)


if __name__ == "__main__":
    sys.exit(main())
