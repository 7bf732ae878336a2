# SPDX-License-Identifier: Apache-2.0

"""Parameters of the simulated cell's node."""

from dataclasses import dataclass

from vla_common.params import param

from vla_sim.tasks import TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class CellParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    profile: str = param(description="Robot profile (YAML file); its cameras are simulated.")
    task: str = param("lift", "Task of the scene.", choices=TASKS)
    seed: int = param(0, "Start state until the first reset.", minimum=0)
    bin_mode: str = param("fixed", "Whether the bin moves from episode to episode.", choices=("fixed", "moving"))
    yaw_range: float = param(
        0.0, "Largest turn of the block at the start, either side [rad].", minimum=0.0, maximum=0.8
    )

    clock_mode: str = param(
        "paced",
        "paced: simulated time follows wall time. lockstep: it advances when all participants have answered a tick.",
        choices=("paced", "lockstep"),
    )
    real_time_factor: float = param(1.0, "Paced: simulated seconds per wall second.", minimum=0.01, maximum=100.0)
    participants: tuple[str, ...] = param((), "Lockstep: names of the nodes that must answer each tick.")
    tick_rate_hz: float = param(50.0, "Lockstep: ticks per simulated second; divides 500.", minimum=1.0, maximum=500.0)
    participant_timeout_s: float = param(
        60.0, "Lockstep: give up after this wall time without an answer [s].", minimum=1.0
    )
    startup_timeout_s: float = param(
        300.0, "Lockstep: the same for the first answer of each participant [s].", minimum=1.0
    )
    start_time_s: float = param(1.0, "Simulated time at the start; 0 would read as 'no stamp' [s].", minimum=0.1)

    joint_state_rate_hz: float = param(500.0, "Joint states of the arm; divides 500.", minimum=1.0, maximum=500.0)
    gripper_state_rate_hz: float = param(
        100.0, "Joint state of the gripper; divides 500. The real driver's rate is 500.", minimum=1.0, maximum=500.0
    )
    tcp_pose_rate_hz: float = param(500.0, "Tool pose; divides 500.", minimum=1.0, maximum=500.0)
    tf_rate_hz: float = param(20.0, "Moving transforms; divides 500.", minimum=1.0, maximum=500.0)
    clock_rate_hz: float = param(250.0, "Paced: messages on /clock; divides 500.", minimum=1.0, maximum=500.0)

    gripper_action: str = param(
        "parallel_gripper_command",
        "Type of the gripper's action: ParallelGripperCommand (Jazzy and newer) or GripperCommand (before).",
        choices=("parallel_gripper_command", "gripper_command"),
    )
    initial_joint_controller: str = param(
        "scaled_joint_trajectory_controller",
        "Motion controller that is active at the start.",
        choices=("scaled_joint_trajectory_controller", "forward_position_controller"),
    )

    light: float = param(
        1.0, "Brightness of the lights; can be changed at any time.", minimum=0.0, maximum=10.0, read_only=False
    )
    board: str = param(
        "", "Calibration board in the scene, such as charuco:5x7:0.04:0.03 (see vla_core.boards); empty is none."
    )
    board_on: str = param("table", "What carries the calibration board.", choices=("table", "tool"))

    camera_phase_s: tuple[float, ...] = param(
        (), "Disturbance: delay of each camera's frame grid, in the profile's order; empty is none [s].", minimum=0.0
    )
    camera_jitter_s: float = param(
        0.0, "Disturbance: standard deviation of the capture times [s].", minimum=0.0, maximum=0.02
    )
    camera_drop_fraction: float = param(0.0, "Disturbance: share of frames that are lost.", minimum=0.0, maximum=1.0)
    camera_latency_s: float = param(
        0.0, "Disturbance: time from a frame's stamp to its publication [s].", minimum=0.0, maximum=1.0
    )
    protective_stop_at_s: float = param(
        -1.0, "Disturbance: protective stop this long after each reset; negative for never [s]."
    )
    disturbance_seed: int = param(0, "Seed of the disturbances.", minimum=0)
    log_file: str = param(
        "", "JSON lines file of what really happens in the cell: controllers, goals, grasps, faults. Empty: none."
    )
