# SPDX-License-Identifier: Apache-2.0

"""Robot description, transforms, and the simulator-only truth about the task."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose, TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vla_common.qos import EVENT, LATCHED
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell

from vla_sim import kinematics, model, tasks
from vla_sim.cell import Cell
from vla_sim.cell_params import CellParams
from vla_sim.errors import SceneError
from vla_sim.facade.messages import set_stamp, to_time
from vla_sim.facade.streams import DRIVER, RATE_HZ, Jobs, OnPublished
from vla_sim.plant import Plant
from vla_sim.robot import Station

Array = NDArray[np.float64]
_TOOL_CONTROLLER = "tool0_controller"  # child of `base` in the pose broadcaster's transform


class TransformFacade:
    """`robot_description`, `tf_static` and `tf`, as robot_state_publisher sends them."""

    def __init__(self, node: Node, station: Station, cell: Cell, plant: Plant, params: CellParams, jobs: Jobs) -> None:
        self._plant = plant
        self._robot = station.robot
        self._description = node.create_publisher(String, station.topic("robot_description"), LATCHED)
        self._description.publish(String(data=cell.urdf()))
        self._static = node.create_publisher(TFMessage, "tf_static", LATCHED)
        now = to_time(plant.time_ns)
        fixed = [_edge(parent, child, T) for parent, child, T in cell.static_transforms()]
        for edge in fixed:
            edge.header.stamp = now
        self._static.publish(TFMessage(transforms=fixed))
        self._moving = [_MovingEdge(link) for link in station.robot.moving]
        self._message = TFMessage(transforms=[moving.edge for moving in self._moving])
        self._tool: TransformStamped | None = None
        if station.robot.dashboard:
            self._tool = _edge(station.part("base"), station.part(_TOOL_CONTROLLER), np.eye(4))
            self._message.transforms.append(self._tool)
        self._dynamic = node.create_publisher(TFMessage, "tf", DRIVER)
        jobs.every(round(RATE_HZ / params.tf_rate_hz), self._send)

    def _send(self, t_ns: int) -> None:
        if not self._dynamic.get_subscription_count():
            return
        values = dict(zip(self._robot.joints, self._plant.q.tolist(), strict=True))
        values[self._robot.gripper.joint] = self._plant.knuckle[0]
        for moving in self._moving:
            moving.move(values[moving.source])
        if self._tool is not None:
            _set_transform(self._tool, kinematics.T_BASE_LINK_BASE @ kinematics.forward(self._plant.q))
        for edge in self._message.transforms:
            set_stamp(edge.header.stamp, t_ns)
        self._dynamic.publish(self._message)


class _MovingEdge:
    """The transform of one link with a joint."""

    def __init__(self, link: model.Link) -> None:
        assert link.joint is not None
        self.source, self._gain = link.joint.mimic or (link.joint.name, 1.0)
        T = model.transform(link.xyz, link.rpy)
        self.edge = _edge(link.parent, link.name, T)
        self._origin = tuple(float(v) for v in link.xyz)
        self._rotation = model.quaternion(T[:3, :3])
        self._axis = link.joint.axis
        self._slide = tuple(float(v) for v in T[:3, :3] @ np.array(link.joint.axis))
        self._prismatic = link.joint.kind == "prismatic"

    def move(self, joint: float) -> None:
        """Set the transform for the value of the source joint [rad or m]."""
        value = self._gain * joint
        if self._prismatic:
            t = self.edge.transform.translation
            t.x, t.y, t.z = (o + value * s for o, s in zip(self._origin, self._slide, strict=True))
            return
        sine, w2 = math.sin(0.5 * value), math.cos(0.5 * value)
        x1, y1, z1, w1 = self._rotation
        x2, y2, z2 = (sine * a for a in self._axis)
        r = self.edge.transform.rotation
        r.x = w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2
        r.y = w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2
        r.z = w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2
        r.w = w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2


class ResetService:
    """`sim/reset`: the start state of a seed, of all stations."""

    def __init__(self, node: Node, plants: Sequence[Plant], on_reset: Callable[[int], None]) -> None:
        """Args: plants: in the order of their stations. on_reset: called with the plants locked."""
        self._plants, self._on_reset = plants, on_reset
        node.create_service(ResetCell, "sim/reset", self._reset)

    def _reset(self, request: Any, response: Any) -> Any:
        with self._plants[0].lock:
            try:
                for index, plant in enumerate(self._plants):
                    plant.reset(tasks.station_seed(request.seed, index), request.task or None)
            except SceneError as error:
                response.message = str(error)
                return response
            self._on_reset(request.seed)
        response.success = True
        return response


class TaskFacade:
    """`sim/task_state`, `sim/other_state` and `sim/displace`; for who plays a person and for scoring only.

    `sim/other_state` is the task state of the block that the sentence does not name; where there is one block it is not
    offered.

    `sim/displace` (geometry_msgs/Pose) puts the block or part elsewhere, as seen from where the episode began.
    """

    def __init__(
        self,
        node: Node,
        cell: Cell,
        plant: Plant,
        on_published: OnPublished,
        on_displaced: Callable[[tasks.Pose], None],
    ) -> None:
        self._node = node
        self._cell = cell
        self._plant = plant
        self._on_published = on_published
        self._on_displaced = on_displaced
        topic = cell.station.topic
        self.publisher = node.create_publisher(TaskState, topic("sim/task_state"), DRIVER)
        self._other = node.create_publisher(TaskState, "sim/other_state", DRIVER) if cell.two_blocks else None
        node.create_subscription(Pose, topic("sim/displace"), self._displace, EVENT)

    def send(self, t_ns: int) -> None:
        """Publish the truth; the plant is locked."""
        self._send(self.publisher, self._cell.task_state, t_ns)
        if self._other is not None:
            self._send(self._other, self._cell.other_state, t_ns)

    def _send(self, publisher: Publisher, read: Callable[[], tasks.TaskState | None], t_ns: int) -> None:
        if not publisher.get_subscription_count():
            return
        state = read()
        assert state is not None  # the publisher is there with the block
        msg = TaskState(stamp=to_time(t_ns), task=state.task, seed=state.seed)
        msg.object_pose, msg.target_pose = _pose(state.object_pose), _pose(state.target_pose)
        msg.tool_distance, msg.grasped, msg.success = state.tool_distance, bool(state.grasped), bool(state.success)
        publisher.publish(msg)
        self._on_published(publisher, t_ns)

    def _displace(self, msg: Pose) -> None:
        p, o = msg.position, msg.orientation
        with self._plant.lock:
            try:
                pose = self._cell.displace(tasks.Pose(xyz=(p.x, p.y, p.z), xyzw=(o.x, o.y, o.z, o.w)))
            except SceneError as error:
                self._node.get_logger().error(f"sim/displace: {error}")
                return
            self._on_displaced(pose)
        x, y, z = pose.xyz
        self._node.get_logger().info(f"displaced to {x:.3f} {y:.3f} {z:.3f} m")


def _edge(parent: str, child: str, T: Array) -> TransformStamped:
    edge = TransformStamped(child_frame_id=child)
    edge.header.frame_id = parent
    _set_transform(edge, T)
    return edge


def _set_transform(edge: TransformStamped, T: Array) -> None:
    t, r = edge.transform.translation, edge.transform.rotation
    t.x, t.y, t.z = T[:3, 3].tolist()
    r.x, r.y, r.z, r.w = model.quaternion(T[:3, :3])


def _pose(pose: tasks.Pose) -> Pose:
    msg = Pose()
    msg.position.x, msg.position.y, msg.position.z = pose.xyz
    o = msg.orientation
    o.x, o.y, o.z, o.w = pose.xyzw
    return msg
