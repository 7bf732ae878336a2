# SPDX-License-Identifier: Apache-2.0

"""Parameters of the scripted operator."""

from dataclasses import dataclass

from vla_common.params import param

from vla_sim.tasks import BLOCK_TASKS


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorParams:
    """See the descriptions."""

    profile: str = param(description="Robot profile (YAML file).")
    episodes: int = param(1, "Episodes to record; the node ends afterwards.", minimum=1)
    first_seed: int = param(10000, "Seed of the first episode; the following ones count up.", minimum=0)
    task: str = param("lift", "What to demonstrate.", choices=BLOCK_TASKS)
    instruction: str = param("", "Text stored with the episodes; empty: the task's own, of each episode.")
    noise: bool = param(True, "Disturb what is sent (never what is labelled).")
    record: bool = param(True, "Record through the services of /recorder; false only drives.")
    result_file: str = param("", "Result file (JSON); empty: none.")
    lockstep: bool = param(False, "The cell runs in lockstep and lists this node as a participant.")
