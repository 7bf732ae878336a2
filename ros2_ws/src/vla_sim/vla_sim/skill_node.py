# SPDX-License-Identifier: Apache-2.0

"""Skills of the simulated cell: `grasp` takes the block from where the arm stands and finishes the task.

It drives through the same action servers as a policy, plans with the scripted expert from the truth about the scene, and
verifies its grasp by the gripper's measured position. With `resume` it goes on after a correction: the gripper must hold
the block already.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState
from vla_common.action_client import GoalClient
from vla_common.one_goal import OneGoalServer
from vla_common.params import declare
from vla_common.qos import SENSOR
from vla_common.run import ManagedNode, run_node
from vla_common.services import CallError, GoalRun, send_goal
from vla_common.ticks import make_ticker
from vla_core.errors import KinematicsError
from vla_core.profile import load_profile
from vla_core.stamps import stamp_ns, time_ns
from vla_msgs.action import ExecuteSkill
from vla_msgs.msg import TaskState

from vla_sim import constants as c
from vla_sim import drive
from vla_sim.errors import SimError
from vla_sim.expert import Expert, Plan
from vla_sim.robot import UR5E
from vla_sim.scene_client import Scene, arm_and_gripper
from vla_sim.skill_params import SkillParams
from vla_sim.tasks import Pose

Result = ExecuteSkill.Result
SKILLS = ("grasp",)
BESIDE = 0.06  # m; how far beside the block a grasp goes that is to fail
_SETTLE_S = 0.4  # after the last point of a plan, until arm and gripper have come to rest
_OPEN_S = 0.7
_OPEN_KNUCKLE = 0.1  # rad; below this the gripper counts as open
_FIRST_DATA_TICKS = 500
_GRIPPER_PERIOD_NS = 100_000_000  # between two gripper goals, while its target changes
_POLL_S = 0.2


class SkillError(SimError):
    """A skill ended early; `code` is an error code of ExecuteSkill."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SkillNode(ManagedNode):
    """Serves `~/execute`, one skill at a time."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("skills", **kwargs)
        self.params = declare(self, SkillParams)
        self._arm, self._gripper = arm_and_gripper(load_profile(self.params.profile))
        gripper_type, self._gripper_goal = drive.gripper_interface(self._gripper)
        self._ticker = make_ticker(self, lockstep=self.params.lockstep)
        self._arm_label = drive.label_publisher(self, self._arm)
        self._gripper_label = drive.label_publisher(self, self._gripper)
        self._arm_client = GoalClient(self, drive.TRAJECTORY_ACTION, self._arm.command.name)
        self._gripper_client = GoalClient(self, gripper_type, self._gripper.command.name)
        self._joints: dict[str, float] = {}
        self._task: TaskState | None = None
        self._topics = ("", "")
        self._grasps = 0
        self._begin_ns = self._now_ns = 0
        self._server = OneGoalServer(self, ExecuteSkill, "~/execute", busy=self._busy)
        self.start_thread(self._work, "skills")

    def close(self) -> None:
        """Leave the lockstep."""
        self._ticker.close()

    def _busy(self, handle: ServerGoalHandle) -> Any:
        return self._result(handle, Result.NOT_READY, "another skill is running; cancel it or wait for its end")

    def _work(self) -> None:
        with self._ticker.attached():
            while True:
                now = self._ticker.wait(timeout_s=_POLL_S)
                if now is not None and (handle := self._server.take()) is not None:
                    self._execute(handle, now)

    def _execute(self, handle: ServerGoalHandle, now: int) -> None:
        self._begin_ns = self._now_ns = now
        code, text = Result.NONE, ""
        goal = handle.request
        try:
            if goal.skill not in SKILLS:
                raise SkillError(
                    Result.UNKNOWN_SKILL, f"there is no skill '{goal.skill}'; there are: {', '.join(SKILLS)}"
                )
            with self._sensors():
                self._grasp(handle, resume=goal.resume)
        except SkillError as error:
            code, text = error.code, str(error)
        except KinematicsError as error:
            code, text = Result.UNREACHABLE, str(error)
        except (CallError, SimError) as error:
            code, text = Result.MOTION, str(error)
        finally:
            result = self._result(handle, code, text)
            result.duration = (self._now_ns - self._begin_ns) * 1e-9
            self._server.finish(handle, result, succeeded=not code)

    def _result(self, handle: ServerGoalHandle, code: int, text: str) -> Any:
        if code:
            self.get_logger().warning(f"skill '{handle.request.skill}' ended: {text}")
        return Result(error_code=code, error_msg=text)

    @contextmanager
    def _sensors(self) -> Iterator[None]:
        """Listen to the arm and the scene while a skill runs; all the time would cost more than the rest of the node."""
        self._joints, self._task = {}, None
        joints = self.create_subscription(JointState, "joint_states", self._on_joints, SENSOR)
        task = self.create_subscription(TaskState, "sim/task_state", self._on_task, SENSOR)
        self._topics = (str(joints.topic_name), str(task.topic_name))
        for topic in self._topics:
            self._ticker.watch(topic)
        try:
            for _ in range(_FIRST_DATA_TICKS):
                if self._task is not None and {*c.ARM_JOINTS, c.GRIPPER_JOINT} <= self._joints.keys():
                    break
                self._tick()
            else:
                raise SkillError(
                    Result.NOT_READY, f"nothing was received on {' and '.join(self._topics)}. Is the cell running?"
                )
            yield
        finally:
            for topic in self._topics:
                self._ticker.unwatch(topic)
            self.destroy_subscription(joints)
            self.destroy_subscription(task)

    def _on_joints(self, msg: JointState) -> None:
        self._joints = {**self._joints, **dict(zip(msg.name, msg.position, strict=True))}
        self._ticker.notice(self._topics[0], stamp_ns(msg))

    def _on_task(self, msg: TaskState) -> None:
        self._task = msg
        self._ticker.notice(self._topics[1], time_ns(msg.stamp))

    def _tick(self) -> int:
        """The next tick's time [ns].

        Raises:
            SkillError: the goal was cancelled, or simulated time stands still.
        """
        if self._server.cancelled():
            raise SkillError(Result.INTERRUPTED, "it was cancelled")
        now = self._ticker.wait(timeout_s=120.0)
        if now is None:
            raise SkillError(Result.NOT_READY, "no tick for 120 s: simulated time stands still")
        self._now_ns = now
        return now

    def _scene(self) -> Scene:
        assert self._task is not None  # `_sensors` has waited for it
        return Scene(task=self._task, q=np.array([self._joints[joint] for joint in c.ARM_JOINTS]))

    def _grasp(self, handle: ServerGoalHandle, *, resume: bool) -> None:
        """Take the block, verify that the gripper holds it, and finish the task."""
        expert = Expert(self.params.task, 0, noise=False)
        if not resume:
            if self._joints[c.GRIPPER_JOINT] > _OPEN_KNUCKLE:
                self._say(handle, 0, "opening the gripper")
                self._move_gripper(0.0)
                self._rest(_OPEN_S, self._scene().q, 0.0)
            self._say(handle, 1, "grasping")
            scene = self._scene()
            self._grasps += 1
            self._drive(expert.grasp(scene.q, self._aim(scene.object_pose)))
        else:
            self._rest(_SETTLE_S, self._scene().q, c.KNUCKLE_CLOSED)  # the gripper may still be closing
        self._verify(resume)
        self._say(handle, 2, "holds the block; finishing the task")
        scene = self._scene()
        self._drive(expert.after_grasp(scene.q, scene.target_pose))

    def _aim(self, block: Pose) -> Pose:
        """Where to grasp: at the block, or beside it as long as grasps are to fail."""
        if self._grasps > self.params.fail_first:
            return block
        x, y, z = block.xyz
        return Pose(xyz=(x, y - np.copysign(BESIDE, y), z), xyzw=block.xyzw)

    def _verify(self, resume: bool) -> None:
        actual, limit = self._joints[c.GRIPPER_JOINT], self.params.grasp_threshold
        if _OPEN_KNUCKLE < actual < limit:
            return
        state = "open" if actual <= _OPEN_KNUCKLE else "closed around nothing"
        hint = "the correction must end with the block in the gripper" if resume else "the arm stands where it is"
        raise SkillError(
            Result.VERIFICATION_FAILED,
            f"the gripper is {state}: {c.GRIPPER_JOINT} is at {actual:.3f} rad, a block in it stops it between "
            f"{_OPEN_KNUCKLE:g} and {limit:g}; {hint}",
        )

    def _say(self, handle: ServerGoalHandle, waypoint: int, detail: str) -> None:
        handle.publish_feedback(ExecuteSkill.Feedback(waypoint=waypoint, waypoints=3, detail=detail))

    def _drive(self, plan: Plan) -> None:
        """Follow a plan with arm and gripper, and let both come to rest."""
        start = now = self._tick()
        self._label(plan.arm(0.0), plan.gripper(0.0), now)
        run = send_goal(self._arm_client, drive.trajectory_goal(plan, start, self._arm.joints, UR5E))
        try:
            sent, sent_ns = plan.gripper(0.0), now
            while now - start < plan.duration_s * 1e9:
                now = self._tick()
                t = (now - start) * 1e-9
                wanted = plan.gripper(t)
                self._label(plan.arm(t), wanted, now)
                if abs(wanted - sent) > drive.GRIPPER_STEP and now - sent_ns >= _GRIPPER_PERIOD_NS:
                    self._move_gripper(wanted)
                    sent, sent_ns = wanted, now
                self._check(run)
            end = plan.gripper(plan.duration_s)
            if abs(end - sent) > 0.0:
                self._move_gripper(end)
            self._rest(_SETTLE_S, plan.arm(plan.duration_s), end)
            self._check(run)
        except SkillError:
            if run.outcome is None:
                run.cancel()
            raise

    def _rest(self, seconds: float, arm: NDArray[np.float64], gripper: float) -> None:
        """Hold for a while [s of the node clock]."""
        begin = now = self._tick()
        while now - begin < seconds * 1e9:
            self._label(arm, gripper, now)
            now = self._tick()

    def _move_gripper(self, position: float) -> None:
        send_goal(self._gripper_client, self._gripper_goal(position))

    def _check(self, run: GoalRun) -> None:
        outcome = run.outcome
        if outcome is not None and not outcome.succeeded:
            raise SkillError(Result.MOTION, f"{self._arm.command.name}: {outcome.result.error_string}")

    def _label(self, arm: NDArray[np.float64], gripper: float, now: int) -> None:
        drive.publish_label(self._arm_label, self._arm.joints, drive.in_order(arm, self._arm.joints), now)
        drive.publish_label(self._gripper_label, self._gripper.joints, [gripper], now)


def main(args: list[str] | None = None) -> int:
    """Serve skills until the node is told to end."""
    return run_node(SkillNode, args)


if __name__ == "__main__":
    sys.exit(main())
