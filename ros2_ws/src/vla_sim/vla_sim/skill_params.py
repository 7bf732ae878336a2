# SPDX-License-Identifier: Apache-2.0

"""Parameters of the simulated skills."""

from dataclasses import dataclass

from vla_common.params import param

from vla_sim.tasks import BLOCK_TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillParams:
    """See the descriptions."""

    profile: str = param(description="Robot profile (YAML file).")
    task: str = param("lift", "What follows the grasp.", choices=BLOCK_TASKS)
    fail_first: int = param(
        0, "Grasp beside the block this many times first, to try what happens then.", minimum=0, maximum=1000
    )
    grasp_threshold: float = param(
        0.70, "Gripper joint angle from which on it has closed around nothing [rad].", minimum=0.05, maximum=0.79
    )
    lockstep: bool = param(False, "The cell runs in lockstep and lists this node as a participant.")
