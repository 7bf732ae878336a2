# SPDX-License-Identifier: Apache-2.0

"""The played person beside a policy: what is pressed when, and what is said of a run that ends too early."""

from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_common.services import CallError, GoalRejectedError
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_sim import joy_takeover
from vla_sim.errors import SimError
from vla_sim.joy_hands import Hands
from vla_sim.joy_person import Diary
from vla_sim.joy_pilot import FULL_SPEED
from vla_sim.joy_takeover import PolicyView, TakeoverEpisode
from vla_sim.kinematics import T_BASE_LINK_BASE

TICK_S = 0.02
POLICY_M_S = 0.02
Result = RunPolicy.Result


class FakeCell(Hands):
    """A tool that the policy moves along x, and the sticks while the person drives; the button changes who does.

    Attributes:
        limit_s: The run ends by itself after it.
        deaf: The button does nothing.
        succeeds_s: The task is done that long after the hand-back.
    """

    def __init__(self) -> None:
        self.now_ns, self.plugged, self.phases = 0, True, []
        self._timeout_s, self._button, self._held = 5.0, None, None
        self._deflection = np.zeros(6)
        self.pose = np.eye(4)
        self.person = self.deaf = False
        self.limit_s, self.succeeds_s = 20.0, 1e9
        self.run, self.begun_ns, self.handed_ns, self.touched = None, 0, None, []
        self.policy = Ns(state=PolicyStatus.IDLE, begin=self._begin_run)

    tool = property(lambda self: self.pose.copy())
    drives = property(lambda self: self.person)
    returned = property(lambda self: not self.person)
    still = property(lambda self: self.run is None or self.run.outcome is not None)
    phase = property(lambda self: 0)
    teleop_line = property(lambda self: "fake")
    task = property(lambda self: Ns(success=self._since_handed() > self.succeeds_s))

    def _since_handed(self):
        return -1.0 if self.handed_ns is None else 1e-9 * (self.now_ns - self.handed_ns)

    def _begin_run(self, goal, hands):
        self.run, self.begun_ns = Ns(outcome=None, request_cancel=self._cancel), self.now_ns
        self.policy.state = PolicyStatus.RUNNING
        return self.run

    def _cancel(self):
        self._end(Result.TERMINATION_CANCELED, "canceled")

    def _end(self, termination, text):
        status = Ns(interventions=len(self.touched))
        result = Ns(termination=termination, error_msg=text, status=status, eval_dir="/bags/1")
        self.run.outcome, self.policy.state = Ns(result=result), PolicyStatus.IDLE

    def reset(self, seed, task):
        self.tick()

    def steer(self, deflection, gripper=0.0):
        self._deflection = np.asarray(deflection)

    def tick(self):
        self.now_ns += round(TICK_S * 1e9)
        if self._button == "interrupt" and self._held is None and not self.deaf:
            self.person = not self.person
            self.touched += [self.tool] if self.person else []
            self.handed_ns = None if self.person else self.now_ns
            if self.run is not None and self.run.outcome is None:
                self.policy.state = PolicyStatus.TAKEOVER if self.person else PolicyStatus.RUNNING
        self._held = self._button
        if self.person:
            self.pose[:3, 3] += TICK_S * T_BASE_LINK_BASE[:3, :3].T @ (self._deflection * FULL_SPEED)[:3]
        elif self.policy.state == PolicyStatus.RUNNING:
            self.pose[0, 3] += TICK_S * POLICY_M_S
            if 1e-9 * (self.now_ns - self.begun_ns) > self.limit_s:
                self._end(Result.TERMINATION_TIMEOUT, "the time limit was reached")
        return self.now_ns


def played(cell):
    diary = Diary(task="lift", scenario="takeover", seed=3)
    goal = RunPolicy.Goal(task="lift", max_duration=20.0)
    return diary, TakeoverEpisode(cell, diary, np.random.default_rng(3), policy=cell.policy, goal=goal)


def what(diary):
    return [deed["what"] for deed in diary.deeds if not deed["what"].startswith("sticks")]


COURSE = [
    "run begins",
    "policy moves",
    "press interrupt",
    "drives",
    "press interrupt",
    "handed back",
    "policy moves",
    "run ends",
]


def test_person_waits_takes_over_moves_the_tool_away_hands_back_and_sees_the_end():
    cell = FakeCell()
    diary, episode = played(cell)
    episode.play()
    assert what(diary) == COURSE
    assert diary.run == "timeout: the time limit was reached"
    assert diary.deeds[-1]["interventions"] == 1
    assert diary.deeds[-1]["bag"] == "/bags/1"
    drives, handed = (next(d for d in diary.deeds if d["what"] == name) for name in ("drives", "handed back"))
    way = np.subtract(handed["tool"], drives["tool"])
    assert way[2] == pytest.approx(0.03, abs=0.008)
    assert abs(way[1]) == pytest.approx(0.05, abs=0.008)
    states = [state for _, state in diary.policy]
    assert states == [PolicyStatus.RUNNING, PolicyStatus.TAKEOVER, PolicyStatus.RUNNING, PolicyStatus.IDLE]


def test_person_ends_a_run_whose_task_is_done():
    cell = FakeCell()
    cell.succeeds_s = 1.0
    diary, episode = played(cell)
    episode.play()
    assert what(diary) == COURSE
    assert diary.success
    assert diary.run == "canceled: canceled"


def test_a_run_that_ends_before_the_takeover_is_said():
    cell = FakeCell()
    cell.limit_s = 0.2
    diary, episode = played(cell)
    with pytest.raises(
        SimError, match=r"the run ended before the policy to move the tool by 10 mm: timeout the time limit"
    ):
        episode.play()
    episode.give_up()
    assert what(diary) == ["run begins"]


def test_a_person_who_gives_up_cancels_the_run_and_returns_the_arm():
    cell = FakeCell()
    diary, episode = played(cell)
    cell.deaf = True
    with pytest.raises(SimError, match=r"waited 5 s for teleoperation to be active: in vain"):
        episode.play()
    cell.deaf, cell.person = False, True
    episode.give_up()
    assert cell.run.outcome.result.termination == Result.TERMINATION_CANCELED
    assert not cell.person
    assert what(diary)[-1] == "press interrupt"


class FakeClient:
    """Answers of `send_goal`, in order."""

    def __init__(self, monkeypatch, *answers):
        self.answers = list(answers)
        monkeypatch.setattr(joy_takeover, "send_goal", self)

    def __call__(self, client, goal, timeout_s):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def view():
    made = object.__new__(PolicyView)
    made._client = None
    return made


def test_a_policy_that_is_loading_is_asked_again(monkeypatch):
    cell = FakeCell()
    FakeClient(monkeypatch, GoalRejectedError("action policy/run: rejected"), "run")
    assert view().begin(RunPolicy.Goal(), cell) == "run"
    assert cell.now_ns == round(TICK_S * 1e9), "a tick passes in between"


def test_a_policy_that_refuses_for_good_or_is_absent_is_said(monkeypatch):
    monkeypatch.setattr(joy_takeover, "_LOAD_S", -1.0)
    FakeClient(monkeypatch, GoalRejectedError("rejected"), CallError("action policy/run: nobody offers it after 60 s"))
    with pytest.raises(SimError, match=r"rejected. /policy/status shows what the policy waits for"):
        view().begin(RunPolicy.Goal(), FakeCell())
    with pytest.raises(SimError, match="nobody offers it after 60 s"):
        view().begin(RunPolicy.Goal(), FakeCell())
