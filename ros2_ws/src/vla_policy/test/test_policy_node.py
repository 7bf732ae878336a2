# SPDX-License-Identifier: Apache-2.0

"""The policy node against a fake robot: goals, cancel, silence, rejection, dry run."""

from itertools import pairwise

import pytest
from action_msgs.msg import GoalStatus
from policy_cell import RampRunner, wait_until
from policy_fixtures import small_profile
from vla_common.params import ParameterError, overrides
from vla_common.qos import LATCHED
from vla_core.errors import CheckpointError
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import SetTask
from vla_policy.execution.strategies import StrategyError
from vla_policy.node.policy_node import PolicyNode
from vla_policy.policies.runner import InferenceError, Loaded

Result = RunPolicy.Result


def test_a_run_sends_overlapping_chunks_until_its_time_is_over(cell):
    c = cell(strategy="latest")  # plays the chunks of this policy far enough to close the gripper
    status, result = c.result(c.send(task="lift it", max_duration=2.0))
    assert (status, result.termination, result.error_code) == (
        GoalStatus.STATUS_SUCCEEDED,
        Result.TERMINATION_TIMEOUT,
        Result.NONE,
    ), result.error_msg
    assert "time limit of 2 s" in result.error_msg
    # A replaced goal ends ABORTED on the controller's side, which is no failure.
    assert len(c.robot.arm_goals) >= 2
    assert result.chunks >= 2
    assert result.goals_sent == len(c.robot.arm_goals) + len(c.robot.gripper_goals)
    assert set(c.runner.tasks) == {"lift it"}
    assert 10 <= result.steps <= 24, "20 in 2 s, and chunks need not begin on each other's steps"
    assert c.robot.arm_goals[0].joint_names == ["shoulder", "elbow"]
    assert c.robot.cancelled >= 1, "the arm is stopped at the end"
    # 1.0 in the policy's numbers is 0.8 rad of the finger.
    assert any(abs(p - 0.8) < 1e-6 for p in c.robot.gripper_goals)
    report = c.reports()[0]
    assert report["termination"] == "timeout"
    assert len(report["inference_ms"]) == result.chunks
    assert len(report["control_jitter_ms"]) > 50
    assert report["obs_to_action_ms"]
    assert c.feedback


def test_what_is_in_force_is_published_at_every_tick(cell):
    c = cell()
    c.result(c.send(max_duration=1.0))
    wait_until(lambda: len(c.targets["command/arm"]) > 20, what="arm targets")
    arm = c.targets["command/arm"]
    stamps = [m.header.stamp.sec + 1e-9 * m.header.stamp.nanosec for m in arm]
    assert all(0.015 < b - a < 0.2 for a, b in pairwise(stamps))
    assert list(arm[0].name) == ["shoulder", "elbow"]
    positions = [m.position[0] for m in arm]
    assert max(abs(b - a) for a, b in pairwise(positions)) < 0.05, "no jerk at a take-over"
    assert c.targets["command/gripper"][0].position[0] == 0.0


def test_cancel_stops_the_arm_and_is_the_reason_kept(cell):
    c = cell()
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    future = handle.cancel_goal_async()
    wait_until(future.done, what="the cancel answer")
    status, result = c.result(handle)
    assert status == GoalStatus.STATUS_CANCELED
    assert (result.termination, result.error_code) == (Result.TERMINATION_CANCELED, Result.NONE)
    assert c.robot.cancelled == 1
    sent = len(c.robot.arm_goals)
    status, result = c.result(c.send(max_duration=0.5))
    assert result.termination == Result.TERMINATION_TIMEOUT, "the node is ready for the next run"
    assert len(c.robot.arm_goals) > sent
    assert len(c.reports()) == 2


def test_silence_of_a_stream_stops_the_arm(cell):
    c = cell()
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    c.robot.streaming = False
    status, result = c.result(handle)
    assert status == GoalStatus.STATUS_ABORTED
    assert (result.termination, result.error_code) == (Result.TERMINATION_STALE_INPUT, Result.STALE_INPUT)
    assert "watchdog 0.3 s" in result.error_msg
    assert "ros2 topic hz" in result.error_msg
    assert c.robot.cancelled == 1


def test_missing_streams_at_the_start_are_named(cell):
    c = cell(start_timeout_s=3.0, streaming=False)
    status, result = c.result(c.send())
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.NO_OBSERVATION)
    assert "observation.images.front: no message" in result.error_msg
    assert not c.robot.arm_goals
    assert result.frames_missing > 0


