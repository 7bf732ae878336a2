# SPDX-License-Identifier: Apache-2.0

"""Parameters of the closed-loop trials."""

from dataclasses import dataclass

from vla_common.params import param

from vla_sim.tasks import TASKS

SENTENCES = ("own", "swapped", "empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialParams:
    """See the descriptions."""

    profile: str = param(description="Robot profile (YAML file).")
    episodes: int = param(20, "Trials; the node ends afterwards.", minimum=1)
    first_seed: int = param(0, "Seed of the first trial; the following ones count up.", minimum=0)
    task: str = param("lift", "Scene and success condition.", choices=TASKS)
    instruction: str = param("", "Text for the policy; empty: the task's own, of each trial.")
    sentence: str = param(
        "own",
        "What of the task's sentence the policy gets: own (as it is), swapped (pick_which: it names the other block), "
        "empty (a blank). Only without an instruction.",
        choices=SENTENCES,
    )
    max_duration_s: float = param(12.0, "A trial ends without success after this simulated time [s].", minimum=0.1)
    hold_s: float = param(0.0, "Success must hold for this long before the policy is stopped [s].", minimum=0.0)
    result_file: str = param("", "Result file (JSON); empty: none.")
    record_episodes: int = param(
        0, "Have the policy node record this many trials, from the first on; they are labelled.", minimum=0
    )
    displaced_trials: int = param(
        0,
        "Extraction tasks: in this many trials, from the first on, the part is put elsewhere when the skill begins.",
        minimum=0,
    )
    lockstep: bool = param(False, "The cell runs in lockstep and lists this node as a participant.")
