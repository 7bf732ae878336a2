# SPDX-License-Identifier: Apache-2.0

"""The played person beside a running policy: takes the arm over, moves it away, hands it back."""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from vla_common.action_client import GoalClient
from vla_common.qos import LATCHED
from vla_common.run import ManagedNode
from vla_common.services import CallError, GoalRejectedError, GoalRun, send_goal
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus

from vla_sim import skills
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_person import Diary, JoyPerson
from vla_sim.joy_pilot import COARSE

Array = NDArray[np.float64]

_LOAD_S: Final = 120.0  # wall time for a policy that is still loading its checkpoint
_ANSWER_S: Final = 60.0
_MOVED_M: Final = 0.01
_AWAY_M: Final = (0.03, 0.05)  # up, and as far to one side
_END_S: Final = 10.0  # beyond its time limit, until the policy's run has ended
_DRIVEN: Final = (PolicyStatus.RUNNING, PolicyStatus.SKILL)
_ENDS = {
    value: name.removeprefix("TERMINATION_").lower()
    for name, value in vars(RunPolicy.Result).items()
    if name.startswith("TERMINATION_")
}


class PolicyView:
    """The policy as a person sees it: runs it can be told to begin, and its state.

    Attributes:
        state: newest state on `policy/status`.
    """

    def __init__(self, node: ManagedNode) -> None:
        self.state = int(PolicyStatus.IDLE)
        self._client = GoalClient(node, RunPolicy, "policy/run")
        node.create_subscription(PolicyStatus, "policy/status", self._on_status, LATCHED)

    def _on_status(self, msg: PolicyStatus) -> None:
        self.state = int(msg.state)

    def begin(self, goal: RunPolicy.Goal, hands: Hands) -> GoalRun:
        """Start a run; a policy that is still loading refuses it, so it is asked again for a while.

        Raises:
            SimError: there is no policy, or it refuses for good.
        """
        give_up = time.monotonic() + _LOAD_S
        while True:
            try:
                return send_goal(self._client, goal, timeout_s=_ANSWER_S)
            except GoalRejectedError as error:
                if time.monotonic() > give_up:
                    raise SimError(f"{error}. /policy/status shows what the policy waits for") from error
                hands.tick()
            except CallError as error:
                raise SimError(str(error)) from error


class TakeoverEpisode(JoyPerson):
    """Plays one run of the policy.

    Args:
        hands: sticks and eyes.
        diary: what is done is written there; it says which task and seed.
        rng: of all that a person does not do twice in the same way.
        policy: that is taken over.
        goal: of the run.
    """

    def __init__(
        self, hands: Hands, diary: Diary, rng: np.random.Generator, *, policy: PolicyView, goal: RunPolicy.Goal
    ) -> None:
        super().__init__(hands, diary, rng)
        self._policy, self._goal = policy, goal
        self._run: GoalRun | None = None

    def play(self) -> None:
        """See `JoyPerson.play`."""
        hands, diary = self._hands, self._diary
        begin = self._begin()
        try:
            self._run = self._policy.begin(self._goal, hands)
            self._note("run begins")
            self._see_it_move()
            self._correct()
            self._see_it_move()
            self._see_it_end()
        finally:
            diary.duration_s = 1e-9 * (hands.now_ns - begin)
            diary.success = bool(hands.task.success)
            diary.phases = list(hands.phases)
        self._rest()

    def give_up(self) -> None:
        """End the run, and give the arm back if it is in the person's hands."""
        if self._run is not None and self._run.outcome is None:
            self._run.request_cancel()
            self._until("the end of the cancelled run", lambda: self._over)
        self._hands.plugged = True
        if not self._hands.returned:
            self._press("interrupt")
        self._rest()

    # --- what the person does -----------------------------------------------------------------------------------------

    def _correct(self) -> None:
        hands = self._hands
        self._think()
        self._press("interrupt")
        self._until("teleoperation to be active", lambda: hands.drives)
        self._note("drives", tool=hands.tool[:3, 3].tolist())
        self._think()
        T_away = skills.raised(hands.tool, _AWAY_M[0])
        T_away[1, 3] += _AWAY_M[1] * self._rng.choice((-1.0, 1.0))
        self._fly(T_away, COARSE)
        self._think()
        self._press("interrupt")
        self._until("the policy to have the arm again", lambda: self._policy.state in _DRIVEN)
        self._note("handed back", tool=hands.tool[:3, 3].tolist())

    # --- what the person sees -----------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._run is not None and self._run.outcome is not None

    def _see_it_move(self) -> None:
        start = self._hands.tool[:3, 3].copy()

        def moved() -> bool:
            return bool(np.linalg.norm(self._hands.tool[:3, 3] - start) > _MOVED_M)

        self._until(f"the policy to move the tool by {1e3 * _MOVED_M:g} mm", moved)
        self._note("policy moves")

    def _see_it_end(self) -> None:
        """Let the policy go on to its end, or to the success of the task."""
        assert self._run is not None
        limit = self._goal.max_duration + _END_S
        self._until(
            "success or the end of the run", lambda: self._over or bool(self._hands.task.success), limit, ends=True
        )
        if not self._over:
            self._run.request_cancel()
            self._until("the end of the run", lambda: self._over, _END_S, ends=True)
        assert self._run.outcome is not None
        result = self._run.outcome.result
        self._diary.run = f"{_ENDS[result.termination]}: {result.error_msg}".removesuffix(": ")
        self._note("run ends", interventions=int(result.status.interventions), bag=str(result.eval_dir))

    def _until(self, what: str, met: Callable[[], bool], timeout_s: float | None = None, *, ends: bool = False) -> None:
        """Wait and write the policy's states down; a run that ends meanwhile is in the way unless `ends`."""

        def looked() -> bool:
            states = self._diary.policy
            if not states or states[-1][1] != self._policy.state:
                states.append((1e-9 * self._hands.now_ns, self._policy.state))
            if bool(met()):
                return True
            outcome = None if self._run is None else self._run.outcome
            if outcome is not None and not ends:
                result = outcome.result
                raise SimError(f"the run ended before {what}: {_ENDS[result.termination]} {result.error_msg}")
            return False

        self._hands.wait_until(what, looked, timeout_s)
