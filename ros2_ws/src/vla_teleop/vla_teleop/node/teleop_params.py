# SPDX-License-Identifier: Apache-2.0

"""Parameters of the teleop node."""

from dataclasses import dataclass

from vla_common.params import param
from vla_common.preflight import PARAMETER as PREFLIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopParams:
    """See the descriptions; `ros2 param describe /teleop <name>` shows them too."""

    profile: str = param(description="Robot profile (YAML file) with a section `teleop`.")
    arm: str = param(
        "", "Action of the arm that is driven, where the profile's `teleop` has several; empty: the only one."
    )
    device: str = param("sol_r2", "Mapping of the device: name of a shipped one, or path of a YAML file.")
    frame: str = param(
        "", "Axes of the twist: base, tool; empty: as the device's mapping says.", choices=("", "base", "tool")
    )
    rate_hz: float = param(200.0, "Control ticks per second of the node clock [Hz].", minimum=10.0, maximum=1000.0)
    preflight: bool = param(False, PREFLIGHT)
    lockstep: bool = param(False, "Take the control ticks from the simulated cell, which waits for this node.")
    thread_priority: int = param(
        20,
        "Real-time priority of the control loop's thread where the system allows it; 0: none. In lockstep it has none.",
        minimum=0,
        maximum=99,
    )
    enable_on_start: bool = param(False, "Take the arm as soon as it stands still, without a button or a service call.")
    require_deadman: bool = param(
        False,
        "Refuse a device without an enabling button; one that has it moves the arm only while it is held, in any case.",
    )
    own_buttons: bool = param(
        False, "Obey the buttons enable, home and freedrive; otherwise they are for the operator node."
    )
    max_joint_speed: float = param(
        1.0, "No joint is faster, whatever the profile allows [rad/s].", minimum=0.01, maximum=10.0
    )
    home_speed: float = param(0.5, "Fastest joint on the way home [rad/s].", minimum=0.01, maximum=3.0)
    home_acceleration: float = param(0.3, "Of that joint [rad/s^2].", minimum=0.01, maximum=10.0)
    leader_speed: float = param(
        0.2, "Leader arm: fastest joint while the robot is brought to it [rad/s].", minimum=0.01, maximum=2.0
    )
    leader_tolerance: float = param(
        0.02,
        "Leader arm: largest difference of a joint from which on it is followed [rad].",
        minimum=0.001,
        maximum=0.5,
    )
    leader_refuse: float = param(
        0.8, "Leader arm: one whose joint is further away is not followed [rad].", minimum=0.01, maximum=6.3
    )
    gripper_goal_hz: float = param(10.0, "Most goals per second to the gripper.", minimum=0.5, maximum=100.0)
    divergence: float = param(
        0.3, "The arm is stopped when a measured joint is further from its target [rad].", minimum=0.01, maximum=3.0
    )
    joint_timeout_s: float = param(
        0.2, "The arm is stopped when its joint states are older than this [s].", minimum=0.02, maximum=5.0
    )
    still_timeout_s: float = param(
        3.0, "Longest wait for the arm to stand still before controllers are switched [s].", minimum=0.2, maximum=60.0
    )
    switch_timeout_s: float = param(
        0.3, "Longest time that the controller manager may take to switch [s of wall time].", minimum=0.05, maximum=30.0
    )
    answer_timeout_s: float = param(
        2.0, "Longest wait for other answers of the robot's driver [s of wall time].", minimum=0.1, maximum=60.0
    )
