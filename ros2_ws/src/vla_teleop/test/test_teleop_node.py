# SPDX-License-Identifier: Apache-2.0

"""The teleop node in the simulated cell: taking the arm, driving it, faults, and giving it back."""

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory
from controller_manager_msgs.srv import ListControllers
from rclpy.action import ActionClient
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from teleop_stage import MOVING, TeleopStage, wait_until
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from vla_core.kinematics import rotation_vector
from vla_core.stamps import stamp_ns
from vla_msgs.msg import TeleopState
from vla_msgs.srv import SetSpeed

S = TeleopState
TRAJECTORY, STREAM = "scaled_joint_trajectory_controller", "forward_position_controller"
FREEDRIVE = "freedrive_mode_controller"
FORWARD = np.array([0.03, 0.0, 0.0, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    made = TeleopStage(tmp_path_factory.mktemp("teleop"), home_speed=1.0, home_acceleration=2.0)
    yield made
    made.close()


@pytest.fixture
def stage(shared):
    """The arm is with its trajectory controller at the beginning, and nobody touches the stick."""
    shared.stick.move()
    shared.stick.alive = True
    shared.enable(False)
    assert shared.state.state == S.OFF
    shared.fault("protective_stop", on=False)
    for seen in (shared.states, shared.events, shared.commands, *shared.targets.values()):
        seen[:] = seen[-1:] if seen is shared.states else []
    return shared


def active(stage):
    """Names of the motion controllers that are active."""
    answer = stage.call(ListControllers, "controller_manager/list_controllers")
    motion = (TRAJECTORY, STREAM, FREEDRIVE)
    return {one.name for one in answer.controller if one.state == "active" and one.name in motion}


def goal(stage, *, seconds=0.5, joint=5, by=0.05):
    """Send the trajectory controller a goal; its handle."""
    client = ActionClient(stage.helper, FollowJointTrajectory, f"{TRAJECTORY}/follow_joint_trajectory")
    assert client.wait_for_server(20.0)
    target = stage.q().copy()
    target[joint] += by
    point = JointTrajectoryPoint(positions=target.tolist())
    point.time_from_start.sec, point.time_from_start.nanosec = int(seconds), int(seconds % 1 * 1e9)
    path = JointTrajectory(joint_names=list(stage.profile.action[0].joints), points=[point])
    future = client.send_goal_async(FollowJointTrajectory.Goal(trajectory=path))
    wait_until(future.done, 30.0, "the answer to the goal")
    return future.result()


def test_a_person_takes_the_arm_drives_it_and_gives_it_back(stage):
    begin, q0 = stage.tcp()[:3, 3], stage.q()
    answer = stage.enable()
    assert (answer.success, answer.message) == (True, "the person drives with stick")
    assert active(stage) == {STREAM}
    times = dict(stage.state_times())
    assert times[S.ACTIVE] - times[S.TAKING] <= 0.3
    stage.until(lambda: stage.commands)
    assert stage.commands[0][1] == pytest.approx(q0, abs=1e-3)  # the first command is where the arm is

    stage.stick.move(twist=FORWARD, moving=True)
    stage.pass_s(1.0)
    assert stage.state.moving
    assert np.array(stage.state.twist)[:3] == pytest.approx([-0.03, 0, 0], abs=1e-4)  # in base_link
    stage.stick.move()
    stage.pass_s(0.4)
    way = stage.tcp()[:3, 3] - begin
    assert way == pytest.approx([-0.03, 0.0, 0.0], abs=0.0025)
    assert np.abs(way[1:]).max() < 2e-4
    commands = np.array([values for _, values in stage.commands])
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.01 + 1e-9  # 1 rad/s for 10 ms
    assert not stage.state.moving

    handle = goal(stage)
    assert not handle.accepted  # while the person drives, nobody else does
    assert stage.enable(False).message == f"{TRAJECTORY} has the arm again"
    assert active(stage) == {TRAJECTORY}
    states = [state for state, _ in stage.state_times()]
    assert states[-2:] == [S.RETURNING, S.OFF]
    assert goal(stage).accepted
    stage.pass_s(0.8)


def test_the_targets_in_force_are_published_from_the_person_s_taking_until_somebody_else_drives(stage):
    stage.enable()
    stage.stick.move(twist=FORWARD)
    stage.pass_s(0.5)
    stage.enable(False)
    back_s = stage.now_s
    stage.pass_s(0.3)
    arm, gripper = stage.targets["command/arm"], stage.targets["command/gripper"]
    stamps = np.array([stamp_ns(msg) for msg in arm]) * 1e-9
    assert list(arm[0].name) == list(stage.profile.action[0].joints)
    assert np.diff(stamps) == pytest.approx(0.01)
    assert len(gripper) == len(arm) >= 50
    assert stage.now_s - stamps[-1] < 0.1, "they stand when the arm was given back"
    stood = {tuple(msg.position) for msg, t in zip(arm, stamps, strict=True) if t > back_s}
    assert stood == {tuple(stage.commands[-1][1])}
    other = stage.helper.create_publisher(JointState, "command/arm", 10)
    said = JointState(name=arm[-1].name, position=[q + 0.001 for q in arm[-1].position])
    said.header.stamp, said.header.frame_id = Time(seconds=stage.now_s).to_msg(), "/skills"
    other.publish(said)
    stage.until(lambda: arm[-1].header.frame_id == "/skills", "somebody else to be heard")
    stage.pass_s(0.2)
    assert arm[-1].header.frame_id == "/skills", "then they fall silent"
    stage.helper.destroy_publisher(other)
    stage.stick.move()
    stage.enable()
    stage.pass_s(0.1)
    again = [msg for msg in arm if msg.header.frame_id == "/teleop"][-1]
    assert np.allclose(again.position, said.position), "the person begins with what is in force"
    stage.enable(False)


def test_a_silent_stick_stops_the_arm_within_a_fifth_of_a_second(stage):
    stage.enable()
    stage.stick.move(twist=np.array([0.05, 0.05, -0.05, 0.0, 0.0, 0.25]), moving=True)
    stage.pass_s(0.4)
    stage.stick.alive = False
    begun = stage.now_s
    stage.pass_s(0.6)
    assert 0.05 < stage.still_from(begun) <= 0.2
    assert stage.state.state == S.ACTIVE
    assert stage.state.stale
    assert not stage.state.moving
    assert "stick is silent, so the arm rests" in stage.state.line
    stage.stick.alive = True
    stage.pass_s(0.3)
    assert np.abs(stage.joints[-1][2]).max() > MOVING  # it is heard again, and still deflected


def test_a_press_is_one_event_and_turns_the_tool_by_a_quarter(stage):
    stage.enable()
    before = stage.tcp()
    stage.stick.press("rotate_cw", "record")
    stage.pass_s(1.0)
    stage.stick.press("rotate_cw")  # ignored: one turn at a time
    assert stage.state.motion == "rotate_cw"
    stage.until(lambda: stage.state.motion == "")
    stage.pass_s(0.3)
    turn = rotation_vector(stage.tcp()[:3, :3] @ before[:3, :3].T)
    assert turn == pytest.approx([0.0, 0.0, -1.571], abs=0.02)
    assert [event.name for event in stage.events] == ["rotate_cw", "record", "rotate_cw"]
    assert stage.events[0].device == "stick"


def test_reorient_and_home_go_to_the_ready_pose(stage):
    stage.enable()
    stage.stick.move(twist=np.array([0.02, 0.0, 0.0, 0.1, 0.1, 0.1]))
    stage.pass_s(1.0)
    stage.stick.move()
    stage.pass_s(0.2)
    answer = stage.trigger("teleop/reorient")
    assert (answer.success, answer.message) == (True, "the tool turns upright")
    stage.until(lambda: stage.state.motion == "reorient")
    stage.until(lambda: stage.state.motion == "")
    stage.pass_s(0.2)
    assert stage.tcp()[:3, 2] == pytest.approx([0, 0, -1], abs=0.01)
    answer = stage.trigger("teleop/home")
    assert (answer.success, answer.message) == (True, "the arm is at its ready pose")
    assert stage.state.state == S.ACTIVE
    stage.pass_s(0.2)
    assert stage.q() == pytest.approx(stage.profile.ready["arm"], abs=2e-3)


def test_home_borrows_the_arm_and_the_button_interrupt_stops_it_on_the_way(stage):
    goal(stage, seconds=1.0, by=0.6)
    stage.pass_s(1.3)
    far = stage.q()
    pressed = []

    def interrupt():
        stage.until(lambda: stage.state.motion == "home")
        stage.pass_s(0.5)
        stage.stick.press("interrupt")
        pressed.append(stage.now_s)

    answer = while_asked(stage, interrupt)
    assert not answer.success
    assert answer.message == "broken off: the button interrupt was pressed"
    assert stage.still_from(pressed[0]) <= 0.2
    assert 0.01 < abs(stage.q()[5] - far[5]) < 0.5
    assert stage.state.state == S.OFF
    assert active(stage) == {TRAJECTORY}
    assert stage.trigger("teleop/home").success
    assert stage.q() == pytest.approx(stage.profile.ready["arm"], abs=2e-3)
    assert active(stage) == {TRAJECTORY}


def while_asked(stage, work):
    """Do something between the question and the answer of teleop/home."""
    client = stage.helper.create_client(Trigger, "teleop/home")
    assert client.wait_for_service(20.0)
    future = client.call_async(Trigger.Request())
    work()
    wait_until(future.done, 60.0, "the answer of teleop/home")
    stage.helper.destroy_client(client)
    return future.result()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("protective_stop", "monitor safety_mode: io_and_status_controller/safety_mode says mode = 3, allowed: 1, 2"),
        ("program_stop", "monitor program: io_and_status_controller/robot_program_running says data = False"),
        ("silent/arm", "no joint states for 0.21 s on joint_states (limit 0.2 s); is the robot's driver running?"),
    ],
)
def test_a_fault_of_the_robot_stops_the_stream_and_says_what_to_do(stage, fault, text):
    stage.enable()
    stage.stick.move(twist=FORWARD, moving=True)
    stage.pass_s(0.3)
    stage.fault(fault)
    stage.until(lambda: stage.state.state == S.FAULT, "the state FAULT")
    assert text in stage.state.line
    assert "call ~/enable with true to try again, with false to give the arm back" in stage.state.line
    count = len(stage.commands)
    stage.fault(fault, on=False)
    stage.pass_s(0.3)
    assert np.abs(stage.joints[-1][2]).max() < MOVING
    assert len(stage.commands) <= count + 2, "nothing is streamed in FAULT"
    stage.stick.move()
    answer = stage.enable()
    assert answer.success, answer.message
    assert stage.state.state == S.ACTIVE


