# SPDX-License-Identifier: Apache-2.0

"""Parameters of the robot state node."""

from dataclasses import dataclass

from vla_common.params import param


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotStateParams:
    """See the descriptions; `vla_common.params.table` prints them."""

    urdf_file: str = param(
        "", "Robot description (URDF file), which is then published as robot_description too. Empty: that topic's."
    )
    joint_topics: tuple[str, ...] = param(
        ("joint_states",), "Topics (sensor_msgs/JointState) with the positions of its joints."
    )
    rate_hz: float = param(30.0, "Transforms per second of the node clock [Hz].", minimum=0.5, maximum=500.0)
    listen_s: float = param(
        1.0,
        "Time on the node clock to listen first for somebody else who publishes them [s].",
        minimum=0.0,
        maximum=60.0,
    )
