# SPDX-License-Identifier: Apache-2.0

"""The robot as its control box runs it at 500 Hz: controllers, program and safety state around the physics. No ROS.

All calls except construction need `lock`, which the facade's callbacks and the simulation loop share.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.controller_gripper import GripperController
from vla_core.controller_manager import Controller, ControllerManager
from vla_core.controller_trajectory import TrajectoryController

from vla_sim import constants as c
from vla_sim import kinematics
from vla_sim.controllers.forward import ForwardController, SpeedLimitError
from vla_sim.controllers.freedrive import FreedriveController
from vla_sim.controllers.robot import RobotState

Array = NDArray[np.float64]

TRAJECTORY_CONTROLLER = c.TRAJECTORY_CONTROLLER
FORWARD_CONTROLLER = "forward_position_controller"
FREEDRIVE_CONTROLLER = "freedrive_mode_controller"
MOTION_CONTROLLERS = (TRAJECTORY_CONTROLLER, FORWARD_CONTROLLER, FREEDRIVE_CONTROLLER)

_PERIOD_S = c.STEP_NS * 1e-9


class Physics(Protocol):
    """What the plant needs of the simulated cell; see `vla_sim.cell.Cell` for units and errors."""

    @property
    def time_ns(self) -> int:
        """Simulated time; never goes back."""

    def reset(self, seed: int, task: str | None = None) -> None:
        """Start state of a seed."""

    def step(self, n: int = 1) -> None:
        """Advance by n steps."""

    def set_arm_target(self, q: Array) -> None:
        """Joint set-points."""

    def arm_state(self) -> tuple[Array, Array, Array]:
        """Positions, velocities, efforts."""

    def set_gripper_target(self, position: float, max_speed: float, max_effort: float) -> None:
        """Knuckle set-point."""

    def gripper_state(self) -> tuple[float, float, float]:
        """Position, velocity, effort."""


class Plant:
    """Arm and gripper with their controllers.

    Attributes:
        q, dq, effort: state of the arm (6,) in rad, rad/s, Nm; order of `constants.ARM_JOINTS`.
        knuckle: state of the gripper: rad, rad/s, N.
        command: set-point (6,) in rad that the arm was given in the last cycle.
    """

    def __init__(
        self,
        physics: Physics,
        *,
        start_ns: int = 0,
        initial_controller: str = TRAJECTORY_CONTROLLER,
        protective_stop_after_ns: int | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.physics = physics
        self._start_ns = start_ns
        self._initial = initial_controller
        self._stop_after_ns = protective_stop_after_ns
        self.robot = RobotState()
        self.trajectory = TrajectoryController(c.ARM_JOINTS)
        self.forward = ForwardController(c.ARM_JOINTS, c.JOINT_MAX_VELOCITY)
        self.freedrive = FreedriveController(kinematics.ARM)
        self.gripper = GripperController(
            lower=0.0,
            upper=c.KNUCKLE_CLOSED,
            max_velocity=c.GRIPPER_MAX_SPEED,
            max_effort=c.GRIPPER_MAX_EFFORT,
            default_effort=c.GRIPPER_DEFAULT_EFFORT,
        )
        self._read()
        self._hold = self.command = self.q
        self._sent_gripper: tuple[float, float, float] | None = None
        self._stuck_at: float | None = None
        self.manager = ControllerManager(self._controllers())
        self.manager.restore([self._initial])
        self._stop_ns = self._next_stop()

    def _controllers(self) -> list[Controller]:
        positions = tuple(f"{joint}/position" for joint in c.ARM_JOINTS)
        return [
            Controller(
                name="joint_state_broadcaster", type="joint_state_broadcaster/JointStateBroadcaster", active=True
            ),
            Controller(name="tcp_pose_broadcaster", type="pose_broadcaster/PoseBroadcaster", active=True),
            Controller(
                name="speed_scaling_state_broadcaster",
                type="ur_controllers/SpeedScalingStateBroadcaster",
                active=True,
            ),
            Controller(name="io_and_status_controller", type="ur_controllers/GPIOController", active=True),
            Controller(
                name=TRAJECTORY_CONTROLLER,
                type="ur_controllers/ScaledJointTrajectoryController",
                interfaces=positions,
                needs_program=True,
                start=lambda: self.trajectory.activate(self.q),
                stop=self._stop_trajectory,
            ),
            Controller(
                name=FORWARD_CONTROLLER,
                type="position_controllers/JointGroupPositionController",
                interfaces=positions,
                needs_program=True,
                start=lambda: self.forward.activate(self.q, self.time_ns),
                stop=self._stop_forward,
            ),
            Controller(
                name=FREEDRIVE_CONTROLLER,
                type="ur_controllers/FreedriveModeController",
                interfaces=positions,
                needs_program=True,
                start=lambda: self.freedrive.activate(self.q),
                stop=self._stop_freedrive,
            ),
        ]

    @property
    def time_ns(self) -> int:
        """Simulated time; never goes back."""
        return self._start_ns + self.physics.time_ns

    def step(self) -> None:
        """One control cycle of 2 ms: controllers on the last measurement, then physics, then a new measurement."""
        now = self.time_ns
        if self._stop_ns is not None and now >= self._stop_ns:
            self._stop_ns = None
            self.protective_stop()
        self.command = self._arm_command(now)
        self.physics.set_arm_target(self.command)
        self.gripper.update(now, self.knuckle[0], self.knuckle[1])
        target = self.gripper.target if self._stuck_at is None else self._stuck_at
        wanted = (target, self.gripper.velocity, self.gripper.effort)
        if wanted != self._sent_gripper:
            self.physics.set_gripper_target(*wanted)
            self._sent_gripper = wanted
        self.physics.step(1)
        self._read()

    def _arm_command(self, now: int) -> Array:
        if self.trajectory.active:
            return self.trajectory.update(now, _PERIOD_S, self.robot.speed_scaling, self.q, self.dq)
        if self.forward.active:
            return self.forward.target
        if self.freedrive.active:
            return self.freedrive.update(now, _PERIOD_S)
        return self._hold

    @property
    def motion_controller(self) -> str:
        """Who has the arm; empty: nobody."""
        return next((name for name in MOTION_CONTROLLERS if self.manager.controllers[name].active), "")

    def _read(self) -> None:
        self.q, self.dq, self.effort = self.physics.arm_state()
        self.knuckle = self.physics.gripper_state()

    def reset(self, seed: int, task: str | None) -> None:
        """Start state of a seed; goals are aborted, the program runs at full speed, the initial controller is active.

        Raises:
            SceneError: unknown task; nothing has changed.
        """
        self.physics.reset(seed, task)
        self._read()
        self.trajectory.abort("the simulated cell was reset", self.q)
        self.gripper.reset(self.knuckle[0], "the simulated cell was reset")
        self._sent_gripper = None
        self.robot.reset()
        self._stuck_at = None
        self.manager.restore([self._initial])
        self._stop_ns = self._next_stop()

    def command_forward(self, values: "Sequence[float] | Array") -> None:
        """A streamed position command.

        Raises:
            GoalRefusedError: it was dropped; with SpeedLimitError the robot has stopped protectively.
        """
        try:
            self.forward.command(values, self.time_ns)
        except SpeedLimitError:
            self.protective_stop()
            raise

    def stick_gripper(self, on: bool) -> None:
        """A fault: the fingers stay where they are, whatever the gripper is told."""
        self._stuck_at = min(max(self.knuckle[0], 0.0), c.KNUCKLE_CLOSED) if on else None

    def protective_stop(self) -> None:
        """Stop the arm at once; the program and the motion controllers stop."""
        self.robot.protective_stop()
        self.manager.program_stopped()

    def stop_program(self) -> tuple[bool, str]:
        """Stop or pause the program; goals are aborted."""
        self.robot.stop_program()
        self.manager.program_stopped()
        return True, "Stopped"

    def start_program(self) -> tuple[bool, str]:
        """Start the program; the controllers that ran before it stopped run again."""
        ok, text = self.robot.start_program()
        if ok:
            self.manager.program_started()
        return ok, text

    def _stop_trajectory(self) -> None:
        self._hold = self.q
        self.trajectory.deactivate()

    def _stop_forward(self) -> None:
        self._hold = self.q
        self.forward.deactivate()

    def _stop_freedrive(self) -> None:
        self._hold = self.q
        self.freedrive.deactivate()

    def _next_stop(self) -> int | None:
        return None if self._stop_after_ns is None else self.time_ns + self._stop_after_ns