def test_a_moving_arm_is_not_taken(stage):
    goal(stage, seconds=6.0, by=0.4)
    stage.pass_s(0.3)
    answer = stage.enable()
    assert not answer.success
    assert "forward_position_controller did not get the arm: after 3.0 s wrist_3_joint moved" in answer.message
    assert "is the robot free? A policy, a skill or a trajectory may drive it" in answer.message
    assert stage.state.state == S.FAULT
    assert active(stage) == {TRAJECTORY}
    stage.pass_s(3.5)


def test_the_gripper_closes_by_rate_with_few_goals(stage):
    stage.enable()
    stage.stick.move(gripper_rate=0.5)
    stage.pass_s(1.0)
    assert stage.state.gripper_rate == 0.5
    stage.stick.move()
    stage.pass_s(0.5)
    target = stage.targets["command/gripper"][-1].position[0]
    assert target == pytest.approx(0.5 * 0.7929, abs=0.02)
    stage.stick.move(gripper_rate=-5.0)
    stage.pass_s(0.5)
    assert stage.targets["command/gripper"][-1].position[0] == 0.0


def test_set_speed_scales_twist_and_gripper(stage):
    assert stage.call(SetSpeed, "teleop/set_speed", scale=0.5).success
    stage.enable()
    stage.stick.move(twist=FORWARD, gripper_rate=0.4)
    stage.pass_s(0.4)
    assert stage.state.twist[0] == pytest.approx(-0.015, abs=1e-4)
    assert stage.state.gripper_rate == pytest.approx(0.2)
    refused = stage.call(SetSpeed, "teleop/set_speed", scale=0.0)
    assert (refused.success, refused.message) == (False, "scale 0 is outside (0, 1]; 0.5 is half the speed")
    assert stage.call(SetSpeed, "teleop/set_speed", scale=1.0).success
    stage.stick.move(gripper_rate=-5.0)
    stage.pass_s(0.3)


