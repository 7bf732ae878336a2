# SPDX-License-Identifier: Apache-2.0

"""The Robotiq driver as other nodes see it, with an emulated gripper behind a real socket."""

import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import GripperCommand, ParallelGripperCommand
from ros_peer import peer, until, wait
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from vla_drivers.emulators.robotiq import RobotiqEmulator
from vla_drivers.errors import DriverError
from vla_drivers.robotiq.robotiq_socket_node import JOINT, RobotiqSocketNode

ACTION = "robotiq_gripper_controller/gripper_cmd"
PATIENT = {"answer_timeout_s": 10.0, "motion_timeout_s": 30.0}


@pytest.fixture
def gripper():
    made = []

    def make(**options):
        made.append(RobotiqEmulator(**options))
        return made[-1], {"robot_ip": made[-1].address[0], "gripper_port": made[-1].address[1], **PATIENT}

    yield make
    for emulator in made:
        emulator.close()


def parallel(position, name=JOINT):
    return ParallelGripperCommand.Goal(command=JointState(name=[name], position=[position]))


def test_close_grasp_and_open(gripper):
    emulator, where = gripper()
    with peer(RobotiqSocketNode, **where) as p:
        state = p.next_state()
        assert (list(state.name), list(state.position)) == ([JOINT], [0.0])
        response = wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.7929)))
        assert (response.status, response.result.reached_goal, response.result.stalled) == (4, True, False)
        assert list(response.result.state.position) == pytest.approx([0.7929])
        assert wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.0))).result.reached_goal
        emulator.object_at = 130.0
        response = wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.7929)))
        assert (response.status, response.result.reached_goal, response.result.stalled) == (4, False, True)
        p.next_state(lambda s: abs(s.position[0] - 0.4436) < 0.01)
        assert p.goal(ParallelGripperCommand, ACTION, parallel(float("nan"))) is None
        assert p.goal(ParallelGripperCommand, ACTION, parallel(0.1, "other_joint")) is None


def test_the_action_type_of_humble(gripper):
    _, where = gripper()
    with peer(RobotiqSocketNode, **where, action_type="gripper_command", joint_prefix="left_") as p:
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = 0.4, 50.0
        response = wait(p.goal(GripperCommand, ACTION, goal))
        assert (response.result.reached_goal, response.result.position) == (True, pytest.approx(0.4, abs=0.005))
        assert list(p.next_state().name) == ["left_" + JOINT]


def test_a_robot_that_is_switched_off_and_on(gripper):
    emulator, where = gripper()
    with peer(RobotiqSocketNode, **where, reconnect_s=0.05) as p:
        p.next_state()
        emulator.stuck = True
        running = p.goal(ParallelGripperCommand, ACTION, parallel(0.7929))
        until(lambda: any("GTO 1" in line for line in emulator.requests))
        emulator.die()
        assert wait(running).status == GoalStatus.STATUS_ABORTED
        assert p.goal(ParallelGripperCommand, ACTION, parallel(0.1)) is None
        answer = p.call(Trigger, "robotiq_activation_controller/reactivate_gripper", Trigger.Request())
        assert (answer.success, f"gripper at 127.0.0.1:{where['gripper_port']}" in answer.message) == (False, True)
        emulator.stuck = False
        emulator.revive()
        p.next_state()
        assert wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.3))).result.reached_goal


def test_nothing_moves_before_it_is_wanted(gripper):
    emulator, where = gripper(active=False)
    with peer(RobotiqSocketNode, **where, activation="service") as p:
        p.next_state()
        assert p.goal(ParallelGripperCommand, ACTION, parallel(0.3)) is None
        assert not any(line.startswith("SET") for line in emulator.requests)
        assert p.call(Trigger, "robotiq_activation_controller/reactivate_gripper", Trigger.Request()).success
        until(lambda: p.driver._gripper.status == 3)
        assert wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.3))).result.reached_goal


def test_a_driver_that_is_not_to_reconnect_ends(gripper):
    emulator, where = gripper()
    with peer(RobotiqSocketNode, **where, reconnect_s=0.0) as p:
        emulator.die()
        assert p.driver.stop.wait(60.0)
        assert (p.driver.stop.code, "was lost" in p.driver.stop.reason) == (1, True)


def test_mock_hardware():
    with peer(RobotiqSocketNode, use_mock_hardware=True, **PATIENT) as p:
        assert wait(p.goal(ParallelGripperCommand, ACTION, parallel(0.5))).result.reached_goal


def test_what_is_refused_at_the_start(gripper):
    with pytest.raises(DriverError, match="parameter robot_ip is empty"), peer(RobotiqSocketNode):
        pass
    emulator, where = gripper()
    emulator.die()
    with (
        pytest.raises(DriverError, match=r"refused\. A computer is there, but no gripper server"),
        peer(RobotiqSocketNode, **where),
    ):
        pass
