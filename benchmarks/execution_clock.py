# SPDX-License-Identifier: Apache-2.0

"""The part of `benchmarks/execution.py` in real time: jitter of the control loop and overhead of the node.

Four processes, as on a robot: cameras (2 x 640x480 rgb8 at 30 Hz), a robot that publishes its joints at 500 Hz and takes
goals without doing anything, the policy node with its own parameters, and the client here. The policy is the scripted
one; it sleeps for the latency, so only the node itself computes. Run alone with `cameras` or `robot` it is that process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
import yaml
from ament_index_python.packages import get_package_share_directory
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from vla_common.action_client import GoalClient
from vla_common.services import send_goal
from vla_core.profile import load_profile
from vla_msgs.action import RunPolicy
from vla_policy.execution.measures_series import percentile
from vla_policy.tools.report_log import read_log

HEIGHT, WIDTH, CAMERA_HZ, JOINT_HZ = 480, 640, 30.0, 500.0
STEPS = 15  # executed of each chunk, so that there are several chunks per second
AMPLITUDE = 0.005  # so little that a robot that stands still counts as one that follows
START_S = 90.0
HOME = [-0.302, -1.723, 1.942, -1.836, -1.558, -1.862]


def profile_text() -> str:
    """The shipped robot with large images, and without the monitors of a real robot's state."""
    shipped = Path(get_package_share_directory("vla_bringup")) / "robots" / "sim_ur5e.yaml"
    profile = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    profile.pop("monitors", None)
    profile.pop("estop", None)
    profile["robot"] = "sim_ur5e_vga"
    profile["safety"]["watchdog_s"] = 5.0  # a busy machine is to show in the measures, not to end the run
    for camera in profile["cameras"].values():
        camera["size"] = [HEIGHT, WIDTH]
    return yaml.safe_dump(profile)


