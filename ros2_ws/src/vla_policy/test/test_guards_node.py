# SPDX-License-Identifier: Apache-2.0

"""Guards and the emergency stop as others meet them: topics, services, results of goals."""

import time

import pytest
from control_msgs.action import FollowJointTrajectory
from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers
from policy_cell import RampRunner, ros, wait_until
from policy_fixtures import PROFILE_TEXT, small_profile
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectoryPoint
from vla_common.action_client import GoalClient
from vla_common.qos import EVENT, LATCHED
from vla_common.run import ManagedNode
from vla_core.errors import ProfileError
from vla_core.profile import parse_profile
from vla_msgs.action import RunPolicy
from vla_msgs.msg import Heartbeat
from vla_policy.node.guards_node import RunGuards
from vla_policy.node.guards_urdf import DescribedLimits
from vla_policy.node.policy_params import PolicyParams
from vla_policy.policies.runner import ServerLostError

Result = RunPolicy.Result
MONITOR = (
    "monitors: {{program: {{topic: robot/program, type: {type}, field: {field}, allowed: [true], hint: start it}}}}\n"
)


def monitored(kind="std_msgs/msg/Bool", field="data", more=""):
    return parse_profile(PROFILE_TEXT + MONITOR.format(type=kind, field=field) + more, "monitored.yaml")


def call(cell, kind, name, **fields):
    client = cell.client_node.create_client(kind, name)
    assert client.wait_for_service(5.0)
    future = client.call_async(kind.Request(**fields))
    wait_until(future.done, what=f"the answer of {name}")
    cell.client_node.destroy_client(client)
    return future.result()


def moving(cell, **goal):
    """A goal whose arm is on its way."""
    cell.robot.arm_goals.clear()
    handle = cell.send(max_duration=20.0, **goal)
    wait_until(lambda: cell.robot.arm_goals, what="a trajectory")
    return handle


def ended(cell, handle, code, text):
    _, result = cell.result(handle)
    assert result.error_code == code, result.error_msg
    assert text in result.error_msg
    return result


def serves(cell):
    """The node runs the next goal as if nothing had been."""
    _, result = cell.result(cell.send(max_duration=0.5))
    assert result.termination == Result.TERMINATION_TIMEOUT, result.error_msg
    assert result.error_code == Result.NONE


def test_a_robot_that_reports_a_stop_ends_the_run(cell):
    c = cell(profile=monitored(), start_timeout_s=0.5)
    handle = c.send()
    ended(c, handle, Result.ROBOT_FAULT, "monitor program: nothing was received on robot/program")
    assert c.robot.arm_goals == []
    publisher = c.robot.create_publisher(Bool, "robot/program", LATCHED)
    publisher.publish(Bool(data=True))
    handle = moving(c)
    publisher.publish(Bool(data=False))
    ended(c, handle, Result.ROBOT_FAULT, "robot/program says data = False, allowed: True")
    assert c.robot.cancelled == 1
    publisher.publish(Bool(data=True))
    wait_until(lambda: c.node._safety.guards[2].check(0) is None)
    serves(c)


def test_a_dry_run_needs_no_robot_to_say_that_it_is_well(cell):
    c = cell(profile=monitored(), start_timeout_s=5.0)
    _, result = c.result(c.send(max_duration=0.5, dry_run=True))
    assert result.error_code == Result.NONE, result.error_msg


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        ("nowhere_msgs/msg/Bool", "data", "nowhere_msgs/msg/Bool with the field 'data' cannot be used: "),
        ("std_msgs/msg/Nothing", "data", "std_msgs/msg/Nothing with the field 'data' cannot be used: "),
        (
            "std_msgs/msg/Bool",
            "value",
            "no field 'value'; fields: data. Install the package (sudo apt-get install ros-j",
        ),
    ],
)
def test_a_monitor_that_cannot_work_keeps_the_node_from_starting(kind, field, message):
    with ros():
        node = ManagedNode("policy")
        with pytest.raises(ProfileError) as caught:
            RunGuards(node, PolicyParams(checkpoint="none"), monitored(kind, field))
        node.destroy_node()
    assert str(caught.value).startswith("monitored.yaml: monitors.program: ")
    assert message in str(caught.value)


def test_motion_is_enabled_and_withdrawn_by_service(cell):
    c = cell(require_enable=True)
    ended(c, c.send(), Result.NOT_ENABLED, "the permission to move was not given")
    assert call(c, SetBool, "policy/enable", data=True).message == "motion is allowed"
    handle = moving(c)
    assert "a running policy stops" in call(c, SetBool, "policy/enable", data=False).message
    ended(c, handle, Result.NOT_ENABLED, "the permission to move was withdrawn")
    assert c.robot.cancelled == 1
    call(c, SetBool, "policy/enable", data=True)
    serves(c)


