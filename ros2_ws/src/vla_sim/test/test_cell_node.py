# SPDX-License-Identifier: Apache-2.0

"""The cell as other nodes see it: in lockstep, with this test as the participant that owns time."""

import os
import random
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
from controller_manager_msgs.srv import ListControllers, SwitchController
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectoryPoint
from ur_dashboard_msgs.msg import SafetyMode
from ur_msgs.srv import SetSpeedSliderFraction
from vla_common.params import overrides
from vla_common.qos import COMMAND, LATCHED, SENSOR
from vla_common.services import GoalRejectedError, call_service, send_goal
from vla_common.ticks import LockstepTicker
from vla_core.stamps import stamp_ns
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell
from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.sim_node import CellNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
ARM = "scaled_joint_trajectory_controller"
JOINTS = list(c.ARM_JOINTS)


class Bench:
    """A cell in lockstep and a participant; `run(s)` lets simulated time pass."""

    def __init__(self, **params):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        values = {"profile": str(PROFILE), "clock_mode": "lockstep", "participants": ("bench",), **params}
        self.cell = CellNode(context=self.context, parameter_overrides=overrides(values))
        self.node = Node("bench", context=self.context)
        self.last, self.all = {}, {}
        self.executor = SingleThreadedExecutor(context=self.context)
        self.cell_executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.cell_executor.add_node(self.cell)
        self.ticker = LockstepTicker(self.node, 50.0)
        self.threads = [
            threading.Thread(target=executor.spin, daemon=True) for executor in (self.executor, self.cell_executor)
        ]
        for thread in self.threads:
            thread.start()
        self.attached = self.ticker.attached()
        self.attached.__enter__()
        self.now = 0

    def listen(self, kind, topic, qos=SENSOR):
        self.all[topic] = []

        def on_message(msg):
            self.last[topic] = msg
            self.all[topic].append(msg)
            if hasattr(msg, "header"):
                self.ticker.notice("/" + topic, stamp_ns(msg))

        self.ticker.watch("/" + topic)
        return self.node.create_subscription(kind, topic, on_message, qos)

    def run(self, seconds):
        for _ in range(max(1, round(seconds * 50))):
            self.now = self.ticker.wait(30.0)
            assert self.now is not None

    def run_until(self, condition, seconds=5.0):
        for _ in range(round(seconds * 50)):
            if condition():
                return
            self.run(0.02)
        raise AssertionError(f"not within {seconds} s of simulated time")

    def call(self, kind, name, **fields):
        client = self.node.create_client(kind, name)
        response = call_service(client, kind.Request(**fields), timeout_s=15.0)
        self.node.destroy_client(client)
        return response

    def q(self):
        return [self.cell.plant.q[i] for i in range(6)]

    def close(self):
        self.attached.__exit__(None, None, None)
        self.ticker.close()
        self.cell.close()
        for executor, thread in zip((self.executor, self.cell_executor), self.threads, strict=True):
            executor.shutdown()
            thread.join()
        self.node.destroy_node()
        self.cell.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def bench():
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    bench = Bench()
    bench.arm = ActionClient(bench.node, FollowJointTrajectory, f"{ARM}/follow_joint_trajectory")
    bench.gripper = ActionClient(bench.node, ParallelGripperCommand, "robotiq_gripper_controller/gripper_cmd")
    bench.listen(JointState, "joint_states")
    bench.listen(TaskState, "sim/task_state")
    bench.run(0.1)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def fresh(bench):
    assert bench.call(ResetCell, "sim/reset", seed=1, task="lift").success
    bench.run(0.1)


