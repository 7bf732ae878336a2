# SPDX-License-Identifier: Apache-2.0

"""Parameters of the joystick player."""

from dataclasses import dataclass

from vla_common.params import param

from vla_sim.tasks import TASKS

TAKEOVER = "takeover"
SCENARIOS = ("success", "failed_grasp", "interrupt", "abort", "unplug", TAKEOVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoyPlayerParams:
    """See the descriptions."""

    task: str = param(
        "extract_cpu", "Task of the scene; all but the scenario takeover need an extraction.", choices=TASKS
    )
    scenario: str = param(
        "success",
        "What the person does: approach and skill; the same with a part that is not where it was, correction and "
        "resume; interrupt of the skill; home in the middle of the approach; silence in the middle of the approach; takeover of a "
        "running policy, which gets the arm back.",
        choices=SCENARIOS,
    )
    episodes: int = param(1, "Episodes to play; the node ends afterwards.", minimum=1)
    first_seed: int = param(0, "Seed of the first episode; the following ones count up.", minimum=0)
    instruction: str = param("", "Scenario takeover: text for the policy; empty: the task's own.")
    max_duration_s: float = param(30.0, "Scenario takeover: time limit of the policy's run [s].", minimum=1.0)
    unplug_s: float = param(2.0, "Scenario unplug: how long nothing is published [s].", minimum=0.2)
    timeout_s: float = param(60.0, "Longest wait for anything that the person waits for [s].", minimum=1.0)
    result_file: str = param("", "Result file (JSON): what was pressed and moved when; empty: none.")
    lockstep: bool = param(False, "The cell runs in lockstep and lists this node as a participant.")
