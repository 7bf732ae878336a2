# SPDX-License-Identifier: Apache-2.0

from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_core.controller_outcome import GoalRefusedError, GoalStatus
from vla_core.controller_spline import Knot, Spline
from vla_core.controller_trajectory import (
    GOAL_TOLERANCE_VIOLATED,
    INVALID_GOAL,
    PATH_TOLERANCE_VIOLATED,
    TrajectoryController,
    check_trajectory,
)

JOINTS = ("a", "b")
MS = 1_000_000
PERIOD = 0.002


def stamp(t_ns):
    return Ns(sec=t_ns // 10**9, nanosec=t_ns % 10**9)


def point(t_s, positions, velocities=(), accelerations=(), effort=()):
    return Ns(
        positions=positions,
        velocities=velocities,
        accelerations=accelerations,
        effort=effort,
        time_from_start=stamp(round(t_s * 1e9)),
    )


def trajectory(*points, names=JOINTS, start_ns=0):
    return Ns(header=Ns(stamp=stamp(start_ns)), joint_names=list(names), points=list(points))


class Arm:
    """Follows commands perfectly, one cycle late."""

    def __init__(self, controller, q=(0.0, 0.0), now=10**9):
        self.c, self.q, self.dq, self.now = controller, np.array(q), np.zeros(2), now
        controller.activate(self.q)
        self.scaling = 1.0
        self.stuck = False
        self.log = []

    def run(self, seconds):
        for _ in range(round(seconds / PERIOD)):
            command = self.c.update(self.now, PERIOD, self.scaling, self.q, self.dq)
            if not self.stuck:
                self.dq = (command - self.q) / PERIOD
                self.q = command.copy()
            self.log.append(self.q.copy())
            self.now += 2 * MS
        return self.c.outcomes

    def accept(self, msg, token="g", tolerances=None):
        self.c.accept(self.c.check(msg, self.now), token, tolerances)


@pytest.fixture
def arm():
    return Arm(TrajectoryController(JOINTS))


def test_joints_in_any_order(arm):
    arm.accept(trajectory(point(0.1, [2.0, 1.0], [0.0, 0.0]), names=("b", "a")), tolerances=wide())
    arm.run(0.2)
    assert arm.q == pytest.approx([1.0, 2.0])


def wide():
    controller = TrajectoryController(JOINTS, path_tolerance=9.0)
    return controller._default


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        (trajectory(point(1, [1.0]), names=("a",)), "names 1 joints, the controller has 2: all of a, b must be there"),
        (trajectory(point(1, [1.0, 2.0]), names=("a", "x")), "joint 'x' is not one of the controller's: a, b"),
        (trajectory(point(1, [1.0, 2.0]), names=("a", "a")), "a joint is named twice"),
        (trajectory(), "no points"),
        (trajectory(point(1, [])), "point 0 has no positions"),
        (trajectory(point(1, [1.0])), "point 0 has 1 positions for 2 joints"),
        (trajectory(point(1, [1.0, 2.0], [0.0])), "point 0 has 1 velocities for 2 joints"),
        (trajectory(point(1, [1.0, float("nan")])), "positions that are not finite"),
        (trajectory(point(1, [1.0, 2.0], [0.0, float("inf")])), "velocities that are not finite"),
        (trajectory(point(1, [1.0, 2.0], [0.0, 0.1])), "the last point moves: joint 'b' has velocity 0.100000"),
        (trajectory(point(1, [1.0, 2.0], effort=[1.0, 1.0])), "point 0 has efforts"),
        (trajectory(point(1, [0.0, 0.0]), point(1, [1.0, 1.0])), "points 0 and 1 is not strictly increasing"),
        (trajectory(point(2, [0.0, 0.0]), point(1, [1.0, 1.0])), "not strictly increasing: 2.000000 s, 1.000000 s"),
        (trajectory(point(1, [0.0, 0.0]), start_ns=10**9), "ends in the past: at 2.000000 s, now is 5.000000 s"),
    ],
)
def test_refused(msg, text):
    with pytest.raises(GoalRefusedError, match=text.replace("(", r"\(")):
        check_trajectory(msg, JOINTS, 5 * 10**9)


def test_inactive_refuses():
    with pytest.raises(GoalRefusedError, match="not active"):
        TrajectoryController(JOINTS).check(trajectory(point(1, [0.0, 0.0])), 0)


def test_tiny_end_velocity_is_zero():
    check_trajectory(trajectory(point(1, [0.0, 0.0], [1e-9, -1e-9])), JOINTS, 0)


