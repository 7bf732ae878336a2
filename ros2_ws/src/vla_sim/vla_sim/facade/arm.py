# SPDX-License-Identifier: Apache-2.0

"""The arm's topics and its trajectory action, as ur_robot_driver offers them."""

from typing import Any

from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTrajectoryControllerState
from geometry_msgs.msg import PoseStamped
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from vla_common.action_server import DeferredActionServer
from vla_common.qos import COMMAND
from vla_core.controller_outcome import GoalOutcome, GoalRefusedError
from vla_core.controller_trajectory import Plan, Tolerances

from vla_sim import kinematics, model
from vla_sim.cell_params import CellParams
from vla_sim.facade.messages import to_time
from vla_sim.facade.streams import DRIVER, RATE_HZ, Jobs, OnPublished, Stream, sorted_order
from vla_sim.plant import FORWARD_CONTROLLER, Plant
from vla_sim.robot import Station

_STATE_HZ = 100
_FEEDBACK_HZ = 20


class ArmFacade:
    """Publishes the arm's state and takes trajectories and streamed positions."""

    def __init__(
        self, node: Node, station: Station, plant: Plant, params: CellParams, jobs: Jobs, on_published: OnPublished
    ) -> None:
        self._node = node
        self._plant = plant
        self._log = node.get_logger()
        self._joints = list(station.robot.joints)
        topic, self._goal = station.topic, station.topic(station.robot.trajectory_controller)
        self._checked: tuple[Any, Plan, Tolerances] | None = None
        names, self._order = sorted_order(self._joints)
        zeros = [0.0] * len(names)
        state = JointState(name=names, position=zeros, velocity=zeros, effort=zeros)
        state.header.frame_id = station.robot.base
        self.joint_states = Stream(node, state, topic("joint_states"), on_published)
        controller_state = JointTrajectoryControllerState(joint_names=self._joints)
        self._state = Stream(node, controller_state, f"{self._goal}/controller_state", on_published)
        self._server = DeferredActionServer(
            node,
            FollowJointTrajectory,
            f"{self._goal}/follow_joint_trajectory",
            check=self._check,
            accepted=self._accepted,
            cancel=self._cancel,
        )
        node.create_subscription(JointTrajectory, f"{self._goal}/joint_trajectory", self._on_trajectory, COMMAND)
        stream = topic(f"{FORWARD_CONTROLLER}/commands")
        node.create_subscription(Float64MultiArray, stream, self._on_positions, COMMAND)
        self._running: ServerGoalHandle | None = None
        jobs.every(round(RATE_HZ / params.joint_state_rate_hz), self._send_joint_states)
        jobs.every(RATE_HZ // _STATE_HZ, self._send_controller_state)
        if station.robot.dashboard:
            self._offer_pose_and_scaling(node, station, params, jobs, on_published)
        jobs.every(RATE_HZ // _FEEDBACK_HZ, self._send_feedback)

    def _offer_pose_and_scaling(
        self, node: Node, station: Station, params: CellParams, jobs: Jobs, on_published: OnPublished
    ) -> None:
        """Topics of a Universal Robots controller."""
        pose = PoseStamped()
        pose.header.frame_id = station.part("base")
        self._pose = Stream(node, pose, station.topic("tcp_pose_broadcaster/pose"), on_published)
        scaling = station.topic("speed_scaling_state_broadcaster/speed_scaling")
        self._scaling = node.create_publisher(Float64, scaling, DRIVER)
        jobs.every(round(RATE_HZ / params.tcp_pose_rate_hz), self._send_pose)
        jobs.every(RATE_HZ // _STATE_HZ, self._send_scaling)

    def serve_cancels(self) -> None:
        """See `DeferredActionServer.serve_cancels`; the plant is locked."""
        self._server.serve_cancels()

    def finish_goals(self) -> list[Any]:
        """Send the results of goals that have ended; returns the events to wait for."""
        outcomes, self._plant.trajectory.outcomes = self._plant.trajectory.outcomes, []
        return [self._finish(outcome) for outcome in outcomes]

    def _finish(self, outcome: GoalOutcome) -> Any:
        if self._running is outcome.token:
            self._running = None
        result = FollowJointTrajectory.Result(error_code=outcome.code, error_string=outcome.text)
        if outcome.code:
            self._log.warning(f"{self._goal}: goal {outcome.status.value}: {outcome.text}")
        return self._server.finish(outcome.token, outcome.status, result)

    def _check(self, goal: FollowJointTrajectory.Goal) -> bool:
        with self._plant.lock:
            try:
                if goal.multi_dof_trajectory.joint_names or goal.multi_dof_trajectory.points:
                    raise GoalRefusedError("the goal has a multi_dof_trajectory; the arm has single joints only")
                plan = self._plant.trajectory.check(goal.trajectory, self._plant.time_ns)
                self._checked = (goal, plan, self._plant.trajectory.tolerances_for(goal))
            except GoalRefusedError as error:
                self._log.error(f"{self._goal}: goal rejected: {error}")
                return False
        return True

    def _accepted(self, handle: ServerGoalHandle) -> None:
        assert self._checked is not None  # rclpy calls this right after `_check`, in the same thread
        _, plan, tolerances = self._checked
        with self._plant.lock:
            self._plant.trajectory.accept(plan, handle, tolerances)
            self._running = handle

    def _cancel(self, handle: ServerGoalHandle) -> None:
        self._plant.trajectory.cancel(handle, self._plant.q)

    def _on_trajectory(self, msg: JointTrajectory) -> None:
        with self._plant.lock:
            try:
                self._plant.trajectory.replace(self._plant.trajectory.check(msg, self._plant.time_ns))
            except GoalRefusedError as error:
                self._log.error(f"{self._goal}: trajectory dropped: {error}")

    def _on_positions(self, msg: Float64MultiArray) -> None:
        with self._plant.lock:
            try:
                self._plant.command_forward(msg.data)
            except GoalRefusedError as error:
                self._log.error(f"{FORWARD_CONTROLLER}: {error}", throttle_duration_sec=1.0)

    def _send_joint_states(self, t_ns: int) -> None:
        if not self.joint_states.wanted:
            return
        state, plant = self.joint_states.message, self._plant
        q, dq, effort = plant.q.tolist(), plant.dq.tolist(), plant.effort.tolist()
        for out, i in enumerate(self._order):
            state.position[out] = q[i]
            state.velocity[out] = dq[i]
            state.effort[out] = effort[i]
        self.joint_states.send(t_ns)

    def _send_pose(self, t_ns: int) -> None:
        if not self._pose.wanted:
            return
        T = kinematics.T_BASE_LINK_BASE @ kinematics.forward(self._plant.q)  # the turn by 180 deg is its own inverse
        pose = self._pose.message.pose
        pose.position.x, pose.position.y, pose.position.z = T[:3, 3].tolist()
        o = pose.orientation
        o.x, o.y, o.z, o.w = model.quaternion(T[:3, :3])
        self._pose.send(t_ns)

    def _send_controller_state(self, t_ns: int) -> None:
        if not self._state.wanted:
            return
        state, plant, reference = self._state.message, self._plant, self._plant.trajectory.reference
        state.reference.positions = reference.desired.tolist()
        state.reference.velocities = reference.desired_velocity.tolist()
        state.feedback.positions = plant.q.tolist()
        state.feedback.velocities = plant.dq.tolist()
        state.error.positions = (reference.desired - plant.q).tolist()
        state.error.velocities = (reference.desired_velocity - plant.dq).tolist()
        state.output.positions = reference.output.tolist()
        state.speed_scaling_factor = plant.robot.speed_scaling
        self._state.send(t_ns)

    def _send_scaling(self, t_ns: int) -> None:
        if self._scaling.get_subscription_count():
            self._scaling.publish(Float64(data=100.0 * self._plant.robot.speed_scaling))

    def _send_feedback(self, t_ns: int) -> None:
        handle = self._running
        if handle is None:
            return
        reference, plant = self._plant.trajectory.reference, self._plant
        feedback = FollowJointTrajectory.Feedback(joint_names=self._joints)
        feedback.header.stamp = to_time(t_ns)
        feedback.desired = _point(reference.desired, reference.desired_velocity)
        feedback.actual = _point(plant.q, plant.dq)
        feedback.error = _point(reference.desired - plant.q, reference.desired_velocity - plant.dq)
        handle.publish_feedback(feedback)


def _point(positions: Any, velocities: Any) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(positions=positions.tolist(), velocities=velocities.tolist())
