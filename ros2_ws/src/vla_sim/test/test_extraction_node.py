# SPDX-License-Identifier: Apache-2.0

"""The extraction scene over ROS: the log of the cell, displacing the part, freedrive, and the played person's eyes."""

import json
import os
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import rclpy
from controller_manager_msgs.srv import ListControllers, SwitchController
from geometry_msgs.msg import Point, Pose, Twist
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from vla_common.params import overrides
from vla_common.qos import COMMAND, EVENT, LATCHED
from vla_common.run import ManagedNode
from vla_common.services import CallError, call_service
from vla_common.ticks import LockstepTicker
from vla_core.stamps import time_ns
from vla_msgs.msg import EpisodeEvent, TeleopState
from vla_sim import joy_pilot, skills, tasks
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.parts import PARTS
from vla_sim.plant import FREEDRIVE_CONTROLLER, TRAJECTORY_CONTROLLER
from vla_sim.sim_node import CellNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"


class Bench:
    """A cell of the scene extract_ram in lockstep with a played person, who owns time."""

    def __init__(self, log_file):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        values = {"profile": str(PROFILE), "clock_mode": "lockstep", "participants": ("bench",), "task": "extract_ram"}
        self.cell = CellNode(context=self.context, parameter_overrides=overrides({**values, "log_file": str(log_file)}))
        self.node = ManagedNode("bench", context=self.context)
        self.ticker = LockstepTicker(self.node, 50.0)
        self.hands = Hands(self.node, self.ticker, 2.0)
        self.joys = {"left": [], "right": []}
        for side, seen in self.joys.items():
            self.node.create_subscription(Joy, f"{side}/joy", seen.append, COMMAND)
        self.executors = [SingleThreadedExecutor(context=self.context) for _ in range(2)]
        self.executors[0].add_node(self.cell)
        self.executors[1].add_node(self.node)
        self.threads = [threading.Thread(target=executor.spin, daemon=True) for executor in self.executors]
        for thread in self.threads:
            thread.start()
        self.attached = self.ticker.attached()
        self.attached.__enter__()

    def call(self, kind, name, **fields):
        return call_service(self.node.create_client(kind, name), kind.Request(**fields), timeout_s=15.0)

    def close(self):
        self.attached.__exit__(None, None, None)
        self.ticker.close()
        self.cell.close()
        for executor, thread in zip(self.executors, self.threads, strict=True):
            executor.shutdown()
            thread.join()
        self.node.destroy_node()
        self.cell.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def log_file(tmp_path_factory):
    return tmp_path_factory.mktemp("cell") / "log.jsonl"


@pytest.fixture(scope="module")
def bench(log_file):
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    bench = Bench(log_file)
    yield bench
    bench.close()


def events(log_file, *names):
    lines = [json.loads(line) for line in log_file.read_text().splitlines()]
    return [line for line in lines if line["event"] in names]


def test_displaced_part_is_seen_logged_and_back_after_a_reset(bench, log_file):
    hands = bench.hands
    hands.reset(4, "extract_ram")
    seat = bench.cell.cell.seat
    np.testing.assert_allclose(hands.item.xyz, seat.xyz, atol=1e-3)
    hands.displace(tasks.upright(0.0, 0.042, 0.0))
    hands.wait(0.3)
    np.testing.assert_allclose(tasks.relative(seat, hands.item).xyz, (0.0, 0.042, 0.0), atol=2e-3)
    person = bench.node.create_publisher(Pose, "sim/displace", EVENT)
    person.publish(Pose(position=Point(x=float("nan"))))  # refused, and said so in the cell's log
    hands.wait(0.1)
    np.testing.assert_allclose(tasks.relative(seat, hands.item).xyz, (0.0, 0.042, 0.0), atol=2e-3)
    person.publish(Pose())  # back to where it was
    hands.wait(0.1)
    np.testing.assert_allclose(hands.item.xyz, seat.xyz, atol=2e-3)
    assert [len(line["xyz"]) for line in events(log_file, "displaced")] == [3, 3]
    hands.reset(5, "extract_ram")
    assert [line["seed"] for line in events(log_file, "reset")] == [4, 5]
    with pytest.raises(CallError, match="start it with scene:=lift"):
        hands.reset(6, "lift")