def test_a_released_deadman_button_stops_the_arm(cell):
    c = cell(deadman_topic="joy", deadman_button=1)
    publisher = c.client_node.create_publisher(Joy, "joy", EVENT)
    buttons = [0, 0]
    timer = c.client_node.create_timer(0.02, lambda: publisher.publish(Joy(buttons=list(buttons))))
    wait_until(lambda: publisher.get_subscription_count() > 0)
    ended(c, c.send(), Result.NOT_ENABLED, "deadman switch: ")
    buttons[1] = 1
    wait_until(lambda: c.node._safety.enabled)
    handle = moving(c)
    buttons[1] = 0
    ended(c, handle, Result.NOT_ENABLED, "deadman switch: the button is not held; hold button 1 of the joystick on joy")
    buttons[1] = 1
    wait_until(lambda: c.node._safety.enabled)
    serves(c)
    handle = moving(c)
    timer.cancel()
    ended(c, handle, Result.NOT_ENABLED, "deadman switch: the joystick was silent for ")


def test_a_client_that_falls_silent_stops_the_arm(cell):
    c = cell()
    publisher = c.client_node.create_publisher(Heartbeat, "policy/heartbeat", EVENT)
    timer = c.client_node.create_timer(0.05, lambda: publisher.publish(Heartbeat(client="agent")))
    handle = moving(c, client="agent", heartbeat_timeout=0.5)
    begun_s = time.monotonic()
    wait_until(lambda: time.monotonic() > begun_s + 0.7, what="longer than the limit")
    assert handle.status != 4
    timer.cancel()
    ended(c, handle, Result.CLIENT_LOST, "client 'agent': no heartbeat for 0.5")
    assert c.robot.cancelled == 1
    serves(c)


def test_the_emergency_stop_takes_every_step_though_one_fails(cell):
    c = cell(profile=parse_profile(PROFILE_TEXT + "estop: [arm/halt, nobody/here]\n", "two_joint.yaml"))
    halted = []

    def halt(_, response):
        halted.append(True)
        response.success, response.message = True, "Stopped"
        return response

    c.robot.create_service(Trigger, "arm/halt", halt)
    handle = moving(c)
    wait_until(lambda: all(client.service_is_ready() for client in halting(c)))
    response = call(c, Trigger, "policy/estop")
    assert not response.success
    assert response.message.startswith("call nobody/here FAILED: nobody offers it")
    assert "call arm/halt: Stopped" in response.message
    assert "cancel arm_controller/follow_joint_trajectory: " in response.message
    assert "cancel gripper_controller/gripper_cmd: " in response.message
    assert halted == [True]
    result = ended(c, handle, Result.ESTOP, "the emergency stop was called")
    assert result.termination == Result.TERMINATION_ESTOP
    c.robot.arm_goals.clear()
    ended(c, c.send(), Result.ESTOP, "allow motion again with: ros2 service call /policy/reset_estop")
    assert c.robot.arm_goals == []
    assert call(c, Trigger, "policy/reset_estop").message == "goals may run again"
    serves(c)


def halting(c):
    return [client for client in c.node.clients if client.srv_type is Trigger and client.service_name.endswith("halt")]


def test_the_emergency_stop_cancels_goals_of_others_and_works_without_a_run(cell):
    c = cell()
    client = GoalClient(c.client_node, FollowJointTrajectory, "arm_controller/follow_joint_trajectory")
    assert client.wait_for_server(5.0)
    goal = FollowJointTrajectory.Goal()
    point = JointTrajectoryPoint(positions=[0.2, 0.3], time_from_start=Duration(seconds=15).to_msg())
    goal.trajectory.points = [point]
    future = client.send_goal_async(goal)
    wait_until(lambda: future.done() and c.robot.arm_goals, what="the other's goal")
    response = call(c, Trigger, "policy/estop")
    assert response.success, response.message
    assert "cancel arm_controller/follow_joint_trajectory: 1 goals cancelled" in response.message
    assert "cancel gripper_controller/gripper_cmd: no goal was running" in response.message
    wait_until(lambda: c.robot.cancelled == 1)
    client.destroy()


URDF = """<robot name="r">
<joint name="shoulder" type="revolute"><limit lower="{lower}" upper="0.15" velocity="9"/></joint>
<joint name="elbow" type="revolute"><limit lower="-3" upper="3" velocity="9"/></joint></robot>"""


def test_limits_of_the_robot_description_count(cell):
    c = cell()
    publisher = c.robot.create_publisher(String, "robot_description", LATCHED)
    publisher.publish(String(data=URDF.format(lower=-3.0)))
    wait_until(lambda: c.node.count_publishers("robot_description") == 1)
    ended(c, c.send(max_duration=20.0), Result.UNSAFE_ACTION, "position of shoulder at step ")
    publisher.publish(String(data=URDF.format(lower=0.2)))
    wait_until(lambda: c.node._safety._described.check(0) is not None, what="the second description")
    ended(
        c,
        c.send(),
        Result.UNSAFE_ACTION,
        "joint shoulder: the robot description allows 0.2 to 0.15, the profile -3 to 3",
    )
    publisher.publish(String(data="<robot"))
    wait_until(lambda: "is not XML" in c.node._safety._described.check(0).message)
    ended(c, c.send(), Result.UNSAFE_ACTION, "the robot description is not XML")
    publisher.publish(String(data=URDF.format(lower=-3.0).replace("0.15", "3.0")))
    wait_until(lambda: c.node._safety._described.check(0) is None)
    serves(c)