class Cameras(Node):
    """Two cameras."""

    def __init__(self, profile_file: str) -> None:
        super().__init__("cameras")
        topics = [camera.topic for camera in load_profile(profile_file).cameras]
        self._outputs = [self.create_publisher(Image, topic, 5) for topic in topics]
        self._image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        self._image.data = bytes(range(256)) * (3 * HEIGHT * WIDTH // 256)
        self.create_timer(1.0 / CAMERA_HZ, self._publish)

    def _publish(self) -> None:
        self._image.header.stamp = self.get_clock().now().to_msg()
        for output in self._outputs:
            output.publish(self._image)


class Robot(Node):
    """Joint states and action servers; goals are accepted and run out of time without any motion."""

    def __init__(self, profile_file: str) -> None:
        super().__init__("robot")
        profile = load_profile(profile_file)
        self._states = self.create_publisher(JointState, profile.state[0].topic, 10)
        self._parts = [
            (spec.joints, HOME[: len(spec.joints)] if len(spec.joints) > 1 else [0.0]) for spec in profile.action
        ]
        group = ReentrantCallbackGroup()
        kinds = {False: FollowJointTrajectory, True: ParallelGripperCommand}
        self._newest = 0
        self._servers = [
            ActionServer(
                self,
                kinds[spec.is_gripper],
                spec.command.name,
                execute_callback=self._grip if spec.is_gripper else self._follow,
                cancel_callback=lambda _: CancelResponse.ACCEPT,
                callback_group=group,
            )
            for spec in profile.action
        ]
        self.create_timer(1.0 / JOINT_HZ, self._publish, callback_group=group)

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for names, positions in self._parts:
            msg = JointState(name=list(names), position=positions)
            msg.header.stamp = stamp
            self._states.publish(msg)

    def _follow(self, handle: Any) -> FollowJointTrajectory.Result:
        self._newest += 1
        number = self._newest
        result = FollowJointTrajectory.Result()
        end = handle.request.trajectory.points[-1].time_from_start
        until = time.monotonic() + end.sec + 1e-9 * end.nanosec
        while time.monotonic() < until and number == self._newest and not handle.is_cancel_requested:
            time.sleep(0.02)
        if handle.is_cancel_requested:
            handle.canceled()
        elif number != self._newest:
            result.error_code = FollowJointTrajectory.Result.INVALID_GOAL
            result.error_string = "Current goal preempted by new incoming action."
            handle.abort()
        else:
            handle.succeed()
        return result

    def _grip(self, handle: Any) -> ParallelGripperCommand.Result:
        handle.succeed()
        return ParallelGripperCommand.Result(reached_goal=True)


def clock_row(folder: Path, strategy: str, latency_ms: float, *, seconds: float) -> dict[str, Any]:
    """Run one strategy for `seconds` of wall time and return jitter, overhead and time to stop.

    Raises:
        RuntimeError: the run ended by itself; the text says why.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))
    profile, log = folder / "robot.yaml", folder / "log.jsonl"
    profile.write_text(profile_text(), encoding="utf-8")
    values = {
        "policy": "scripted", "profile": profile, "policy_options": f"amplitude={AMPLITUDE},latency={latency_ms / 1e3}",
        "strategy": strategy, "inference_latency_s": latency_ms / 1e3, "n_action_steps": STEPS, "log_file": log,
        "dry_run": "false", "start_timeout_s": 20.0,
    }  # fmt: skip
    parameters = [text for name, value in values.items() for text in ("-p", f"{name}:={value}")]
    commands = [
        [sys.executable, __file__, "cameras", str(profile)],
        [sys.executable, __file__, "robot", str(profile)],
        ["ros2", "run", "vla_policy", "policy_node", "--ros-args", *parameters],
    ]
    output = folder / "output.txt"
    with output.open("wb") as stream:
        processes = [
            subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
            for command in commands
        ]
        try:
            _drive(seconds, processes)
        except Exception as error:
            tail = "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise RuntimeError(
                f"{strategy} at {latency_ms:g} ms in real time: {error}. The nodes said:\n{tail}"
            ) from error
        finally:
            _end(processes)
    return _figures(log)


def _drive(seconds: float, processes: list[subprocess.Popen[bytes]]) -> None:
    """One run of the policy, cancelled after `seconds`."""
    node = Node("execution_benchmark", enable_rosout=False)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    client = GoalClient(node, RunPolicy, "policy/run")
    closing = threading.Event()

    def spin() -> None:
        while not closing.is_set():
            executor.spin_once(0.1)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not client.wait_for_server(timeout_sec=0.5):
            if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
                raise RuntimeError("the processes did not start")
        run = send_goal(client, RunPolicy.Goal(max_duration=600.0), timeout_s=START_S)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if run.outcome is not None:
                raise RuntimeError(f"the run ended by itself: {run.outcome.result.error_msg}")
            time.sleep(0.1)
        run.cancel()
        result = run.wait(20.0).result
        if result.error_code:
            raise RuntimeError(result.error_msg)
    finally:
        closing.set()
        thread.join(5.0)
        executor.shutdown()
        node.destroy_node()


def _figures(log: Path) -> dict[str, Any]:
    run = read_log(log)[-1]
    overheads = [chunk["overhead_ms"] for chunk in run.chunks if chunk["overhead_ms"] is not None]
    jitter = run.jitter_ms()
    return {
        "jitter_ms_p50": round(percentile(jitter, 50), 3),
        "jitter_ms_p99": round(percentile(jitter, 99), 3),
        "jitter_ms_max": round(max(jitter), 3),
        "overhead_ms_p50": round(percentile(overheads, 50), 3),
        "overhead_ms_p95": round(percentile(overheads, 95), 3),
        "overhead_chunks": len(overheads),
        "clock_stop_ms": run.end["stop_ms"],
        "clock_held_ticks": sum(tick["h"] for tick in run.ticks),
        "clock_ticks": len(run.ticks),
    }


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, number)
        deadline = time.monotonic() + 10.0
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)


def main() -> int:
    """Be the process that the first argument names."""
    kind, profile_file = sys.argv[1:]
    rclpy.init()
    node = {"cameras": Cameras, "robot": Robot}[kind](profile_file)
    executor = MultiThreadedExecutor(6) if kind == "robot" else SingleThreadedExecutor()
    executor.add_node(node)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    return 0


if __name__ == "__main__":
    sys.exit(main())
