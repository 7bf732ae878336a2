# SPDX-License-Identifier: Apache-2.0

"""Streaming of positions: only to an active controller, never faster than the profile allows."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers
from policy_cell import ros, wait_until
from policy_fixtures import small_profile
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from vla_common.action_channel import ControllerError
from vla_common.robot_commands import ActionCommands
from vla_core.trajectory import build_trajectory

S = 1_000_000_000
TICK = S // 50
FORWARD, TRAJECTORY = "forward_position_controller", "arm_controller"


class Driver(Node):
    """A controller manager and a forward controller that writes down what it gets."""

    def __init__(self):
        super().__init__("driver")
        self.claims = ["shoulder/position", "elbow/position"]
        self.active, self.received, self.targets = FORWARD, [], []
        self.create_service(ListControllers, "controller_manager/list_controllers", self._list)
        self.listener = self.create_subscription(
            Float64MultiArray, f"{FORWARD}/commands", lambda msg: self.received.append(list(msg.data)), 100
        )
        self.create_subscription(JointState, "command/arm", self.targets.append, 100)

    def _list(self, _, response):
        claims = self.claims
        for name in (FORWARD, TRAJECTORY):
            active = name == self.active
            state = ControllerState(name=name, state="active" if active else "inactive")
            state.claimed_interfaces, state.required_command_interfaces = claims if active else [], claims
            response.controller.append(state)
        return response


@pytest.fixture
def rig():
    with ros():
        profile = small_profile(
            **{
                "interface: follow_joint_trajectory, name: arm_controller/follow_joint_trajectory": (
                    f"interface: joint_group_position, name: {FORWARD}/commands"
                ),
                "interface: parallel_gripper_command, name: gripper_controller/gripper_cmd": "interface: none, name: none",
            }
        )
        node, driver, executor = Node("sender"), Driver(), MultiThreadedExecutor(3)
        commands = ActionCommands(node, profile, lockstep=True)
        for one in (node, driver):
            executor.add_node(one)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        try:
            yield SimpleNamespace(commands=commands, driver=driver, node=node)
        finally:
            commands.close()
            executor.shutdown(timeout_sec=2.0)
            thread.join(5.0)
            for one in (node, driver):
                one.destroy_node()


def begin(rig):
    rig.commands.begin(5.0)
    wait_until(lambda: rig.node.count_subscribers(f"{FORWARD}/commands") == 1, what="the subscription")


def test_positions_go_out_tick_by_tick_and_a_stop_sends_nothing_more(rig):
    begin(rig)
    rows = np.array([0.1, 0.2]) + 0.01 * np.arange(5)[:, None]
    way = build_trajectory(rows, 0, 0.1, 0, joint_names=("shoulder", "elbow"), start=(rows[0], np.zeros(2)))
    rig.commands.trajectory("arm", way)
    assert not rig.commands.resting()
    sent = []
    for i in range(21):
        sent.append(way.position_at(i * TICK))
        rig.commands.in_force(i * TICK, "arm", sent[-1])
        rig.commands.settle()
    assert rig.commands.resting()
    wait_until(lambda: len(rig.driver.received) == 21 and len(rig.driver.targets) == 21, what="all positions")
    assert np.array(rig.driver.received) == pytest.approx(np.array(sent))
    assert list(rig.driver.targets[-1].position) == pytest.approx(rows[-1]), "what is sent is what is recorded"
    assert rig.commands.stop() == []
    assert rig.commands.failures() == []


def test_a_controller_that_is_not_active_is_refused_with_the_way_to_switch(rig):
    rig.driver.active = TRAJECTORY
    with pytest.raises(ControllerError) as caught:
        rig.commands.begin(5.0)
    assert "controller forward_position_controller is inactive, so it would take no command" in str(caught.value)
    assert (
        "ros2 service call /controller_manager/switch_controller controller_manager_msgs/srv/SwitchController "
        '"{activate_controllers: [forward_position_controller], deactivate_controllers: [arm_controller], strictness: 2}"'
    ) in str(caught.value)


def test_another_order_of_joints_is_refused_before_anything_is_sent(rig):
    rig.driver.claims = ["elbow/position", "shoulder/position"]
    with pytest.raises(ControllerError) as caught:
        rig.commands.begin(5.0)
    assert "controller forward_position_controller takes elbow, shoulder, but the profile sends shoulder, elbow" in str(
        caught.value
    )
    assert "joints would be swapped. Write the joints of the profile in the order of the controller" in str(
        caught.value
    )
    assert rig.driver.received == []


def test_a_step_beyond_the_limit_is_not_sent_and_ends_the_run(rig):
    begin(rig)
    rig.commands.in_force(0, "arm", np.array([0.1, 0.2]))
    rig.commands.in_force(TICK, "arm", np.array([0.1, 0.2 + 0.059]))  # 3 rad/s are allowed: 0.06 rad
    rig.commands.in_force(2 * TICK, "arm", np.array([0.1, 0.2 + 0.059 + 0.061]))
    (failure,) = rig.commands.failures()
    assert "elbow would have to move 0.0610 rad in 0.020 s, more than its limit of 3 rad/s" in failure
    wait_until(lambda: len(rig.driver.received) == 2, what="two positions")
    rig.commands.stop()
    rig.commands.in_force(3 * TICK, "arm", np.array([1.0, 1.0]))
    assert rig.commands.failures() == [], "after a stop the arm is picked up where it is"


def test_a_controller_that_is_switched_away_is_noticed(rig):
    begin(rig)
    rig.driver.active = TRAJECTORY
    failures = []

    def noticed():
        rig.commands.in_force(2 * S + len(failures), "arm", np.array([0.1, 0.2]))
        failures.extend(rig.commands.failures())
        return failures

    wait_until(noticed, what="the failure")
    assert "forward_position_controller is inactive" in failures[0]


def test_a_listener_that_went_away_is_noticed(rig):
    begin(rig)
    rig.driver.destroy_subscription(rig.driver.listener)
    wait_until(lambda: rig.node.count_subscribers(f"{FORWARD}/commands") == 0, what="the end of the subscription")
    rig.commands.in_force(0, "arm", np.array([0.1, 0.2]))
    assert "nobody listens any more" in rig.commands.failures()[0]
