# SPDX-License-Identifier: Apache-2.0

"""Controllers are switched strictly and refusals are told; targets go out on the profile's topics."""

import os
import random
import threading

import pytest
import rclpy
from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers, SwitchController
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from vla_common.controllers import ControllerError, ControllerSwitch
from vla_common.targets import TargetPublisher
from vla_core.errors import ProfileError
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE


class Manager:
    """A controller manager that remembers what it was asked."""

    def __init__(self, node):
        self.states = {"trajectory": "active", "stream": "inactive", "broadcaster": "active"}
        self.asked, self.order = [], ()
        self.refuse = ""
        node.create_service(ListControllers, "manager/list_controllers", self._list)
        node.create_service(SwitchController, "manager/switch_controller", self._switch)

    def _list(self, _, response):
        needed = [f"{joint}/position" for joint in self.order]
        response.controller = [
            ControllerState(name=name, state=state, required_command_interfaces=needed)
            for name, state in self.states.items()
        ]
        return response

    def _switch(self, request, response):
        self.asked.append(
            (list(request.activate_controllers), list(request.deactivate_controllers), request.strictness)
        )
        response.ok, response.message = not self.refuse, self.refuse
        if response.ok:
            self.states.update(dict.fromkeys(request.activate_controllers, "active"))
            self.states.update(dict.fromkeys(request.deactivate_controllers, "inactive"))
        return response


@pytest.fixture
def spun(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 200)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = Context()
    rclpy.init(context=context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
    node = Node("peer", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(timeout=5.0)
    node.destroy_node()
    context.try_shutdown()


def test_the_arm_is_given_to_a_controller_and_back(spun):
    manager, switch = Manager(spun), ControllerSwitch(spun, manager="manager")
    assert switch.active(5.0) == {"trajectory", "broadcaster"}
    assert switch.give("stream", ("trajectory", "other"), answer_s=5.0, timeout_s=5.0) == ("trajectory",)
    assert manager.asked == [(["stream"], ["trajectory"], SwitchController.Request.STRICT)]
    assert switch.active(5.0) == {"stream", "broadcaster"}
    assert switch.give("stream", ("trajectory",), answer_s=5.0, timeout_s=5.0) == ()
    assert len(manager.asked) == 1


def test_a_refusal_names_both_sides_and_the_managers_reason(spun):
    manager, switch = Manager(spun), ControllerSwitch(spun, manager="manager")
    manager.refuse = "the hardware is not active"
    with pytest.raises(ControllerError) as caught:
        switch.switch(["stream"], ["trajectory"], 5.0)
    assert str(caught.value) == (
        "controllers were not switched (start stream; stop trajectory): the hardware is not active. Look with: "
        "ros2 control list_controllers"
    )


def test_an_unknown_controller_is_named_with_the_nearest(spun):
    manager, switch = Manager(spun), ControllerSwitch(spun, manager="manager")
    with pytest.raises(
        ControllerError, match=r"knows no controller 'steam'; did you mean 'stream'\?; loaded are broad"
    ):
        switch.give("steam", ("trajectory",), answer_s=5.0)
    assert manager.asked == []


def test_a_controller_with_another_order_of_joints_does_not_get_the_arm(spun):
    manager, switch = Manager(spun), ControllerSwitch(spun, manager="manager")
    manager.order = ("b", "a")
    with pytest.raises(
        ControllerError, match=r"manager: controller stream takes b, a, but the profile sends a, b: num"
    ):
        switch.give("stream", ("trajectory",), answer_s=5.0, order=("a", "b"))
    assert manager.asked == []
    assert switch.give("stream", ("trajectory",), answer_s=5.0, timeout_s=5.0, order=("b", "a")) == ("trajectory",)
    manager.order = ()  # a manager that does not tell
    assert switch.give("stream", (), answer_s=5.0, order=("a", "b")) == ()


def test_why_a_controller_takes_no_commands(spun):
    switch = ControllerSwitch(spun, manager="manager")
    assert not switch.offered()
    Manager(spun)
    assert switch.why_not("trajectory", 5.0) is None
    assert switch.why_not("of another manager", 5.0) is None
    assert switch.offered()
    text = switch.why_not("stream", 5.0)
    assert text.startswith("controller stream is inactive, so it would take no command. Is the robot's program running")
    assert "ros2 service call /manager/switch_controller" in text


def test_an_absent_manager_is_told(spun):
    switch = ControllerSwitch(spun, manager="nowhere")
    with pytest.raises(
        ControllerError, match=r"which controller has the arm cannot be found out: service .*nowhere/list"
    ):
        switch.active(0.05)
    with pytest.raises(ControllerError, match=r"not switched \(start a; stop \(none\)\): service .*nobody offers it"):
        switch.switch(["a"], [], 0.05)


def test_targets_go_out_with_names_and_stamp(spun):
    got, arrived = [], threading.Event()
    spun.create_subscription(JointState, "command/arm", lambda msg: (got.append(msg), arrived.set()), 10)
    targets = TargetPublisher(spun, parse_profile(PROFILE))
    while spun.count_subscribers("command/arm") == 0:
        arrived.wait(0.01)
    targets.publish("arm", 2_500_000_000, [0.1, -0.2])
    assert arrived.wait(5.0)
    assert (list(got[0].name), list(got[0].position)) == (["elbow_joint", "wrist_joint"], [0.1, -0.2])
    assert (got[0].header.stamp.sec, got[0].header.stamp.nanosec) == (2, 500_000_000)
    with pytest.raises(ValueError, match="action 'arm' has 2 joints, got 1 positions"):
        targets.publish("arm", 0, [0.1])


def test_what_cannot_be_labelled_is_refused(spun):
    with pytest.raises(ProfileError, match=r"there is no action 'leg'; actions: arm, gripper"):
        TargetPublisher(spun, parse_profile(PROFILE), ["leg"])
    other = PROFILE.replace(
        "record: {topic: command/arm,",
        "record: {topic: command/arm, type: std_msgs/msg/Float64MultiArray, fields: ['data[0]', 'data[1]'],",
    )
    with pytest.raises(ProfileError, match=r"'arm' is recorded from std_msgs/msg/Float64MultiArray on command/arm"):
        TargetPublisher(spun, parse_profile(other), ["arm"])