def goal(target, seconds=0.5, names=JOINTS, stamp_ns=0, end_velocity=0.0):
    msg = FollowJointTrajectory.Goal()
    msg.trajectory.joint_names = list(names)
    msg.trajectory.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    point = JointTrajectoryPoint(positions=list(target), velocities=[end_velocity] * len(target))
    point.time_from_start = Duration(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
    msg.trajectory.points = [point]
    return msg


def shifted(bench, delta, joint=0):
    target = bench.q()
    target[joint] += delta
    return target


def test_goal_in_another_joint_order_succeeds(bench):
    target = shifted(bench, 0.15)
    order = [5, 3, 1, 0, 2, 4]
    run = send_goal(bench.arm, goal([target[i] for i in order], names=[JOINTS[i] for i in order]))
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.succeeded
    assert run.outcome.result.error_code == 0
    bench.run(0.3)
    assert bench.q() == pytest.approx(target, abs=5e-3)


def test_feedback_while_running(bench):
    seen = []
    run = send_goal(bench.arm, goal(shifted(bench, 0.1)), feedback=seen.append)
    bench.run_until(lambda: run.outcome is not None)
    assert len(seen) >= 5
    assert seen[0].joint_names == JOINTS


def fault(bench, name, on=True):
    assert bench.call(SetBool, f"sim/fault/{name}", data=on).message.startswith(f"{name}: {'on' if on else 'off'} at ")


def test_a_silent_driver_sends_nothing_and_time_goes_on(bench):
    fault(bench, "silent/arm")
    bench.run(0.1)
    bench.all["joint_states"].clear()
    bench.run(0.2)
    assert {tuple(msg.name) for msg in bench.all["joint_states"]} == {(c.GRIPPER_JOINT,)}
    fault(bench, "silent/arm", False)
    bench.run(0.1)
    assert any(len(msg.name) == 6 for msg in bench.all["joint_states"])


def test_a_camera_can_go_silent_and_send_the_wrong_size_until_a_reset(bench):
    topic = "front_camera/color/image_raw"
    subscription = bench.listen(Image, topic)
    bench.run_until(lambda: bench.all[topic])
    assert (bench.last[topic].height, bench.last[topic].width) == (96, 96)
    fault(bench, "image_size/front")
    bench.run(0.3)
    assert (bench.last[topic].height, bench.last[topic].width, len(bench.last[topic].data)) == (48, 48, 3 * 48 * 48)
    fault(bench, "silent/front")
    bench.run(0.1)
    count = len(bench.all[topic])
    bench.run(0.3)
    assert len(bench.all[topic]) == count
    assert bench.call(ResetCell, "sim/reset", seed=1, task="lift").success
    bench.run(0.3)
    assert len(bench.all[topic]) > count
    assert bench.last[topic].height == 96
    bench.ticker.unwatch("/" + topic)
    bench.node.destroy_subscription(subscription)


def test_stuck_fingers_stay_and_the_driver_says_stalled(bench):
    fault(bench, "gripper_stuck")
    close = ParallelGripperCommand.Goal()
    close.command = JointState(name=[c.GRIPPER_JOINT], position=[0.5])
    run = send_goal(bench.gripper, close)
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.result.stalled
    assert bench.cell.plant.knuckle[0] == pytest.approx(0.0, abs=0.01)
    fault(bench, "gripper_stuck", False)
    bench.run_until(lambda: bench.cell.plant.knuckle[0] > 0.4)


@pytest.mark.parametrize("name", ["protective_stop", "program_stop"])
def test_a_stopped_robot_aborts_its_goal_and_comes_back_when_the_fault_is_cleared(bench, name):
    run = send_goal(bench.arm, goal(shifted(bench, 0.3), seconds=2.0))
    bench.run(0.2)
    fault(bench, name)
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.status == GoalStatus.STATUS_ABORTED
    with pytest.raises(GoalRejectedError):
        send_goal(bench.arm, goal(shifted(bench, 0.1)))
    fault(bench, name, False)
    run = send_goal(bench.arm, goal(shifted(bench, 0.05)))
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.succeeded


@pytest.mark.parametrize(
    "change",
    [
        {"names": JOINTS[:5]},
        {"names": [*JOINTS[:5], "wrist_9_joint"]},
        {"end_velocity": 0.1},
        {"stamp_ns": 1000},
    ],
)
def test_rejected_goals(bench, change):
    target = bench.q()[: len(change.get("names", JOINTS))]
    with pytest.raises(GoalRejectedError, match="follow_joint_trajectory: the server rejected the goal"):
        send_goal(bench.arm, goal(target, **change))


def test_a_new_goal_aborts_the_running_one(bench):
    first = send_goal(bench.arm, goal(shifted(bench, 0.4), 1.0))
    bench.run(0.2)
    second = send_goal(bench.arm, goal(shifted(bench, -0.1), 0.5))
    bench.run_until(lambda: first.outcome is not None)
    assert first.outcome.status == GoalStatus.STATUS_ABORTED
    assert first.outcome.result.error_code == FollowJointTrajectory.Result.INVALID_GOAL
    assert first.outcome.result.error_string == "Current goal preempted by new incoming action."
    bench.run_until(lambda: second.outcome is not None)
    assert second.outcome.succeeded


def test_cancel_holds(bench):
    run = send_goal(bench.arm, goal(shifted(bench, 0.5), 1.0))
    bench.run(0.4)
    run.cancel()
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.status == GoalStatus.STATUS_CANCELED
    here = bench.q()
    bench.run(0.3)
    assert bench.q() == pytest.approx(here, abs=0.03)


def test_program_stop_and_speed_slider(bench):
    bench.listen(Bool, "io_and_status_controller/robot_program_running", LATCHED)
    bench.listen(Float64, "speed_scaling_state_broadcaster/speed_scaling")
    bench.run(0.1)
    run = send_goal(bench.arm, goal(shifted(bench, 0.3), 1.0))
    bench.run(0.1)
    assert bench.call(Trigger, "dashboard_client/stop").success
    bench.run_until(lambda: run.outcome is not None)
    assert run.outcome.status == GoalStatus.STATUS_ABORTED
    assert bench.last["io_and_status_controller/robot_program_running"].data is False
    bench.run(0.04)
    assert bench.last["speed_scaling_state_broadcaster/speed_scaling"].data == 0.0
    with pytest.raises(GoalRejectedError):
        send_goal(bench.arm, goal(bench.q()))
    assert bench.call(Trigger, "io_and_status_controller/resend_robot_program").success
    response = bench.call(
        SetSpeedSliderFraction, "io_and_status_controller/set_speed_slider", speed_slider_fraction=0.5
    )
    assert response.success
    start = bench.now
    run = send_goal(bench.arm, goal(shifted(bench, 0.1), 0.5))
    bench.run_until(lambda: run.outcome is not None)
    assert (bench.now - start) * 1e-9 == pytest.approx(1.0, abs=0.1)
    assert bench.last["speed_scaling_state_broadcaster/speed_scaling"].data == 50.0  # percent


def test_gripper_closes_reports_and_stalls_on_the_block(bench):
    def move(position):
        command = JointState(name=[c.GRIPPER_JOINT], position=[position])
        run = send_goal(bench.gripper, ParallelGripperCommand.Goal(command=command))
        bench.run_until(lambda: run.outcome is not None)
        assert run.outcome.succeeded
        return run.outcome.result

    result = move(0.4)
    assert (result.reached_goal, result.stalled) == (True, False)
    assert result.state.position[0] == pytest.approx(0.4, abs=0.02)
    move(0.0)
    block = bench.last["sim/task_state"].object_pose.position
    for height, seconds in ((0.1, 1.5), (c.BLOCK_HALF, 1.0)):
        pose = kinematics.tool_down([block.x, block.y, height])
        target = kinematics.inverse(pose, bench.cell.plant.q)
        run = send_goal(bench.arm, goal(target, seconds))
        bench.run_until(lambda run=run: run.outcome is not None)
        assert run.outcome.succeeded
    result = move(0.7929)
    assert (result.reached_goal, result.stalled) == (False, True)
    assert result.state.position[0] < 0.7
    with pytest.raises(GoalRejectedError):
        send_goal(bench.gripper, ParallelGripperCommand.Goal())


def test_controllers_are_exclusive_and_streaming_follows_its_own_order(bench):
    names = {item.name: item for item in bench.call(ListControllers, "controller_manager/list_controllers").controller}
    assert names[ARM].state == "active"
    assert names["forward_position_controller"].state == "inactive"
    switch = {
        "activate_controllers": ["forward_position_controller"],
        "strictness": SwitchController.Request.STRICT,
    }
    refused = bench.call(SwitchController, "controller_manager/switch_controller", **switch)
    assert not refused.ok
    assert "claimed by 'scaled_joint_trajectory_controller'" in refused.message
    both = bench.call(SwitchController, "controller_manager/switch_controller", deactivate_controllers=[ARM], **switch)
    assert both.ok
    with pytest.raises(GoalRejectedError):
        send_goal(bench.arm, goal(bench.q()))
    publisher = bench.node.create_publisher(Float64MultiArray, "forward_position_controller/commands", COMMAND)
    bench.run_until(lambda: publisher.get_subscription_count() > 0)
    start = bench.q()
    for k in range(1, 11):
        publisher.publish(Float64MultiArray(data=[start[0] + 0.01 * k, *start[1:]]))
        bench.run(0.02)
    bench.run(0.3)
    assert bench.q()[0] == pytest.approx(start[0] + 0.1, abs=0.01)
    assert bench.q()[1:] == pytest.approx(start[1:], abs=0.01)
    bench.listen(SafetyMode, "io_and_status_controller/safety_mode", LATCHED)
    publisher.publish(Float64MultiArray(data=[start[0] + 1.0, *start[1:]]))
    bench.run_until(lambda: bench.last.get("io_and_status_controller/safety_mode") == SafetyMode(mode=3))
    assert bench.q()[0] == pytest.approx(start[0] + 0.1, abs=0.02)


def test_sensor_messages_look_like_the_drivers(bench):
    for kind, topic, qos in (
        (Image, "front_camera/color/image_raw", SENSOR),
        (CameraInfo, "wrist_camera/color/camera_info", SENSOR),
        (PoseStamped, "tcp_pose_broadcaster/pose", SENSOR),
        (TFMessage, "tf", SENSOR),
        (TFMessage, "tf_static", LATCHED),
        (String, "robot_description", LATCHED),
    ):
        bench.listen(kind, topic, qos)
    bench.run_until(lambda: len(bench.last) >= 8 and bench.all["front_camera/color/image_raw"])
    for messages in bench.all.values():
        messages.clear()
    bench.run(1.0)
    arm = [m for m in bench.all["joint_states"] if len(m.name) == 6]
    grip = [m for m in bench.all["joint_states"] if len(m.name) == 1]
    assert (len(arm), len(grip)) == (500, 100)
    assert arm[0].name == sorted(JOINTS)
    assert arm[0].header.frame_id == "base_link"
    assert len(arm[0].velocity) == len(arm[0].effort) == 6
    by_name = dict(zip(arm[-1].name, arm[-1].position, strict=True))
    assert [by_name[joint] for joint in JOINTS] == pytest.approx(bench.q(), abs=1e-6)
    assert {stamp_ns(b) - stamp_ns(a) for a, b in pairwise(arm)} == {2_000_000}
    assert grip[0].name == [c.GRIPPER_JOINT]
    images = bench.all["front_camera/color/image_raw"]
    assert 29 <= len(images) <= 31
    image = images[0]
    assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 96, 96, 288)
    assert image.header.frame_id == "front_camera_color_optical_frame"
    assert len(set(bytes(image.data))) > 20
    info = bench.last["wrist_camera/color/camera_info"]
    assert (info.distortion_model, len(info.d), info.width) == ("plumb_bob", 5, 96)
    pose = bench.last["tcp_pose_broadcaster/pose"]
    assert pose.header.frame_id == "base"
    T = kinematics.forward(bench.cell.plant.q)
    assert [pose.pose.position.x, pose.pose.position.y] == pytest.approx([-T[0, 3], -T[1, 3]], abs=1e-3)
    children = {t.child_frame_id for m in bench.all["tf"] for t in m.transforms}
    assert {"wrist_3_link", "tool0_controller", "robotiq_85_left_finger_tip_link"} <= children
    assert "front_camera_color_optical_frame" in {t.child_frame_id for t in bench.last["tf_static"].transforms}
    assert bench.last["robot_description"].data.startswith("<?xml")


