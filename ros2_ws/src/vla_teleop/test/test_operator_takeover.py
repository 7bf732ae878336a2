# SPDX-License-Identifier: Apache-2.0

"""A person takes over from a policy and hands back: what the operator's day asks of whom, and what becomes of refusals."""

import pytest
from day_bench import Bench, Held, in_state
from vla_msgs.msg import PolicyStatus
from vla_teleop.operator.crew import TakeoverCall
from vla_teleop.operator.intents import Takeover, Teleop, TeleopView
from vla_teleop.operator.moves import State

S = State
TAKE = [Takeover(enable=True), Teleop(enable=True)]
GIVE = [Teleop(enable=False), Takeover(enable=False)]


def running(**options) -> Bench:
    """A bench whose policy runs."""
    bench = in_state(S.IDLE, takeover=True, **options)
    bench.hear(bench.day.on_policy(running=True))
    return bench


def see(bench: Bench, **view) -> None:
    bench.hear(bench.day.on_teleop(TeleopView(**view), bench.t))


def test_one_button_takes_over_and_hands_back() -> None:
    bench = running()
    assert bench.day.advice == "a policy drives; press interrupt to take over"
    assert bench.press("record") == S.IDLE
    assert bench.said[-1] == "record does nothing now: a policy drives; press interrupt to take over"
    assert bench.press("interrupt") == S.HELD
    see(bench, active=True)
    assert bench.day.shown
    assert bench.press("interrupt") == S.IDLE
    assert bench.done == TAKE + GIVE
    assert bench.said[-2:] == [S.HELD.value, "handed back: the policy goes on from where the arm is"]


def test_the_status_line_says_what_to_press() -> None:
    bench = in_state(S.IDLE, takeover=True, recorder=False)
    assert bench.day.advice == "no policy runs; start one, then press interrupt to take over"
    bench = in_state(S.HELD, takeover=True)
    assert bench.day.advice == S.HELD.value
    see(bench, active=True, stale=True, line="unplugged")
    assert bench.day.advice.startswith("the policy is stopped, and you cannot drive; press interrupt to drive")
    see(bench, active=False)
    assert "the device is back (); the policy is stopped, and you cannot drive" in bench.said[-1]


def test_the_policy_lets_go_before_the_person_gets_the_arm_and_gets_it_after_the_person() -> None:
    bench = running()
    bench.slow = {Takeover}
    bench.press("interrupt")
    assert (bench.day.state, bench.done) == (S.TAKING, TAKE[:1])
    bench.held.problem = ""
    assert bench.hear(()) == S.HELD
    see(bench, active=True)
    bench.slow = {Teleop}
    bench.press("interrupt")
    assert (bench.day.state, bench.done) == (S.RETURNING, [*TAKE, GIVE[0]])


def test_a_policy_that_does_not_let_go_keeps_the_arm() -> None:
    bench = running()
    bench.refuse[Takeover] = "service policy/takeover: nobody offers it. Is its node running?"
    assert bench.press("interrupt") == S.IDLE
    assert bench.said[-1] == "not taken over: service policy/takeover: nobody offers it. Is its node running?"
    assert bench.done == TAKE[:1]


def test_a_person_who_does_not_get_the_arm_reads_why_and_the_policy_stays_stopped() -> None:
    bench = running()
    bench.refuse[Teleop] = "service teleop/enable refused: the arm moves"
    assert bench.press("interrupt") == S.HELD
    assert bench.said[-1] == (
        "the policy is stopped and the arm stands still, but you cannot drive it: service teleop/enable refused: the arm "
        "moves. Mend that, then press interrupt to drive, or enable to hand back"
    )
    assert bench.done == TAKE
    bench.refuse.clear()
    assert bench.press("interrupt") == S.HELD
    assert bench.done == TAKE + TAKE
    see(bench, active=True)
    assert bench.press("interrupt") == S.IDLE


def test_a_silent_device_stops_the_policy_and_gets_no_arm() -> None:
    bench = running()
    see(bench, stale=True, line="left/joy is silent")
    bench.said.clear()
    assert bench.press("interrupt") == S.HELD
    assert bench.done == TAKE[:1]
    assert "you cannot drive it: the device is silent (left/joy is silent). Mend that" in bench.said[-1]
    assert bench.press("enable") == S.IDLE
    assert bench.done == TAKE[:1] + GIVE


