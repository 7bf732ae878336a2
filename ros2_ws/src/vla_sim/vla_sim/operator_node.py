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
from vla_common.services import ActionOutcome, send_goal
from vla_common.ticks import make_ticker
from vla_core.profile import load_profile

from vla_sim import drive
from vla_sim.errors import SimError
from vla_sim.expert import Expert, Plan
from vla_sim.operator_params import OperatorParams
from vla_sim.recorder_client import RecorderClient
from vla_sim.scene_client import Driven, Scene, SceneClient, driven_by
from vla_sim.tasks import instruction, station_seed

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


class _Hand:
    """Drives one arm and its gripper along a plan, and labels what is in force."""

    def __init__(self, node: ManagedNode, driven: Driven) -> None:
        self._robot, self._arm, self._gripper = driven.station.robot, driven.arm, driven.gripper
        self._arm_label = drive.label_publisher(node, self._arm)
        self._arm_client = GoalClient(node, drive.TRAJECTORY_ACTION, self._arm.command.name)
        if self._gripper is not None:
            kind, self._gripper_goal = drive.gripper_interface(self._gripper)
            self._gripper_label = drive.label_publisher(node, self._gripper)
            self._gripper_client = GoalClient(node, kind, self._gripper.command.name)

    def plan(self, task: str, seed: int, noise: bool, scene: Scene) -> Plan:
        """What the expert does from the measured joints."""
        joints = self._robot.joints
        q = scene.q[[joints.index(joint) for joint in self._robot.arm_joints]]
        return Expert(task, seed, noise, self._robot).plan(q, scene.object_pose, scene.target_pose)

    def start(self, plan: Plan, now: int) -> None:
        """Send the whole plan to the arm."""
        goal = drive.trajectory_goal(plan, now, self._arm.joints, self._robot)
        self._run = send_goal(self._arm_client, goal)
        self._sent, self._sent_ns = plan.gripper(0.0), now

    def follow(self, plan: Plan, t: float, now: int) -> None:
        """Send the gripper on, and look how the arm is doing."""
        wanted = plan.gripper(t)
        moves = abs(wanted - self._sent) > drive.GRIPPER_STEP and now - self._sent_ns >= _GRIPPER_PERIOD_NS
        if self._gripper is not None and moves:
            send_goal(self._gripper_client, self._gripper_goal(self._robot.gripper.joint_position(wanted)))
            self._sent, self._sent_ns = wanted, now
        _check(self._run.outcome, self._arm.command.name)

    def finish(self) -> None:
        """Wait for the result of the arm's goal."""
        _check(self._run.wait(_RESULT_S), self._arm.command.name)

    def label(self, plan: Plan, t: float, now: int) -> None:
        """Publish the clean targets in force."""
        clean = drive.targets(plan, t, self._robot, self._arm.joints, executed=False)
        drive.publish_label(self._arm_label, self._arm.joints, clean, now)
        if self._gripper is not None:
            position = self._robot.gripper.joint_position(plan.gripper(t))
            drive.publish_label(self._gripper_label, self._gripper.joints, [position], now)


class OperatorNode(ManagedNode):
    """Records `episodes` demonstrations, writes the result file and ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("operator", **kwargs)
        self.params = declare(self, OperatorParams)
        profile = load_profile(self.params.profile)
        arms = driven_by(profile)
        self._ticker = make_ticker(self, lockstep=self.params.lockstep)
        self._scene = SceneClient(self, self._ticker, profile)
        self._hands = [_Hand(self, arm) for arm in arms]
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
        plans = [
            hand.plan(self.params.task, station_seed(seed, index), self.params.noise, side)
            for index, (hand, side) in enumerate(zip(self._hands, scene.sides, strict=True))
        ]
        sentence = self.params.instruction or instruction(self.params.task, seed)
        if self._recorder is not None:
            self._recorder.start(sentence, seed)
        duration_s = self._drive(plans)
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

    def _drive(self, plans: list[Plan]) -> float:
        """Hold for the lead time, then let every arm follow its plan; returns the simulated seconds."""
        driving = list(zip(self._hands, plans, strict=True))
        begin = now = self._scene.tick()
        while now - begin < _LEAD_S * 1e9:
            self._label(driving, 0.0, now)
            now = self._scene.tick()
        self._label(driving, 0.0, now)
        for hand, plan in driving:
            hand.start(plan, now)
        start, duration_s = now, max(plan.duration_s for plan in plans)
        while now - start < duration_s * 1e9:
            now = self._scene.tick()
            t = (now - start) * 1e-9
            self._label(driving, t, now)
            for hand, plan in driving:
                hand.follow(plan, t, now)
        for _ in range(_SETTLE_TICKS):  # always the same time; the scene must not be left with a goal in work
            now = self._scene.tick()
            self._label(driving, duration_s, now)
        for hand in self._hands:
            hand.finish()
        return (now - begin) * 1e-9

    def _label(self, driving: "list[tuple[_Hand, Plan]]", t: float, now: int) -> None:
        for hand, plan in driving:
            hand.label(plan, t, now)

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
