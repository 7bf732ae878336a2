# SPDX-License-Identifier: Apache-2.0

"""One action at a time: limits hold, the arm never stops between actions, nothing moves on after the last."""

import numpy as np
import pytest
from lerobot_robot_ros2.steps import HORIZON_STEPS, StepPlanner
from vla_core.errors import ActionError, SafetyError
from vla_core.frames import Frame
from vla_core.profile import parse_profile
from vla_core.testing import PROFILE

S = 1_000_000_000
STEP = S // 10


def frame(profile, arm, grip=0.0):
    state = np.array([*arm, grip / 0.8], dtype=np.float32)
    joints = {"arm": np.array(arm, dtype=np.float64), "gripper": np.array([grip])}
    return Frame(
        t_ns=0, state=state, state64=state.astype(np.float64), images={}, action=None, ages_s={}, joints=joints
    )


@pytest.fixture
def profile():
    return parse_profile(PROFILE)


def drive(planner, profile, targets, *, until=None):
    """Velocity of the first joint every 5 ms of an arm that follows exactly, over actions that come once per step."""
    positions, q = [], np.array([0.0, 0.0])
    for i, target in enumerate(targets):
        now = i * STEP
        here = frame(profile, q)
        planner.adopt(planner.plan(np.array([target, 0.0, 0.0]), here, here, now))
        for t in range(now, now + STEP, S // 200):
            q = planner.in_force(t)["arm"]
            positions.append(q[0])
    return np.diff(positions) * 200, positions


def test_an_even_motion_is_passed_on_without_stops(profile):
    velocity, _ = drive(StepPlanner(profile), profile, 0.05 * np.arange(20))
    steady = velocity[100:]
    assert steady.mean() == pytest.approx(0.5, rel=0.02)
    assert steady.min() > 0.7 * 0.5, "the arm nearly stopped between two actions"
    assert steady.max() < 1.3 * 0.5


def test_nothing_moves_on_after_the_last_action(profile):
    planner = StepPlanner(profile)
    drive(planner, profile, [0.05, 0.10, 0.15])
    last = 2 * STEP
    end = planner.in_force(last + int(HORIZON_STEPS * STEP) + 1)["arm"]
    assert end == pytest.approx([0.15, 0.0])
    assert (planner.in_force(last + 60 * S)["arm"] == end).all()


def test_a_goal_ends_at_rest_and_begins_in_the_state_in_force(profile):
    planner = StepPlanner(profile)
    drive(planner, profile, [0.05, 0.10])
    now = 2 * STEP
    before = planner.in_force(now)["arm"]
    here = frame(profile, before)
    (goal,) = planner.plan(np.array([0.15, 0.0, 0.0]), here, here, now).trajectories.values()
    assert goal.start_ns == now
    assert goal.positions[0] == pytest.approx(before)
    assert goal.velocities[0][0] > 0.1
    assert (goal.velocities[-1] == 0.0).all()


def test_an_arm_that_was_moved_by_hand_is_picked_up_where_it_is(profile):
    planner = StepPlanner(profile)
    drive(planner, profile, [0.05])
    moved = frame(profile, [0.5, 0.0])
    step = planner.plan(np.array([0.55, 0.0, 0.0]), moved, moved, 10 * STEP)
    assert step.in_force["arm"].position_at(10 * STEP) == pytest.approx([0.5, 0.0])


def test_a_number_that_is_none_is_refused(profile):
    here = frame(profile, [0.0, 0.0])
    with pytest.raises(ActionError, match=r"not finite: elbow_joint\.pos at step 0 is nan"):
        StepPlanner(profile).plan(np.array([np.nan, 0.0, 0.0]), here, here, 0)


@pytest.mark.parametrize(
    ("start", "target", "text"),
    [
        (2.9, 3.05, "position of elbow_joint at step 0 is 3.05 rad, the limit is 3 rad"),
        (0.0, 0.35, "step of elbow_joint at step 0 is 0.35 rad per step, the limit is 0.3 rad per step"),
        (0.0, 0.32, "velocity of elbow_joint at step 0 is 2.133 rad/s, the limit is 2 rad/s"),
    ],
)
def test_a_limit_of_the_profile_is_never_passed(profile, start, target, text):
    here = frame(profile, [start, 0.0])
    with pytest.raises(SafetyError) as error:
        StepPlanner(profile).plan(np.array([target, 0.0, 0.0]), here, here, 0)
    assert text in str(error.value)


def test_a_profile_that_clamps_is_told_what_was_changed():
    clamping = parse_profile(PROFILE + "safety: {clamp: true}\n")
    here = frame(clamping, [0.0, 0.0])
    step = StepPlanner(clamping).plan(np.array([1.0, 0.0, 0.0]), here, here, 0)
    assert step.values[0] == pytest.approx(0.3)
    assert "step of elbow_joint" in step.changed[0]


def test_a_gripper_stops_at_the_end_of_its_travel(profile):
    here = frame(profile, [0.0, 0.0])
    step = StepPlanner(profile).plan(np.array([0.0, 0.0, 1.2]), here, here, 0)
    assert step.targets["gripper"] == pytest.approx([0.8])
    assert step.values[2] == pytest.approx(1.0)
    assert step.changed == ("gripper: set to the end of its travel, [0.8]",)


def test_what_is_sent_is_what_was_asked_bit_for_bit(profile):
    here, asked = frame(profile, [0.0, 0.0]), np.array([0.1234567, 0.0, 0.5])
    step = StepPlanner(profile).plan(asked, here, here, 0)
    assert (step.values == asked.astype(np.float32)).all()
    assert step.changed == ()
