# SPDX-License-Identifier: Apache-2.0

"""What happens around a run: checkpoint, ready pose, step limit, participants, and what the client is told."""

import dataclasses
import subprocess
from itertools import pairwise

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from policy_cell import RampRunner, fake_checkpoint, wait_until
from policy_fixtures import small_frame, small_profile
from vla_core.errors import SafetyError
from vla_msgs.action import RunPolicy
from vla_policy.execution.hooks import Stop
from vla_policy.node.ready_pose import plan_ready, returns_to_ready
from vla_policy.node.run_sequence import same_checkpoint
from vla_policy.policies.runner import InferenceError

Result = RunPolicy.Result
READY = {"safety: {watch": "ready: {arm: [0.3, 0.1], gripper: [0.1]}\nsafety: {watch"}


def frame_at(profile, shoulder, elbow):
    joints = {"arm": np.array([shoulder, elbow]), "gripper": np.array([0.0])}
    return dataclasses.replace(small_frame(profile), joints=joints)


def ends_at(goal, positions):
    return goal.points[-1].positions == pytest.approx(positions, abs=1e-6)


def test_the_way_to_the_ready_pose_is_smooth_and_slow():
    profile = small_profile(**READY)
    way = plan_ready(profile, frame_at(profile, -1.2, 0.2), 5_000, speed=0.4)["arm"]
    assert (way.start_ns, way.time_from_start[0]) == (5_000, 0.0)
    assert way.positions[0] == pytest.approx([-1.2, 0.2])
    assert way.positions[-1] == pytest.approx([0.3, 0.1], abs=1e-9)
    assert way.velocities[[0, -1]] == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    assert np.abs(way.velocities).max() == pytest.approx(0.4, rel=0.02), "as fast as it may, half way"
    slopes = np.diff(way.positions, axis=0) / np.diff(way.time_from_start)[:, None]
    assert np.abs(slopes - (way.velocities[1:] + way.velocities[:-1]) / 2).max() < 0.01, "velocities fit the positions"
    fast = plan_ready(profile, frame_at(profile, -2.9, 0.2), 0, speed=9.0)["arm"]
    assert np.abs(fast.velocities).max() <= 1.5, "half the profile's limit at most"


def test_a_way_that_breaks_a_limit_is_refused_and_where_the_arm_is_there_none_is_made():
    profile = small_profile(**READY, **{"max_step: 0.5": "max_step: 0.02"})
    with pytest.raises(SafetyError, match=r"way to the ready pose breaks limits.*step of shoulder.*by hand"):
        plan_ready(profile, frame_at(profile, -2.0, 0.1), 0, speed=0.4)
    assert plan_ready(profile, frame_at(profile, 0.301, 0.1), 0, speed=0.4) == {}


@pytest.mark.parametrize(
    ("termination", "code", "moves"),
    [
        ("COMPLETED", "NONE", True),
        ("TIMEOUT", "NONE", True),
        ("ERROR", "INFERENCE", True),
        ("ERROR", "SERVER_LOST", True),
        ("LIMIT", "UNSAFE_ACTION", True),
        ("STARVED", "STARVED", True),
        ("CANCELED", "NONE", False),
        ("SHUTDOWN", "NONE", False),
        ("ESTOP", "ESTOP", False),
        ("ERROR", "ROBOT_FAULT", False),
        ("ERROR", "CLIENT_LOST", False),
        ("ERROR", "NOT_ENABLED", False),
        ("ERROR", "CONTROLLER", False),
    ],
)
def test_after_which_ends_the_arm_moves_once_more(termination, code, moves):
    stop = Stop(termination=getattr(Result, f"TERMINATION_{termination}"), error_code=getattr(Result, code))
    assert returns_to_ready(stop) is moves


