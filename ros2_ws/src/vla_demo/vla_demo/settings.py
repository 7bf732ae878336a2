# SPDX-License-Identifier: Apache-2.0

"""What the demo does by default, per task and policy, in one place.

The seeds of demonstrations and of the evaluation never overlap: demonstrations start at 10000, held-out ones at 0.
"""

from dataclasses import dataclass, replace

DEMONSTRATION_SEED = 10_000
HELD_OUT_SEED = 0
ROBOT = "sim_ur5e_tiny"
INSTRUCTIONS = {"lift": "grasp the block and lift it", "pick_place": "pick up the block and place it in the bin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """One run of the demo."""

    task: str  # "lift" or "pick_place"
    policy: str  # "act" or "smolvla"
    bin: str = "fixed"  # "fixed" or "moving"
    demonstrations: int  # scripted episodes to record
    steps: int  # optimiser steps
    trials: int  # held-out seeds to run closed loop
    real_time_trials: int = 10  # the first of them again on the real-time clock, for latency and jitter
    trial_s: float  # time limit of one trial, simulated seconds
    threads: int = 1  # torch threads for training; two that compete with anything else are many times slower than one
    quick: bool = False  # compare with an untrained checkpoint instead of asking for a success rate
    bar: float | None = None  # success rate that the run must reach; None: reported without a bar

    @property
    def instruction(self) -> str:
        """What the policy is told, and what is stored with each demonstration."""
        return INSTRUCTIONS[self.task]


_DEFAULTS = {
    ("lift", "act"): DemoSettings(
        task="lift", policy="act", demonstrations=50, steps=900, trials=20, trial_s=8.0, bar=0.95
    ),
    ("pick_place", "act"): DemoSettings(
        task="pick_place", policy="act", demonstrations=60, steps=1300, trials=20, trial_s=14.0, bar=0.90
    ),
    ("lift", "smolvla"): DemoSettings(
        task="lift", policy="smolvla", demonstrations=40, steps=3000, trials=20, trial_s=8.0
    ),
    ("pick_place", "smolvla"): DemoSettings(
        task="pick_place", policy="smolvla", demonstrations=60, steps=4000, trials=20, trial_s=14.0
    ),
}
_QUICK = {"act": 300, "smolvla": 400}


def demo_settings(task: str, policy: str, *, quick: bool = False, bin_mode: str = "fixed") -> DemoSettings:
    """The defaults for a task and a policy.

    Args:
        task: "lift" or "pick_place".
        policy: "act" or "smolvla".
        quick: few episodes and steps; the result is compared with an untrained checkpoint.
        bin_mode: "fixed" or "moving"; a moving bin is reported without a bar.
    """
    chosen = replace(_DEFAULTS[task, policy], bin=bin_mode)
    if quick:
        return replace(
            chosen, demonstrations=14, steps=_QUICK[policy], trials=5, real_time_trials=2, quick=True, bar=None
        )
    return replace(chosen, bar=None) if bin_mode == "moving" else chosen
