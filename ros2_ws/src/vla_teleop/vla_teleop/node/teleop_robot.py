# SPDX-License-Identifier: Apache-2.0

"""The robot as the teleop node sees it: joints, streaming controller, gripper, controllers, monitors."""

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from std_msgs.msg import Bool, Float64MultiArray
from vla_common.action_channel import ActionChannel, time_message
from vla_common.controllers import ControllerSwitch
from vla_common.monitors import MonitorBoard, watch_monitors
from vla_common.qos import COMMAND
from vla_common.standing import StandingTargets
from vla_common.stillness import Stillness
from vla_common.targets import TargetPublisher
from vla_common.ticks import Ticker
from vla_core.errors import ProfileError, VlaError, listing, nearest_name
from vla_core.profile import Profile
from vla_core.profile_teleop import TeleopSpec
from vla_core.specs import ActionSpec

from vla_teleop.motion.apart import Apart
from vla_teleop.motion.in_force import NEAR, arm_in_force, gripper_in_force
from vla_teleop.node.joint_watch import JointWatch

Array = NDArray[np.float64]
SETTLE_S = 2.0
FREEDRIVE_TOPIC = "enable_freedrive_mode"


class RobotError(VlaError):
    """The robot is not in a state to be driven; says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotOptions:
    """Time limits; see the node's parameters of the same names."""

    lockstep: bool
    divergence: float
    joint_timeout_s: float
    switch_timeout_s: float
    answer_timeout_s: float
    arm: str = ""


def teleop_spec(profile: Profile, arm: str = "") -> TeleopSpec:
    """Return the section teleop of a profile, or that of one of several arms.

    Raises:
        ProfileError: it has none, or none of that arm, or several and `arm` is empty.
    """
    if not profile.teleops:
        raise ProfileError(
            f"{profile.source}: no section 'teleop', so nobody can drive this robot by hand. Name its controllers: "
            "teleop: {arm: arm, stream: {name: forward_position_controller/commands}, trajectory_controller: "
            "scaled_joint_trajectory_controller}"
        )
    known = {spec.arm: spec for spec in profile.teleops}
    if arm in known:
        return known[arm]
    if arm:
        raise ProfileError(
            f"{profile.source}: 'teleop' drives no arm '{arm}'; it drives {listing(known)}{nearest_name(arm, known)}"
        )
    if profile.teleop is None:
        raise ProfileError(
            f"{profile.source}: 'teleop' drives {listing(known)}, and one teleop node drives one arm; choose it with the "
            f"parameter arm, e.g. -p arm:={next(iter(known))}"
        )
    return profile.teleop


