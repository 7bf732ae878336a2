# SPDX-License-Identifier: Apache-2.0

"""Robot description, transforms, and the simulator-only truth about the task."""

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vla_common.qos import LATCHED
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell

from vla_sim import constants as c
from vla_sim import kinematics, model, tasks
from vla_sim.cell import Cell
from vla_sim.cell_params import CellParams
from vla_sim.errors import SceneError
from vla_sim.facade.messages import set_stamp, to_time
from vla_sim.facade.streams import DRIVER, RATE_HZ, Jobs, OnPublished
from vla_sim.plant import Plant

Array = NDArray[np.float64]
_TOOL_CONTROLLER = "tool0_controller"  # child of `base` in the pose broadcaster's transform


class TransformFacade:
    """`robot_description`, `tf_static` and `tf`, as robot_state_publisher sends them."""

    def __init__(self, node: Node, cell: Cell, plant: Plant, params: CellParams, jobs: Jobs) -> None:
        self._plant = plant
        self._description = node.create_publisher(String, "robot_description", LATCHED)
        self._description.publish(String(data=cell.urdf()))
        self._static = node.create_publisher(TFMessage, "tf_static", LATCHED)
        now = to_time(plant.time_ns)
        fixed = [_edge(parent, child, T) for parent, child, T in cell.static_transforms()]
        for edge in fixed:
            edge.header.stamp = now
        self._static.publish(TFMessage(transforms=fixed))
        self._moving = [link for link in model.LINKS if link.joint is not None]
        self._fixed_part = [model.transform(link.xyz, link.rpy) for link in self._moving]
        self._dynamic = node.create_publisher(TFMessage, "tf", DRIVER)
        jobs.every(round(RATE_HZ / params.tf_rate_hz), self._send)

    def _send(self, t_ns: int) -> None:
        if not self._dynamic.get_subscription_count():
            return
        values = dict(zip(c.ARM_JOINTS, self._plant.q.tolist(), strict=True))
        values[c.GRIPPER_JOINT] = self._plant.knuckle[0]
        edges = []
        for link, fixed in zip(self._moving, self._fixed_part, strict=True):
            assert link.joint is not None
            source, gain = link.joint.mimic or (link.joint.name, 1.0)
            edges.append(_edge(link.parent, link.name, fixed @ _motion(link.joint, gain * values[source])))
        T = kinematics.T_BASE_LINK_BASE @ kinematics.forward(self._plant.q)
        edges.append(_edge("base", _TOOL_CONTROLLER, T))
        for edge in edges:
            set_stamp(edge.header.stamp, t_ns)
        self._dynamic.publish(TFMessage(transforms=edges))


class TaskFacade:
    """`sim/task_state` and `sim/reset`; only the scripted operator and the scoring use them."""

    def __init__(
        self,
        node: Node,
        cell: Cell,
        plant: Plant,
        on_published: OnPublished,
        on_reset: Callable[[int], None],
    ) -> None:
        self._node = node
        self._cell = cell
        self._plant = plant
        self._on_published = on_published
        self._on_reset = on_reset
        self.publisher = node.create_publisher(TaskState, "sim/task_state", DRIVER)
        node.create_service(ResetCell, "sim/reset", self._reset)

    def send(self, t_ns: int) -> None:
        """Publish the truth; the plant is locked."""
        if not self.publisher.get_subscription_count():
            return
        state = self._cell.task_state()
        msg = TaskState(stamp=to_time(t_ns), task=state.task, seed=state.seed)
        msg.object_pose, msg.target_pose = _pose(state.object_pose), _pose(state.target_pose)
        msg.tool_distance, msg.grasped, msg.success = state.tool_distance, bool(state.grasped), bool(state.success)
        self.publisher.publish(msg)
        self._on_published(self.publisher, t_ns)

    def _reset(self, request: Any, response: Any) -> Any:
        with self._plant.lock:
            try:
                self._plant.reset(request.seed, request.task or None)
            except SceneError as error:
                response.message = str(error)
                return response
            self._on_reset(request.seed)
        response.success = True
        return response


def _motion(joint: model.Joint, value: float) -> Array:
    T = np.eye(4)
    axis = np.array(joint.axis)
    if joint.kind == "prismatic":
        T[:3, 3] = value * axis
        return T
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    T[:3, :3] = np.eye(3) + np.sin(value) * K + (1.0 - np.cos(value)) * K @ K
    return T


def _edge(parent: str, child: str, T: Array) -> TransformStamped:
    edge = TransformStamped(child_frame_id=child)
    edge.header.frame_id = parent
    t, r = edge.transform.translation, edge.transform.rotation
    t.x, t.y, t.z = T[:3, 3].tolist()
    r.x, r.y, r.z, r.w = model.quaternion(T[:3, :3])
    return edge


def _pose(pose: tasks.Pose) -> Pose:
    msg = Pose()
    msg.position.x, msg.position.y, msg.position.z = pose.xyz
    o = msg.orientation
    o.x, o.y, o.z, o.w = pose.xyzw
    return msg
