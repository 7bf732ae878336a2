# SPDX-License-Identifier: Apache-2.0

"""What an SO-101 is told: nothing before the first command, never faster than its limit, never a stale or foreign target."""

from types import SimpleNamespace as Ns

import numpy as np
import pytest
from vla_core.controller_manager import Strictness
from vla_core.controller_outcome import GoalRefusedError, GoalStatus
from vla_drivers.so101.motion import FORWARD_CONTROLLER, TRAJECTORY_CONTROLLER, Motion, MotionLimits

JOINTS = ("a", "b")
PERIOD_NS = 20_000_000
LIMITS = MotionLimits(
    lower=np.array([-1.0, -1.0]),
    upper=np.array([1.0, 1.0]),
    max_velocity=2.0,
    max_step=0.3,
    command_timeout_s=0.1,
    path_tolerance=0.5,
    goal_tolerance=0.05,
    goal_time_s=0.5,
)


def stamp(seconds):
    return Ns(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))


def goal(*points, names=JOINTS):
    return Ns(
        header=Ns(stamp=stamp(0)),
        joint_names=list(names),
        points=[
            Ns(positions=list(p), velocities=[], accelerations=[], effort=[], time_from_start=stamp(t))
            for t, p in points
        ],
    )


class Arm:
    """Servos that are where they were told one cycle before."""

    def __init__(self, controller, q=(0.5, -0.2)):
        self.motion = Motion(JOINTS, LIMITS, controller)
        self.q, self.now, self.commands = np.array(q), 10**12, []

    def cycle(self, count=1):
        for _ in range(count):
            self.now += PERIOD_NS
            command = self.motion.update(self.now, self.q.copy())
            self.commands.append(command)
            if command is not None:
                self.q = command.positions.copy()
        return self.commands[-1]


def test_nothing_is_sent_before_the_first_command():
    for controller in (TRAJECTORY_CONTROLLER, FORWARD_CONTROLLER):
        arm = Arm(controller)
        arm.cycle(5)
        assert arm.commands == [None] * 5
        assert not arm.motion.engaged


def test_a_trajectory_begins_where_the_arm_is_and_ends_at_its_goal():
    arm = Arm(TRAJECTORY_CONTROLLER)
    arm.cycle(2)
    plan = arm.motion.check_goal(goal((0.5, (0.3, 0.0)), (1.0, (0.1, 0.4)), names=("b", "a")), arm.now)
    arm.motion.accept_goal(plan, "one", arm.motion.trajectory._default)
    first = arm.cycle()
    assert first.engage
    assert first.positions == pytest.approx([0.5, -0.2], abs=0.04)  # no further than one cycle at the speed limit
    assert not arm.cycle().engage
    arm.cycle(60)
    assert arm.q == pytest.approx([0.4, 0.1])  # sorted by name
    (outcome,) = arm.motion.trajectory.outcomes
    assert (outcome.token, outcome.status) == ("one", GoalStatus.SUCCEEDED)
    steps = np.abs(np.diff([c.positions for c in arm.commands if c], axis=0))
    assert steps.max() <= LIMITS.max_velocity * 0.02 + 1e-12


@pytest.mark.parametrize(
    ("trajectory", "text"),
    [
        (goal((1.0, (0.0, 0.0)), names=("a", "c")), "joint 'c' is not one of the controller's: a, b"),
        (goal((1.0, (0.0, 0.0)), names=("a",)), "names 1 joints, the controller has 2"),
        (goal((1.0, (0.0, 0.0)), (1.0, (0.1, 0.1))), "not strictly increasing"),
        (goal((1.0, (float("nan"), 0.0))), "not finite"),
        (goal((1.0, (1.2, 0.0))), r"a 1\.200 rad is outside its calibrated range -1\.000 to 1\.000 rad"),
        (goal((1.0, (0.0, 0.0)), (1.1, (0.0, 0.9))), r"moves b at 9\.00 rad/s, the limit is 2 rad/s"),
    ],
)
def test_refused_goals(trajectory, text):
    arm = Arm(TRAJECTORY_CONTROLLER)
    with pytest.raises(GoalRefusedError, match="the arm does not answer at present"):
        arm.motion.check_goal(trajectory, arm.now)
    arm.cycle()
    with pytest.raises(GoalRefusedError, match=text):
        arm.motion.check_goal(trajectory, arm.now)


def test_a_goal_that_jumps_is_followed_no_faster_than_the_limit_until_its_tolerance_ends_it():
    arm = Arm(TRAJECTORY_CONTROLLER, q=(-0.9, 0.0))
    arm.cycle()
    plan = arm.motion.check_goal(goal((0.05, (0.9, 0.0))), arm.now)
    arm.motion.accept_goal(plan, "jump", arm.motion.trajectory._default)
    arm.cycle(10)
    (outcome,) = arm.motion.trajectory.outcomes
    assert outcome.status == GoalStatus.ABORTED
    assert "path tolerance violation: a is" in outcome.text
    steps = np.abs(np.diff([c.positions for c in arm.commands if c], axis=0))
    assert steps.max() <= LIMITS.max_velocity * 0.02 + 1e-12


