# SPDX-License-Identifier: Apache-2.0

"""Reasons to stop that do not come from the policy: their codes and texts, on a clock of the test's own."""

import pytest
from vla_core.specs import MonitorSpec
from vla_msgs.action import RunPolicy
from vla_policy.node.guards import (
    DeadmanGuard,
    EnableGuard,
    EstopGuard,
    HeartbeatGuard,
    StateGuard,
    WhenMoving,
)

Result = RunPolicy.Result


class Clock:
    s = 100.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


def monitor(**changes):
    values = {
        "name": "mode",
        "topic": "robot/mode",
        "type": "std_msgs/msg/UInt8",
        "field": "data",
        "allowed": (1.0, 2.0),
        "qos": "latched",
        "max_age_s": None,
        "required": True,
        "hint": "unlock it",
    }
    return MonitorSpec(**{**values, **changes})


def message(guard, code):
    stop = guard.check(0)
    assert stop is not None
    assert stop.error_code == code
    return stop.message


def test_a_state_that_is_not_allowed_stops_the_run(clock):
    guard = StateGuard([monitor()], clock)
    guard.note("mode", 1)
    assert guard.check(0) is None
    guard.note("mode", 3)
    assert message(guard, Result.ROBOT_FAULT) == (
        "monitor mode: robot/mode says data = 3, allowed: 1, 2, so the arm was stopped. What to do: unlock it"
    )


def test_a_state_that_was_never_heard_is_no_permission(clock):
    guard = StateGuard([monitor()], clock)
    assert not guard.wait(0.01)
    assert "nothing was received on robot/mode; is the robot's driver running" in message(guard, Result.ROBOT_FAULT)
    guard.note("mode", 2)
    assert guard.wait(0.0)
    assert guard.check(0) is None
    assert StateGuard([monitor(required=False)], clock).check(0) is None


def test_a_state_grows_old_where_the_profile_says_so(clock):
    lasting, short = StateGuard([monitor()], clock), StateGuard([monitor(max_age_s=0.5)], clock)
    for guard in (lasting, short):
        guard.note("mode", 1)
    clock.s += 0.6
    assert lasting.check(0) is None
    assert "no message for 0.60 s on robot/mode (limit 0.5 s)" in message(short, Result.ROBOT_FAULT)


def test_truth_values_are_shown_as_such(clock):
    guard = StateGuard([monitor(allowed=(True,))], clock)
    guard.note("mode", False)
    assert "says data = False, allowed: True" in message(guard, Result.ROBOT_FAULT)


def test_motion_must_be_enabled_where_that_is_required():
    guard = EnableGuard("/policy/enable", required=True)
    assert not guard.enabled
    assert "the permission to move was not given (parameter require_enable)" in message(guard, Result.NOT_ENABLED)
    assert "ros2 service call /policy/enable std_srvs/srv/SetBool" in message(guard, Result.NOT_ENABLED)
    guard.set(True)
    assert guard.check(0) is None
    guard.set(False)
    assert "the permission to move was withdrawn" in message(guard, Result.NOT_ENABLED)


def test_motion_is_allowed_from_the_start_where_nothing_is_required():
    guard = EnableGuard("/policy/enable", required=False)
    assert guard.enabled
    guard.set(False)
    assert guard.check(0) is not None


def test_the_deadman_switch_must_be_heard_held_and_fresh(clock):
    guard = DeadmanGuard("joy", 2, 0.25, clock)
    assert "deadman switch: the joystick has not been heard; hold button 2" in message(guard, Result.NOT_ENABLED)
    guard.note([0, 0, 1])
    assert guard.enabled
    clock.s += 0.2
    assert guard.check(0) is None
    clock.s += 0.1
    assert "the joystick was silent for 0.30 s (limit 0.25 s)" in message(guard, Result.NOT_ENABLED)
    guard.note([1, 1, 0])
    assert "the button is not held" in message(guard, Result.NOT_ENABLED)
    guard.note([1, 1])  # a joystick with fewer buttons
    assert "the button is not held" in message(guard, Result.NOT_ENABLED)


def test_only_the_goal_s_own_client_keeps_it_alive(clock):
    guard = HeartbeatGuard("/policy/heartbeat", clock)
    assert guard.check(0) is None
    guard.expect("agent", 1.0)
    clock.s += 0.9
    guard.beat("agent")
    clock.s += 0.9
    assert guard.check(0) is None
    guard.beat("somebody else")
    clock.s += 0.2
    assert message(guard, Result.CLIENT_LOST).startswith(
        "client 'agent': no heartbeat for 1.10 s on /policy/heartbeat (limit 1 s)"
    )
    guard.expect("agent", 0.0)
    clock.s += 1000.0
    assert guard.check(0) is None


def test_the_emergency_stop_lasts_until_it_is_reset():
    guard = EstopGuard("/policy/reset_estop")
    assert guard.check(0) is None
    guard.tripped = True
    guard.begin(1)
    assert "ros2 service call /policy/reset_estop std_srvs/srv/Trigger" in message(guard, Result.ESTOP)
    assert guard.check(2).termination == Result.TERMINATION_ESTOP


def test_a_dry_run_needs_no_permission():
    guard = WhenMoving(EnableGuard("/policy/enable", required=True))
    guard.moves = False
    assert guard.check(0) is None
    guard.moves = True
    assert guard.check(0) is not None
