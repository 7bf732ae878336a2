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

from vla_sim import constants as c
from vla_sim.errors import SceneError, SimError
from vla_sim.tasks import Pose

_SETTLE_S = 0.1  # after a reset, until sensors and controllers show the new scene
_FIRST_DATA_TICKS = 500
_DISCOVERY_S = 300.0  # wall time; as long as the cell waits for its participants
TRAJECTORY, STREAM = "follow_joint_trajectory", "joint_group_position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The scene at one tick.

    Attributes:
        task: Truth about the task.
        q: Joint angles (6,) in rad, measured after the last reset.
        other: The same about the block that the sentence does not name; None unless the client was asked to read it.
    """

    task: TaskState
    q: NDArray[np.float64]
    other: TaskState | None = None

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


def arm_and_gripper(profile: Profile, interfaces: tuple[str, ...] = (TRAJECTORY,)) -> tuple[ActionSpec, ActionSpec]:
    """The actions of the profile that drive the simulated arm and gripper.

    Args:
        profile: Robot profile.
        interfaces: What the arm may be commanded by; who drives it needs trajectories, who only looks takes any.

    Raises:
        SceneError: the profile does not command exactly these.
    """
    arms = [a for a in profile.action if a.command.interface in interfaces]
    grippers = [a for a in profile.action if a.is_gripper]
    if len(arms) != 1 or len(grippers) != 1 or set(arms[0].joints) != set(c.ARM_JOINTS):
        raise SceneError(
            f"profile '{profile.robot}' ({profile.source}): the simulated cell needs one action with interface "
            f"{' or '.join(interfaces)} for {', '.join(c.ARM_JOINTS)} and one gripper action"
        )
    return arms[0], grippers[0]


class SceneClient:
    """Reads the truth and the arm's state. Blocking calls are for the worker thread that owns the ticker."""

    def __init__(self, node: ManagedNode, ticker: Ticker, profile: Profile, *, other: bool = False) -> None:
        """Subscribe; with `other` also to the state of the other block, which the scene pick_which has."""
        self._node = node
        self._ticker = ticker
        self._lock = threading.Lock()
        self._task: TaskState | None = None
        self._other: TaskState | None = None
        self._reads_other = other
        self._q: NDArray[np.float64] | None = None
        self._order: list[int] | None = None
        arm, _ = arm_and_gripper(profile, (TRAJECTORY, STREAM))
        controller = c.TRAJECTORY_CONTROLLER if arm.command.interface == STREAM else arm.command.name.rpartition("/")[0]
        state_topic = controller + "/controller_state"
        task = node.create_subscription(TaskState, "sim/task_state", self._on_task, SENSOR)
        self._task_topic, self._state_topic = str(task.topic_name), state_topic
        self._reset = node.create_client(ResetCell, "sim/reset")
        self._displace = node.create_publisher(PoseMsg, "sim/displace", EVENT)
        ticker.watch(self._task_topic)
        if other:
            self._other_topic = str(
                node.create_subscription(TaskState, "sim/other_state", self._on_other, SENSOR).topic_name
            )
            ticker.watch(self._other_topic)

    def _on_task(self, msg: TaskState) -> None:
        with self._lock:
            self._task = msg
        self._ticker.notice(self._task_topic, time_ns(msg.stamp))

    def _on_other(self, msg: TaskState) -> None:
        with self._lock:
            self._other = msg
        self._ticker.notice(self._other_topic, time_ns(msg.stamp))

    def _on_state(self, msg: JointTrajectoryControllerState) -> None:
        if self._order is None:
            self._order = [list(msg.joint_names).index(joint) for joint in c.ARM_JOINTS]
        with self._lock:
            self._q = np.array(msg.feedback.positions)[self._order]

    def latest(self) -> Scene | None:
        """The newest state, or None before the first messages."""
        with self._lock:
            if self._task is None or self._q is None or (self._reads_other and self._other is None):
                return None
            return Scene(task=self._task, q=self._q, other=self._other)

    def reset(self, seed: int, task: str) -> Scene:
        """Reset the scene, let it settle, and return its state.

        Raises:
            CallError: the cell does not answer or refuses.
            SimError: the cell publishes no state.
        """
        # The joint angles are needed only here; a standing subscription would cost more than all the rest of the node.
        state = self._node.create_subscription(
            JointTrajectoryControllerState, self._state_topic, self._on_state, SENSOR
        )
        try:
            self._wait_for_publisher(state)
            return self._settled(seed, task)
        finally:
            self._node.destroy_subscription(state)

    def _wait_for_publisher(self, subscription: Subscription) -> None:
        deadline = time.monotonic() + _DISCOVERY_S
        while not subscription.get_publisher_count():
            if time.monotonic() > deadline:
                raise SimError(f"nobody publishes {self._state_topic} after {_DISCOVERY_S:g} s. Is the cell running?")
            time.sleep(0.002)

    def _settled(self, seed: int, task: str) -> Scene:
        call_checked(self._reset, ResetCell.Request(seed=seed, task=task), timeout_s=60.0)
        with self._lock:
            self._q = None
        settled_ns: int | None = None
        for _ in range(_FIRST_DATA_TICKS):
            now = self.tick()
            settled_ns = settled_ns or now + round(_SETTLE_S * 1e9)
            scene = self.latest()
            if scene is not None and scene.task.seed == seed and now >= settled_ns:
                return scene
        raise SimError(
            f"no state of episode {seed} on {self._task_topic} and {self._state_topic} after {_FIRST_DATA_TICKS} "
            "ticks. "
            "Is the cell running?"
        )

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