@pytest.mark.parametrize("refused", [Teleop, Takeover])
def test_a_hand_back_that_fails_leaves_the_policy_stopped(refused) -> None:
    bench = in_state(S.HELD, takeover=True)
    bench.refuse[refused] = "no answer"
    assert bench.press("interrupt") == S.HELD
    assert bench.said[-1] == "not handed back: no answer. The policy stays stopped; press enable to try again"
    bench.refuse.clear()
    assert bench.press("enable") == S.IDLE


def test_a_fault_or_the_end_of_teleoperation_while_the_person_drives() -> None:
    bench = in_state(S.HELD, takeover=True)
    see(bench, fault=True, line="FAULT | protective stop")
    assert bench.day.state == S.HELD
    assert "you cannot drive it: teleoperation has stopped: FAULT | protective stop. Mend that" in bench.said[-1]
    bench.hear(bench.day.on_lost("teleop", 4.0, bench.t))
    assert bench.day.state == S.HELD
    assert "nothing heard of the teleop node for 4.0 s; start it again. Mend that" in bench.said[-1]
    assert bench.done == []


def test_the_run_ends_while_the_person_has_the_arm() -> None:
    bench = in_state(S.HELD, takeover=True)
    assert bench.hear(bench.day.on_policy(running=False)) == S.IDLE
    assert bench.said[-1] == "the policy's run is over; you have the arm. Press interrupt to give it back"
    bench.press("interrupt")
    assert bench.done == [Teleop(enable=False)]
    assert bench.said[-1] == "the arm is given back"


def test_the_run_ends_while_the_arm_is_handed_back() -> None:
    bench = in_state(S.RETURNING, takeover=True)
    assert bench.hear(bench.day.on_policy(running=False)) == S.IDLE
    assert bench.said[-1] == "the policy's run is over; the arm is given back"


def test_a_policy_that_begins_while_the_person_has_the_arm_is_told() -> None:
    bench = in_state(S.IDLE, takeover=True)
    see(bench, active=True)
    bench.hear(bench.day.on_policy(running=True))
    assert "a policy begins while you have the arm, so the robot refuses its motion; press interrupt" in bench.said[-1]


def test_the_end_of_the_program_gives_the_arm_back_and_does_not_let_the_policy_go_on() -> None:
    bench = in_state(S.HELD, takeover=True)
    assert [intent for intent in bench.day.on_shutdown() if isinstance(intent, (Teleop, Takeover))] == [
        Teleop(enable=False, soft=True)
    ]


@pytest.mark.parametrize("button", ["record", "discard", "success", "failure"])
def test_buttons_that_need_a_recorder_say_that_there_is_none(button) -> None:
    bench = in_state(S.IDLE, recorder=False)
    assert bench.press(button) == S.IDLE
    assert bench.said == [
        f"{button} does nothing now: there is no recorder; infer.launch.py starts one with record_eval:=true"
    ]


class Policy:
    """A state that a test sets."""

    state = int(PolicyStatus.RUNNING)

    def call(self, answer: str | None, *, enable: bool) -> TakeoverCall:
        service = Held()
        service.problem = answer
        return TakeoverCall(service, lambda: self.state, 10.0, enable=enable)


def test_a_takeover_is_done_when_the_policy_says_that_it_let_go() -> None:
    policy = Policy()
    call = policy.call("", enable=True)
    assert call.poll(1.0) is None
    policy.state = PolicyStatus.TAKEOVER
    assert call.poll(2.0) == ""
    back = policy.call("", enable=False)
    assert back.poll(3.0) is None
    policy.state = PolicyStatus.SKILL
    assert back.poll(4.0) == ""


def test_a_takeover_that_does_not_come_about_says_why() -> None:
    policy = Policy()
    assert policy.call("refused: no", enable=True).poll(1.0) == "refused: no"
    assert policy.call(None, enable=True).poll(99.0) is None
    call = policy.call("", enable=True)
    assert call.poll(11.0) == "the policy has not said on policy/status that it let go"
    policy.state = PolicyStatus.IDLE
    assert call.poll(1.0) == "the policy's run has ended meanwhile; the arm is free"
