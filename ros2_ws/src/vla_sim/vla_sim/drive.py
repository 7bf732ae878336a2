# SPDX-License-Identifier: Apache-2.0

"""Messages with which the scripted operator drives: trajectory goals, gripper goals and labels."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectoryPoint
from vla_common.qos import COMMAND
from vla_core.specs import ActionSpec

from vla_sim import constants as c
from vla_sim.errors import SceneError
from vla_sim.expert import Plan
from vla_sim.facade.messages import to_time
from vla_sim.robot import Robot

TRAJECTORY_ACTION: Final = FollowJointTrajectory
POINT_S: Final = 0.05  # between two points of a trajectory
GRIPPER_STEP: Final = 0.005  # rad of a 2F-85; smaller changes of the target are not worth a goal

_GRIPPER_EFFORT: Final = 40.0  # N


def in_order(values: NDArray[np.float64], joints: Sequence[str], names: Sequence[str] = c.ARM_JOINTS) -> list[float]:
    """Values of the joints `names` brought into the order of `joints`."""
    return [float(values[names.index(joint)]) for joint in joints]


def targets(plan: Plan, t: float, robot: Robot, joints: Sequence[str], *, executed: bool) -> list[float]:
    """Joint targets of a plan in the order of `joints`, with the gripper's where it is a joint of the arm."""
    values = plan.executed(t) if executed else plan.arm(t)
    grip = robot.gripper
    if grip.in_arm:
        values = np.append(values, grip.joint_position(plan.gripper(t)))
        return in_order(values, joints, (*robot.arm_joints, grip.joint))
    return in_order(values, joints, robot.arm_joints)


def trajectory_goal(plan: Plan, start_ns: int, joints: Sequence[str], robot: Robot) -> FollowJointTrajectory.Goal:
    """The whole plan as one goal from `start_ns` on: points every `POINT_S` with velocities, at rest at the end."""
    count = max(1, round(plan.duration_s / POINT_S))
    times = [plan.duration_s * (i + 1) / count for i in range(count)]
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.header.stamp = to_time(start_ns)
    goal.trajectory.joint_names = list(joints)
    h = 0.5 * POINT_S
    for time in times:
        ahead, behind = (np.array(targets(plan, time + d, robot, joints, executed=True)) for d in (h, -h))
        velocity = (ahead - behind) / (2 * h)
        if time == times[-1]:
            velocity = np.zeros(len(joints))
        positions = targets(plan, time, robot, joints, executed=True)
        point = JointTrajectoryPoint(positions=positions, velocities=[float(v) for v in velocity])
        sec, nanosec = divmod(round(time * 1e9), 1_000_000_000)
        point.time_from_start = Duration(sec=sec, nanosec=nanosec)
        goal.trajectory.points.append(point)
    return goal


def gripper_interface(spec: ActionSpec) -> tuple[Any, Callable[[float], Any]]:
    """Action type of the profile's gripper, and a function from the position of its joint to its goal."""
    if len(spec.joints) != 1:
        raise SceneError(f"gripper action '{spec.name}' has {len(spec.joints)} joints; the simulated gripper has one")
    joint = spec.joints[0]
    if spec.command.interface == "gripper_command":

        def old_goal(position: float) -> Any:
            goal = GripperCommand.Goal()
            goal.command.position, goal.command.max_effort = position, _GRIPPER_EFFORT
            return goal

        return GripperCommand, old_goal

    def goal(position: float) -> Any:
        command = JointState(name=[joint], position=[position], effort=[_GRIPPER_EFFORT])
        return ParallelGripperCommand.Goal(command=command)

    return ParallelGripperCommand, goal


def label_publisher(node: Node, spec: ActionSpec) -> Publisher:
    """Publisher of the joint target in force, on the profile's label topic.

    Raises:
        SceneError: the profile wants another type than JointState.
    """
    if spec.record.type != "sensor_msgs/msg/JointState":
        raise SceneError(
            f"action '{spec.name}': the scripted operator labels with sensor_msgs/msg/JointState, the profile wants "
            f"{spec.record.type} on {spec.record.topic}"
        )
    return node.create_publisher(JointState, spec.record.topic, COMMAND)


def publish_label(publisher: Publisher, joints: Sequence[str], target: Sequence[float], t_ns: int) -> None:
    """Publish the target in force at `t_ns`."""
    msg = JointState(name=list(joints), position=list(target))
    msg.header.stamp = to_time(t_ns)
    publisher.publish(msg)
