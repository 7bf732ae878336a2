# SPDX-License-Identifier: Apache-2.0

"""The robot as its control box runs it at 500 Hz: controllers, program and safety state around the physics. No ROS.

All calls except construction need `lock`, which the facade's callbacks and the simulation loop share.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from vla_core.controller_gripper import GripperController
from vla_core.controller_manager import Controller, ControllerManager
from vla_core.controller_trajectory import TrajectoryController

from vla_sim import constants as c
from vla_sim.controllers.forward import ForwardController, SpeedLimitError
from vla_sim.controllers.freedrive import FreedriveController
from vla_sim.controllers.robot import RobotState
from vla_sim.robot import UR5E, Robot

Array = NDArray[np.float64]

TRAJECTORY_CONTROLLER = c.TRAJECTORY_CONTROLLER
FORWARD_CONTROLLER = "forward_position_controller"
FREEDRIVE_CONTROLLER = "freedrive_mode_controller"
_PERIOD_S = c.STEP_NS * 1e-9
_GRIPPER_TOLERANCE = 0.02 / c.KNUCKLE_CLOSED  # of the gripper's range, as ros2_robotiq_gripper has it
_GRIPPER_STALL = 0.001 / c.KNUCKLE_CLOSED  # of the gripper's range per second


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
        q, dq, effort: state of the arm (k,) in rad, rad/s, Nm; order of the robot's joints.
        knuckle: state of the gripper: rad, rad/s, N (or m, m/s, N).
        command: set-point (k,) in rad that the arm was given in the last cycle.
    """

    def __init__(
        self,
        physics: Physics,
        *,
        robot: Robot = UR5E,
        lock: "threading.RLock | None" = None,
        start_ns: int = 0,
        initial_controller: str = "",
        protective_stop_after_ns: int | None = None,
    ) -> None:
        self.lock = lock or threading.RLock()
        self.kind = robot
        self.trajectory_name = robot.trajectory_controller
        self.physics = physics
        self._start_ns = start_ns
        self._initial = initial_controller or robot.trajectory_controller
        self._stop_after_ns = protective_stop_after_ns
        self.robot = RobotState()
        # A gripper that is a joint of the arm presses on what it holds, short of its target.
        free = np.array([np.inf if joint == robot.gripper.joint else 0.0 for joint in robot.joints])
        self.trajectory = TrajectoryController(robot.joints, path_tolerance=0.2 + free, goal_tolerance=0.1 + free)
        self.forward = ForwardController(robot.joints, robot.max_velocity)
        self.freedrive = FreedriveController(robot.dh) if robot.dh else None
        grip = robot.gripper
        self.gripper = GripperController(
            lower=grip.lower,
            upper=grip.upper,
            max_velocity=grip.speed,
            max_effort=grip.efforts[1],
            default_effort=grip.efforts[2],
            goal_tolerance=_GRIPPER_TOLERANCE * (grip.upper - grip.lower),
            stall_velocity=_GRIPPER_STALL * (grip.upper - grip.lower),
        )
        self._read()
        self._hold = self.command = self.q
        self._sent_gripper: tuple[float, float, float] | None = None
        self._stuck_at: float | None = None
        self.manager = ControllerManager(self._controllers())
        self.manager.restore([self._initial])
        self._stop_ns = self._next_stop()

    def _controllers(self) -> list[Controller]:
        broadcasters = {"joint_state_broadcaster": "joint_state_broadcaster/JointStateBroadcaster"}
        if self.kind.dashboard:
            broadcasters["tcp_pose_broadcaster"] = "pose_broadcaster/PoseBroadcaster"
            broadcasters["speed_scaling_state_broadcaster"] = "ur_controllers/SpeedScalingStateBroadcaster"
            broadcasters["io_and_status_controller"] = "ur_controllers/GPIOController"
        found = [Controller(name=name, type=kind, active=True) for name, kind in broadcasters.items()]
        scaled = "ur_controllers/Scaled" if self.kind.dashboard else "joint_trajectory_controller/"
        kind = f"{scaled}JointTrajectoryController"
        found.append(self._motion(self.trajectory_name, kind, self._start_trajectory, self._stop_trajectory))
        kind = "position_controllers/JointGroupPositionController"
        found.append(self._motion(FORWARD_CONTROLLER, kind, self._start_forward, self._stop_forward))
        if self.freedrive is not None:
            kind = "ur_controllers/FreedriveModeController"
            found.append(self._motion(FREEDRIVE_CONTROLLER, kind, self._start_freedrive, self._stop_freedrive))
        return found

    def _motion(self, name: str, kind: str, start: Callable[[], None], stop: Callable[[], None]) -> Controller:
        """A controller that claims the joints."""
        interfaces = tuple(f"{joint}/position" for joint in self.kind.joints)
        return Controller(name=name, type=kind, interfaces=interfaces, needs_program=True, start=start, stop=stop)

    @property
    def time_ns(self) -> int:
        """Simulated time; never goes back."""
        return self._start_ns + self.physics.time_ns

    def step(self) -> None:
        """One control cycle of 2 ms: controllers on the last measurement, then physics, then a new measurement."""
        self.control()
        self.physics.step(1)
        self.measure()

    def control(self) -> None:
        """Controllers on the last measurement: the set-points of the next step of physics."""
        now = self.time_ns
        if self._stop_ns is not None and now >= self._stop_ns:
            self._stop_ns = None
            self.protective_stop()
        self.command = self._arm_command(now)
        self.physics.set_arm_target(self.command)
        if self.kind.gripper.in_arm:
            return
        self.gripper.update(now, self.knuckle[0], self.knuckle[1])
        target = self.gripper.target if self._stuck_at is None else self._stuck_at
        wanted = (target, self.gripper.velocity, self.gripper.effort)
        if wanted != self._sent_gripper:
            self.physics.set_gripper_target(*wanted)
            self._sent_gripper = wanted

    def measure(self) -> None:
        """Take the measurement after a step of physics."""
        self._read()

    def _arm_command(self, now: int) -> Array:
        if self.trajectory.active:
            return self.trajectory.update(now, _PERIOD_S, self.robot.speed_scaling, self.q, self.dq)
        if self.forward.active:
            return self.forward.target
        if self.freedrive is not None and self.freedrive.active:
            return self.freedrive.update(now, _PERIOD_S)
        return self._hold

    @property
    def motion_controller(self) -> str:
        """Who has the arm; empty: nobody."""
        moving = (v.name for v in self.manager.controllers.values() if v.interfaces and v.active)
        return next(moving, "")

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
        grip = self.kind.gripper
        self._stuck_at = min(max(self.knuckle[0], grip.lower), grip.upper) if on else None

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

    def _start_trajectory(self) -> None:
        self.trajectory.activate(self.q)

    def _start_forward(self) -> None:
        self.forward.activate(self.q, self.time_ns)

    def _start_freedrive(self) -> None:
        assert self.freedrive is not None
        self.freedrive.activate(self.q)

    def _stop_trajectory(self) -> None:
        self._hold = self.q
        self.trajectory.deactivate()

    def _stop_forward(self) -> None:
        self._hold = self.q
        self.forward.deactivate()

    def _stop_freedrive(self) -> None:
        assert self.freedrive is not None
        self._hold = self.q
        self.freedrive.deactivate()

    def _next_stop(self) -> int | None:
        return None if self._stop_after_ns is None else self.time_ns + self._stop_after_ns
