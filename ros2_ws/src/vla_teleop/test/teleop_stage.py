# SPDX-License-Identifier: Apache-2.0

"""The teleop node against the simulated cell in lockstep, all nodes in one process, with a device that the test holds."""

import threading
import time
from pathlib import Path

import numpy as np
from rclpy.node import Node
from running_nodes import RunningNodes
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from vla_common.params import overrides
from vla_common.qos import SENSOR
from vla_core.kinematics import forward
from vla_core.profile import load_profile, parse_profile
from vla_core.stamps import stamp_ns, time_ns
from vla_msgs.msg import TeleopEvent, TeleopState
from vla_sim.sim_node import CellNode
from vla_teleop.devices.device import NEVER, Command
from vla_teleop.node.teleop_node import TeleopNode
from vla_teleop.node.teleop_report import EVENTS, STATES

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
MOVING = 0.005  # [rad/s]


class Stick:
    """A device in the hands of the test. While `alive`, its input is always fresh."""

    name, timeout_s = "stick", 0.1

    def __init__(self):
        self.lock = threading.Lock()
        self.values = {}
        self.presses = []
        self.alive = True
        self.heard_ns = None
        self.silent_ns = None

    def move(self, **values):
        """What is wanted from now on: fields of `Command`."""
        with self.lock:
            self.values = values

    def press(self, *names):
        with self.lock:
            self.presses += names

    def read(self, now_ns):
        with self.lock:
            if self.alive:
                self.heard_ns, self.silent_ns = now_ns, None
            elif self.silent_ns is None:
                self.silent_ns = self.heard_ns
            pressed, self.presses = tuple(self.presses), []
            # A device that knows nothing of time-outs: the node has to stop the arm by the age of the input.
            return Command(t_ns=self.heard_ns or 0, pressed=pressed, **self.values)

    def age_s(self, now_ns):
        return NEVER if self.heard_ns is None else (now_ns - self.heard_ns) * 1e-9

    def raw(self):
        return {}

    lost = None

    def close(self):
        pass


def wait_until(condition, timeout_s=60.0, what="the condition"):
    """Poll until `condition()` is true; a deadline, not a pause."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.002)


class TeleopStage(RunningNodes):
    """Nodes with an executor thread each; what was measured and said, by simulated time [s]."""

    def __init__(self, folder, *, profile_changes=(), cell=None, **params):
        super().__init__()
        text = load_profile(PROFILE).text
        for old, new in profile_changes:
            assert old in text, old
            text = text.replace(old, new)
        path = folder / "robot.yaml"
        path.write_text(text)
        self.profile = parse_profile(text)
        self.joints, self.states, self.events, self.commands = [], [], [], []
        self.targets = {"command/arm": [], "command/gripper": []}
        self.stick = Stick()
        self.helper = self.add(Node("helper", context=self.context))
        self.helper.create_subscription(JointState, "joint_states", self._on_joints, SENSOR)
        self.helper.create_subscription(TeleopState, "teleop/state", self._on_state, STATES)
        self.helper.create_subscription(TeleopEvent, "teleop/event", self.events.append, EVENTS)
        self.helper.create_subscription(
            Float64MultiArray, "forward_position_controller/commands", self._on_command, 100
        )
        for topic, seen in self.targets.items():
            self.helper.create_subscription(JointState, topic, seen.append, 100)
        shared = {"profile": str(path)}
        ticks = {
            "clock_mode": "lockstep",
            "participants": ["teleop"],
            "tick_rate_hz": 100.0,
            "gripper_state_rate_hz": 100.0,
        }
        self.cell = self.add(self._make(CellNode, {**shared, **ticks, **(cell or {})}))
        node = {"lockstep": True, "use_sim_time": True, "switch_timeout_s": 10.0, "answer_timeout_s": 10.0}
        self.node = self.add(self._make(TeleopNode, {**shared, **node, **params}, device=lambda _: self.stick))
        self.until(lambda: self.states and self.joints, what="the first state")

    def _make(self, cls, values, **options):
        return cls(context=self.context, parameter_overrides=overrides(values), **options)

    def _on_joints(self, msg):
        arm = self.profile.action[0].joints
        if arm[0] in msg.name:
            where = [list(msg.name).index(name) for name in arm]
            self.joints.append((stamp_ns(msg) * 1e-9, np.array(msg.position)[where], np.array(msg.velocity)[where]))

    def _on_state(self, msg):
        self.states.append(msg)

    def _on_command(self, msg):
        self.commands.append((self.now_s, np.array(msg.data)))

    @property
    def now_s(self):
        return self.joints[-1][0] if self.joints else 0.0

    @property
    def state(self):
        return self.states[-1]

    def until(self, condition, what="the condition"):
        wait_until(condition, 60.0, what)

    def pass_s(self, seconds):
        """Let simulated time pass."""
        end = self.now_s + seconds
        self.until(lambda: self.now_s >= end, f"{seconds} s of simulated time")

    def q(self):
        return self.joints[-1][1]

    def tcp(self):
        return forward(self.profile.kinematics, self.q()) @ self.profile.teleop.T_tool_tcp

    def still_from(self, begin_s):
        """How long after `begin_s` the arm moved for the last time [s]."""
        moving = [t for t, _, dq in list(self.joints) if t >= begin_s and np.abs(dq).max() > MOVING]
        return max(moving, default=begin_s) - begin_s

    def call(self, kind, name, **values):
        client = self.helper.create_client(kind, name)
        assert client.wait_for_service(20.0), name
        future = client.call_async(kind.Request(**values))
        wait_until(future.done, 60.0, f"the answer of {name}")
        self.helper.destroy_client(client)
        return future.result()

    def enable(self, wanted=True):
        answer = self.call(SetBool, "teleop/enable", data=wanted)
        self.shown()
        return answer

    def shown(self):
        """Wait for a state message that was published after now; answers and topics do not wait for each other."""
        self.pass_s(0.07)

    def call_freedrive(self, wanted):
        answer = self.call(SetBool, "teleop/freedrive", data=wanted)
        self.shown()
        return answer

    def trigger(self, name):
        answer = self.call(Trigger, name)
        self.shown()
        return answer

    def fault(self, name, on=True):
        return self.call(SetBool, f"sim/fault/{name}", data=on)

    def state_times(self):
        """The states that were passed through, each with the time of its first message [s]."""
        found = []
        for msg in list(self.states):
            if not found or found[-1][0] != msg.state:
                found.append((msg.state, time_ns(msg.stamp) * 1e-9))
        return found
