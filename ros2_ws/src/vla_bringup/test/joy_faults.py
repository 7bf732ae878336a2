# SPDX-License-Identifier: Apache-2.0

"""A played person to whom things happen: the device falls silent during a skill, the robot stops itself, the gripper sticks.

Its last episode it leaves open, in teleop, and goes away.
"""

import os
import sys

import numpy as np
from std_srvs.srv import SetBool
from vla_common.run import run_node
from vla_common.services import call_checked
from vla_msgs.msg import EpisodeEvent
from vla_sim.joy_episode import Diary, JoyEpisode
from vla_sim.joy_player import JoyPlayerNode

FULL = os.environ.get("VLA_TEST_FULL") == "1"
FAULTS = ("unplugged", "protective_stop", *(("gripper_stuck",) if FULL else ()), "left")
INTO_SKILL_S = 1.2  # the arm moves by then
STILL_S = 1.0


class FaultEpisode(JoyEpisode):
    """One episode in which something goes wrong."""

    def __init__(self, hands, diary, rng, services) -> None:
        super().__init__(hands, diary, rng, unplug_s=0.0)
        self._switches = services
        self._scenarios = {name: getattr(self, f"_{name}") for name in FAULTS}

    def _rest(self) -> None:
        if self._diary.scenario != "left":
            super()._rest()

    def _into_skill(self) -> None:
        self._approach()
        self._run_skill()
        self._hands.wait(INTO_SKILL_S)

    def _fault(self, on: bool) -> None:
        call_checked(self._switches[self._diary.scenario], SetBool.Request(data=on))
        self._note(f"fault {'on' if on else 'off'}")

    def _unplugged(self) -> None:
        hands = self._hands
        self._into_skill()
        hands.plugged = False
        self._note("unplugged")
        hands.wait(STILL_S)
        hands.plugged = True
        self._let_go()
        hands.wait_until("the arm to be the person's", lambda: hands.drives)
        self.end_by_home()

    def _protective_stop(self) -> None:
        self._into_skill()
        self._fault(True)
        self._hands.wait(STILL_S)
        self._fault(False)
        self._hands.wait(STILL_S)
        self.end_by_home()

    def _gripper_stuck(self) -> None:
        self._approach()
        self._fault(True)
        self._run_skill()
        self._skill_has_failed()
        self._fault(False)
        self.end_by_home()

    def _left(self) -> None:
        self._approach(part_of_the_way=0.3)
        self._hands.wait_until("teleop", lambda: self._hands.phase == EpisodeEvent.TELEOP)


class FaultPlayer(JoyPlayerNode):
    """Plays one episode per fault."""

    def __init__(self, **kwargs) -> None:
        self._switches = {}
        super().__init__(**kwargs)
        for name in ("protective_stop", "gripper_stuck"):
            self._switches[name] = self.create_client(SetBool, f"sim/fault/{name}")

    def _episode(self, seed):
        diary = Diary(task=self.params.task, scenario=FAULTS[seed], seed=seed)
        FaultEpisode(self._hands, diary, np.random.default_rng(seed), self._switches).play()
        return diary


if __name__ == "__main__":
    sys.exit(run_node(FaultPlayer))
