# SPDX-License-Identifier: Apache-2.0

"""A person takes the arm over from a running policy and hands it back: by service, by joystick, without a jump."""

import numpy as np
import pytest
from policy_cell import RampRunner, wait_until
from policy_fixtures import small_profile
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from vla_common.qos import LATCHED
from vla_common.services import call_service
from vla_core.stamps import stamp_ns
from vla_msgs.action import RunPolicy
from vla_msgs.msg import EpisodeEvent, PolicyStatus
from vla_msgs.srv import SetPhase

Result = RunPolicy.Result
SLOPE = 0.02  # rad per step of RampRunner at 10 Hz


class Person:
    """Who takes over, watches the status, and plays the recorder's phase service."""

    def __init__(self, c, refuse_correction=False):
        self.cell = c
        self.refuse_correction = refuse_correction
        self.statuses, self.signals, self.phases = [], [], []
        node = c.client_node
        node.create_subscription(PolicyStatus, "policy/status", self.statuses.append, LATCHED)
        node.create_subscription(Bool, "policy/intervention", lambda msg: self.signals.append(msg.data), LATCHED)
        node.create_service(SetPhase, "recorder/set_phase", self._phase)
        self.client = node.create_client(SetBool, "policy/takeover")

    def _phase(self, request, response):
        self.phases.append((request.phase, request.label))
        response.success = not (self.refuse_correction and request.phase == EpisodeEvent.CORRECTION)
        response.phase = EpisodeEvent.ARMED
        return response

    def ask(self, take):
        response = call_service(self.client, SetBool.Request(data=take))
        return response.success, response.message

    def wait_state(self, state):
        wait_until(lambda: self.statuses and self.statuses[-1].state == state, what=f"state {state}")
        return self.statuses[-1]


def test_the_person_drives_until_the_hand_back_which_goes_on_from_where_the_arm_is(cell):
    c = cell(runner=RampRunner(small_profile(), steps=16, slope=SLOPE))
    person = Person(c)
    handle = c.send(max_duration=30.0)
    wait_until(lambda: len(c.robot.arm_goals) >= 2, what="goals of the policy")
    assert person.ask(True) == (True, "the arm is brought to rest; drive it, then hand it back")
    status = person.wait_state(PolicyStatus.TAKEOVER)
    assert status.interventions == 1
    assert "a person drives" in status.detail
    wait_until(lambda: c.robot.cancelled == 1, what="the cancel of the running trajectory")
    sent, published = len(c.robot.arm_goals), len(c.targets["command/arm"])

    c.robot.place([-0.6, 0.9])  # the person moves the arm
    inferences = c.runner.tasks.copy()
    ticks = status.ticks
    wait_until(lambda: person.statuses[-1].ticks > ticks + 20, what="ticks in which the person drives")
    assert len(c.robot.arm_goals) == sent, "nothing is commanded meanwhile"
    assert len(c.targets["command/arm"]) == published
    assert len(c.runner.tasks) <= len(inferences) + 1, "at most the inference that was running came to its end"

    assert person.ask(False) == (True, "the policy goes on from where the arm is")
    person.wait_state(PolicyStatus.RUNNING)
    wait_until(lambda: len(c.targets["command/arm"]) > published + 30, what="targets after the hand-back")
    after = np.array([msg.position for msg in c.targets["command/arm"][published:]])
    times = np.array([stamp_ns(msg) for msg in c.targets["command/arm"][published:]]) * 1e-9
    np.testing.assert_allclose(after[0], [-0.6, 0.9], atol=SLOPE)
    steps = np.abs(np.diff(after, axis=0)).max(axis=1)
    assert steps.max() <= SLOPE, "no commanded step is larger than one of the policy's own"
    # The policy's clock has run on since its observation, so the arm catches up with it, but does not jump.
    assert (steps / np.diff(times)).max() <= 2 * SLOPE * 10
    handle.cancel_goal_async()
    _, result = c.result(handle)
    assert (result.termination, result.error_code) == (Result.TERMINATION_CANCELED, Result.NONE)
    assert result.status.interventions == 1
    wait_until(lambda: len(person.phases) == 2, what="the phases")
    assert person.phases == [(EpisodeEvent.CORRECTION, "takeover"), (EpisodeEvent.POLICY, "hand-back")]
    assert person.signals == [False, True, False]
    assert "takeover" in {feedback.stage for feedback in c.feedback}


def test_buttons_act_when_they_go_down_and_only_then(cell):
    c = cell(takeover_topic="joy", takeover_button=2, handback_button=3)
    person = Person(c, refuse_correction=True)
    joy = c.client_node.create_publisher(Joy, "joy", 10)
    wait_until(lambda: joy.get_subscription_count() == 1, what="the subscription")
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="a goal")

    def press(*buttons):
        joy.publish(Joy(buttons=[int(i in buttons) for i in range(4)]))

    press(2)  # down from the start: a stuck button takes nothing over
    press()
    press(2)
    person.wait_state(PolicyStatus.TAKEOVER)
    press(2)
    press(2, 3)
    person.wait_state(PolicyStatus.RUNNING)
    press()
    joy.publish(Joy(buttons=[1]))  # a joystick with fewer buttons
    wait_until(lambda: len(person.phases) == 3, what="the phases")
    # A takeover that no correction can be, because nothing was recorded yet, is teleoperation.
    assert [phase for phase, _ in person.phases[:2]] == [EpisodeEvent.CORRECTION, EpisodeEvent.TELEOP]
    handle.cancel_goal_async()
    assert c.result(handle)[1].status.interventions == 1


def test_one_button_may_do_both(cell):
    c = cell(takeover_topic="joy", takeover_button=0, handback_button=0)
    person = Person(c)
    joy = c.client_node.create_publisher(Joy, "joy", 10)
    wait_until(lambda: joy.get_subscription_count() == 1, what="the subscription")
    handle = c.send(max_duration=30.0)
    wait_until(lambda: c.robot.arm_goals, what="a goal")
    for state in (PolicyStatus.TAKEOVER, PolicyStatus.RUNNING):
        joy.publish(Joy(buttons=[0]))
        joy.publish(Joy(buttons=[1]))
        person.wait_state(state)
    handle.cancel_goal_async()
    c.result(handle)


def test_there_is_nothing_to_take_over_without_a_run(cell):
    c = cell()
    person = Person(c)
    assert person.ask(True) == (False, "no policy is running, so nothing was taken over: the arm is free")
    assert person.ask(False)[0]
    handle = c.send(max_duration=30.0)
    person.wait_state(PolicyStatus.RUNNING)
    assert person.ask(False) == (True, "the policy has the arm already")
    assert person.ask(True)[0]
    assert person.ask(True) == (True, "a person has the arm already")
    person.wait_state(PolicyStatus.TAKEOVER)
    handle.cancel_goal_async()
    _, result = c.result(handle)
    assert result.termination == Result.TERMINATION_CANCELED, "a run can be cancelled while a person drives"
    wait_until(lambda: person.signals[-1:] == [False], what="the end of the takeover")


@pytest.mark.parametrize("seconds", [1.0])
def test_the_time_limit_holds_while_a_person_drives(cell, seconds):
    c = cell()
    person = Person(c)
    handle = c.send(max_duration=seconds)
    person.wait_state(PolicyStatus.RUNNING)
    person.ask(True)
    assert c.result(handle)[1].termination == Result.TERMINATION_TIMEOUT
