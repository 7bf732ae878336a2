# SPDX-License-Identifier: Apache-2.0

"""What the played person does in one episode, from the record button to home."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_msgs.msg import EpisodeEvent

from vla_sim import skills
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_person import Diary, JoyPerson
from vla_sim.joy_pilot import COARSE, FINE
from vla_sim.parts import PARTS
from vla_sim.tasks import Pose, upright

Array = NDArray[np.float64]

_ARMED_S: Final = 15.0
_GRIP_S: Final = 0.8  # the stick is held so long, for the gripper to go all the way even at half speed
_SETTLE_S: Final = 0.8
_ATTEMPTS: Final = 3  # grasps by hand until a person gives up
_SYMMETRY: Final = {"extract_cpu": np.pi / 2, "extract_ram": np.pi}  # turns after which the part looks the same
_SKILLS: Final = (EpisodeEvent.SKILL, EpisodeEvent.SKILL_RESUME)


class JoyEpisode(JoyPerson):
    """Plays one episode.

    Args:
        hands: sticks and eyes.
        diary: what is done is written there; it says which task, scenario and seed.
        rng: of all that a person does not do twice in the same way.
        unplug_s: scenario unplug: how long nothing is published [s].
    """

    def __init__(self, hands: Hands, diary: Diary, rng: np.random.Generator, *, unplug_s: float) -> None:
        super().__init__(hands, diary, rng)
        self._unplug_s = unplug_s
        self._part = PARTS[diary.task]
        self._skill = next(f"skill/{name}" for name, task in skills.TASK_OF_SKILL.items() if task == diary.task)
        self._scenarios: dict[str, Callable[[], None]] = {
            "success": self._grasp_at_once,
            "failed_grasp": self._grasp_fails,
            "interrupt": self._interrupts,
            "abort": self._aborts,
            "unplug": self._unplugs,
        }

    def play(self) -> None:
        """Play the scenario to its end.

        Raises:
            SimError: something that the person waits for does not happen.
        """
        hands, diary = self._hands, self._diary
        begin = self._begin()
        try:
            self._press("record")
            hands.wait_until("an open episode", lambda: hands.phase != EpisodeEvent.IDLE, _ARMED_S)
            hands.wait_until("teleoperation to be active", lambda: hands.drives, _ARMED_S)
            self._think()
            self._scenarios[diary.scenario]()
        finally:
            diary.duration_s = 1e-9 * (hands.now_ns - begin)
            diary.success = bool(hands.task.success)
            diary.phases = list(hands.phases)
        self._rest()

    def give_up(self) -> None:
        """See `JoyPerson.give_up`."""
        self.end_by_home()

    def end_by_home(self) -> None:
        """Press home and wait for the end of the episode.

        Raises:
            SimError: it does not end.
        """
        self._hands.plugged = True
        self._press("home")
        self._ended()
        self._rest()

    # --- scenarios ----------------------------------------------------------------------------------------------------

    def _grasp_at_once(self) -> None:
        self._approach()
        self._run_skill()
        self._skill_is_done()

    def _grasp_fails(self) -> None:
        self._approach()
        offset = skills.displacement(self._diary.task, self._rng)
        self._hands.displace(offset)
        self._note("displaced", xyz=list(offset.xyz), yaw=offset.yaw)
        self._think()
        self._run_skill()
        self._skill_has_failed()
        self._correct()
        self._run_skill()
        self._skill_is_done()

    def _interrupts(self) -> None:
        self._approach()
        self._run_skill()
        self._hands.wait(float(self._rng.uniform(0.5, 2.5)))
        self._press("interrupt")
        self._hands.wait_until("the correction to begin", lambda: self._hands.phase == EpisodeEvent.CORRECTION)
        self._correct()
        self._run_skill()
        self._skill_is_done()

    def _aborts(self) -> None:
        self._approach(part_of_the_way=float(self._rng.uniform(0.3, 0.7)))
        self._think()
        self._press("home")
        self._ended()

    def _unplugs(self) -> None:
        hands = self._hands
        self._approach(part_of_the_way=float(self._rng.uniform(0.3, 0.7)), let_go=False)
        hands.plugged = False
        self._note("unplugged", tool=hands.tool[:3, 3].tolist())
        hands.wait(self._unplug_s)
        hands.plugged = True
        self._let_go()
        self._note("plugged", tool=hands.tool[:3, 3].tolist())
        hands.wait_until("teleoperation to hear the sticks again", lambda: hands.drives)
        self._think()
        self._grasp_at_once()

    # --- deeds --------------------------------------------------------------------------------------------------------

    def _approach(self, *, part_of_the_way: float = 1.0, let_go: bool = True) -> None:
        goal = self._missed(skills.trigger_pose(self._part, self._item()))
        self._fly(goal, FINE, part_of_the_way, let_go=let_go)

    def _correct(self) -> None:
        """Take the part by hand where it is, and lift it."""
        hands = self._hands
        hands.wait_until("teleoperation to be active", lambda: hands.drives)
        self._think()
        for attempt in range(_ATTEMPTS):
            if hands.task.grasped:
                break
            if attempt:
                self._note("grasp missed")
            self._grip(-1.0)
            self._fly(self._missed(skills.trigger_pose(self._part, self._item())), COARSE)
            self._fly(self._missed(skills.grasp_pose(self._part, self._item())), FINE)
            self._grip(1.0)
        if not hands.task.grasped:
            raise SimError(f"the correction closed the gripper around nothing, {_ATTEMPTS} times")
        self._fly(skills.raised(hands.tool, skills.TRIGGER_HEIGHT), COARSE)

    def _grip(self, direction: float) -> None:
        """Move the gripper all the way, closing positive."""
        self._steer(np.zeros(6), direction)
        self._hands.wait(_GRIP_S)
        self._let_go()
        self._hands.wait(_SETTLE_S)

    def _run_skill(self) -> None:
        """Press the skill's button and see that the skill begins."""
        self._let_go()
        self._think()
        heard = len(self._hands.phases)
        self._press(self._skill)
        self._hands.wait_until(
            "the skill to begin", lambda: any(phase in _SKILLS for _, phase, _ in self._hands.phases[heard:])
        )

    # --- what is waited for -------------------------------------------------------------------------------------------

    def _skill_over(self) -> None:
        self._hands.wait_until("the end of the skill", lambda: self._hands.phase not in _SKILLS)

    def _skill_is_done(self) -> None:
        self._skill_over()
        if self._hands.phase != EpisodeEvent.IDLE:
            raise SimError(f"the skill did not succeed: phase {self._hands.phase}, {self._why()}")

    def _skill_has_failed(self) -> None:
        self._skill_over()
        if self._hands.phase == EpisodeEvent.IDLE:
            raise SimError(f"the skill succeeded although the part was somewhere else: {self._why()}")

    def _why(self) -> str:
        event = self._hands.event
        return "nothing was heard on episode/event" if event is None else f"'{event.label}'"

    def _ended(self) -> None:
        self._hands.wait_until("the end of the episode", lambda: self._hands.phase == EpisodeEvent.IDLE)

    # --- aiming -------------------------------------------------------------------------------------------------------

    def _item(self) -> Pose:
        """The part, turned by what it looks the same after so that the tool turns least."""
        item, tool = self._hands.item, self._hands.tool
        turn = _SYMMETRY[self._diary.task]
        yaw = float(np.arctan2(tool[1, 0], tool[0, 0]))
        x, y, z = item.xyz
        return upright(x, y, z, item.yaw - turn * round((item.yaw - yaw) / turn))