def test_reset_is_deterministic(bench):
    def episode():
        assert bench.call(ResetCell, "sim/reset", seed=7, task="pick_place").success
        bench.run(0.1)
        run = send_goal(bench.arm, goal(shifted(bench, 0.2), 0.4))
        bench.run(0.6)  # not "until the result is here": results come when they come, also in lockstep
        assert run.wait(5.0).succeeded
        state = bench.last["sim/task_state"]
        assert (state.seed, state.task) == (7, "pick_place")
        return bench.q(), state.object_pose, state.tool_distance

    before = bench.now
    assert episode() == episode()
    assert bench.now > before  # time never goes back
    refused = bench.call(ResetCell, "sim/reset", seed=7, task="dance")
    assert not refused.success
    assert "unknown task 'dance'" in refused.message


def test_disturbances(bench):
    other = Bench(
        camera_phase_s=(0.0, 0.012),
        camera_latency_s=0.03,
        camera_drop_fraction=0.3,
        camera_jitter_s=0.002,
        protective_stop_at_s=0.5,
        seed=5,
    )
    try:
        for camera in ("front", "wrist"):
            other.listen(Image, f"{camera}_camera/color/image_raw")
        other.listen(SafetyMode, "io_and_status_controller/safety_mode", LATCHED)
        other.run_until(lambda: len(other.last) == 3)
        assert other.call(ResetCell, "sim/reset", seed=6, task="").success
        start = other.now
        for messages in other.all.values():
            messages.clear()
        ages = []
        for _ in range(100):
            other.run(0.02)
            ages += [other.now - stamp_ns(m) for m in other.all["front_camera/color/image_raw"][len(ages) :]]
        front, wrist = (
            [stamp_ns(m) - start for m in other.all[f"{camera}_camera/color/image_raw"] if stamp_ns(m) > start]
            for camera in ("front", "wrist")
        )
        assert 28 < len(front) < 56
        assert all(age >= 30_000_000 for age in ages)
        phase = np.median([t % (1e9 / 30) for t in wrist]) - np.median(
            [t % (1e9 / 30) for t in front if t % (1e9 / 30) < 2e7]
        )
        assert phase == pytest.approx(12e6, abs=3e6)
        assert other.last["io_and_status_controller/safety_mode"].mode == SafetyMode.PROTECTIVE_STOP
    finally:
        other.close()