def test_streamed_positions():
    arm = Arm(FORWARD_CONTROLLER)
    with pytest.raises(GoalRefusedError, match="the arm does not answer at present"):
        arm.motion.stream([0.5, -0.2], arm.now)
    arm.cycle()
    for values, text in (
        ([0.5], "command has 1 values, expected 2 in the order a, b"),
        ([0.5, float("inf")], "command is not finite"),
        ([0.9, -0.2], r"0\.400 rad away from the target in force of a, the limit is 0\.3 rad"),
        ([0.5, -1.5], "outside its calibrated range"),
    ):
        with pytest.raises(GoalRefusedError, match=text):
            arm.motion.stream(values, arm.now)
    assert arm.cycle() is None  # what is refused does not turn torque on
    arm.motion.stream([0.7, -0.2], arm.now)
    assert arm.cycle().engage
    arm.cycle(3)
    assert arm.q == pytest.approx([0.66, -0.2])  # four cycles of 0.04 rad
    arm.cycle()
    assert arm.q == pytest.approx([0.7, -0.2])


def test_a_stream_that_falls_silent_is_held_where_the_arm_is():
    arm = Arm(FORWARD_CONTROLLER, q=(0.0, 0.0))
    arm.cycle()
    arm.motion.stream([0.3, 0.0], arm.now)
    arm.cycle(2)
    silent = Arm(FORWARD_CONTROLLER, q=(0.0, 0.0))
    silent.motion._limits = MotionLimits(
        **{**{f: getattr(LIMITS, f) for f in LIMITS.__dataclass_fields__}, "max_velocity": 0.5}
    )
    silent.cycle()
    silent.motion.stream([0.3, 0.0], silent.now)
    silent.cycle(30)
    assert 0.05 <= silent.q[0] <= 0.07  # 0.1 s at 0.5 rad/s, and a cycle; the target would have been 0.3
    with pytest.raises(GoalRefusedError, match="away from the target in force"):
        silent.motion.stream([0.5, 0.0], silent.now)  # counted from where it is held


def test_one_controller_at_a_time_and_no_jump_between_them():
    arm = Arm(TRAJECTORY_CONTROLLER)
    arm.cycle()
    with pytest.raises(GoalRefusedError, match="forward_position_controller is not active; switch to it"):
        arm.motion.stream([0.5, -0.2], arm.now)
    arm.motion.accept_goal(
        arm.motion.check_goal(goal((1.0, (0.9, 0.0))), arm.now), "one", arm.motion.trajectory._default
    )
    arm.cycle(10)
    before = arm.q.copy()
    ok, _ = arm.motion.manager.switch([FORWARD_CONTROLLER], [TRAJECTORY_CONTROLLER], Strictness.STRICT)
    assert ok
    assert arm.motion.trajectory.outcomes[0].status == GoalStatus.ABORTED
    arm.cycle(3)
    assert arm.q == pytest.approx(before)
    with pytest.raises(GoalRefusedError, match="joint_trajectory_controller is not active"):
        arm.motion.check_goal(goal((1.0, (0.0, 0.0))), arm.now)


def test_after_the_arm_was_lost_nothing_moves_without_a_new_command():
    arm = Arm(TRAJECTORY_CONTROLLER)
    arm.cycle()
    arm.motion.accept_goal(
        arm.motion.check_goal(goal((1.0, (0.9, 0.0))), arm.now), "one", arm.motion.trajectory._default
    )
    arm.cycle(5)
    arm.motion.lost("the cable was pulled")
    assert [(o.status, o.text) for o in arm.motion.trajectory.outcomes] == [
        (GoalStatus.ABORTED, "the cable was pulled")
    ]
    arm.q = np.array([0.0, 0.0])  # moved by hand meanwhile
    arm.commands.clear()
    arm.cycle(5)
    assert arm.commands == [None] * 5
    arm.motion.accept_goal(
        arm.motion.check_goal(goal((1.0, (0.1, 0.0))), arm.now), "two", arm.motion.trajectory._default
    )
    assert arm.cycle().positions == pytest.approx([0.0, 0.0], abs=0.04)


def test_a_gap_in_the_cycle_is_no_leap():
    arm = Arm(FORWARD_CONTROLLER, q=(0.0, 0.0))
    arm.cycle()
    arm.motion.stream([0.3, 0.0], arm.now)
    arm.cycle()
    arm.now += 80_000_000
    assert abs(arm.cycle().positions[0]) <= 0.04 + 2.0 * 0.05 + 1e-12
