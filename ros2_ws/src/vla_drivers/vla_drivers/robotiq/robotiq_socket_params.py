# SPDX-License-Identifier: Apache-2.0

"""Parameters of the Robotiq driver."""

from dataclasses import dataclass

from vla_common.params import param

from vla_drivers.robotiq.client import PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotiqSocketParams:
    """What the driver is told at its start."""

    robot_ip: str = param("", "Address of the UR that the gripper is plugged into. Empty: only with mock hardware.")
    gripper_port: int = param(PORT, "TCP port of the gripper's URCap.", minimum=1, maximum=65535)
    use_mock_hardware: bool = param(False, "Talk to an emulated gripper on this machine.")
    poll_rate_hz: float = param(
        30.0,
        "How often the position is read and published; one read takes a few milliseconds [Hz].",
        minimum=1.0,
        maximum=125.0,
    )
    action_type: str = param(
        "parallel_gripper_command",
        "Type of the action robotiq_gripper_controller/gripper_cmd.",
        choices=("parallel_gripper_command", "gripper_command"),
    )
    joint_prefix: str = param("", "Put before the joint's name, such as left_.")
    activation: str = param(
        "first_goal",
        "When a gripper that is not active is activated, which opens and closes its fingers: with the first_goal, on start, or "
        "by service only.",
        choices=("first_goal", "start", "service"),
    )
    open_register: int = param(3, "What the gripper reports when it is open.", minimum=0, maximum=255)
    closed_register: int = param(230, "What the gripper reports when it is closed.", minimum=0, maximum=255)
    default_speed: float = param(
        1.0, "Speed of goals that give none, of the fastest (150 mm/s).", minimum=0.0, maximum=1.0
    )
    default_force: float = param(
        0.2, "Force of goals that give none, of the range 20 to 235 N.", minimum=0.0, maximum=1.0
    )
    goal_tolerance: float = param(0.02, "How near the goal counts as reached [rad].", minimum=0.001, maximum=0.5)
    motion_timeout_s: float = param(5.0, "Longest motion before a goal is aborted [s].", minimum=0.5, maximum=60.0)
    answer_timeout_s: float = param(0.5, "Longest wait for one answer [s].", minimum=0.01, maximum=10.0)
    reconnect_s: float = param(
        1.0,
        "Distance of attempts to reach a gripper that was lost [s]; 0: the driver ends instead.",
        minimum=0.0,
        maximum=600.0,
    )