class Robot:
    """One arm with its gripper. Messages come in the executor's thread, everything else is for the control thread."""

    def __init__(
        self, node: Node, profile: Profile, ticker: Ticker, options: RobotOptions, group: CallbackGroup | None = None
    ) -> None:
        """Make clients, publishers and subscriptions; nothing is sent.

        Raises:
            ProfileError: the profile cannot be used for teleoperation.
        """
        self.spec = teleop_spec(profile, options.arm)
        self.arm = _action(profile, self.spec.arm)
        self.gripper = _action(profile, self.spec.gripper) if self.spec.gripper else None
        frames = {arm.name: arm.base_frame for arm in profile.arms}
        self._base_frame = frames.get(self.arm.name, profile.base_frame)
        self._others = {name: _action(profile, name).joints for name in Apart(profile, self.arm.name).others}
        self._options = options
        joints = (*self.arm.joints, *(self.gripper.joints if self.gripper else ()))
        joints = (*joints, *(joint for other in self._others.values() for joint in other))
        self._joints = JointWatch(node, profile, ticker, joints, lockstep=options.lockstep)
        driven = [spec.name for spec in (self.arm, self.gripper) if spec]
        self.targets = TargetPublisher(node, profile, driven)
        self._standing = StandingTargets(node, profile, self.targets, driven)
        self._switch = ControllerSwitch(node, manager=self.spec.manager, group=group)
        self._stream = node.create_publisher(Float64MultiArray, self.spec.stream_name, COMMAND)
        self._servo = (
            node.create_publisher(TwistStamped, self.spec.servo_topic, COMMAND) if self.spec.servo_topic else None
        )
        self._servoed: Array | None = None
        if self._servo is not None:
            node.create_subscription(Float64MultiArray, self.spec.stream_name, self._on_servoed, COMMAND)
        self._freedrive = (
            node.create_publisher(Bool, f"{self.spec.freedrive_controller}/{FREEDRIVE_TOPIC}", COMMAND)
            if self.spec.freedrive_controller
            else None
        )
        self._channel = ActionChannel(node, self.gripper, group) if self.gripper else None
        self._board = MonitorBoard(profile.monitors)
        watch_monitors(node, profile, self._board, group)
        self._still = Stillness(self.arm.joints)

    @property
    def lockstep(self) -> bool:
        """Whether time stands still between two ticks."""
        return self._options.lockstep

    @property
    def servo(self) -> bool:
        """Whether twists go to MoveIt Servo."""
        return self._servo is not None

    def listen(self) -> None:
        """Begin to listen to the joints; once, in the control thread."""
        self._joints.start()

    def heard(self) -> bool:
        """Whether the joints and the robot's state were heard, so that it can be said whether the arm may be taken."""
        return self._joints.complete() and self._board.wait(0.0)

    def look(self, t_ns: int) -> None:
        """Look at the joints; to be called at every tick."""
        fresh = self._joints.age_s(t_ns, self.arm.joints) == 0.0  # what was heard before says nothing about rest now
        if self._joints.complete() and fresh:
            self._still.note(t_ns, self.measured)

    @property
    def measured(self) -> Array:
        """Newest joint positions (n,) of the arm [rad]; NaN where nothing was heard."""
        return self._joints.positions(self.arm.joints)

    def others(self, t_ns: int) -> dict[str, Array]:
        """Newest joint positions (m,) of the other arms that this one must keep from [rad]; those that are silent are left out."""
        return {
            name: self._joints.positions(joints)
            for name, joints in self._others.items()
            if self._joints.age_s(t_ns, joints) <= self._options.joint_timeout_s
        }

    @property
    def gripper_in_force(self) -> float | None:
        """The gripper's target in force [rad or m]; None: unknown."""
        if self.gripper is None:
            return None
        position = float(self._joints.positions(self.gripper.joints)[0])
        said = self._standing.heard(self.gripper.name)
        if np.isnan(position):
            return None
        return gripper_in_force(self.spec.gripper_travel, position, None if said is None else float(said[0]))

    @property
    def arm_in_force(self) -> Array:
        """The arm's targets (n,) in force while it stands still [rad]."""
        return arm_in_force(self.measured, self._standing.heard(self.arm.name))

    # -- hand-over ------------------------------------------------------------------------------------------------------

    def take_targets(self, t_ns: int) -> None:
        """Say from now on what is in force, as far as it was said before; the arm is being taken."""
        said = self._standing.heard(self.arm.name)
        if said is None or not np.abs(said - self.measured).max() <= NEAR:
            return
        targets = {self.arm.name: said}
        if self.gripper is not None and self.gripper_in_force is not None:
            targets[self.gripper.name] = np.array([self.gripper_in_force])
        self._standing.stand(t_ns, targets)

    def leave_targets(self, t_ns: int) -> None:
        """What was commanded last stays in force; the arm was given back."""
        self._standing.stand(t_ns, self.targets.last)

    def drop_targets(self) -> None:
        """Nothing is known any more of what is in force, or it is said by commands."""
        self._standing.release()

    def keep_targets(self, t_ns: int, *, taking: bool) -> None:
        """Say what is in force during a hand-over; to be called at every tick without a command."""
        self._standing.publish(t_ns, {self.arm.name: self.measured}, taking=taking)

    def why_not_still(self, t_ns: int) -> str | None:
        """What speaks against rest, or None; what was seen before `forget_rest` does not count."""
        return self._still.why_not(t_ns)

    def forget_rest(self) -> None:
        """The arm may have been moved since; rest has to be seen again."""
        self._still.restart()

    def fault(self, t_ns: int, target: Array | None) -> str | None:
        """Why the arm must not be driven now, and what to do; None: it may.

        Args:
            t_ns: Time of the tick.
            target: Joint targets (n,) in force that the arm must be near [rad], or None.
        """
        robot = self._board.fault()
        if robot is not None:
            return robot
        age_s = self._joints.age_s(t_ns, self.arm.joints)
        if age_s > self._options.joint_timeout_s:
            return (
                f"no joint states for {age_s:.2f} s on {self._joints.topics} (limit {self._options.joint_timeout_s:g} s); is "
                f"the robot's driver running? Try: ros2 topic hz {self._joints.topics.split(',')[0]}"
            )
        return None if target is None else self._diverged(target)

    def _diverged(self, target: Array) -> str | None:
        away = np.abs(self.measured - target)
        worst = int(np.argmax(away))
        if away[worst] <= self._options.divergence:
            return None
        return (
            f"{self.arm.joints[worst]} is {away[worst]:.3f} rad away from its target (limit {self._options.divergence:g}): "
            f"the arm does not follow. Is it held, or is {self.spec.stream_controller} not active?"
        )

    def require(self, timeout_s: float) -> None:
        """Wait until the monitors were heard.

        Raises:
            RobotError: the robot's state forbids motion.
        """
        self._board.wait(timeout_s)
        fault = self._board.fault()
        if fault is not None:
            raise RobotError(fault)

    def give(self, controller: str) -> None:
        """Let a controller have the arm, instead of whichever of the others has it now.

        Raises:
            ControllerError: it could not be switched.
        """
        spec, options = self.spec, self._options
        names = (spec.trajectory_controller, spec.stream_controller, spec.freedrive_controller)
        self._switch.give(
            controller,
            [name for name in names if name],
            answer_s=options.answer_timeout_s,
            timeout_s=options.switch_timeout_s,
            order=self.arm.joints if controller == spec.stream_controller else (),
        )

    def stream(self, t_ns: int, positions: Array) -> None:
        """Command joint positions (n,) [rad] and say that they are in force."""
        self._stream.publish(Float64MultiArray(data=positions.tolist()))
        self.targets.publish(self.arm.name, t_ns, positions)

    def twist(self, t_ns: int, twist: Array) -> None:
        """Command MoveIt Servo; `twist` (6,) of the tool in the base frame [m/s, rad/s]."""
        assert self._servo is not None
        msg = TwistStamped()
        msg.header.stamp = time_message(t_ns)
        msg.header.frame_id = self._base_frame
        msg.twist.linear.x, msg.twist.linear.y, msg.twist.linear.z = (float(v) for v in twist[:3])
        msg.twist.angular.x, msg.twist.angular.y, msg.twist.angular.z = (float(v) for v in twist[3:])
        self._servo.publish(msg)
        servoed = self._servoed
        self.targets.publish(self.arm.name, t_ns, self.measured if servoed is None else servoed)

    def unheard(self) -> str | None:
        """Why commands would reach nobody: neither the streaming controller nor Servo listens; None: somebody does."""
        publisher, name = (self._stream, self.spec.stream_name)
        if self._servo is not None:
            publisher, name = self._servo, self.spec.servo_topic
        if publisher.get_subscription_count() > 0:
            return None
        return f"nobody listens on {name}; is the robot's driver running, and is the name in the profile right?"

    def grip(self, position: float) -> None:
        """Send the gripper a target [rad or m]."""
        if self._channel is not None:
            self._channel.gripper(position)
            if self._options.lockstep:
                self._channel.settle(SETTLE_S)

    def gripper_failures(self) -> list[str]:
        """What became of the goals, since the last call."""
        return [] if self._channel is None else self._channel.take_failures()

    def freedrive(self, on: bool) -> None:
        """Say whether the arm may be pushed; the controller forgets it within a second."""
        if self._freedrive is not None:
            self._freedrive.publish(Bool(data=on))

    def close(self) -> None:
        """Destroy the clients."""
        if self._channel is not None:
            self._channel.close()

    def _on_servoed(self, msg: Float64MultiArray) -> None:
        if len(msg.data) == len(self.arm.joints):
            self._servoed = np.array(msg.data)


def _action(profile: Profile, name: str) -> ActionSpec:
    return next(spec for spec in profile.action if spec.name == name)
