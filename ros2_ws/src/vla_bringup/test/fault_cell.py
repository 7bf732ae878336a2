# SPDX-License-Identifier: Apache-2.0

"""infer.launch.py with the simulated cell, and a client that causes faults and sees what the arm does."""

import contextlib
import os
import threading
import time
from pathlib import Path

import faulty_policy
import launches
import numpy as np
import rclpy
import yaml
from control_msgs.msg import JointTrajectoryControllerState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from vla_common.action_client import GoalClient
from vla_common.qos import EVENT
from vla_common.services import call_service
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import ResetCell

Result = RunPolicy.Result
MOVING, STILL = 0.15, 0.005  # [rad/s] of the fastest joint
BEFORE_S = 0.1  # simulated time before a fault in which the arm must have moved
WATCH_S = 0.3  # simulated time that the arm must stand still


EVERY_STATE = QoSProfile(depth=5000)  # the test may lag behind the simulation; nothing must be lost meanwhile


def seconds(stamp):
    """A time message as a number."""
    return stamp.sec + 1e-9 * stamp.nanosec


class FaultCell:
    """A launch, its log, and a node of the test's own in the same domain.

    Args of the constructor: a folder, launch arguments (which win over the cell's own), the length of the policy's chunks,
    and parameters of the policy node.
    """

    def __init__(self, folder, *arguments, chunk=10, policy=None):
        self._launch(folder, arguments, chunk, policy)
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _launch(self, folder, arguments, chunk, policy):
        folder.mkdir(parents=True, exist_ok=True)
        path = launches.install_policy(folder / "plugin", "faulty", Path(faulty_policy.__file__))
        parameters = folder / "more.yaml"
        parameters.write_text(
            yaml.safe_dump({"/**/policy": {"ros__parameters": {"start_timeout_s": 3.0, **(policy or {})}}})
        )
        self.env = launches.isolated(folder / "log", PYTHONPATH=path)
        self.log = folder / "launch.txt"
        command = ["ros2", "launch", "vla_bringup", "infer.launch.py"]
        command += [
            "sim:=true",
            "robot:=sim_ur5e_tiny",
            "policy:=faulty",
            f"policy_options:=chunk={chunk},period=3.0,amplitude=0.15",
            f"params_file:={parameters}",
            *arguments,
        ]
        with self.log.open("wb") as log:
            self.process = launches.begin(command, self.env, log)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=int(self.env["ROS_DOMAIN_ID"]))
        self.node = Node("faults", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _connect(self):
        """Listen, and wait until the cell and all of its services are there."""
        self.motion, self.stopping_s, self.status, self.rows, self._clients = [], None, None, [], {}
        self.node.create_subscription(
            JointTrajectoryControllerState,
            "scaled_joint_trajectory_controller/controller_state",
            self._on_state,
            EVERY_STATE,
        )
        self.commands = []
        self.node.create_subscription(JointState, "command/arm", self.commands.append, EVERY_STATE)
        self.node.create_subscription(PolicyStatus, "policy/status", self._on_status, EVENT)
        self.client = GoalClient(self.node, RunPolicy, "policy/run")
        self.until(lambda: self.client.server_is_ready() and self.motion, 90.0, "the policy node and the cell")
        self.found(Trigger, "policy/estop", "policy/reset_estop")
        faults = (
            "protective_stop",
            "program_stop",
            "silent/arm",
            "silent/front",
            "image_size/front",
            "image_size/wrist",
        )
        self.found(SetBool, "policy/enable", *(f"sim/fault/{fault}" for fault in faults))

    def _spin(self):
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_state(self, msg):
        self.motion.append((seconds(msg.header.stamp), float(np.abs(msg.feedback.velocities).max())))

    def _on_status(self, msg):
        self.status = msg
        if msg.state == PolicyStatus.STOPPING:
            self.stopping_s = seconds(msg.stamp)

    @property
    def now_s(self):
        return self.motion[-1][0]

    def until(self, condition, timeout_s, what):
        """Poll until `condition()` holds; a deadline, not a pause."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"the launch has ended:\n{self.text()[-3000:]}"
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{self.text()[-3000:]}"
            time.sleep(0.01)

    def text(self):
        return self.log.read_text(errors="replace")

    def call(self, kind, name, **fields):
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        return call_service(self._clients[name], kind.Request(**fields), timeout_s=20.0)

    def switch(self, fault, on=True):
        """Cause or clear a fault of the cell; returns the simulated time at which it took effect."""
        return float(self.call(SetBool, f"sim/fault/{fault}", data=on).message.split()[-2])

    def found(self, kind, *names):
        """Find services now, so that a call of them takes no time later."""
        for name in names:
            client = self._clients.setdefault(name, self.node.create_client(kind, name))
            assert client.wait_for_service(20.0), name

    def trigger(self, name):
        """Call a Trigger service; returns the newest simulated time before."""
        t_s = self.now_s
        self.call(Trigger, name)
        return t_s

    def enable(self, on):
        t_s = self.now_s
        self.call(SetBool, "policy/enable", data=on)
        return t_s

    def reset(self):
        assert self.call(ResetCell, "sim/reset", seed=1, task="lift").success

    def goal(self, task="move", **fields):
        """Send a goal; returns the future of its result."""
        future = self.client.send_goal_async(RunPolicy.Goal(**{"task": task, "max_duration": 60.0, **fields}))
        self.until(future.done, 20.0, "acceptance of the goal")
        return future.result().get_result_async()

    def moving(self, task="move", **fields):
        """A goal whose arm is on its way."""
        sent_s = self.now_s
        running = self.goal(task, **fields)
        self.until(lambda: (self.now_s > sent_s and self.motion[-1][1] > MOVING) or running.done(), 60.0, "motion")
        return running

    def result(self, running, what):
        self.until(running.done, 60.0, f"{what}: the result")
        return running.result().result

    def standstill_s(self, since_s, ended_s):
        """Simulated time from `since_s` until the arm stood still; it is watched until a while after `ended_s`."""
        self.until(lambda: self.now_s > ended_s + WATCH_S, 30.0, "simulated time")
        seen = [sample for sample in self.motion if sample[0] >= since_s]
        assert seen[-1][1] < STILL, (
            f"the arm moves at {seen[-1][1]:.3f} rad/s at {seen[-1][0]:.3f} s; {since_s=}, {ended_s=}"
        )
        return max([t for t, speed in seen if speed >= STILL], default=since_s) - since_s

    def expect(self, what, result, since_s, *, code, text, within_s):
        """Check how a run ended and how long the arm moved on; a row of the fault table."""
        assert result.error_code == code, f"{what}: {result.error_code} {result.error_msg}"
        assert text in result.error_msg, f"{what}: {result.error_msg}"
        stop_s = self.standstill_s(since_s, seconds(result.status.stamp))
        before = max([speed for t, speed in self.motion if since_s - BEFORE_S <= t <= since_s], default=0.0)
        self.rows.append((what, code, before, stop_s, within_s, result.error_msg))
        assert before > MOVING / 2 or within_s == 0.0, f"{what}: the arm did not move before, so nothing was tested"
        assert stop_s <= within_s, f"{what}: the arm moved for another {stop_s:.3f} s"

    def serves(self, what, seconds=2.0):
        """The next goal runs as if nothing had been, for so long in simulated time."""
        self.reset()
        result = self.result(self.goal(max_duration=seconds), what)
        assert (result.error_code, result.termination) == (Result.NONE, Result.TERMINATION_TIMEOUT), (
            f"after {what}: {result.error_msg}"
        )
        assert result.goals_sent > 0, f"after {what}: {result.status.detail}"

    def table(self):
        """The fault table as text."""
        names = {
            value: name
            for name, value in vars(Result).items()
            if isinstance(value, int) and not name.startswith("TERMINATION")
        }
        lines = ["", "| fault | error code | speed [rad/s] | still after [s] | limit [s] | message |"]
        lines.append("|---|---|---|---|---|---|")
        for what, code, speed, stop_s, within_s, text in self.rows:
            lines.append(f"| {what} | {names[code]} | {speed:.3f} | {stop_s:.3f} | {within_s:.2f} | {text} |")
        return "\n".join(lines)

    def policy_pid(self):
        """Process id of the policy node."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().decode(errors="replace")
                    if "policy_node" in line and str(self.log.parent) in line:
                        return int(entry.name)
        raise AssertionError("no policy node is running")

    def close(self):
        self._closing.set()
        self._thread.join(5.0)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        launches.end(self.process, patience_s=15.0)