def test_tool_and_trigger_are_seen_where_they_are(bench):
    hands = bench.hands
    hands.reset(2, "extract_ram")
    np.testing.assert_allclose(hands.tool[:3, 3], bench.cell.cell.tool_centre(), atol=1e-6)
    goal = skills.trigger_pose(PARTS["extract_ram"], hands.item)
    assert goal[2, 3] == pytest.approx(hands.item.xyz[2] + PARTS["extract_ram"].grasp_z + skills.TRIGGER_HEIGHT)
    assert hands.still


def test_freedrive_needs_a_switch_and_pushes(bench):
    hands = bench.hands
    hands.reset(1, "extract_ram")
    states = {c.name: c.state for c in bench.call(ListControllers, "controller_manager/list_controllers").controller}
    assert states[FREEDRIVE_CONTROLLER] == "inactive"
    switch = {"activate_controllers": [FREEDRIVE_CONTROLLER], "strictness": SwitchController.Request.STRICT}
    refused = bench.call(SwitchController, "controller_manager/switch_controller", **switch)
    assert not refused.ok
    assert "claimed by 'scaled_joint_trajectory_controller'" in refused.message
    switch["deactivate_controllers"] = [TRAJECTORY_CONTROLLER]
    assert bench.call(SwitchController, "controller_manager/switch_controller", **switch).ok
    enable = bench.node.create_publisher(Bool, f"{FREEDRIVE_CONTROLLER}/enable_freedrive_mode", COMMAND)
    push = bench.node.create_publisher(Twist, "sim/push", COMMAND)
    twist = Twist()
    twist.linear.z = 0.05
    begin = hands.tool[2, 3]
    for _ in range(50):
        enable.publish(Bool(data=True))
        push.publish(twist)
        hands.tick()
    assert hands.tool[2, 3] - begin == pytest.approx(0.05, abs=0.006)
    back = {"activate_controllers": [TRAJECTORY_CONTROLLER], "deactivate_controllers": [FREEDRIVE_CONTROLLER]}
    assert bench.call(SwitchController, "controller_manager/switch_controller", strictness=2, **back).ok


def test_faults_are_logged(bench, log_file):
    hands = bench.hands
    hands.reset(1, "extract_ram")
    for on in (True, False):
        assert bench.call(SetBool, "sim/fault/gripper_stuck", data=on).success
    hands.tick()
    assert [(line["name"], line["on"]) for line in events(log_file, "fault")] == [
        ("gripper_stuck", True), ("gripper_stuck", False),
    ]  # fmt: skip


def test_sticks_are_published_at_every_tick_stamped_until_unplugged(bench):
    hands, joys = bench.hands, bench.joys
    hands.reset(1, "extract_ram")
    for seen in joys.values():
        seen.clear()
    hands.steer(np.array([0.0, 0.0, 0.5, 0.0, 0.0, 0.0]))
    hands.hold("skill/ram")
    hands.wait(0.2)
    hands.hold(None)
    hands.release()
    hands.wait(0.1)
    left, right = joys["left"], joys["right"]
    assert len(left) == len(right) == 15
    assert [time_ns(msg.header.stamp) for msg in right] == sorted({time_ns(msg.header.stamp) for msg in right})
    assert right[3].axes[1] == pytest.approx(0.5)
    assert [msg.buttons[38] for msg in right] == [1] * 10 + [0] * 5
    assert not any(right[-1].axes)
    assert list(left[-1].axes) == pytest.approx([0.0, 0.0, joy_pilot.SLIDER_UP, 0.0, 0.0, 0.0])
    hands.plugged = False
    hands.wait(0.2)
    hands.plugged = True
    assert len(left) == 15


def test_person_hears_phases_and_teleoperation_and_says_what_is_missing(bench):
    hands = bench.hands
    hands.tick()
    with pytest.raises(SimError, match=r"waited 2 s for teleoperation to hear the sticks .*: in vain"):
        hands.wait_for_device()
    phases = bench.node.create_publisher(EpisodeEvent, "episode/event", LATCHED)
    states = bench.node.create_publisher(TeleopState, "teleop/state", EVENT)
    phases.publish(EpisodeEvent(phase=EpisodeEvent.ARMED, label="opened"))
    states.publish(TeleopState(state=TeleopState.ACTIVE, device="sol_r2", line="ACTIVE | sol_r2"))
    hands.wait_until("both", lambda: hands.drives and hands.phase == EpisodeEvent.ARMED)
    hands.wait_for_device()
    assert hands.event.label == "opened"
    assert not hands.returned
    states.publish(TeleopState(state=TeleopState.ACTIVE, device="sol_r2", stale=True))
    hands.wait_until("silence", lambda: not hands.drives)