def test_an_enabling_button_has_to_be_held(stage):
    stage.enable()
    stage.stick.move(twist=FORWARD, deadman=True)
    stage.pass_s(0.3)
    assert np.abs(stage.joints[-1][2]).max() > MOVING
    stage.stick.move(twist=FORWARD, deadman=False)
    begun = stage.now_s
    stage.pass_s(0.4)
    assert stage.still_from(begun) <= 0.2
    assert "hold the enabling button (deadman) to move" in stage.state.line


def test_a_leader_arm_is_followed_without_a_jump(stage):
    joints = stage.profile.action[0].joints
    begin = stage.q()
    leader = dict(zip(joints, begin + np.array([0.2, 0, 0, 0, 0, -0.1]), strict=True))
    stage.enable()
    stage.stick.move(joints=leader, gripper=0.3, moving=True)
    stage.until(lambda: stage.state.motion == "align")
    stage.until(lambda: stage.state.motion == "")
    stage.pass_s(0.5)
    assert stage.q() == pytest.approx(list(leader.values()), abs=5e-3)
    commands = np.array([values for _, values in stage.commands])
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.01 + 1e-9
    assert stage.targets["command/gripper"][-1].position[0] == pytest.approx(0.3 * 0.7929)
    stage.stick.move(joints={**leader, "elbow_joint": leader["elbow_joint"] - 1.2})
    stage.pass_s(0.2)
    assert "the leader's elbow_joint is at " in stage.state.line
    assert "1.20 rad apart, more than 0.8" in stage.state.line


def test_freedrive_lets_go_of_the_arm_and_takes_it_again(stage):
    answer = stage.call_freedrive(True)
    assert answer.success, answer.message
    assert (stage.state.state, active(stage)) == (S.FREEDRIVE, {FREEDRIVE})
    answer = stage.call_freedrive(False)
    assert answer.message == f"{TRAJECTORY} has the arm again"
    assert active(stage) == {TRAJECTORY}
    assert stage.call_freedrive(False).message == "freedrive is off already"