def test_stamp_zero_starts_now_and_success(arm):
    arm.accept(trajectory(point(0.1, [0.1, -0.1], [0.0, 0.0])))
    assert arm.run(0.098) == []
    outcomes = arm.run(0.02)
    assert [(o.token, o.status, o.code, o.text) for o in outcomes] == [
        ("g", GoalStatus.SUCCEEDED, 0, "Goal successfully reached!")
    ]
    assert not arm.c.busy
    arm.run(0.1)
    assert arm.q == pytest.approx([0.1, -0.1])


def test_future_stamp_begins_from_measured_state_at_once(arm):
    # As in ros2_controllers: the way to the first point starts when the goal takes effect, not at its start time.
    arm.accept(trajectory(point(0.1, [0.2, 0.0]), start_ns=arm.now + 100 * MS))
    arm.run(0.1)
    assert arm.q[0] == pytest.approx(0.1, abs=2e-3)
    arm.run(0.1)
    assert arm.q[0] == pytest.approx(0.2)


def test_points_in_the_past_are_skipped(arm):
    points = [point(0.1 * i, [0.01 * i, 0.0]) for i in range(1, 11)]
    arm.accept(trajectory(*points, start_ns=arm.now - 450 * MS))
    arm.run(PERIOD)
    assert arm.q[0] == pytest.approx(0.0452, abs=1e-4)
    arm.run(0.552)
    assert arm.c.outcomes[0].status is GoalStatus.SUCCEEDED
    assert arm.q[0] == pytest.approx(0.1)


def test_linear_cubic_quintic():
    linear = Spline([Knot(0.0, np.zeros(1), np.zeros(1)), Knot(1.0, np.ones(1))])
    assert linear.sample(0.25)[0] == pytest.approx([0.25])
    assert linear.sample(0.25)[1] == pytest.approx([1.0])
    cubic = Spline([Knot(0.0, np.zeros(1), np.zeros(1)), Knot(1.0, np.ones(1), np.zeros(1))])
    assert cubic.sample(0.25)[0] == pytest.approx([3 * 0.25**2 - 2 * 0.25**3])
    zero = np.zeros(1)
    quintic = Spline([Knot(0.0, zero, zero, zero), Knot(1.0, np.ones(1), zero, zero)])
    u = 0.25
    assert quintic.sample(u)[0] == pytest.approx([10 * u**3 - 15 * u**4 + 6 * u**5])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_spline_meets_both_ends(order):
    rng = np.random.default_rng(order)
    fields = [[rng.normal(size=3) for _ in range(order)] for _ in range(2)]
    spline = Spline([Knot(0.5, *fields[0]), Knot(1.7, *fields[1])])
    h = 1e-6
    for knot_time, values, inside in ((0.5, fields[0], h), (1.7, fields[1], -h)):
        position, velocity = spline.sample(knot_time + inside)
        assert position == pytest.approx(values[0], abs=1e-4)
        if order > 1:
            assert velocity == pytest.approx(values[1], abs=1e-3)
    if order == 3:
        acceleration = (spline.sample(0.5 + 2 * h)[1] - spline.sample(0.5 + h)[1]) / h
        assert acceleration == pytest.approx(fields[0][2], abs=1e-2)


def test_velocities_are_followed_between_points(arm):
    t = np.linspace(0.1, 1.0, 10)
    points = [point(s, [0.1 * np.sin(s), 0.0], [0.1 * np.cos(s), 0.0]) for s in t[:-1]]
    arm.accept(trajectory(*points, point(1.0, [0.1 * np.sin(1.0), 0.0], [0.0, 0.0])))
    arm.run(0.85)
    assert arm.q[0] == pytest.approx(0.1 * np.sin(0.85), abs=2e-4)


def test_new_goal_preempts_and_starts_from_the_measured_state(arm):
    arm.accept(trajectory(point(1.0, [0.5, 0.0], [0.0, 0.0])), "old")
    arm.run(0.5)
    before = arm.q.copy()
    arm.accept(trajectory(point(0.2, [0.0, 0.0], [0.0, 0.0])), "new")
    assert [(o.token, o.status, o.code, o.text) for o in arm.c.outcomes] == [
        ("old", GoalStatus.ABORTED, INVALID_GOAL, "Current goal preempted by new incoming action.")
    ]
    arm.run(PERIOD)
    assert abs(arm.q - before).max() < 0.01
    arm.run(0.3)
    assert arm.c.outcomes[-1].token == "new"
    assert arm.q == pytest.approx([0.0, 0.0])


