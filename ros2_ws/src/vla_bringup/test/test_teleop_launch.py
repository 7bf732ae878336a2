# SPDX-License-Identifier: Apache-2.0

"""teleop.launch.py with the simulated cell and a gamepad: a person drives, the gamepad is unplugged, ctrl-C."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import launches
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState, Joy
from vla_msgs.msg import TeleopEvent, TeleopState

S = TeleopState
START, SHOULDER = 6, 9  # buttons: enable, and the one that must be held
MOVING = 0.005  # [rad/s]
TICK_S = 0.02
EVERY = QoSProfile(depth=5000)


class Pad:
    """A gamepad's driver, and what the robot does. Each fifth joint state is followed by a message of the gamepad."""

    def __init__(self, node):
        self.axes, self.held, self.plugged = [0.0] * 6, set(), True
        self.motion, self.states, self.events = [], [], []
        self._count = 0
        self._joy = node.create_publisher(Joy, "joy", 10)
        node.create_subscription(JointState, "joint_states", self._on_joints, EVERY)
        node.create_subscription(TeleopState, "teleop/state", self.states.append, 50)
        node.create_subscription(TeleopEvent, "teleop/event", self.events.append, 50)

    def _on_joints(self, msg):
        if "elbow_joint" not in msg.name:
            return
        stamp = msg.header.stamp
        self.motion.append((stamp.sec + 1e-9 * stamp.nanosec, float(np.abs(msg.velocity).max())))
        self._count += 1
        if self.plugged and self._count % 5 == 0:
            self._joy.publish(Joy(axes=self.axes, buttons=[int(i in self.held) for i in range(15)]))

    @property
    def now_s(self):
        return self.motion[-1][0]


@contextlib.contextmanager
def driven(folder):
    """The launch, its log and a gamepad in the same domain."""
    env, log = launches.isolated(folder), folder / "launch.txt"
    command = [
        "ros2",
        "launch",
        "vla_bringup",
        "teleop.launch.py",
        "sim:=true",
        "robot:=sim_ur5e_tiny",
        "device:=gamepad",
    ]
    with log.open("wb") as out:
        process = launches.begin(command, env, out)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context, closing = Context(), threading.Event()
    rclpy.init(context=context, domain_id=int(env["ROS_DOMAIN_ID"]))
    node = Node("pad", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin():
        while not closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    pad = Pad(node)
    thread.start()
    try:
        yield process, pad, log
    finally:
        closing.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        launches.end(process, 10.0)


@pytest.fixture
def launched(tmp_path):
    with driven(tmp_path) as made:
        yield made


def until(process, log, condition, what, timeout_s=90.0):
    """Poll until `condition()` holds; a deadline, not a pause."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"the launch has ended:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{log.read_text()[-3000:]}"
        time.sleep(0.005)


def node_pid(process):
    """Process id of the teleop node below the launch."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and "teleop_node" in (entry / "cmdline").read_text():
                return int(entry.name)
    raise AssertionError("no teleop node below the launch")


def test_a_person_drives_is_unplugged_and_ends_with_ctrl_c(launched):
    process, pad, log = launched
    until(process, log, lambda: pad.states and not pad.states[-1].stale, "the end of the calibration")
    assert pad.states[-1].state == S.OFF
    assert max(speed for _, speed in pad.motion) < MOVING, "nothing moves on start"

    pad.held.add(START)
    until(process, log, lambda: pad.states[-1].state == S.ACTIVE, "the arm in the person's hands")
    pad.held.clear()
    pad.axes[1] = 1.0
    until(process, log, lambda: "hold the enabling button (deadman) to move" in pad.states[-1].line, "the advice")
    pad.held.add(SHOULDER)
    until(process, log, lambda: pad.motion[-1][1] > 5 * MOVING, "motion of the arm")
    assert [event.name for event in pad.events] == ["enable"]

    pad.plugged = False
    begun = pad.now_s
    until(process, log, lambda: pad.now_s > begun + 0.6, "time")
    moving = [t for t, speed in list(pad.motion) if t >= begun and speed > MOVING]
    assert moving[-1] - begun <= 0.2 + 2 * TICK_S  # simulated time does not wait for the gamepad's last messages
    assert pad.states[-1].stale
    assert pad.states[-1].state == S.ACTIVE

    pad.plugged = True
    pad.motion.clear()
    until(process, log, lambda: pad.motion and pad.motion[-1][1] > 5 * MOVING, "motion after it was plugged in again")
    os.kill(node_pid(process), signal.SIGINT)
    process.wait(60.0)
    text = log.read_text()
    assert "RETURNING | gamepad" in text
    assert text.index("RETURNING | gamepad") < text.rindex("OFF | gamepad")
    assert "process has finished cleanly" in text
    assert "Traceback" not in text
