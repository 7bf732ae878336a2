# SPDX-License-Identifier: Apache-2.0

"""A played person who begins an episode, drives or calls a skill, and goes on as if nothing could happen to the nodes."""

import sys

import numpy as np
from vla_common.run import run_node
from vla_sim.joy_episode import Diary, JoyEpisode
from vla_sim.joy_player import JoyPlayerNode

LONG_S = 60.0


class Unsuspecting(JoyEpisode):
    """`drives` keeps a stick deflected, `skill` calls the skill a little way from the start."""

    def __init__(self, hands, diary, rng) -> None:
        super().__init__(hands, diary, rng, unplug_s=0.0)
        self._scenarios = {"abort": self._drives, "success": self._calls}

    def _drives(self) -> None:
        self._approach(part_of_the_way=0.2, let_go=False)
        self._hands.wait(LONG_S)

    def _calls(self) -> None:
        self._approach(part_of_the_way=0.1)
        self._run_skill()
        self._hands.wait(LONG_S)


class WaitingPlayer(JoyPlayerNode):
    """Plays one episode."""

    def _episode(self, seed):
        diary = Diary(task=self.params.task, scenario=self.params.scenario, seed=seed)
        Unsuspecting(self._hands, diary, np.random.default_rng(seed)).play()
        return diary


if __name__ == "__main__":
    sys.exit(run_node(WaitingPlayer))