def test_topic_replaces_the_trajectory_but_keeps_the_goal(arm):
    arm.accept(trajectory(point(0.5, [0.1, 0.0], [0.0, 0.0])))
    arm.run(0.1)
    arm.c.replace(arm.c.check(trajectory(point(0.1, [0.05, 0.05], [0.0, 0.0])), arm.now))
    assert arm.c.busy
    arm.run(0.15)
    assert arm.q == pytest.approx([0.05, 0.05])
    assert arm.c.outcomes[0].status is GoalStatus.SUCCEEDED


def test_cancel_holds_the_measured_position(arm):
    arm.accept(trajectory(point(1.0, [0.5, 0.0], [0.0, 0.0])))
    arm.run(0.5)
    position = arm.q.copy()
    assert not arm.c.cancel("other", position)
    assert arm.c.cancel("g", position)
    arm.run(0.5)
    assert arm.q == pytest.approx(position)
    assert arm.c.outcomes[0].status is GoalStatus.CANCELED


def test_path_tolerance(arm):
    arm.accept(trajectory(point(1.0, [1.0, 0.0])))
    arm.stuck = True
    arm.run(0.25)
    outcome = arm.c.outcomes[0]
    assert (outcome.status, outcome.code) == (GoalStatus.ABORTED, PATH_TOLERANCE_VIOLATED)
    assert "path tolerance violation: a is 0.20" in outcome.text
    arm.stuck = False
    arm.run(0.1)
    assert arm.q == pytest.approx([0.0, 0.0])


def test_a_far_first_point_now_violates_the_path_tolerance(arm):
    arm.accept(trajectory(point(0.0, [0.5, 0.0])))
    arm.run(PERIOD)
    assert arm.c.outcomes[0].code == PATH_TOLERANCE_VIOLATED


def test_goal_waits_for_ever_by_default(arm):
    arm.accept(trajectory(point(0.1, [0.15, 0.0])))
    arm.stuck = True
    arm.run(5.0)
    assert arm.c.outcomes == []
    assert arm.c.busy


def test_goal_time_tolerance_of_the_goal(arm):
    goal = Ns(path_tolerance=[], goal_tolerance=[], goal_time_tolerance=stamp(500 * MS))
    arm.accept(trajectory(point(0.1, [0.15, 0.0])), tolerances=arm.c.tolerances_for(goal))
    arm.stuck = True
    arm.run(0.7)
    outcome = arm.c.outcomes[0]
    assert outcome.code == GOAL_TOLERANCE_VIOLATED
    assert outcome.text.startswith("Aborted due to goal_time_tolerance exceeding by 0.50")


def test_tolerances_of_the_goal(arm):
    items = [Ns(name="a", position=-1.0), Ns(name="b", position=0.0)]
    goal = Ns(path_tolerance=items, goal_tolerance=[], goal_time_tolerance=stamp(0))
    tolerances = arm.c.tolerances_for(goal)
    assert tolerances.path.tolist() == [np.inf, 0.2]
    for bad, text in ((Ns(name="z", position=1.0), "joint 'z'"), (Ns(name="a", position=-2.0), "-1 for none")):
        goal.path_tolerance = [bad]
        with pytest.raises(GoalRefusedError, match=text):
            arm.c.tolerances_for(goal)


def test_stopped_velocity_is_required(arm):
    arm.accept(trajectory(point(0.1, [0.05, 0.0])))
    for _ in range(100):
        arm.c.update(arm.now, PERIOD, 1.0, np.array([0.05, 0.0]), np.array([0.3, 0.0]))
        arm.now += 2 * MS
    assert arm.c.busy
    arm.c.update(arm.now, PERIOD, 1.0, np.array([0.05, 0.0]), np.array([0.1, 0.0]))
    assert arm.c.outcomes[0].status is GoalStatus.SUCCEEDED


def test_speed_scaling_stretches_time_and_zero_hangs(arm):
    arm.accept(trajectory(point(0.2, [0.1, 0.0])))
    arm.scaling = 0.5
    arm.run(0.2)
    assert arm.q[0] == pytest.approx(0.05, abs=2e-3)
    arm.scaling = 0.0
    arm.run(1.0)
    assert arm.c.busy
    assert arm.q[0] == pytest.approx(0.05, abs=2e-3)
    arm.scaling = 1.0
    arm.run(0.12)
    assert not arm.c.busy


def test_deactivation_aborts(arm):
    arm.accept(trajectory(point(0.2, [0.1, 0.0])))
    arm.c.deactivate()
    outcome = arm.c.outcomes[0]
    assert (outcome.status, outcome.code) == (GoalStatus.ABORTED, INVALID_GOAL)
    assert outcome.text == "Current goal cancelled during deactivate transition."
