# SPDX-License-Identifier: Apache-2.0

"""What the scripted operator and the trial share: resetting the scene, watching the task, reading the arm's start pose.

Only nodes of this package use it: the truth about the scene is for demonstrations and scoring, never for a policy.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from geometry_msgs.msg import Pose as PoseMsg
from numpy.typing import NDArray
from rclpy.subscription import Subscription
from vla_common.qos import EVENT, SENSOR
from vla_common.run import ManagedNode
from vla_common.services import call_checked
from vla_common.ticks import Ticker
from vla_core.profile import Profile
from vla_core.specs import ActionSpec
from vla_core.stamps import time_ns
from vla_msgs.msg import TaskState
from vla_msgs.srv import ResetCell

from vla_sim.errors import SceneError, SimError
from vla_sim.robot import UR5E, Station
from vla_sim.stations import stage_of
from vla_sim.tasks import Pose, station_seed

_SETTLE_S = 0.1  # after a reset, until sensors and controllers show the new scene
_FIRST_DATA_TICKS = 500
_DISCOVERY_S = 300.0  # wall time; as long as the cell waits for its participants
TRAJECTORY, STREAM = "follow_joint_trajectory", "joint_group_position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The scene at one tick.

    Attributes:
        task: Truth about the task.
        q: Joint angles (k,) in rad, measured after the last reset.
        other: The same about the block that the sentence does not name; None unless the client was asked to read it.
        arms: The same of each of several arms; `task` then says what all of them have reached, and `q` is the first's.
    """

    task: TaskState
    q: NDArray[np.float64]
    other: TaskState | None = None
    arms: "tuple[Scene, ...]" = ()

    @property
    def sides(self) -> "tuple[Scene, ...]":
        """One scene per arm."""
        return self.arms or (self,)

    @property
    def object_pose(self) -> Pose:
        """Block in base_link."""
        return pose_of(self.task.object_pose)

    @property
    def target_pose(self) -> Pose:
        """Centre of the bin floor in base_link."""
        return pose_of(self.task.target_pose)


def pose_of(pose: Any) -> Pose:
    """A geometry_msgs/Pose as plain numbers."""
    p, o = pose.position, pose.orientation
    return Pose(xyz=(p.x, p.y, p.z), xyzw=(o.x, o.y, o.z, o.w))


def pose_message(pose: Pose) -> PoseMsg:
    """A pose as geometry_msgs/Pose."""
    msg = PoseMsg()
    msg.position.x, msg.position.y, msg.position.z = pose.xyz
    o = msg.orientation
    o.x, o.y, o.z, o.w = pose.xyzw
    return msg


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """What of a profile drives one arm.

    Attributes:
        station: Which robot it is, and its namespace.
        arm: Its action.
        gripper: That of its gripper; None where the gripper is a joint of `arm`.
    """

    station: Station
    arm: ActionSpec
    gripper: ActionSpec | None

    @property
    def state_topic(self) -> str:
        """Where its trajectory controller says where it is."""
        return self.station.topic(f"{self.station.robot.trajectory_controller}/controller_state")


def driven_by(profile: Profile, interfaces: tuple[str, ...] = (TRAJECTORY,)) -> tuple[Driven, ...]:
    """What of the profile drives each arm of the cell, in the order of the stations.

    Args:
        profile: Robot profile.
        interfaces: What an arm may be commanded by; who drives it needs trajectories, who only looks takes any.

    Raises:
        SceneError: an arm is commanded by something else, or has no gripper action where it needs one.
    """
    found = []
    for station in stage_of(profile).stations:
        joints = set(station.robot.joints)
        arm = next((a for a in profile.action if set(a.joints) == joints and a.command.interface in interfaces), None)
        gripper = next((a for a in profile.action if a.joints == (station.robot.gripper.joint,)), None)
        if arm is None or (gripper is None and not station.robot.gripper.in_arm):
            raise SceneError(
                f"profile '{profile.robot}' ({profile.source}): the simulated cell needs one action with interface "
                f"{' or '.join(interfaces)} for {', '.join(station.robot.joints)} and one gripper action"
            )
        found.append(Driven(station=station, arm=arm, gripper=gripper))
    return tuple(found)


def _together(scenes: list[Scene]) -> Scene:
    """The scene of several arms: done when all are done, as far away as the farthest."""
    tasks = [scene.task for scene in scenes]
    first = tasks[0]
    task = TaskState(stamp=first.stamp, task=first.task, seed=first.seed)
    task.object_pose, task.target_pose = first.object_pose, first.target_pose
    task.tool_distance = max(float(t.tool_distance) for t in tasks)
    task.grasped, task.success = all(t.grasped for t in tasks), all(t.success for t in tasks)
    return Scene(task=task, q=scenes[0].q, arms=tuple(scenes))


def arm_and_gripper(profile: Profile) -> tuple[ActionSpec, ActionSpec]:
    """The actions that drive the one UR5e of a profile and its gripper.

    Raises:
        SceneError: the profile has another robot, or several.
    """
    first, *others = driven_by(profile)
    if others or first.station.robot is not UR5E or first.gripper is None:
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): this needs one UR5e with one gripper action, as sim_ur5e has"
        )
    return first.arm, first.gripper


