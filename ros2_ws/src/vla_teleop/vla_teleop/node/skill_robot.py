# SPDX-License-Identifier: Apache-2.0

"""Arm and gripper as a skill needs them: ticks that stop for every reason to stop, commands, measured values.

Everything here is for the worker thread that owns the ticker. At every tick the targets in force go out on the profile's
record topics, so that a recording learns from skills too; they begin with those of whoever had the arm before, and stand
until somebody else has it (see vla_common.standing).
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from vla_common.action_channel import TRAJECTORY, ActionChannel, ControllerError, takes_velocity
from vla_common.controllers import ControllerSwitch
from vla_common.monitors import MonitorBoard, watch_monitors
from vla_common.run import ManagedNode
from vla_common.standing import StandingTargets
from vla_common.stillness import Stillness
from vla_common.targets import TargetPublisher
from vla_common.ticks import Ticker
from vla_core.errors import ProfileError
from vla_core.profile import Profile
from vla_core.profile_teleop import TeleopSpec
from vla_core.specs import ActionSpec, Kinematics
from vla_core.stamps import to_s
from vla_core.trajectory import Trajectory
from vla_msgs.action import ExecuteSkill

from vla_teleop.motion.in_force import NEAR, arm_in_force, gripper_in_force
from vla_teleop.node.joint_watch import JointWatch
from vla_teleop.node.progress import Progress
from vla_teleop.node.skill_params import SkillParams
from vla_teleop.node.skill_stop import SkillStopError, motion, not_ready

Array = NDArray[np.float64]
FULL_SPEED = 255  # of a skill table
ANSWER_S, FROZEN_S, POLL_S = 2.0, 120.0, 0.2  # wall
REPORT_TICKS = 10  # parts of a robot's report on a fault arrive one after the other
STOP_S, STOP_WALL_S = 1.0, 10.0
STANDS_WITHIN, STANDS_S = 2.0, 1.0  # numbers and seconds: a gripper that moves no more than this has done what it can
STUCK_WAY, STUCK_MOVED = 10.0, 1.0  # gripper numbers: told to go further than this and moved less than that


def arm_and_gripper(profile: Profile) -> tuple[TeleopSpec, Kinematics, ActionSpec, ActionSpec]:
    """What a skill drives.

    Raises:
        ProfileError: the profile does not say it, or says something that a skill cannot drive.
    """
    teleop = profile.teleop
    if teleop is None or teleop.gripper is None or profile.kinematics is None:
        raise ProfileError(
            f"{profile.source}: skills need 'kinematics' and a section 'teleop' with arm, gripper and tcp; add them (see "
            "docs/reference/profile.md)"
        )
    specs = {spec.name: spec for spec in profile.action}
    arm, gripper = specs[teleop.arm], specs[teleop.gripper]
    if arm.command.interface != TRAJECTORY:
        raise ProfileError(
            f"{profile.source}: skills send {TRAJECTORY} goals, but action '{arm.name}' takes {arm.command.interface}; use "
            "a profile that commands the trajectory controller"
        )
    return teleop, profile.kinematics, arm, gripper


class SkillRobot:
    """One arm with its gripper.

    Attributes:
        arm: The arm's action.
        teleop: The profile's section.
        kinematics: The arm's table.
        now_ns: Time of the present tick.
        holding_below: While not None, the gripper must stay more open than this number, or the skill ends DROPPED.
    """

    def __init__(
        self, node: ManagedNode, profile: Profile, ticker: Ticker, params: SkillParams, cancelled: Callable[[], bool]
    ) -> None:
        """Make clients and publishers.

        Args:
            node: whose they are.
            profile: of the robot.
            ticker: the worker has attached it.
            params: of the node.
            cancelled: whether the running goal is to end.

        Raises:
            ProfileError: the profile is not enough for skills.
        """
        self._node, self._ticker, self._params, self._cancelled = node, ticker, params, cancelled
        self.teleop, self.kinematics, self.arm, self.gripper = arm_and_gripper(profile)
        self._watchdog_s = profile.safety.watchdog_s
        self._arm, self._gripper = ActionChannel(node, self.arm, None), ActionChannel(node, self.gripper, None)
        driven = [self.arm.name, self.gripper.name]
        self._targets = TargetPublisher(node, profile, driven)
        self._standing = StandingTargets(node, profile, self._targets, driven)
        self._controllers = ControllerSwitch(node, manager=self.teleop.manager)
        self._board = MonitorBoard(profile.monitors)
        watch_monitors(node, profile, self._board)
        self._joints = (*self.arm.joints, *self.gripper.joints)
        self._watch = JointWatch(node, profile, ticker, self._joints, lockstep=params.lockstep)
        self.now_ns = 0
        self.holding_below: float | None = None
        self._progress: Progress | None = None
        self._target: Array = np.empty(0)
        self._grip: Array = np.empty(0)
        self._timed = params.gripper_max_velocity > 0.0 and takes_velocity(self.gripper)
        if not self._timed:
            node.get_logger().warning(
                f"action {self.gripper.command.name} takes no velocity (interface {self.gripper.command.interface}, "
                f"gripper_max_velocity {params.gripper_max_velocity:g}): the gripper chooses its own speed, and "
                "gripper_speed of the skill table has no effect"
            )

    # --- beginning and end

    def begin(self) -> None:
        """Listen, and check that the robot can be driven and stands still.

        Raises:
            SkillStopError: it cannot; nothing was sent.
        """
        self.holding_below, self._progress = None, None
        self._target = self._grip = np.empty(0)
        self._arm.forget()
        self._gripper.forget()
        self._watch.start()
        self._board.wait(self._params.ready_timeout_s)
        fault = self._board.fault()
        if fault is not None:
            raise not_ready(fault)
        self._require_controllers()
        self._require_joints()
        self._take_targets()
        self._require_rest()
        self._target, self._grip = self._in_force()

    def end(self) -> None:
        """The arm stands; its targets do so too, if the robot is well, until `idle` finds that somebody else has it."""
        if self._target.size and np.isfinite(self._target).all() and self._board.fault() is None:
            self._standing.stand(self.now_ns, {self.arm.name: self._target, self.gripper.name: self._grip})
        else:
            self._standing.release()
            self._watch.stop()

    def idle(self, now_ns: int) -> None:
        """Between two skills: say what is in force during a hand-over; listen no longer than that lasts."""
        if self._standing.held:
            self._standing.publish(now_ns, {self.arm.name: self._watch.positions(self.arm.joints)})
            if not self._standing.held:
                self._watch.stop()

    def _in_force(self) -> tuple[Array, Array]:
        """The targets of arm ``(6,)`` and gripper ``(1,)`` in force, which its controllers hold."""
        held = float(self._watch.positions(self.gripper.joints)[0])
        gripper = self._standing.heard(self.gripper.name)
        number = gripper_in_force(self.teleop.gripper_travel, held, None if gripper is None else float(gripper[0]))
        measured = self._watch.positions(self.arm.joints)
        return arm_in_force(measured, self._standing.heard(self.arm.name)), np.array([number])

    def _take_targets(self) -> None:
        """Speak up for what whoever had the arm before has left standing."""
        said = self._standing.heard(self.arm.name)
        measured = self._watch.positions(self.arm.joints)
        if said is not None and np.abs(said - measured).max() <= NEAR:
            arm, gripper = self._in_force()
            self._standing.stand(self.now_ns, {self.arm.name: arm, self.gripper.name: gripper})

    def _require_controllers(self) -> None:
        wanted = self.teleop.trajectory_controller
        try:
            active = self._controllers.active(self._params.ready_timeout_s)
            for channel in (self._arm, self._gripper):
                channel.require_ready(self._params.ready_timeout_s)
        except ControllerError as error:
            raise not_ready(str(error)) from error
        if wanted in active:
            return
        if active & {self.teleop.stream_controller, self.teleop.freedrive_controller}:
            raise not_ready(
                f"teleoperation has the arm ({wanted} is not active); give it back with: ros2 service call teleop/enable "
                "std_srvs/srv/SetBool '{data: false}'"
            )
        raise not_ready(
            f"{wanted} is not active, so the arm takes no goals. Start the robot's program, or activate it with: ros2 "
            f"control set_controller_state {wanted} active"
        )

    def _require_joints(self) -> None:
        self._wait()
        begin_s = time.monotonic()
        while not self._watch.complete():
            if time.monotonic() - begin_s > self._params.ready_timeout_s:
                raise not_ready(
                    f"joint states of {', '.join(self._joints)} have not arrived on {self._watch.topics} within "
                    f"{self._params.ready_timeout_s:g} s. Is the robot's driver running?"
                )
            self._wait()
        if not np.isfinite(self._watch.positions(self._joints)).all():
            raise not_ready(f"{self._watch.topics}: a joint position is not a number; restart the robot's driver")

    def _require_rest(self) -> None:
        rest, begin = Stillness(self.arm.joints), self.now_ns
        rest.note(self.now_ns, self.q())
        while not rest.still(self.now_ns):
            if to_s(self.now_ns - begin) > self._params.still_timeout_s:
                raise not_ready(
                    f"the arm does not stand still: {rest.why_not(self.now_ns)}. Stop what moves it, then call the skill "
                    "again"
                )
            self._wait()
            self._check_measured()
            rest.note(self.now_ns, self.q())
            self._standing.publish(self.now_ns, {self.arm.name: self._watch.positions(self.arm.joints)}, taking=True)

    # --- time

    def tick(self) -> int:
        """The next tick's time [ns], after every reason to stop was looked at and the targets in force were published.

        Raises:
            SkillStopError: the goal was cancelled, the robot reports a fault, a joint is silent or not a number, a controller
                does not do what it was told, or what was held is held no more.
        """
        now = self._wait()
        failures = [*self._arm.take_failures(), *self._gripper.take_failures()]
        if failures:
            raise motion(self._explained("; ".join(failures)))
        fault = self._board.fault()
        if fault is not None:
            raise motion(fault)
        self._check_measured()
        self._check_held()
        self._publish(now)
        return now

    def _wait(self) -> int:
        waited_s = 0.0
        while True:
            now = self._ticker.wait(timeout_s=POLL_S)
            if self._cancelled():
                raise SkillStopError(ExecuteSkill.Result.INTERRUPTED, "the skill was interrupted; the arm stands still")
            if now is not None:
                self.now_ns = now
                return now
            waited_s += POLL_S
            if waited_s > FROZEN_S:
                raise motion(f"no tick for {FROZEN_S:g} s: time stands still. Is the simulation paused?")

    def _explained(self, text: str) -> str:
        """A controller's failure with what the robot says about it in the next moments."""
        for _ in range(REPORT_TICKS):
            fault = self._board.fault()
            if fault is not None:
                return f"{fault} ({text})"
            self._wait()
        return f"{text}. The arm stands still; clear the cause, then call the skill again"

    def _check_measured(self) -> None:
        silent_s = self._watch.age_s(self.now_ns, self._joints)
        if silent_s > self._watchdog_s:
            raise motion(
                f"{self._watch.topics} was silent for {silent_s:.2f} s (limit {self._watchdog_s:g} s), so the arm was "
                "stopped. Is the robot's driver running?"
            )
        values = self._watch.positions(self._joints)
        if not np.isfinite(values).all():
            name = self._joints[int(np.argmin(np.isfinite(values)))]
            raise motion(f"{self._watch.topics}: the position of {name} is not a number, so the arm was stopped")

    def _check_held(self) -> None:
        limit = self.holding_below
        if limit is not None and not self.closing() < limit:
            raise SkillStopError(
                ExecuteSkill.Result.DROPPED,
                f"the gripper has closed to {self.closing():.0f} (holds something below {limit:g}), so the part was "
                "dropped. The arm stands still; put the part back and begin again",
            )

    def _publish(self, now: int) -> None:
        if self._progress is not None:
            self._target = self._progress.update(now, self._watch.positions(self.arm.joints))
        self._targets.publish(self.arm.name, now, self._target)
        self._targets.publish(self.gripper.name, now, self._grip)

    # --- measured

    def q(self) -> Array:
        """Measured joints ``(6,)`` of the arm [rad], in the order of `kinematics.joints`."""
        return self._watch.positions(self.kinematics.joints)

    def closing(self) -> float:
        """Measured closing of the gripper as a number of skill files."""
        return float(self.teleop.gripper_number(float(self._watch.positions(self.gripper.joints)[0])))

    # --- commands

    def follow(self, times: Array, positions: Array, velocities: Array) -> Progress:
        """Send one trajectory that begins now where the arm is.

        Args:
            times: ``(K,)`` [s], 0 first.
            positions: ``(K, 6)`` [rad], columns as `kinematics.joints`.
            velocities: ``(K, 6)`` [rad/s], zero in the last row.

        Returns:
            How far the arm has come; up to date after each tick.
        """
        order = [self.kinematics.joints.index(name) for name in self.arm.joints]
        trajectory = Trajectory(
            joint_names=self.arm.joints,
            start_ns=self.now_ns,
            time_from_start=times,
            positions=positions[:, order],
            velocities=velocities[:, order],
            first_step=0,
            from_start=True,
        )
        self._arm.trajectory(trajectory)
        self._arm.settle(ANSWER_S)
        self._progress = Progress(trajectory)
        return self._progress

    def in_force(self, progress: Progress) -> tuple[Array, Array]:
        """Targets ``(6,)`` [rad] and their velocities ``(6,)`` [rad/s] now, columns as `kinematics.joints`."""
        order = [self.arm.joints.index(name) for name in self.kinematics.joints]
        positions, velocities = progress.state_at(self.now_ns)
        return positions[order], velocities[order]

    def resting(self) -> bool:
        """Whether the trajectory has ended."""
        return self._arm.resting()

    def grip(self, number: float, *, speed: float, settle_s: float, holding: bool = False) -> None:
        """Move the gripper and wait until it has ended and settled.

        Args:
            number: Closing as in skill files.
            speed: 0 to 255.
            settle_s: Pause after its end.
            holding: It has something between its fingers, so it need not move when it closes.

        Raises:
            SkillStopError: it did not move, failed or takes too long; or as `tick`.
        """
        before = self.closing()
        low, high = sorted(self.teleop.gripper_travel)
        position = min(max(self.teleop.gripper_joint(number), low), high)
        self._grip = np.array([position])
        self._gripper.gripper(position, self._params.gripper_max_velocity * speed / FULL_SPEED if self._timed else None)
        self._gripper.settle(ANSWER_S)
        begin = end = stands_ns = self.now_ns
        stands_at = before
        while to_s(self.now_ns - end) < settle_s or not self._gripper.resting():
            self.tick()
            if not self._gripper.resting():
                end = self.now_ns
            if abs(self.closing() - stands_at) > STANDS_WITHIN:
                stands_at, stands_ns = self.closing(), self.now_ns
            if to_s(self.now_ns - stands_ns) > STANDS_S + settle_s:
                break  # a part that settles between the fingers can keep the controller from calling it a stall
            if to_s(self.now_ns - begin) > self._params.gripper_timeout_s + settle_s:
                raise motion(
                    f"the gripper was told to go to {number:g} and has not ended after {self._params.gripper_timeout_s:g} s"
                    f": it is at {self.closing():.0f}. Is something in its way?"
                )
        reachable = self.teleop.gripper_number(position)
        stood = abs(reachable - before) > STUCK_WAY and abs(self.closing() - before) < STUCK_MOVED
        if stood and not (holding and reachable > before):
            raise motion(
                f"the gripper does not move: it was told to go from {before:.0f} to {number:g} and is at {self.closing():.0f}. "
                "The arm stands still. Free the gripper, look at its power and its driver, then call the skill again"
            )

    def halt(self) -> None:
        """Bring the arm to rest: cancel its trajectory and wait until it stands. Safe at any time."""
        moved, problem = not self._arm.resting(), self._arm.stop(ANSWER_S)
        self._progress = None
        if problem is not None:
            self._node.get_logger().error(f"the arm's trajectory could not be cancelled: {problem}")
        if not moved or not self._watch.complete():
            return
        rest, begin, begin_s = Stillness(self.arm.joints), self.now_ns, time.monotonic()
        while not rest.still(self.now_ns):
            now = self._ticker.wait(timeout_s=POLL_S)
            if to_s((now or begin) - begin) > STOP_S or time.monotonic() - begin_s > STOP_WALL_S:
                self._node.get_logger().error(f"the arm has not come to rest: {rest.why_not(self.now_ns)}")
                return
            if now is None:
                continue
            self.now_ns = now
            rest.note(now, self.q())
            self._target = self._watch.positions(self.arm.joints)
            if np.isfinite(self._target).all():
                self._publish(now)
