# SPDX-License-Identifier: Apache-2.0

"""A node of a recording is killed in the middle of an episode: the arm is still at once, everything ends, nothing is lost."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from launches import begin, end, isolated, run
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from vla_common.qos import LATCHED
from vla_common.ticks import TICK_DONE_TOPIC, TICK_TOPIC
from vla_core.episode import SKILL, TELEOP
from vla_core.stamps import stamp_ns, time_ns
from vla_msgs.msg import EpisodeEvent, SimTick, SimTickDone
from vla_recorder.bags.reader import find_episodes, open_episode
from vla_recorder.bags.writer import FLUSH_PERIOD_S

pytestmark = pytest.mark.timeout(400)

SCRIPT = Path(__file__).with_name("joy_waits.py")
MOVING, STILL = 0.03, 0.005  # [rad/s] of the fastest joint
STILL_S = 0.2  # simulated
END_S = 40.0  # wall; a launcher waits 10 s before it kills what does not end
EVERY_STATE = QoSProfile(depth=5000)
# Killed node: scenario of the played person, phase in which it is killed, whether somebody is left who saves the episode.
KILLED = {
    "teleop": ("abort", TELEOP, True),
    "skills": ("success", SKILL, True),
    "recorder": ("success", SKILL, False),
}


class Witness:
    """A node of the test's own: how fast the arm moves, the phase, and the last tick that each node has answered."""

    def __init__(self, env):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.motion, self.phase = [(0.0, 0.0)], 0
        self.ticks, self.answered = {}, {}
        self.context = Context()
        rclpy.init(context=self.context, domain_id=int(env["ROS_DOMAIN_ID"]))
        self.node = Node("witness", context=self.context)
        self.node.create_subscription(JointState, "joint_states", self._on_joints, EVERY_STATE)
        self.node.create_subscription(EpisodeEvent, "episode/event", self._on_event, LATCHED)
        self.node.create_subscription(SimTick, TICK_TOPIC, self._on_tick, EVERY_STATE)
        self.node.create_subscription(SimTickDone, TICK_DONE_TOPIC, self._on_answer, EVERY_STATE)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_joints(self, msg):
        if len(msg.name) == 6:
            self.motion.append((stamp_ns(msg) * 1e-9, float(np.abs(msg.velocity).max())))

    def _on_event(self, msg):
        self.phase = msg.phase

    def _on_tick(self, msg):
        self.ticks[msg.number] = time_ns(msg.stamp) * 1e-9

    def _on_answer(self, msg):
        self.answered[msg.participant] = msg.number

    def died_s(self, name):
        """Simulated time of the last tick that a node has answered."""
        return self.ticks[self.answered[name]]

    def close(self):
        self._closing.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def process_of(name, folder):
    """Process id of a node of this launch."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if f"__node:={name}" in words and any(str(folder) in word for word in words):
                    return int(entry.name)
    raise AssertionError(f"no node {name} is running")


def wait_until(condition, launched, log, what, timeout_s=240.0):
    """Poll until `condition()` holds; a deadline, not a pause."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert launched.poll() is None, f"the launch has ended:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s\n{log.read_text()[-3000:]}"
        time.sleep(0.005)


@pytest.mark.parametrize("killed", KILLED)
def test_a_killed_node_stops_the_arm_and_loses_nothing(killed, tmp_path):
    scenario, phase, saved = KILLED[killed]
    env, log = isolated(tmp_path / "ros_log"), tmp_path / "launch.log"
    witness = Witness(env)
    with log.open("w") as file:
        launched = begin(
            ["ros2", "launch", "vla_bringup", "record.launch.py", "sim:=true", "robot:=sim_ur5e_tiny", "scene:=extract_cpu",
             "operator:=joystick", "participants:=joy_player", f"output_dir:={tmp_path / 'bags'}"],
            env, stdout=file,
        )  # fmt: skip
        player = begin(
            [sys.executable, str(SCRIPT), "--ros-args", "-p", "lockstep:=true", "-p", "use_sim_time:=true",
             "-p", f"scenario:={scenario}"],
            env, stdout=file,
        )  # fmt: skip
        try:
            moves = lambda: witness.phase == phase and witness.motion[-1][1] > MOVING  # noqa: E731
            wait_until(moves, launched, log, "motion in the phase")
            recorded_s, begin_s = witness.motion[-1][0], time.monotonic()
            # the recorder hands what it has to the system every 0.4 s of wall time; after a kill that is what is left
            more = lambda: witness.motion[-1][0] > recorded_s + 0.3 and time.monotonic() > begin_s + 2 * FLUSH_PERIOD_S  # noqa: E731
            wait_until(more, launched, log, "something to record")
            os.kill(process_of(killed, env["ROS_LOG_DIR"]), signal.SIGKILL)
            launched.wait(END_S)
        finally:
            end(player)
            end(launched)
            witness.close()
    out = log.read_text()
    killed_s = witness.died_s(killed)
    moved = [t for t, speed in witness.motion if t > killed_s and speed > STILL]
    assert max(moved, default=killed_s) - killed_s <= STILL_S, "the arm moves on"
    check_told(out, killed)
    check_bag(env, tmp_path / "bags", recorded_s, saved=saved)


def check_told(out, killed):
    """The operator reads what has happened and what to do."""
    assert f"the node {killed} died (exit code -9), so everything is ended. " in out
    hint = "close the open episode with `ros2 run vla_recorder repair" if killed == "recorder" else "Start again"
    assert hint in out
    assert "Traceback" not in out


def check_bag(env, folder, recorded_s, *, saved):
    """What was recorded before is there; an episode that nobody could close is closed by the command that was named."""
    if not saved:
        code, said = run(env, "ros2", "run", "vla_recorder", "repair", str(folder))
        assert code == 0, said
    (path,) = find_episodes(folder)
    bag = open_episode(path)
    assert not bag.damage
    stamps = [stamp_ns(record.message) * 1e-9 for record in bag.messages({"/joint_states"})]
    assert max(stamps) >= recorded_s, "what was recorded before the kill is kept"
    assert saved == (bag.get("skill_outcome") == "incomplete")
