# SPDX-License-Identifier: Apache-2.0

"""The robot on the ROS side: frames come in, commands go out, and everything that speaks against moving is found."""

import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rosidl_runtime_py.utilities import get_message
from vla_common.background import LEROBOT_ROBOT, BackgroundNode
from vla_common.monitors import MonitorBoard, watch_monitors
from vla_common.qos import SENSOR, adapt
from vla_common.robot_commands import ActionCommands
from vla_common.ticks import ClockTicker
from vla_core.errors import SafetyError, VlaError, listing
from vla_core.frames import Frame, FrameBuilder, Missing
from vla_core.profile import Profile
from vla_core.stamps import to_ns

from lerobot_robot_ros2.rivals import Rivals
from lerobot_robot_ros2.steps import Step, StepPlanner

USE_SIM_TIME = "--robot.use_sim_time"
RATE_HZ = 50.0  # of the targets in force
GRIPPER_DEADBAND = 0.002  # [rad or m]; each goal of a gripper is a motion of its own
DISCOVERY_S = 0.5  # publishers of a running robot are known after this
CLOCK_S = 2.0  # wall seconds that the clock may stand still
_LOOK_S = 0.02  # how often it is looked for a frame while one is missing

Array = NDArray[np.float64]


class LinkError(VlaError):
    """The robot cannot be observed or driven; says why and what to do."""


