# SPDX-License-Identifier: Apache-2.0

"""A played person beside a policy: takes over with a device that is unplugged, then again with sticks that he does not let go.

Says on standard output what he does, one JSON line each, and ends only when he is ended.
"""

import json
import sys

import numpy as np
from vla_common.qos import EVENT
from vla_common.run import run_node
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus, TeleopEvent
from vla_sim.joy_player import JoyPlayerNode
from vla_sim.joy_takeover import TakeoverEpisode

SILENCE_S = 0.3  # until it is known that the device is silent
WATCH_S = 1.0
FULL_S = 0.6  # of steering, until it is told
UP = np.array([0.0, 0.0, 0.6, 0.0, 0.0, 0.0])


class FaultEpisode(TakeoverEpisode):
    """One run in which two things go wrong."""

    def __init__(self, *args, event, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._event = event

    def _note(self, what, **more) -> None:
        super()._note(what, **more)
        print(json.dumps(self._diary.deeds[-1]), flush=True)

    def play(self) -> None:
        hands = self._hands
        self._begin()
        self._run = self._policy.begin(self._goal, hands)
        self._see_it_move()
        hands.plugged = False
        hands.wait(SILENCE_S)
        self._note("unplugged")
        self._event.publish(TeleopEvent(name="interrupt"))  # of a second device, or of a program
        self._until("the policy to let go", lambda: self._policy.state == PolicyStatus.TAKEOVER)
        hands.wait(WATCH_S)
        self._note("plugged", state=self._policy.state, returned=hands.returned)
        hands.plugged = True
        self._until("the device to be heard", lambda: hands.hears)
        self._press("interrupt")
        self._until("teleoperation to be active", lambda: hands.drives)
        self._steer(UP)
        hands.wait(FULL_S)
        self._note("drives")
        while True:
            hands.tick()


class FaultPlayer(JoyPlayerNode):
    """Plays the one run."""

    def __init__(self, **kwargs) -> None:
        self._event = None
        super().__init__(**kwargs)
        self._event = self.create_publisher(TeleopEvent, "teleop/event", EVENT)

    def _person(self, diary):
        goal = RunPolicy.Goal(max_duration=600.0, client="joy_player")
        rng = np.random.default_rng(diary.seed)
        return FaultEpisode(self._hands, diary, rng, policy=self._policy, goal=goal, event=self._event)


if __name__ == "__main__":
    sys.exit(run_node(FaultPlayer))
