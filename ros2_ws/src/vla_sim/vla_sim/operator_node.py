# SPDX-License-Identifier: Apache-2.0

"""The scripted operator: records demonstrations by driving the arm through the same interfaces as a person would.

It sees the block's pose on the simulator-only topic `sim/task_state`, plans, and then commands only through the
trajectory and gripper actions. What it sends is slightly noisy, so that the data show recoveries; what it publishes as
the label on the profile's command topics is the clean plan.
"""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_common.action_client import GoalClient
from vla_common.params import declare
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode, run_node
from vla_common.services import ActionOutcome, GoalRun, send_goal
from vla_common.ticks import make_ticker
from vla_core.profile import load_profile

from vla_sim import drive
from vla_sim.errors import SimError
from vla_sim.expert import Expert, Plan
from vla_sim.operator_params import OperatorParams
from vla_sim.recorder_client import RecorderClient
from vla_sim.scene_client import SceneClient, arm_and_gripper
from vla_sim.tasks import instruction

_LEAD_S = 0.1  # recorded before the arm moves, so that every stream has data
_SETTLE_TICKS = 5  # after the last point; the goal ends within them
_RESULT_S = 5.0  # wall time for the result to arrive
_GRIPPER_PERIOD_NS = 100_000_000  # between two gripper goals, while its target changes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeResult:
    """One demonstration, as in the result file."""

    seed: int
    instruction: str
    success: bool
    duration_s: float
    wall_s: float
    tool_distance: float
    bag: str


class OperatorNode(ManagedNode):
    """Records `episodes` demonstrations, writes the result file and ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("operator", **kwargs)
        self.params = declare(self, OperatorParams)
        profile = load_profile(self.params.profile)
        self._arm, self._gripper = arm_and_gripper(profile)
        self._gripper_type, self._gripper_goal = drive.gripper_interface(self._gripper)
        self._ticker = make_ticker(self, lockstep=self.params.lockstep)
        self._scene = SceneClient(self, self._ticker, profile)
        self._arm_label = drive.label_publisher(self, self._arm)
        self._gripper_label = drive.label_publisher(self, self._gripper)
        self._arm_client = GoalClient(self, drive.TRAJECTORY_ACTION, self._arm.command.name)
        self._gripper_client = GoalClient(self, self._gripper_type, self._gripper.command.name)
        self._recorder = RecorderClient(self) if self.params.record else None
        self._results: list[EpisodeResult] = []
        self.start_thread(self._work, "operator")

    def close(self) -> None:
        """Leave the lockstep."""
        self._ticker.close()

    def _work(self) -> None:
        params = self.params
        with self._ticker.attached():
            for index in range(params.episodes):
                result = self._episode(params.first_seed + index)
                self._results.append(result)
                self.get_logger().info(
                    f"episode {index + 1}/{params.episodes} seed {result.seed}: "
                    f"{'success' if result.success else 'FAILED'}, {result.duration_s:.2f} s simulated, "
                    f"{result.wall_s:.2f} s wall"
                )
        good = sum(result.success for result in self._results)
        self.get_logger().info(f"{good} of {len(self._results)} demonstrations succeeded")
        self._write()
        self.stop.set(EXIT_OK if good else EXIT_FAILURE, "all episodes are done")

    def _episode(self, seed: int) -> EpisodeResult:
        wall = time.monotonic()
        scene = self._scene.reset(seed, self.params.task)
        plan = Expert(self.params.task, seed, self.params.noise).plan(scene.q, scene.object_pose, scene.target_pose)
        sentence = self.params.instruction or instruction(self.params.task, seed)
        if self._recorder is not None:
            self._recorder.start(sentence, seed)
        duration_s = self._drive(plan)
        last = self._scene.latest()
        assert last is not None
        bag = "" if self._recorder is None else self._recorder.stop(last.task.success)
        return EpisodeResult(
            seed=seed,
            instruction=sentence,
            success=last.task.success,
            duration_s=duration_s,
            wall_s=time.monotonic() - wall,
            tool_distance=last.task.tool_distance,
            bag=bag,
        )

    def _drive(self, plan: Plan) -> float:
        """Hold for the lead time, then follow the plan; returns the simulated seconds."""
        begin = now = self._scene.tick()
        while now - begin < _LEAD_S * 1e9:
            self._label(plan, 0.0, now)
            now = self._scene.tick()
        self._label(plan, 0.0, now)
        run = send_goal(self._arm_client, drive.trajectory_goal(plan, now, self._arm.joints))
        start, sent, sent_ns = now, plan.gripper(0.0), now
        while now - start < plan.duration_s * 1e9:
            now = self._scene.tick()
            t = (now - start) * 1e-9
            self._label(plan, t, now)
            wanted = plan.gripper(t)
            if abs(wanted - sent) > drive.GRIPPER_STEP and now - sent_ns >= _GRIPPER_PERIOD_NS:
                send_goal(self._gripper_client, self._gripper_goal(wanted))
                sent, sent_ns = wanted, now
            _check(run.outcome, self._arm.command.name)
        now = self._finish(run, plan)
        return (now - begin) * 1e-9

    def _finish(self, run: GoalRun, plan: Plan) -> int:
        """Let the arm settle, always for the same simulated time; the scene must not be left with a goal in work."""
        for _ in range(_SETTLE_TICKS):
            now = self._scene.tick()
            self._label(plan, plan.duration_s, now)
        _check(run.wait(_RESULT_S), self._arm.command.name)
        return now

    def _label(self, plan: Plan, t: float, now: int) -> None:
        drive.publish_label(self._arm_label, self._arm.joints, drive.in_order(plan.arm(t), self._arm.joints), now)
        drive.publish_label(self._gripper_label, self._gripper.joints, [plan.gripper(t)], now)

    def _write(self) -> None:
        if not self.params.result_file:
            return
        report = {
            "task": self.params.task,
            "instruction": common(result.instruction for result in self._results),
            "n": len(self._results),
            "ok": sum(result.success for result in self._results),
            "episodes": [asdict(result) for result in self._results],
        }
        path = Path(self.params.result_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def common(sentences: Iterable[str]) -> str:
    """The sentence of all episodes; empty where they differ."""
    found = set(sentences)
    return found.pop() if len(found) == 1 else ""


def _check(outcome: ActionOutcome | None, name: str) -> None:
    if outcome is not None and not outcome.succeeded:
        raise SimError(
            f"{name}: the arm did not follow the plan: {outcome.result.error_string} (code {outcome.result.error_code})"
        )


def main(args: list[str] | None = None) -> int:
    """Record the episodes and end with exit code 0, or 1 after an error or if no demonstration succeeded."""
    return run_node(OperatorNode, args)


if __name__ == "__main__":
    sys.exit(main())
