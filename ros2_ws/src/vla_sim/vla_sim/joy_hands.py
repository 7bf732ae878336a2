# SPDX-License-Identifier: Apache-2.0

"""Eyes and hands of the played person: what it sees of the cell, and two sticks that are published at every tick."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from control_msgs.msg import JointTrajectoryControllerState
from geometry_msgs.msg import Pose as PoseMsg
from numpy.typing import NDArray
from sensor_msgs.msg import Joy
from vla_common.qos import COMMAND, EVENT, LATCHED, SENSOR
from vla_common.run import ManagedNode
from vla_common.services import call_checked
from vla_common.ticks import Ticker
from vla_core.stamps import stamp_ns, time_ns
from vla_msgs.msg import EpisodeEvent, TaskState, TeleopState
from vla_msgs.srv import ResetCell

from vla_sim import constants as c
from vla_sim import joy_pilot, kinematics, skills
from vla_sim.errors import SimError
from vla_sim.facade.messages import to_time
from vla_sim.scene_client import pose_message, pose_of
from vla_sim.tasks import Pose

Array = NDArray[np.float64]

_WALL_S: Final = 120.0  # without a tick
_SETTLE_S: Final = 0.1
_STILL_RAD_S: Final = 0.004
_STATE_TOPIC: Final = f"{c.TRAJECTORY_CONTROLLER}/controller_state"


@dataclass(slots=True)
class _Seen:
    task: TaskState | None = None
    q: Array | None = None
    dq: Array | None = None
    event: EpisodeEvent | None = None
    teleop: TeleopState | None = None


class Hands:
    """Sticks and what is seen. Blocking calls are for the worker thread that owns the ticker.

    Attributes:
        now_ns: time of the present tick.
        plugged: false publishes nothing, as an unplugged device.
        phases: every phase that was heard: when it began [s], its number and its label.
    """

    def __init__(self, node: ManagedNode, ticker: Ticker, timeout_s: float) -> None:
        self._ticker, self._timeout_s = ticker, timeout_s
        self._lock = threading.Lock()
        self._seen = _Seen()
        self._sticks = joy_pilot.sticks(np.zeros(6))
        self._button: str | None = None
        self.now_ns = 0
        self.plugged = True
        self.phases: list[tuple[float, int, str]] = []
        self._left = node.create_publisher(Joy, "left/joy", COMMAND)
        self._right = node.create_publisher(Joy, "right/joy", COMMAND)
        self._displace = node.create_publisher(PoseMsg, "sim/displace", EVENT)
        self._reset = node.create_client(ResetCell, "sim/reset")
        task = node.create_subscription(TaskState, "sim/task_state", self._on_task, SENSOR)
        state = node.create_subscription(JointTrajectoryControllerState, _STATE_TOPIC, self._on_joints, SENSOR)
        node.create_subscription(EpisodeEvent, "episode/event", self._on_event, LATCHED)
        node.create_subscription(TeleopState, "teleop/state", self._on_teleop, EVENT)
        self._topics = (str(task.topic_name), str(state.topic_name))
        for topic in self._topics:
            ticker.watch(topic)

    # --- what is seen -------------------------------------------------------------------------------------------------

    def _on_task(self, msg: TaskState) -> None:
        with self._lock:
            self._seen.task = msg
        self._ticker.notice(self._topics[0], time_ns(msg.stamp))

    def _on_joints(self, msg: JointTrajectoryControllerState) -> None:
        order = [list(msg.joint_names).index(joint) for joint in c.ARM_JOINTS]
        with self._lock:
            self._seen.q = np.array(msg.feedback.positions)[order]
            self._seen.dq = np.array(msg.feedback.velocities)[order]
        self._ticker.notice(self._topics[1], stamp_ns(msg))

    def _on_event(self, msg: EpisodeEvent) -> None:
        with self._lock:
            self._seen.event = msg
            self.phases.append((1e-9 * time_ns(msg.stamp), int(msg.phase), str(msg.label)))

    def _on_teleop(self, msg: TeleopState) -> None:
        with self._lock:
            self._seen.teleop = msg

    @property
    def task(self) -> TaskState:
        """The truth about the scene; there is one after `reset`."""
        assert self._seen.task is not None
        return self._seen.task

    @property
    def item(self) -> Pose:
        """Where the part is, in base_link."""
        return pose_of(self.task.object_pose)

    @property
    def tool(self) -> Array:
        """Tool centre point (4, 4) in base_link, as measured."""
        assert self._seen.q is not None
        return np.asarray(kinematics.forward(self._seen.q) @ skills.T_TOOL_TCP)

    @property
    def still(self) -> bool:
        """Whether no joint of the arm turns."""
        return self._seen.dq is not None and float(np.abs(self._seen.dq).max()) < _STILL_RAD_S

    @property
    def phase(self) -> int:
        """Phase of the episode; IDLE while no recorder has said anything."""
        return EpisodeEvent.IDLE if self._seen.event is None else int(self._seen.event.phase)

    @property
    def event(self) -> EpisodeEvent | None:
        """The last change of phase."""
        return self._seen.event

    @property
    def drives(self) -> bool:
        """Whether teleoperation has the arm and hears the sticks."""
        teleop = self._seen.teleop
        return teleop is not None and teleop.state == TeleopState.ACTIVE and not teleop.stale and not teleop.motion

    @property
    def hears(self) -> bool:
        """Whether teleoperation hears the sticks, whoever has the arm."""
        return self._seen.teleop is not None and not self._seen.teleop.stale

    @property
    def returned(self) -> bool:
        """Whether teleoperation has given the arm back."""
        return self._seen.teleop is not None and self._seen.teleop.state == TeleopState.OFF

    @property
    def teleop_line(self) -> str:
        """What teleoperation says of itself."""
        return "nothing was heard on teleop/state" if self._seen.teleop is None else str(self._seen.teleop.line)

    # --- hands --------------------------------------------------------------------------------------------------------

    def steer(self, deflection: Array, gripper: float = 0.0) -> None:
        """Hold the sticks like this from now on; see `joy_pilot.sticks`."""
        self._sticks = joy_pilot.sticks(deflection, gripper)

    def release(self) -> None:
        """Let go of the sticks."""
        self.steer(np.zeros(6))

    def hold(self, button: str | None) -> None:
        """Hold the button of an event down from now on, or none."""
        self._button = button

    def tick(self) -> int:
        """Publish the sticks and wait for the next tick; returns its time [ns].

        Raises:
            SimError: simulated time stands still.
        """
        if self.plugged:
            left, right = joy_pilot.pressed(self._button)
            self._publish(self._left, self._sticks[0], left)
            self._publish(self._right, self._sticks[1], right)
        now = self._ticker.wait(timeout_s=_WALL_S)
        if now is None:
            raise SimError(f"no tick for {_WALL_S:g} s: simulated time stands still. Is the cell running?")
        self.now_ns = now
        return now

    def _publish(self, publisher: Any, axes: list[float], buttons: list[int]) -> None:
        msg = Joy(axes=axes, buttons=buttons)
        msg.header.stamp = to_time(self.now_ns)
        publisher.publish(msg)

    def wait(self, seconds: float) -> None:
        """Keep the sticks as they are for a while [s of the node clock]."""
        begin = self.now_ns or self.tick()
        while self.now_ns - begin < seconds * 1e9:
            self.tick()

    def wait_until(self, what: str, met: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Keep the sticks as they are until something is so.

        Raises:
            SimError: it is not within the time limit; says what teleoperation and recorder say.
        """
        limit = self._timeout_s if timeout_s is None else timeout_s
        begin = self.now_ns or self.tick()
        while not met():
            if self.now_ns - begin > limit * 1e9:
                raise SimError(
                    f"waited {limit:g} s for {what}: in vain. Phase {self.phase}, teleoperation: {self.teleop_line}"
                )
            self.tick()

    def wait_for_device(self) -> None:
        """Hold still until teleoperation has calibrated the sticks.

        Raises:
            SimError: it never does.
        """
        self.tick()
        self.wait_until("teleoperation to hear the sticks (left/joy, right/joy)", lambda: self.hears)

    def reset(self, seed: int, task: str) -> None:
        """Reset the scene and let it settle.

        Raises:
            CallError: the cell does not answer or refuses.
            SimError: the cell publishes no state.
        """
        call_checked(self._reset, ResetCell.Request(seed=seed, task=task), timeout_s=60.0)
        with self._lock:
            self._seen.task = self._seen.q = self._seen.dq = None

        def settled() -> bool:
            with self._lock:
                return self._seen.q is not None and self._seen.task is not None and self._seen.task.seed == seed

        self.wait_until(f"the state of episode {seed} on {' and '.join(self._topics)}", settled)
        self.wait(_SETTLE_S)

    def displace(self, offset: Pose) -> None:
        """Put the part elsewhere, as seen from where it was at the start."""
        self._displace.publish(pose_message(offset))