def test_the_arm_goes_to_the_ready_pose_before_and_after(cell):
    c = cell(profile=small_profile(**READY))
    status, result = c.result(c.send(ready_pose=True, max_steps=12))
    assert (status, result.termination) == (GoalStatus.STATUS_SUCCEEDED, Result.TERMINATION_TIMEOUT), result.error_msg
    assert "limit of 12 action steps" in result.error_msg
    assert 12 <= result.steps <= 14
    goals = c.robot.arm_goals
    assert ends_at(goals[0], [0.3, 0.1])
    assert ends_at(goals[-1], [0.3, 0.1])
    assert not any(ends_at(goal, [0.3, 0.1]) for goal in goals[1:-1])
    assert goals[1].points[0].positions[0] == pytest.approx(0.3, abs=0.05), "the policy begins there"
    wait_until(lambda: (c.robot.gripper_goals[0], c.robot.gripper_goals[-1]) == (0.1, 0.1), what="the ready positions")
    stages = list(dict.fromkeys(feedback.stage for feedback in c.feedback))
    assert stages == ["connect", "load", "ready", "run", "finish"]
    progress = [feedback.progress for feedback in c.feedback]
    assert all(a <= b for a, b in pairwise(progress)), progress
    assert progress[0] == pytest.approx(0.05)
    assert (result.status.steps, result.status.goals_sent) == (result.steps, result.goals_sent)
    in_force = [msg.position[0] for msg in c.targets["command/arm"]]
    assert max(abs(b - a) for a, b in pairwise(in_force)) < 0.05, "what is in force is published all the way"


def test_after_an_error_of_the_policy_the_arm_goes_back_too(cell):
    c = cell(profile=small_profile(**READY), runner=RampRunner(small_profile(), error=InferenceError("out of memory")))
    _, result = c.result(c.send(ready_pose=True))
    assert result.error_code == Result.INFERENCE
    assert len(c.robot.arm_goals) == 1, "it still is there"
    # Nobody waits for a gripper, so its goal may come after the result.
    wait_until(lambda: c.robot.gripper_goals == [0.1, 0.1], what="the gripper's two ready positions")


def test_a_cancelled_way_to_the_ready_pose_stops_the_arm_and_the_policy_never_drives(cell):
    c = cell(profile=small_profile(**READY), ready_speed=0.05)
    handle = c.send(ready_pose=True)
    wait_until(lambda: c.robot.arm_goals, what="the way to the ready pose")
    handle.cancel_goal_async()
    status, result = c.result(handle)
    assert (status, result.termination) == (GoalStatus.STATUS_CANCELED, Result.TERMINATION_CANCELED)
    assert (c.robot.cancelled, len(c.robot.arm_goals), c.runner.tasks) == (1, 1, [])
    assert result.steps == 0


def test_after_a_cancel_the_arm_stays_where_it_is(cell):
    c = cell(profile=small_profile(**READY))
    handle = c.send(ready_pose=True)
    wait_until(lambda: len(c.robot.arm_goals) > 2, what="goals of the policy")
    handle.cancel_goal_async()
    _, result = c.result(handle)
    assert result.termination == Result.TERMINATION_CANCELED
    assert not ends_at(c.robot.arm_goals[-1], [0.3, 0.1])


def test_a_failed_way_to_the_ready_pose_ends_the_goal(cell):
    c = cell(profile=small_profile(**READY))
    c.robot.reject = True
    _, result = c.result(c.send(ready_pose=True))
    assert result.error_code == Result.CONTROLLER
    assert "on the way to the ready pose: action arm_controller/follow_joint_trajectory: the goal was rejected" in (
        result.error_msg
    )
    assert not c.runner.tasks


def test_a_profile_without_a_ready_pose_says_so(cell):
    c = cell()
    _, result = c.result(c.send(ready_pose=True))
    assert result.error_code == Result.NOT_READY
    assert "two_joint.yaml has no `ready` pose" in result.error_msg
    assert not c.robot.arm_goals


def test_a_dry_run_shows_the_way_to_the_ready_pose_and_sends_nothing(cell):
    c = cell(profile=small_profile(**READY), dry_run=True)
    _, result = c.result(c.send(ready_pose=True, max_steps=5))
    assert result.termination == Result.TERMINATION_TIMEOUT, result.error_msg
    assert "ready" in [feedback.stage for feedback in c.feedback]
    assert not c.robot.arm_goals
    assert not c.robot.gripper_goals
    assert not c.targets["command/arm"]
    graph = c.client_node
    wait_until(lambda: not graph.get_publishers_info_by_topic("/command/arm"), what="no publisher of commands")
    goals = "/arm_controller/follow_joint_trajectory/_action/send_goal"
    wait_until(lambda: graph.count_clients(goals) == 0, what="no client of the robot")


