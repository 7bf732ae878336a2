# SPDX-License-Identifier: Apache-2.0

"""The SO-101 driver as other nodes see it, with LeRobot's bus and emulated servos behind it."""

import math

import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from controller_manager_msgs.srv import ListControllers, SwitchController
from ros_peer import peer, until, wait
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from vla_common.params import ParameterError
from vla_common.qos import COMMAND
from vla_drivers.errors import DriverError
from vla_drivers.so101.calibration import JOINTS, NOMINAL, write
from vla_drivers.so101.so101_driver_node import So101DriverNode

MOCK = {"use_mock_hardware": True}
ACTION = "joint_trajectory_controller/follow_joint_trajectory"
STREAM = "forward_position_controller"


def trajectory(positions, seconds, names=JOINTS):
    point = JointTrajectoryPoint(positions=[float(q) for q in positions])
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(seconds * 1e9), 10**9)
    return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(names), points=[point]))


def torque(node):
    with node.emulator.lock:
        return [servo.torque for servo in node.emulator.servos.values()]


def test_joint_states_trajectory_and_torque():
    with peer(So101DriverNode, **MOCK) as p:
        state = p.next_state()
        assert tuple(state.name) == JOINTS
        assert list(state.position) == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.0, 0.87265], abs=2e-3)
        assert state.header.stamp.sec > 0
        assert torque(p.driver) == [False] * 6
        assert p.goal(FollowJointTrajectory, ACTION, trajectory([0.0] * 6, 1.0, [*JOINTS[:5], "jaw"])) is None
        assert torque(p.driver) == [False] * 6  # a refused goal turns nothing on
        names = tuple(reversed(JOINTS))
        response = wait(p.goal(FollowJointTrajectory, ACTION, trajectory([0.5, 0.1, 0.0, 0.2, 0.0, 0.4], 0.5, names)))
        assert (response.status, response.result.error_code) == (GoalStatus.STATUS_SUCCEEDED, 0)
        assert torque(p.driver) == [True] * 6
        target = [0.4, 0.0, 0.2, 0.0, 0.1, 0.5]
        state = p.next_state(lambda s: max(abs(a - b) for a, b in zip(s.position, target, strict=True)) < 0.02)
        assert len(state.velocity) == 6
        p.close()
        assert torque(p.driver) == [True] * 6  # on_exit: hold


def test_controllers_are_switched_and_positions_streamed():
    with peer(
        So101DriverNode, **MOCK, initial_joint_controller="joint_trajectory_controller", on_exit="torque_off"
    ) as p:
        commands = p.client.create_publisher(Float64MultiArray, f"{STREAM}/commands", COMMAND)
        listed = p.call(ListControllers, "controller_manager/list_controllers", ListControllers.Request()).controller
        assert {c.name: c.state for c in listed} == {
            "joint_state_broadcaster": "active",
            "joint_trajectory_controller": "active",
            STREAM: "inactive",
        }
        request = SwitchController.Request(activate_controllers=[STREAM], strictness=SwitchController.Request.STRICT)
        answer = p.call(SwitchController, "controller_manager/switch_controller", request)
        assert (answer.ok, "claimed by 'joint_trajectory_controller'" in answer.message) == (False, True)
        request.deactivate_controllers = ["joint_trajectory_controller"]
        assert p.call(SwitchController, "controller_manager/switch_controller", request).ok
        start = list(p.next_state().position)
        until(lambda: commands.get_subscription_count() == 1)
        commands.publish(Float64MultiArray(data=[math.nan] * 6))
        commands.publish(Float64MultiArray(data=[start[0] + 1.2, *start[1:]]))  # too far at once
        commands.publish(Float64MultiArray(data=[start[0] + 0.2, *start[1:]]))
        p.next_state(lambda s: abs(s.position[0] - start[0] - 0.2) < 0.01)
        with p.driver.emulator.lock:
            goals = [write[1] for write in p.driver.emulator.writes]
        assert max(goals) <= 2050 + math.degrees(0.2) / 360 * 4095 + 2  # what was refused was never sent
        assert p.goal(FollowJointTrajectory, ACTION, trajectory(start, 1.0)) is None
        p.close()
        assert torque(p.driver) == [False] * 6


def test_a_pulled_cable_ends_the_goal_and_the_arm_comes_back_without_moving():
    with peer(So101DriverNode, **MOCK, reconnect_s=0.05, link_timeout_s=0.1) as p:
        p.next_state()
        running = p.goal(FollowJointTrajectory, ACTION, trajectory([0.5, 0.0, 0.0, 0.0, 0.0, 0.9], 20.0))
        until(lambda: torque(p.driver) == [True] * 6)
        p.driver.emulator.unplug()
        response = wait(running)
        assert response.status == GoalStatus.STATUS_ABORTED
        assert response.result.error_string.startswith("the arm was lost: ")
        p.states.clear()
        assert p.goal(FollowJointTrajectory, ACTION, trajectory([0.0] * 6, 1.0)) is None
        p.driver.emulator.plug()
        p.driver._arm.port = str(p.driver.emulator.path)  # a real port keeps its name by id
        p.next_state()
        writes = len(p.driver.emulator.writes)
        p.next_state()
        assert len(p.driver.emulator.writes) == writes


def test_a_driver_that_is_not_to_reconnect_ends():
    with peer(So101DriverNode, **MOCK, reconnect_s=0.0, link_timeout_s=0.1) as p:
        p.driver.emulator.unplug()
        assert p.driver.stop.wait(60.0)
        assert p.driver.stop.code == 1
        assert "reading positions on port" in p.driver.stop.reason


def test_a_leader_publishes_and_takes_no_commands(tmp_path):
    write(tmp_path / "mine.json", NOMINAL)
    options = {"role": "leader", "calibration_file": str(tmp_path / "mine.json"), "joint_prefix": "left_"}
    with peer(So101DriverNode, **MOCK, **options) as p:
        assert list(p.next_state().name) == [f"left_{joint}" for joint in JOINTS]
        with p.driver.emulator.lock:
            p.driver.emulator.servos[1].position += 200  # a hand moves it
        p.next_state(lambda s: s.position[0] > 0.25)
        assert torque(p.driver) == [False] * 6
        assert not any("controller" in service.srv_name for service in p.driver.services)


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({}, DriverError, "neither calibration_file nor id is given.*lerobot-calibrate --robot"),
        ({"calibration_file": "/nowhere.json"}, DriverError, r"no calibration at /nowhere\.json"),
        ({"calibration_file": "FILE"}, DriverError, "parameter port is empty"),
        ({"calibration_file": "FILE", "port": "/dev/absent"}, DriverError, r"Is the USB cable plugged in\?"),
        ({**MOCK, "gripper_open": 0.0}, DriverError, "gripper_closed and gripper_open are the same angle"),
        ({**MOCK, "role": "folower"}, ParameterError, "did you mean 'follower'"),
    ],
)
def test_what_is_refused_at_the_start(tmp_path, parameters, error, text):
    write(tmp_path / "mine.json", NOMINAL)
    given = {key: str(tmp_path / "mine.json") if value == "FILE" else value for key, value in parameters.items()}
    with pytest.raises(error, match=text), peer(So101DriverNode, **given):
        pass