class _Watched:
    """The newest truth and joint angles of one arm."""

    def __init__(self, node: ManagedNode, ticker: Ticker, driven: Driven, lock: threading.Lock) -> None:
        self.driven = driven
        self._ticker, self._lock = ticker, lock
        self.task: TaskState | None = None
        self.q: NDArray[np.float64] | None = None
        self._order: list[int] | None = None
        topic = driven.station.topic("sim/task_state")
        self.topic = str(node.create_subscription(TaskState, topic, self._on_task, SENSOR).topic_name)
        ticker.watch(self.topic)

    def _on_task(self, msg: TaskState) -> None:
        with self._lock:
            self.task = msg
        self._ticker.notice(self.topic, time_ns(msg.stamp))

    def on_state(self, msg: JointTrajectoryControllerState) -> None:
        """Take the joint angles."""
        if self._order is None:
            self._order = [list(msg.joint_names).index(joint) for joint in self.driven.station.robot.joints]
        with self._lock:
            self.q = np.array(msg.feedback.positions)[self._order]


class SceneClient:
    """Reads the truth and the arms' states. Blocking calls are for the worker thread that owns the ticker."""

    def __init__(self, node: ManagedNode, ticker: Ticker, profile: Profile, *, other: bool = False) -> None:
        """Subscribe; with `other` also to the state of the other block, which the scene pick_which has."""
        self._node = node
        self._ticker = ticker
        self._lock = threading.Lock()
        self._other: TaskState | None = None
        self._reads_other = other
        self._arms = [_Watched(node, ticker, v, self._lock) for v in driven_by(profile, (TRAJECTORY, STREAM))]
        self._reset = node.create_client(ResetCell, "sim/reset")
        self._displace = node.create_publisher(PoseMsg, self._arms[0].driven.station.topic("sim/displace"), EVENT)
        if other:
            self._other_topic = str(
                node.create_subscription(TaskState, "sim/other_state", self._on_other, SENSOR).topic_name
            )
            ticker.watch(self._other_topic)

    @property
    def scale(self) -> float:
        """Size of the things against those of the UR5e's scene."""
        return self._arms[0].driven.station.robot.scale

    def _on_other(self, msg: TaskState) -> None:
        with self._lock:
            self._other = msg
        self._ticker.notice(self._other_topic, time_ns(msg.stamp))

    def latest(self) -> Scene | None:
        """The newest state, or None before the first messages."""
        with self._lock:
            views = [(arm.task, arm.q) for arm in self._arms]
            if self._reads_other and self._other is None:
                return None
            scenes = [
                Scene(task=task, q=q, other=self._other) for task, q in views if task is not None and q is not None
            ]
        if len(scenes) < len(views):
            return None
        return scenes[0] if len(scenes) == 1 else _together(scenes)

    def reset(self, seed: int, task: str) -> Scene:
        """Reset the scene, let it settle, and return its state.

        Raises:
            CallError: the cell does not answer or refuses.
            SimError: the cell publishes no state.
        """
        # The joint angles are needed only here; standing subscriptions would cost more than all the rest of the node.
        states = [
            self._node.create_subscription(JointTrajectoryControllerState, arm.driven.state_topic, arm.on_state, SENSOR)
            for arm in self._arms
        ]
        try:
            for state in states:
                self._wait_for_publisher(state)
            return self._settled(seed, task)
        finally:
            for state in states:
                self._node.destroy_subscription(state)

    def _wait_for_publisher(self, subscription: Subscription) -> None:
        deadline = time.monotonic() + _DISCOVERY_S
        while not subscription.get_publisher_count():
            if time.monotonic() > deadline:
                topic = subscription.topic_name
                raise SimError(f"nobody publishes {topic} after {_DISCOVERY_S:g} s. Is the cell running?")
            time.sleep(0.002)

    def _settled(self, seed: int, task: str) -> Scene:
        call_checked(self._reset, ResetCell.Request(seed=seed, task=task), timeout_s=60.0)
        with self._lock:
            for arm in self._arms:
                arm.q = None
        seeds = [station_seed(seed, index) for index in range(len(self._arms))]
        settled_ns: int | None = None
        for _ in range(_FIRST_DATA_TICKS):
            now = self.tick()
            settled_ns = settled_ns or now + round(_SETTLE_S * 1e9)
            scene = self.latest()
            if scene is not None and [side.task.seed for side in scene.sides] == seeds and now >= settled_ns:
                return scene
        topics = ", ".join(f"{arm.topic} and {arm.driven.state_topic}" for arm in self._arms)
        raise SimError(f"no state of episode {seed} on {topics} after {_FIRST_DATA_TICKS} ticks. Is the cell running?")

    def displace(self, offset: Pose) -> None:
        """Put the block or the part elsewhere, as seen from where it was at the start of the episode."""
        self._displace.publish(pose_message(offset))

    def tick(self) -> int:
        """The next tick's time in ns.

        Raises:
            SimError: simulated time stands still.
        """
        now = self._ticker.wait(timeout_s=120.0)
        if now is None:
            raise SimError(
                "no tick for 120 s: simulated time stands still. Is the cell running, in the same clock mode?"
            )
        return now