def test_a_camera_of_another_size_is_refused_at_once(cell):
    c = cell(start_timeout_s=60.0, image_size=(16, 16))
    _, result = c.result(c.send())
    assert result.error_code == Result.NO_OBSERVATION
    assert "16" in result.error_msg
    assert "32" in result.error_msg


def test_a_rejected_goal_ends_the_run(cell):
    c = cell()
    c.robot.reject = True
    status, result = c.result(c.send(max_duration=10.0))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.CONTROLLER)
    assert "arm_controller/follow_joint_trajectory: the goal was rejected" in result.error_msg


def test_an_aborted_goal_ends_the_run_with_the_controllers_words(cell):
    c = cell()
    handle = c.send(max_duration=10.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    c.robot.abort_with = "path tolerance violated"
    _, result = c.result(handle)
    assert result.error_code == Result.CONTROLLER
    assert "was aborted with INVALID_GOAL (path tolerance violated)" in result.error_msg


def test_dry_run_computes_and_sends_nothing(cell):
    c = cell(dry_run=True)
    _, result = c.result(c.send(max_duration=1.5))
    assert result.termination == Result.TERMINATION_TIMEOUT
    assert result.chunks >= 1
    assert result.goals_sent == 0
    assert not c.robot.arm_goals
    assert not c.robot.gripper_goals
    assert not c.targets["command/arm"]


def test_a_goal_may_ask_for_a_dry_run_but_not_for_the_opposite(cell):
    c = cell()
    _, result = c.result(c.send(max_duration=0.6, dry_run=True))
    assert (result.goals_sent, c.robot.arm_goals) == (0, [])


def test_printing_says_what_would_be_commanded(cell, capsys):
    c = cell(output="print")
    c.result(c.send(max_duration=1.0))
    assert not c.robot.arm_goals
    printed = capsys.readouterr().out
    assert "would command: observed" in printed
    assert "shoulder" in printed
    assert "would move gripper to" in printed


def test_unsafe_chunks_are_refused_and_stop_the_run(cell):
    profile = small_profile()
    c = cell(runner=RampRunner(profile, value=2.9), max_refused=1)
    status, result = c.result(c.send(max_duration=10.0))
    assert (status, result.termination) == (GoalStatus.STATUS_ABORTED, Result.TERMINATION_LIMIT)
    assert result.error_code == Result.UNSAFE_ACTION
    assert "2 chunks in a row broke the limits" in result.error_msg
    assert "shoulder" in result.error_msg
    assert not c.robot.arm_goals


def test_nan_is_never_sent(cell):
    c = cell(runner=RampRunner(small_profile(), value=float("nan")))
    _, result = c.result(c.send(max_duration=10.0))
    assert result.error_code == Result.UNSAFE_ACTION
    assert "not finite" in result.error_msg
    assert not c.robot.arm_goals


def test_a_model_that_raises_ends_the_run(cell):
    c = cell(runner=RampRunner(small_profile(), error=InferenceError("the policy raised: out of memory")))
    _, result = c.result(c.send(max_duration=10.0))
    assert (result.termination, result.error_code) == (Result.TERMINATION_ERROR, Result.INFERENCE)
    assert "out of memory" in result.error_msg


def test_a_second_run_is_refused_while_one_is_active(cell):
    c = cell()
    first = c.send(max_duration=1.5)
    status, result = c.result(c.send(max_duration=1.0))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.NOT_READY)
    assert "another run is active" in result.error_msg
    _, result = c.result(first)
    assert result.termination == Result.TERMINATION_TIMEOUT


def test_shutdown_cancels_the_goal_before_leaving(cell):
    c = cell()
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    c.node.close()
    assert c.robot.cancelled == 1
    status, result = c.result(handle)
    assert (status, result.termination) == (GoalStatus.STATUS_ABORTED, Result.TERMINATION_SHUTDOWN)
    c.node.close = lambda: None  # closed already


def test_slow_inference_does_not_hold_up_the_control_loop(cell):
    c = cell(runner=RampRunner(small_profile(), steps=16, delay_s=0.4))
    _, result = c.result(c.send(max_duration=2.5))
    assert result.termination == Result.TERMINATION_TIMEOUT, result.error_msg
    report = c.reports()[0]
    assert report["ticks"] > 90, "50 Hz for 2.5 s"
    assert min(report["obs_to_action_ms"]) >= 400
    first = c.robot.arm_goals[0].points
    assert len(first) <= 12, "the steps that passed during inference are skipped"


