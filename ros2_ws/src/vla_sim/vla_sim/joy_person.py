# SPDX-License-Identifier: Apache-2.0

"""What the played person can do in every scenario: press, steer, let go, wait; and the diary of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import pose_matrix, rotation_from_rpy

from vla_sim import joy_pilot
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_pilot import Hand, Tolerance

Array = NDArray[np.float64]

_PRESS_S: Final = 0.1
_FLIGHT_S: Final = 60.0
_NEAR_TICKS: Final = 5  # so long the tool must be near enough
_REST_S: Final = 0.5  # the arm stands so long before the next episode
_AIM_M: Final = 0.001  # a person misses by so much
_AIM_RAD: Final = 0.008


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
        policy: states of the policy node (constants of PolicyStatus): [when it was seen, number].
        run: how the policy's run ended; empty without one.
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
    policy: list[tuple[float, int]] = field(default_factory=list)
    run: str = ""


class JoyPerson(ABC):
    """Somebody at the sticks.

    Args:
        hands: sticks and eyes.
        diary: what is done is written there; it says which task, scenario and seed.
        rng: of all that a person does not do twice in the same way.
    """

    def __init__(self, hands: Hands, diary: Diary, rng: np.random.Generator) -> None:
        self._hands, self._diary, self._rng = hands, diary, rng
        self._hand = Hand(int(rng.integers(2**31)))
        self._moving = False

    @abstractmethod
    def play(self) -> None:
        """Play the scenario to its end.

        Raises:
            SimError: something that the person waits for does not happen.
        """

    @abstractmethod
    def give_up(self) -> None:
        """Leave the scenario as a person who does not know how to go on.

        Raises:
            SimError: that does not end it either.
        """

    def _begin(self) -> int:
        """Sticks at rest, the scene in its start state; returns the time [ns]."""
        hands, diary = self._hands, self._diary
        hands.release()
        hands.hold(None)
        hands.plugged = True
        hands.reset(diary.seed, diary.task)
        hands.phases.clear()
        return hands.now_ns

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

    def _press(self, button: str) -> None:
        self._let_go()
        self._note(f"press {button}")
        self._hands.hold(button)
        self._hands.wait(_PRESS_S)
        self._hands.hold(None)
        self._hands.tick()

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

    def _missed(self, T: Array) -> Array:
        """The pose as a person aims at it."""
        xyz = np.clip(self._rng.normal(0.0, _AIM_M, 3), -2 * _AIM_M, 2 * _AIM_M)
        rpy = np.clip(self._rng.normal(0.0, _AIM_RAD, 3), -2 * _AIM_RAD, 2 * _AIM_RAD)
        return np.asarray(T @ pose_matrix(xyz, rotation_from_rpy(rpy)))

    def _note(self, what: str, **more: Any) -> None:
        self._diary.deeds.append({"t": 1e-9 * self._hands.now_ns, "what": what, **more})
