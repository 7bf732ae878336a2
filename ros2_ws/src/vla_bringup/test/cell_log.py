# SPDX-License-Identifier: Apache-2.0

"""What really happened in the simulated cell, from the log of `cell_log:=`; for tests that compare it with what was asked for."""

import json
from pathlib import Path

TRAJECTORY, STREAMING = "scaled_joint_trajectory_controller", "forward_position_controller"
REST_S = 0.1  # the log says that the arm rests this much later
STARTED = ("goal_started", "gripper_goal")


class CellLog:
    """Events in order."""

    def __init__(self, path: Path) -> None:
        self.events = [json.loads(line) for line in path.read_text().splitlines()]

    def of(self, *names, begin=0.0, end=1e9):
        """Events with one of the names from `begin` to `end` [s]."""
        return [e for e in self.events if e["event"] in names and begin <= e["t"] <= end]

    def owners(self):
        """When who got the arm: [(t, controller)]."""
        return [(e["t"], e["active"]) for e in self.of("controller") if e["active"]]

    def stood_since(self, t):
        """Since when the arm's set-point has not changed at `t`; it must not be moving."""
        last = self.of("arm_moves", "arm_rests", end=t)[-1]
        assert last["event"] == "arm_rests", f"the arm moves at {t}: {last}"
        return last["t"] - REST_S

    def came_to_rest(self, t):
        """When the arm, which moves at `t`, came to rest."""
        last = self.of("arm_moves", "arm_rests", end=t)[-1]
        assert last["event"] == "arm_moves", f"the arm stands still at {t}: {last}"
        return self.of("arm_rests", begin=t)[0]["t"] - REST_S