def test_descriptions_of_two_arms_count_both():
    two = small_profile(**{"name: gripper_controller/": "name: right/gripper_controller/"})
    with ros():
        node, other = ManagedNode("policy"), ManagedNode("drivers")
        described = DescribedLimits(node, two)
        executor = SingleThreadedExecutor()
        for one in (node, other):
            executor.add_node(one)
        publishers = [
            other.create_publisher(String, t, LATCHED) for t in ("robot_description", "right/robot_description")
        ]
        publishers[0].publish(String(data=URDF.format(lower=-1.0)))
        finger = two.action[1].joints[0]
        right = (
            f'<robot name="r"><joint name="{finger}" type="revolute"><limit lower="0.1" upper="0.5"/></joint></robot>'
        )
        publishers[1].publish(String(data=right))
        deadline = time.monotonic() + 15.0
        while described.tightened(two).action[1].limits.upper != (0.5,) and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        described.wait(0.0)
        limits = [spec.limits.lower[0] for spec in described.tightened(two).action]
        assert limits == [-1.0, 0.1]
        publishers[1].publish(String(data="<robot"))
        while described.check(0) is None and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        assert "(topic right/robot_description); correct the description" in described.check(0).message
        executor.shutdown()
        for one in (node, other):
            one.destroy_node()


def test_nothing_moves_before_the_checks_of_the_start_have_passed(cell):
    c = cell(preflight=True, start_timeout_s=1.0)
    _, result = c.result(c.send())
    assert result.error_code == Result.ROBOT_FAULT
    assert "monitor preflight: nothing was received on preflight/passed" in result.error_msg
    assert "each with its remedy; without them: check_robot:=false" in result.error_msg
    publisher = c.robot.create_publisher(Bool, "preflight/passed", LATCHED)
    publisher.publish(Bool(data=False))
    wait_until(lambda: "says data = False" in c.node._safety._state.fault(), what="the verdict")
    ended(c, c.send(), Result.ROBOT_FAULT, "preflight/passed says data = False, allowed: True")
    assert not c.robot.arm_goals
    publisher.publish(Bool(data=True))
    wait_until(lambda: c.node._safety._state.fault() is None, what="the verdict")
    serves(c)


def manager(cell, **states):
    """A controller manager beside the robot; returns the states, which may be changed."""
    known = {"arm_controller": "inactive", "gripper_controller": "active", **states}

    def answer(_, response):
        joints = ["shoulder/position", "elbow/position"]
        for name, state in known.items():
            each = ControllerState(name=name, state=state, required_command_interfaces=joints)
            each.claimed_interfaces = joints if state == "active" and name != "gripper_controller" else []
            response.controller.append(each)
        return response

    cell.robot.create_service(ListControllers, "controller_manager/list_controllers", answer)
    wait_until(lambda: all(m.offered() for m in cell.node._sequence._parts.actions._managers.values()))
    return known


def test_a_controller_that_is_not_active_is_told_before_the_first_goal(cell):
    c = cell()
    known = manager(c)
    result = ended(
        c, c.send(), Result.CONTROLLER, "action arm_controller/follow_joint_trajectory: controller arm_controller"
    )
    assert "is inactive, so it would take no command. Is the robot's program running" in result.error_msg
    assert "ros2 service call /controller_manager/switch_controller" in result.error_msg
    assert not c.robot.arm_goals
    known["forward"] = "active"
    result = ended(
        c,
        c.send(),
        Result.CONTROLLER,
        "is inactive, so it would take no command: forward has the arm. If a person drives",
    )
    assert "ros2 service call teleop/enable std_srvs/srv/SetBool '{data: false}'" in result.error_msg
    assert "deactivate_controllers: [forward], strictness: 2" in result.error_msg
    known |= {"forward": "inactive", "arm_controller": "active"}
    serves(c)


def test_why_the_robot_stands_comes_before_its_controllers(cell):
    c = cell(profile=monitored(), start_timeout_s=3.0)
    publisher = c.robot.create_publisher(Bool, "robot/program", LATCHED)
    publisher.publish(Bool(data=False))
    manager(c)
    ended(c, c.send(), Result.ROBOT_FAULT, "monitor program: robot/program says data = False")


def test_a_lost_server_has_its_own_code(cell):
    c = cell(runner=RampRunner(small_profile(), error=ServerLostError("policy server gpu:8000 is gone")))
    ended(c, c.send(), Result.SERVER_LOST, "policy server gpu:8000 is gone")


def test_the_first_reason_is_kept(cell):
    c = cell(runner=RampRunner(small_profile(), delay_s=0.3))
    handle = c.send(max_duration=20.0)
    wait_until(lambda: c.runner.tasks, what="an inference")
    c.node._sequence.request_stop(c.node._safety.estop.stop)
    handle.cancel_goal_async()
    ended(c, handle, Result.ESTOP, "the emergency stop was called")