class RobotLink:
    """One connection to a robot. One thread calls it; what has failed once stays failed."""

    def __init__(
        self, profile: Profile, *, namespace: str, use_sim_time: bool, drive: bool, warn: Callable[[str], None]
    ) -> None:
        """Join the ROS network; nothing is sent.

        Args:
            profile: The robot's.
            namespace: Its relative topics live in it.
            use_sim_time: Take the time from /clock.
            drive: Whether commands are sent; else nothing but subscriptions is made.
            warn: Takes one line.

        Raises:
            VlaError: a message type of the profile is not installed.
        """
        self._profile = profile
        self._warn = warn
        self._back = BackgroundNode(LEROBOT_ROBOT, namespace=namespace, use_sim_time=use_sim_time)
        self._node = self._back.node
        self._builder = FrameBuilder(profile, actions=False, namespace=self._node.get_namespace(), warn=warn)
        self._board = MonitorBoard(profile.monitors if drive else ())
        self._planner = StepPlanner(profile)
        self._lock = threading.Lock()  # of the planner, and of what was sent
        self._fault = ""
        self._observed: Frame | None = None
        self._clock: tuple[int, float] = (0, time.monotonic())
        self._received_ns = 0
        self._sent_s: float | None = None  # steady wall seconds, and those of the first action without a pause since
        self._begun_s = 0.0
        self._grips: dict[str, float] = {}
        self._ended = threading.Event()
        self._commands: ActionCommands | None = None
        self._ticker: ClockTicker | None = None
        self._thread: threading.Thread | None = None
        if drive:
            watch_monitors(self._node, profile, self._board)
            self._rivals = Rivals(self._node, profile)
            self._commands = ActionCommands(self._node, profile, lockstep=False)
            self._ticker = ClockTicker(self._node, RATE_HZ)
            self._thread = threading.Thread(target=self._keep_in_force, name="in_force", daemon=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the action vector, in order."""
        return self._planner.names

    def connect(self, timeout_s: float) -> None:
        """Wait for every stream, controller and monitor; nothing moves.

        Raises:
            VlaError: something is absent after `timeout_s` wall seconds.
        """
        deadline = time.monotonic() + timeout_s
        self._back.start()
        self._ended.wait(DISCOVERY_S)
        self._back.check_clock(USE_SIM_TIME)
        self._subscribe()
        self._observed = self._wait_frame(timeout_s, images=True)
        if self._commands is None or self._thread is None:
            return
        self._commands.begin(max(0.1, deadline - time.monotonic()))
        self._board.wait(max(0.1, deadline - time.monotonic()))
        self._check_robot()
        self._thread.start()

    def observe(self) -> Frame:
        """Return the frame of now.

        A stream may pause for ``safety.watchdog_s`` of the profile; nothing older than its ``max_age_s`` is ever returned.

        Raises:
            LinkError: a stream is silent, or the link has failed before.
        """
        self._check_fault()
        self._observed = self._wait_frame(self._profile.safety.watchdog_s, images=True)
        return self._observed

    def send(self, values: Array) -> NDArray[np.float32]:
        """Check an action vector ``(m,)`` and command it.

        Returns:
            ``(m,)`` what was commanded, or would have been where another node drives.

        Raises:
            VlaError: it must not be sent, or the robot is not to be driven now. The arm was stopped, and nothing is sent
                through this link any more.
        """
        self._check_fault()
        try:
            return self._send(values)
        except VlaError as error:
            self.halt(str(error))
            raise

    def halt(self, why: str) -> None:
        """Stop the arm and refuse whatever comes later, with the reason."""
        self._fault = self._fault or why
        with self._lock:
            self._planner.release()
            self._grips.clear()
            problems = [] if self._commands is None else self._commands.stop()
        for text in problems:
            self._warn(f"while stopping: {text}")

    def close(self) -> None:
        """Stop the arm and leave."""
        self._ended.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(2.0)
        if self._commands is not None:
            self.halt("the robot was disconnected")
        self._back.stop()
        if self._commands is not None:
            self._commands.close()
        if self._ticker is not None:
            self._ticker.close()
        self._back.close()

    def _subscribe(self) -> None:
        """Once the publishers are known: a reliable subscriber of a best-effort publisher would hear nothing."""
        for topic, type_name in self._builder.topics.items():
            kind, qos = get_message(type_name), adapt(self._node, topic, SENSOR)
            self._node.create_subscription(kind, topic, partial(self._receive, topic), qos)

    def _receive(self, topic: str, msg: Any) -> None:
        now_ns = self._back.now_ns()
        if now_ns < self._received_ns:
            self._builder.clear()  # the clock went back: a simulation began again
        self._received_ns = now_ns
        self._builder.push_topic(topic, now_ns, msg)

    def _wait_frame(self, patience_s: float, *, images: bool) -> Frame:
        begun_s = time.monotonic()
        while True:
            self._check_fault()
            self._check_clock_runs()
            found = self._builder.sample(self._back.now_ns() - to_ns(self._builder.lookahead_s), images=images)
            if isinstance(found, Frame):
                return found
            waited_s = time.monotonic() - begun_s
            if found.lasting or waited_s >= patience_s:
                raise LinkError(self._no_frame(found, waited_s))
            self._ended.wait(_LOOK_S)

    def _no_frame(self, found: Missing, waited_s: float) -> str:
        silent = [s.topic for s in self._builder.streams if self._builder.newest_ns(s.key) is None]
        also = f" Nothing was ever received on {listing(dict.fromkeys(silent))}." if silent else ""
        since = "" if found.lasting else f" for {waited_s:.1f} s"
        return (
            f"{self._profile.robot}: no complete observation{since}: {found.detail}.{also} Namespace "
            f"{self._node.get_namespace()}, ROS_DOMAIN_ID {self._node.context.get_domain_id()}; compare with: ros2 topic list"
        )

    def _check_clock_runs(self) -> None:
        now_ns, wall_s = self._back.now_ns(), time.monotonic()
        if now_ns != self._clock[0]:
            self._clock = (now_ns, wall_s)
        elif wall_s - self._clock[1] > CLOCK_S:
            raise LinkError(
                f"{self._profile.robot}: /clock has stood still for {wall_s - self._clock[1]:.1f} s, so nothing is known of the robot; is "
                "the simulation running, and not paused?"
            )

    def _check_fault(self) -> None:
        if self._fault or self._back.failed:
            raise LinkError(f"nothing is sent any more, because: {self._fault or self._back.failed}")

    def _check_robot(self) -> None:
        fault = self._board.fault()
        if fault is not None:
            raise LinkError(fault)

    def _send(self, values: Array) -> NDArray[np.float32]:
        if self._observed is None:
            raise LinkError("an action came before the first observation")
        if self._commands is None:  # whoever drives answers for the limits
            self._planner.decode(values, self._observed)
            return np.asarray(values, dtype=np.float32)
        present = self._wait_frame(self._profile.safety.watchdog_s, images=False)
        self._check_robot()
        self._rivals.check(None if self._sent_s is None else time.monotonic() - self._begun_s)
        failures = self._commands.failures()
        if failures:
            raise LinkError("; ".join(failures))
        with self._lock:
            step = self._plan(values, self._observed, present)
            self._planner.adopt(step)
            if self._sent_s is None:
                self._begun_s = time.monotonic()
            self._sent_s = time.monotonic()
            for name, trajectory in step.trajectories.items():
                self._commands.trajectory(name, trajectory)
            self._send_grippers(self._commands, step.targets, step.trajectories)
        for text in step.changed:
            self._warn(text)
        return step.values

    def _plan(self, values: Array, observed: Frame, present: Frame) -> Step:
        try:
            return self._planner.plan(values, observed, present, self._back.now_ns())
        except SafetyError as error:
            if self._sent_s is not None:
                raise
            raise SafetyError(
                f"{error}. It was the first action: bring the leader to where the robot is, or the robot to where the episode began"
            ) from error

    def _send_grippers(self, commands: ActionCommands, targets: dict[str, Array], arms: dict[str, Any]) -> None:
        for name, target in targets.items():
            position, before = float(target[0]), self._grips.get(name)
            if name not in arms and (before is None or abs(position - before) >= GRIPPER_DEADBAND):
                self._grips[name] = position
                commands.gripper(name, position)

    def _keep_in_force(self) -> None:
        """Publish what is in force, as long as actions keep coming."""
        assert self._ticker is not None
        assert self._commands is not None
        try:
            with self._ticker.attached():
                while not self._ended.is_set():
                    t_ns = self._ticker.wait(timeout_s=0.2)
                    with self._lock:
                        self._publish(self._commands, t_ns)
        except ExternalShutdownException:
            return  # the link is closing
        except Exception as error:  # noqa: BLE001  (border of a thread)
            self._warn(f"publishing the targets failed: {error}\n{traceback.format_exc()}")
            self.halt(f"publishing the targets failed: {error}")

    def _publish(self, commands: ActionCommands, t_ns: int | None) -> None:
        if self._sent_s is None:
            return
        if time.monotonic() - self._sent_s > self._profile.safety.watchdog_s:
            self._sent_s = (
                None  # the arm rests at the end of its short trajectory; whoever comes next says what is in force
            )
        elif t_ns is not None:
            for name, positions in self._planner.in_force(t_ns).items():
                commands.in_force(t_ns, name, positions)
