# SPDX-License-Identifier: Apache-2.0

"""A robot in one process: streams, action servers with the rules of the real controllers, and a policy without a model."""

import contextlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
from policy_fixtures import small_profile
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from vla_common.action_client import GoalClient
from vla_common.params import overrides
from vla_core.chunks import ActionChunk
from vla_core.errors import CheckpointError
from vla_msgs.action import RunPolicy
from vla_policy.node.policy_node import PolicyNode
from vla_policy.policies.checkpoint import attach
from vla_policy.policies.runner import Loaded


def wait_until(condition, timeout_s=10.0, what="the condition"):
    """Poll until `condition()` is true; a deadline, not a pause."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.01)


@contextlib.contextmanager
def ros():
    """ROS for a test that makes its own nodes."""
    rclpy.init()
    try:
        yield
    finally:
        rclpy.try_shutdown()


def fake_checkpoint(folder, profile):
    """A checkpoint that names its profile and no more; for policies that are made otherwise."""
    path = folder / "run" / "pretrained_model"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"type": "ramp"}))
    attach(path, profile=profile, vlm=None)
    return folder / "run"


class RampRunner:
    """A policy that moves every joint slowly and closes the gripper half way through its chunk."""

    description = "ramp"
    guidable = False

    def __init__(self, profile, *, steps=8, slope=0.02, value=None, delay_s=0.0, error=None):
        self.profile, self.slope, self.value, self.delay_s, self.error = profile, slope, value, delay_s, error
        self.n_action_steps = self.chunk_size = steps
        self.tasks = []
        self.resets = 0

    def reset(self):
        self.resets += 1

    def infer(self, frame, task, prefix=None):
        self.tasks.append(task)
        time.sleep(self.delay_s)
        if self.error:
            raise self.error
        rows = frame.state[None] + self.slope * np.arange(self.n_action_steps)[:, None]
        rows[:, 2] = np.where(np.arange(self.n_action_steps) < self.n_action_steps // 2, 0.0, 1.0)
        if self.value is not None:
            rows[:, 0] = self.value
        return ActionChunk(t0_ns=frame.t_ns, dt_s=1.0 / self.profile.fps, values=rows.astype(np.float32))

    def close(self):
        pass


class FakeRobot(Node):
    """Streams and action servers. A new goal ends the running one with ABORTED, as joint_trajectory_controller does."""

    def __init__(self, profile):
        super().__init__("robot")
        self.profile = profile
        self.reject = False
        self.streaming = True
        self.image_size = profile.cameras[0].size
        self.arm_goals, self.gripper_goals, self.cancelled = [], [], 0
        self.abort_with = None
        self._newest = 0
        self._path = ([0.0], [[0.1, 0.2]])  # times on the monotonic clock, positions of shoulder and elbow
        group = ReentrantCallbackGroup()
        self._joints = self.create_publisher(JointState, "joint_states", 10)
        self._images = self.create_publisher(Image, "front/image_raw", 10)
        self.create_timer(0.02, self._publish, callback_group=group)
        self.arm = ActionServer(
            self,
            FollowJointTrajectory,
            "arm_controller/follow_joint_trajectory",
            execute_callback=self._arm,
            goal_callback=self._accept,
            cancel_callback=self._cancel,
            callback_group=group,
        )
        self.gripper = ActionServer(
            self,
            ParallelGripperCommand,
            "gripper_controller/gripper_cmd",
            execute_callback=self._grip,
            callback_group=group,
        )

    def _accept(self, goal):
        last = goal.trajectory.points[-1]
        late = any(v != 0.0 for v in last.velocities)
        return GoalResponse.REJECT if self.reject or late else GoalResponse.ACCEPT

    def _cancel(self, _):
        self.cancelled += 1
        return CancelResponse.ACCEPT

    def _publish(self):
        if not self.streaming:
            return
        stamp = self.get_clock().now().to_msg()
        shoulder, elbow = self._where()
        arm = JointState(name=["elbow", "shoulder"], position=[elbow, shoulder])
        finger = JointState(name=["finger"], position=[0.0])
        height, width = self.image_size
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=bytes(3 * height * width))
        for msg in (arm, finger, image):
            msg.header.stamp = stamp
        self._joints.publish(arm)
        self._joints.publish(finger)
        self._images.publish(image)

    def place(self, joints):
        """Shoulder and elbow stand at `joints` from now on, as if somebody had moved them there."""
        self._path = ([0.0], [list(joints)])

    def _where(self):
        times, rows = self._path
        return [float(np.interp(time.monotonic(), times, column)) for column in zip(*rows, strict=True)]

    def _arm(self, handle):
        self._newest += 1
        number = self._newest
        points, begin = handle.request.trajectory.points, time.monotonic()
        times = [begin + p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in points]
        self._path = ([begin, *times], [self._where(), *(list(p.positions) for p in points)])
        self.arm_goals.append(handle.request.trajectory)
        end = handle.request.trajectory.points[-1].time_from_start
        until = time.monotonic() + end.sec + 1e-9 * end.nanosec
        result = FollowJointTrajectory.Result()
        while time.monotonic() < until:
            if handle.is_cancel_requested:
                self.place(self._where())
                handle.canceled()
                return result
            if number != self._newest or self.abort_with is not None:
                result.error_code = FollowJointTrajectory.Result.INVALID_GOAL
                result.error_string = self.abort_with or "Current goal preempted by new incoming action."
                handle.abort()
                return result
            time.sleep(0.005)
        handle.succeed()
        return result

    def _grip(self, handle):
        self.gripper_goals.append(handle.request.command.position[0])
        handle.succeed()
        return ParallelGripperCommand.Result(stalled=True)


class Cell:
    """The policy node, the fake robot and a client, each spinning."""

    def __init__(self, folder: Path, *, runner=None, profile=None, streaming=True, image_size=None, **parameters):
        rclpy.init()
        self.profile = profile or small_profile()
        path = fake_checkpoint(folder, self.profile)
        self.report = folder / "report.jsonl"
        self.runner = runner or RampRunner(self.profile)
        self.loaded = []
        values = {
            "checkpoint": str(path),
            "dry_run": False,
            "report_file": str(self.report),
            "start_timeout_s": 15.0,
            **parameters,
        }
        self.node = PolicyNode(factory=self._load, parameter_overrides=overrides(values))
        self.robot = FakeRobot(self.profile)
        self.robot.streaming = streaming
        self.robot.image_size = image_size or self.robot.image_size
        self.client_node = Node("client")
        self.client = GoalClient(self.client_node, RunPolicy, "policy/run")
        self.feedback = []
        self.targets = {"command/arm": [], "command/gripper": []}
        for topic, received in self.targets.items():
            self.client_node.create_subscription(JointState, topic, received.append, 50)
        self._executors = [SingleThreadedExecutor(), MultiThreadedExecutor(4), SingleThreadedExecutor()]
        self._threads = []
        self._closing = threading.Event()
        for executor, node in zip(self._executors, (self.node, self.robot, self.client_node), strict=True):
            executor.add_node(node)
            self._threads.append(threading.Thread(target=self._spin, args=(executor,)))
            self._threads[-1].start()

    def _load(self, request):
        self.loaded.append(request.checkpoint)
        if request.checkpoint == "bad":
            raise CheckpointError("bad: no weights")
        return Loaded(runner=self.runner, profile=self.profile, source=request.checkpoint)

    def _spin(self, executor):
        while not self._closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def send(self, **goal):
        """Send a goal; returns its handle."""
        assert self.client.wait_for_server(10.0)
        future = self.client.send_goal_async(
            RunPolicy.Goal(**goal), feedback_callback=lambda msg: self.feedback.append(msg.feedback)
        )
        wait_until(future.done, what="acceptance")
        return future.result()

    def result(self, handle, timeout_s=15.0):
        """The (status, result) of a goal."""
        future = handle.get_result_async()
        wait_until(future.done, timeout_s, what="the result")
        return future.result().status, future.result().result

    def reports(self):
        """The lines of the report file."""
        return [json.loads(line) for line in self.report.read_text().splitlines()]

    def close(self):
        self.node.close()
        self._closing.set()
        for executor, thread in zip(self._executors, self._threads, strict=True):
            thread.join(5.0)  # an executor that is shut down while it turns may raise
            executor.shutdown(timeout_sec=2.0)
        for node in (self.node, self.robot, self.client_node):
            node.destroy_node()
        rclpy.try_shutdown()
