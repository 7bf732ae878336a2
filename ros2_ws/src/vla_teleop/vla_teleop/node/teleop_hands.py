# SPDX-License-Identifier: Apache-2.0

"""What a person's hands do at one tick: from the device to the robot's streaming controller and gripper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_teleop.devices.device import INTERRUPT, REORIENT, ROTATE_CCW, ROTATE_CW, Command, Device
from vla_teleop.motion.driver import ArmDriver, Wish
from vla_teleop.motion.gripper_rate import GripperRate
from vla_teleop.motion.homing import HomeWay
from vla_teleop.node.teleop_report import Now
from vla_teleop.node.teleop_robot import Robot

Array = NDArray[np.float64]
HALT = Wish(twist=np.zeros(6), stop=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsOptions:
    """See the node's parameters of the same names."""

    frame: str
    require_deadman: bool


class Hands:
    """One arm and its gripper in a person's hands; for the control thread.

    Attributes:
        scale: Of the person's own speed and of the gripper's, above 0 to 1; set by any thread.
        way: The way home that is under way, or None.
        way_ends: Why it ends before the ready pose, or nothing.
    """

    def __init__(
        self,
        robot: Robot,
        device: Device,
        *,
        driver: ArmDriver,
        gripper: GripperRate,
        warn: Callable[[str], object],
        options: HandsOptions,
    ) -> None:
        """Prepare; nothing is sent."""
        self._robot, self.device, self.driver, self._gripper = robot, device, driver, gripper
        self._warn, self._options = warn, options
        self._command: Command | None = None
        self._stale = True
        self._twist: Array = np.zeros(6)
        self._rate = 0.0
        self._reason = ""
        self._notice = ""
        self.way: HomeWay | None = None
        self.way_ends = ""
        self.scale = 1.0

    # -- the person -----------------------------------------------------------------------------------------------------

    def read(self, t_ns: int) -> tuple[str, ...]:
        """Read the device; returns the buttons that were pressed."""
        device = self.device
        self._command = device.read(t_ns)
        lost = self._command is None or device.lost is not None
        self._stale = lost or device.age_s(t_ns) >= device.timeout_s
        return () if self._command is None else self._command.pressed

    def press(self, name: str) -> None:
        """A button that the arm itself obeys, while the person drives; the others mean nothing here."""
        if name == INTERRUPT:
            self.driver.cancel()
        elif name in (ROTATE_CW, ROTATE_CCW, REORIENT) and self.way is None:
            began = self.driver.reorient() if name == REORIENT else self.driver.rotate(name)
            self._notice = "" if began else f"{name} has to wait: {self.driver.motion} is under way"

    @property
    def without_deadman(self) -> bool:
        """Whether an enabling button is asked for that the device does not have."""
        return self._options.require_deadman and self._command is not None and self._command.deadman is None

    # -- the robot ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin with the targets that the robot is held at."""
        self.driver.start(self._robot.arm_in_force)
        in_force = self._robot.gripper_in_force
        self._gripper.start(self._robot.spec.gripper_travel[0] if in_force is None else in_force)
        self._reason = self._notice = ""

    def let_go(self) -> None:
        """Nothing more is commanded; the arm stays at its last target."""
        self.way = None
        self.driver.start(self.driver.positions)
        self._twist, self._rate, self._reason = np.zeros(6), 0.0, ""

    @property
    def resting(self) -> bool:
        """Whether nothing is commanded to move."""
        return self.driver.resting and (self.way is None or self.way.resting)

    def drive(self, t_ns: int, dt: float, *, halt: bool) -> None:
        """Command one tick.

        Args:
            t_ns: Its time.
            dt: Time since the tick before [s].
            halt: Come to rest, whatever the person does.
        """
        command = None if halt or self._stale or not self._held else self._command
        if self.way is not None:
            self._home(t_ns, dt, self.way, halt=halt)
            command = None
        else:
            self._arm(t_ns, dt, command)
        self._grip(t_ns, dt, command)

    def _home(self, t_ns: int, dt: float, way: HomeWay, *, halt: bool) -> None:
        before = self.driver.positions
        positions = way.step(dt, stop=halt or bool(self.way_ends))
        self.way_ends = self.way_ends or self.driver.apart.why_not(before, positions, self._robot.others(t_ns))
        self.driver.start(positions)
        self._robot.stream(t_ns, positions)
        self._twist, self._reason = np.zeros(6), self.way_ends

    def grip(self, position: float) -> None:
        """Set the gripper's target [rad or m]; sent at the next tick."""
        self._gripper.target = position

    @property
    def _held(self) -> bool:
        deadman = None if self._command is None else self._command.deadman
        return not self._options.require_deadman if deadman is None else deadman

    def _arm(self, t_ns: int, dt: float, command: Command | None) -> None:
        if self._robot.servo:
            self.driver.rebase(self._robot.measured)
        wish = HALT if command is None else self._wish(command)
        drive = self.driver.step(wish, dt, scale=self.scale, others=self._robot.others(t_ns))
        self._twist, self._reason = drive.twist, drive.reason
        if self._robot.servo:
            self._robot.twist(t_ns, drive.twist)
        else:
            self._robot.stream(t_ns, drive.positions)

    def _wish(self, command: Command) -> Wish:
        return Wish(twist=command.twist, frame=self._options.frame or command.frame, joints=command.joints)

    def _grip(self, t_ns: int, dt: float, command: Command | None) -> None:
        if self._robot.gripper is None:
            return
        self._rate = 0.0 if command is None else self.scale * command.gripper_rate
        if command is not None and command.gripper is not None:
            self._gripper.to(command.gripper)
        self._gripper.rate(self._rate, dt)
        goal = self._gripper.goal(t_ns)
        if goal is not None:
            self._robot.grip(goal)
        self._robot.targets.publish(self._robot.gripper.name, t_ns, [self._gripper.target])
        for failure in self._robot.gripper_failures():
            self._notice = failure
            self._warn(failure)

    # -- what there is to say -------------------------------------------------------------------------------------------

    def now(self, state: int, *, active: bool, controller: str, text: str) -> Now:
        """Put together what is reported at this tick."""
        person = self._command is not None and self._command.moving and not self._stale
        going = self.way is not None and not self.way.resting
        return Now(
            state=state,
            moving=bool(person or going or not self.driver.resting or self._rate != 0.0),
            stale=self._stale,
            motion="home" if self.way is not None else self.driver.motion,
            twist=self._twist,
            gripper_rate=self._rate,
            gain=1.0 if self._command is None else self._command.gain,
            controller=controller,
            text=text or (self._remark() if active else ""),
        )

    def _remark(self) -> str:
        if self._stale:
            return self.device.lost or f"{self.device.name} is silent, so the arm rests"
        if not self._held:
            return "hold the enabling button (deadman) to move"
        return self._reason or self._notice