def test_a_goal_may_bring_its_checkpoint(cell, tmp_path):
    c = cell()
    _, result = c.result(c.send(checkpoint="bad", max_steps=3))
    assert (result.error_code, result.error_msg) == (Result.CHECKPOINT, "bad: no weights")
    assert not c.robot.arm_goals
    _, result = c.result(c.send(checkpoint=str(tmp_path / "run" / "pretrained_model"), max_steps=3))
    assert result.termination == Result.TERMINATION_TIMEOUT
    assert c.loaded[1:] == ["bad"], "the same checkpoint by another name is not loaded again"
    other = str(fake_checkpoint(tmp_path / "other", c.profile))
    _, result = c.result(c.send(checkpoint=other, max_steps=3))
    assert c.loaded[1:] == ["bad", other]
    assert result.status.checkpoint == other


def test_a_policy_that_is_being_loaded_is_not_run(cell):
    c = cell()
    with c.node._policy.use():
        _, result = c.result(c.send(max_steps=3))
    assert result.error_code == Result.NOT_READY
    assert "the policy is busy" in result.error_msg
    assert not c.robot.arm_goals


class Witness:
    """A participant that writes down what it is told."""

    def __init__(self, refuse=None):
        self.told, self.refuse = [], refuse

    def accept(self, goal):
        self.told.append(("accept", goal.scene))
        return (
            Stop(termination=Result.TERMINATION_ERROR, error_code=Result.RECORDER) if self.refuse == "accept" else None
        )

    def start(self, _goal, task):
        self.told.append(("start", task))
        return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.SKILL) if self.refuse == "start" else None

    def finish(self, stop, result):
        self.told.append(("finish", stop.termination))
        result.eval_dir = "/somewhere"


@pytest.mark.parametrize(("refuse", "code"), [(None, "NONE"), ("accept", "RECORDER"), ("start", "SKILL")])
def test_participants_are_told_and_may_refuse(cell, refuse, code):
    c = cell()
    before, witness, after = Witness(), Witness(refuse), Witness()
    parts = dataclasses.replace(c.node._sequence._parts, participants=(before, witness, after))
    c.node._sequence._parts = parts
    _, result = c.result(c.send(scene="kitchen", task="wave", max_steps=3))
    assert result.error_code == getattr(Result, code)
    assert result.eval_dir == "/somewhere"
    ended = ("finish", Result.TERMINATION_ERROR if refuse else Result.TERMINATION_TIMEOUT)
    expected = {
        None: [("accept", "kitchen"), ("start", "wave"), ended],
        "accept": [("accept", "kitchen"), ended],
        "start": [("accept", "kitchen"), ("start", "wave"), ended],
    }[refuse]
    assert witness.told == expected
    assert before.told[-1] == ended
    assert after.told == ([] if refuse == "accept" else [("accept", "kitchen"), *after.told[1:]])
    assert bool(c.robot.arm_goals) is (refuse is None)


def test_names_of_the_same_checkpoint(tmp_path):
    run = fake_checkpoint(tmp_path, small_profile())
    assert same_checkpoint(str(run), str(run / "pretrained_model"))
    assert same_checkpoint("0007", "0007"), "ids on a server"
    assert not same_checkpoint("0007", "0008")
    assert not same_checkpoint(str(fake_checkpoint(tmp_path / "b", small_profile())), str(run))


def test_the_command_line_sends_a_goal_and_shows_its_feedback(cell):
    """As docs/how-to/mcp.md has it."""
    cell(profile=small_profile(**READY))
    goal = "{max_steps: 5, ready_pose: true, scene: table}"
    command = ["ros2", "action", "send_goal", "/policy/run", "vla_msgs/action/RunPolicy", goal, "--feedback"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "stage: run" in done.stdout
    assert "the limit of 5 action steps was reached" in done.stdout
    assert "SUCCEEDED" in done.stdout
