# SPDX-License-Identifier: Apache-2.0

"""What the played person does in one episode, from the record button to home."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_rpy
from vla_msgs.msg import EpisodeEvent

from vla_sim import joy_pilot, skills
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_pilot import COARSE, FINE, Hand, Tolerance
from vla_sim.parts import PARTS
from vla_sim.tasks import Pose, upright

Array = NDArray[np.float64]

_PRESS_S: Final = 0.1
_ARMED_S: Final = 15.0
_FLIGHT_S: Final = 60.0
_NEAR_TICKS: Final = 5  # so long the tool must be near enough
_GRIP_S: Final = 0.8  # the stick is held so long, for the gripper to go all the way even at half speed
_SETTLE_S: Final = 0.8
_ATTEMPTS: Final = 3  # grasps by hand until a person gives up
_REST_S: Final = 0.5  # the arm stands so long before the next episode
_AIM_M: Final = 0.001  # a person misses by so much
_AIM_RAD: Final = 0.008
_SYMMETRY: Final = {"extract_cpu": np.pi / 2, "extract_ram": np.pi}  # turns after which the part looks the same
_SKILLS: Final = (EpisodeEvent.SKILL, EpisodeEvent.SKILL_RESUME)


@dataclass(slots=True)
class Diary:
    """What the person did and saw in one episode, for the result file; times in s of the node clock.

    Attributes:
        task: of the scene.
        scenario: what was played.
        seed: start state of the scene.
        success: whether the part was in its place when the episode ended.
        duration_s: from the record button to the end of the episode.
        wall_s: the whole, in wall time.
        error: what the person waited for in vain; empty when the episode was played to its end.
        deeds: buttons, sticks and what else was done: {"t": …, "what": …}.
        phases: phases of the recorder: [when, number, label].
    """

    task: str
    scenario: str
    seed: int
    success: bool = False
    duration_s: float = 0.0
    wall_s: float = 0.0
    error: str = ""
    deeds: list[dict[str, Any]] = field(default_factory=list)
    phases: list[tuple[float, int, str]] = field(default_factory=list)


class JoyEpisode:
    """Plays one episode.

    Args:
        hands: sticks and eyes.
        diary: what is done is written there; it says which task, scenario and seed.
        rng: of all that a person does not do twice in the same way.
        unplug_s: scenario unplug: how long nothing is published [s].
    """

    def __init__(self, hands: Hands, diary: Diary, rng: np.random.Generator, *, unplug_s: float) -> None:
        self._hands, self._diary, self._rng, self._unplug_s = hands, diary, rng, unplug_s
        self._part = PARTS[diary.task]
        self._hand = Hand(int(rng.integers(2**31)))
        self._skill = next(f"skill/{name}" for name, task in skills.TASK_OF_SKILL.items() if task == diary.task)
        self._moving = False
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
        hands.release()
        hands.hold(None)
        hands.plugged = True
        hands.reset(diary.seed, diary.task)
        hands.phases.clear()
        begin = hands.now_ns
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

    def _fly(self, T_goal: Array, tolerance: Tolerance, part: float = 1.0, *, let_go: bool = True) -> None:
        """Steer the tool centre point to a pose (4, 4), or a part of the way."""
        hands, near, begin = self._hands, 0, self._hands.now_ns
        limit = np.array([tolerance.length] * 3 + [tolerance.angle] * 3)
        whole = np.linalg.norm(joy_pilot.pose_error(hands.tool, T_goal)[:3])
        while near < _NEAR_TICKS:
            error = joy_pilot.pose_error(hands.tool, T_goal)
            if part < 1.0 and np.linalg.norm(error[:3]) < (1.0 - part) * whole:
                break
            near = near + 1 if (np.abs(error) <= limit).all() else 0
            self._steer(self._hand.deflection(error, tolerance))
            hands.tick()
            if hands.now_ns - begin > _FLIGHT_S * 1e9:
                raise SimError(
                    f"the tool does not get where the sticks steer it: {1e3 * np.linalg.norm(error[:3]):.1f} mm and "
                    f"{np.degrees(np.linalg.norm(error[3:])):.1f} deg are left after {_FLIGHT_S:g} s. Phase "
                    f"{hands.phase}, teleoperation: {hands.teleop_line}"
                )
        if let_go:
            self._let_go()

    def _steer(self, deflection: Array, gripper: float = 0.0) -> None:
        moving = joy_pilot.moves(deflection, gripper)
        if moving != self._moving:
            self._note("sticks begin" if moving else "sticks end")
            self._moving = moving
        self._hands.steer(deflection, gripper)

    def _let_go(self) -> None:
        self._steer(np.zeros(6))
        self._hands.tick()

    def _grip(self, direction: float) -> None:
        """Move the gripper all the way, closing positive."""
        self._steer(np.zeros(6), direction)
        self._hands.wait(_GRIP_S)
        self._let_go()
        self._hands.wait(_SETTLE_S)

    def _press(self, button: str) -> None:
        self._let_go()
        self._note(f"press {button}")
        self._hands.hold(button)
        self._hands.wait(_PRESS_S)
        self._hands.hold(None)
        self._hands.tick()

    def _run_skill(self) -> None:
        """Press the skill's button and see that the skill begins."""
        self._let_go()
        self._think()
        heard = len(self._hands.phases)
        self._press(self._skill)
        self._hands.wait_until(
            "the skill to begin", lambda: any(phase in _SKILLS for _, phase, _ in self._hands.phases[heard:])
        )

    def _think(self) -> None:
        self._hands.wait(float(self._rng.uniform(0.25, 0.6)))

    def _rest(self) -> None:
        """Wait until the arm is home, at rest and given back."""
        hands = self._hands
        still = [hands.now_ns]

        def resting() -> bool:
            if not (hands.still and hands.returned):
                still[0] = hands.now_ns
            return hands.now_ns - still[0] >= _REST_S * 1e9

        hands.wait_until("the arm to be home and at rest", resting)

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

    def _missed(self, T: Array) -> Array:
        """The pose as a person aims at it."""
        xyz = np.clip(self._rng.normal(0.0, _AIM_M, 3), -2 * _AIM_M, 2 * _AIM_M)
        rpy = np.clip(self._rng.normal(0.0, _AIM_RAD, 3), -2 * _AIM_RAD, 2 * _AIM_RAD)
        return np.asarray(T @ pose_matrix(xyz, rotation_from_rpy(rpy)))

    def _note(self, what: str, **more: Any) -> None:
        self._diary.deeds.append({"t": 1e-9 * self._hands.now_ns, "what": what, **more})
