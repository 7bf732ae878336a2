# SPDX-License-Identifier: Apache-2.0

"""Parameters of the SO-101 driver."""

from dataclasses import dataclass

from vla_common.params import param

from vla_drivers.so101.calibration import ROLES
from vla_drivers.so101.motion import CONTROLLERS, TRAJECTORY_CONTROLLER


@dataclass(frozen=True, slots=True, kw_only=True)
class So101DriverParams:
    """What the driver is told at its start."""

    role: str = param("follower", "follower: takes commands. leader: torque off, joint_states only.", choices=ROLES)
    port: str = param(
        "", "Serial port, such as /dev/ttyACM0 or its name below /dev/serial/by-id. Empty: only with mock hardware."
    )
    id: str = param("", "Name under which lerobot-calibrate stored the calibration (--robot.id or --teleop.id).")
    calibration_file: str = param(
        "", "Calibration of lerobot-calibrate (JSON). Empty: LeRobot's own place for role and id."
    )
    use_mock_hardware: bool = param(
        False, "Drive emulated servos behind a pseudo terminal; a calibration is not needed."
    )
    rate_hz: float = param(50.0, "Rate of joint_states and of commands to the servos [Hz].", minimum=5.0, maximum=200.0)
    joint_prefix: str = param("", "Put before every joint name, such as left_.")
    gripper_closed: float = param(
        0.0, "Angle of the gripper joint at LeRobot's 0 (closed) [rad].", minimum=-3.2, maximum=3.2
    )
    gripper_open: float = param(
        1.7453, "Angle of the gripper joint at LeRobot's 100 (open) [rad].", minimum=-3.2, maximum=3.2
    )
    initial_joint_controller: str = param(
        TRAJECTORY_CONTROLLER, "Which controller has the arm after the start.", choices=CONTROLLERS
    )
    max_velocity: float = param(3.0, "Fastest commanded motion of a joint [rad/s].", minimum=0.01, maximum=8.0)
    max_step: float = param(
        0.5,
        "Furthest streamed target from the one in force [rad]; what is further away is refused.",
        minimum=0.001,
        maximum=7.0,
    )
    command_timeout_s: float = param(
        0.5,
        "Streamed positions that stop coming: the arm holds where it is after this time [s].",
        minimum=0.02,
        maximum=10.0,
    )
    path_tolerance: float = param(
        0.5,
        "Trajectories: furthest a joint may be from its path before the goal is aborted [rad].",
        minimum=0.001,
        maximum=7.0,
    )
    goal_tolerance: float = param(
        0.1,
        "Trajectories: how near the end a joint must come; servos sag under load [rad].",
        minimum=0.001,
        maximum=7.0,
    )
    goal_time_s: float = param(
        2.0, "Trajectories: how long after its end the goal is aborted if it is not near; 0 waits for ever [s].",
        minimum=0.0, maximum=600.0,
    )  # fmt: skip
    link_timeout_s: float = param(
        0.5,
        "Silence of the arm after which goals are aborted and its port is opened anew [s].",
        minimum=0.05,
        maximum=60.0,
    )
    reconnect_s: float = param(
        1.0,
        "Distance of attempts to reach an arm that was lost [s]; 0: the driver ends instead.",
        minimum=0.0,
        maximum=600.0,
    )
    on_exit: str = param(
        "hold", "When the driver ends: hold (servos stay stiff) or torque_off (the arm falls; support it).",
        choices=("hold", "torque_off"),
    )  # fmt: skip