def test_a_node_that_cannot_run_says_why_before_it_starts(tmp_path):
    from policy_cell import ros

    with ros():
        with pytest.raises(CheckpointError, match="checkpoint not found"):
            PolicyNode(parameter_overrides=overrides({"checkpoint": str(tmp_path)}))
        with pytest.raises(CheckpointError, match="policy 'lerobot' needs a checkpoint: checkpoint:=DIR"):
            PolicyNode()
        with pytest.raises(CheckpointError, match=r"policy 'lerobt': no installed package.*did you mean 'lerobot'"):
            PolicyNode(parameter_overrides=overrides({"policy": "lerobt"}))
        with pytest.raises(ParameterError, match=r"did you mean 'torch_threads'\?"):
            PolicyNode(parameter_overrides=overrides({"checkpoint": "x", "torch_thread": 1}))
        policy = Loaded(runner=RampRunner(small_profile()), profile=small_profile(), source="")
        with pytest.raises(StrategyError, match=r"cannot be guided: ramp\. ACT cannot be guided"):
            PolicyNode(factory=lambda _: policy, parameter_overrides=overrides({"checkpoint": "x", "strategy": "rtc"}))


def test_the_task_can_be_set_between_and_during_runs(cell):
    c = cell()
    client = c.client_node.create_client(SetTask, "policy/set_task")
    assert client.wait_for_service(10.0)

    def call(task):
        future = client.call_async(SetTask.Request(task=task))
        wait_until(future.done, what="the answer")
        return future.result()

    assert not call(" ").success
    assert call("stack the cups").success
    handle = c.send(max_duration=2.0)
    wait_until(lambda: c.runner.tasks, what="the first inference")
    assert call("wave").success
    c.result(handle)
    assert (c.runner.tasks[0], c.runner.tasks[-1]) == ("stack the cups", "wave")


def test_a_dry_run_can_begin_by_itself_and_again_after_a_silence(cell):
    c = cell(dry_run=True, start_on_ready=True)
    wait_until(lambda: len(c.runner.tasks) > 1, what="inference without a goal")
    c.robot.streaming = False
    wait_until(lambda: c.report.exists() and c.reports(), what="the end of the run")
    assert c.reports()[0]["termination"] == "stale_input"
    seen = len(c.runner.tasks)
    c.robot.streaming = True
    wait_until(lambda: len(c.runner.tasks) > seen, what="a second run")
    assert not c.robot.arm_goals


def test_nothing_moves_without_a_goal(cell, tmp_path):
    from policy_cell import ros

    c = cell()
    wait_until(lambda: c.node._builder.newest_ns("observation.images.front"), what="messages")
    assert not c.robot.arm_goals
    c.close()
    c.close = lambda: None
    with ros(), pytest.raises(ParameterError, match="start_on_ready:=true needs dry_run:=true"):
        PolicyNode(parameter_overrides=overrides({"checkpoint": "x", "start_on_ready": True, "dry_run": False}))


def test_a_run_after_a_failed_one_starts_afresh(cell):
    """Errors and successes are logged from one node, and what became of old goals does not end the next run."""
    c = cell()
    c.robot.reject = True
    assert c.result(c.send(max_duration=10.0))[1].error_code == Result.CONTROLLER
    c.robot.reject = False
    handle = c.send(max_duration=10.0)
    wait_until(lambda: c.robot.arm_goals, what="the first goal")
    c.robot.abort_with = "the cell was reset"
    assert c.result(handle)[1].error_code == Result.CONTROLLER
    c.robot.abort_with = None
    _, result = c.result(c.send(max_duration=0.8))
    assert result.termination == Result.TERMINATION_TIMEOUT, result.error_msg
    assert [line["termination"] for line in c.reports()] == ["error", "error", "timeout"]


def test_the_status_says_what_the_node_is_doing(cell):
    c = cell()
    seen = []
    c.client_node.create_subscription(PolicyStatus, "policy/status", seen.append, LATCHED)
    wait_until(lambda: seen and seen[-1].state == PolicyStatus.IDLE, what="the latched status")
    assert (seen[-1].task, seen[-1].dry_run) == ("pick up the block", False)
    c.result(c.send(task="wave", max_duration=1.0))
    wait_until(lambda: seen[-1].state == PolicyStatus.IDLE and len(seen) > 3, what="the end")
    running = [status for status in seen if status.state == PolicyStatus.RUNNING]
    assert {status.task for status in running} == {"wave"}
    assert seen[-1].chunks >= 1
    assert seen[-1].goals_sent >= 1
    assert "time limit of 1 s" in seen[-1].detail
