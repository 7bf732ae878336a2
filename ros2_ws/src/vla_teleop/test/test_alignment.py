# SPDX-License-Identifier: Apache-2.0

"""Leader arms never make the follower jump; the gripper's rate becomes few goals."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.profile import load_profile, parse_profile
from vla_core.stamps import to_ns
from vla_teleop.motion.alignment import ALIGNING, FAR, FOLLOWING, AlignSettings, LeaderFollower
from vla_teleop.motion.driver import ArmDriver, Wish
from vla_teleop.motion.gripper_rate import GripperRate
from vla_teleop.motion.limits import arm_limits

DT = 0.005
PROFILE = load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e.yaml")
ARM = PROFILE.action[0]
READY = np.array(PROFILE.ready["arm"])
LIMITS = arm_limits(ARM, max_joint_speed=1.0, stop_s=0.05)


def leader(*away):
    return dict(zip(ARM.joints, READY + np.array(away), strict=True))


def follower():
    made = LeaderFollower(LIMITS, AlignSettings())
    made.start(READY)
    return made


def test_the_follower_goes_slowly_to_the_leader_then_follows_at_its_speed():
    arm, seen, before = follower(), [], READY
    for _ in range(1000):
        step = arm.step(leader(0.3, -0.1, 0, 0, 0, 0), DT)
        speed = np.abs(step.positions - before).max() / DT
        seen.append((step.state, speed))
        before = step.positions
        if step.state == FOLLOWING:
            break
    assert {state for state, _ in seen[:-1]} == {ALIGNING}
    assert max(speed for _, speed in seen[:-1]) == pytest.approx(0.2)
    assert seen[0][1] <= 8.0 * DT + 1e-9
    assert len(seen) * DT == pytest.approx(0.28 / 0.2, abs=0.1)
    # The leader makes a step of a fifth of a radian: followed at the joint's own limit, not at once.
    step = arm.step(leader(0.5, -0.1, 0, 0, 0, 0), DT)
    assert step.state == FOLLOWING
    assert np.abs(step.positions - before).max() <= 1.0 * DT + 1e-9
    for _ in range(100):
        after = arm.step(leader(0.5, -0.1, 0, 0, 0, 0), DT)
    assert after.positions == pytest.approx(READY + np.array([0.5, -0.1, 0, 0, 0, 0]))


def test_a_leader_that_is_too_far_away_is_refused_with_joint_and_difference():
    arm = follower()
    step = arm.step(leader(0.1, 0, -0.9, 0, 0, 0), DT)
    assert step.state == FAR
    assert step.positions == pytest.approx(READY)
    assert step.reason == (
        "the leader's elbow_joint is at 1.06 rad, the robot's at 1.96 rad: 0.90 rad apart, more than 0.8. Bring the leader "
        "nearer, or the robot home"
    )
    assert arm.step(leader(0.1, 0, 0, 0, 0, 0), DT).state == ALIGNING


def test_a_leader_that_jumps_far_away_has_to_be_aligned_with_again():
    arm = follower()
    assert arm.step(leader(0, 0, 0, 0, 0, 0), DT).state == FOLLOWING
    assert arm.step(leader(0, 0, 0, 0, 0, 1.5), DT).state == FAR
    assert arm.step(leader(0, 0, 0, 0, 0, 0.3), DT).state == ALIGNING


def test_a_leader_that_falls_silent_or_jumps_lets_the_arm_brake_instead_of_stopping_dead():
    far = leader(0, 0, 0, 0, 0, 1.5)
    for stop in (lambda arm: arm.halt(DT), lambda arm: arm.step(far, DT).positions):
        arm, way = follower(), [READY]
        arm.step(leader(0, 0, 0, 0, 0, 0), DT)
        way += [arm.step(leader(0.5, -0.25, 0, 0, 0, 0), DT).positions for _ in range(60)]
        assert not arm.resting
        way += [stop(arm) for _ in range(12)]
        speeds = np.diff(np.array(way), axis=0) / DT
        assert speeds[59, 0] > 0.9
        assert arm.resting
        assert np.abs(np.diff(speeds[59:, 0])).max() <= 1.0 / 0.05 * DT + 1e-9
        assert speeds[61, 1] / speeds[61, 0] == pytest.approx(-0.5)


def test_the_driver_brakes_with_the_leader():
    drive = ArmDriver(PROFILE, PROFILE.teleop, max_joint_speed=1.0, align=AlignSettings())
    drive.start(READY)
    followed = Wish(twist=np.zeros(6), joints=leader(0.3, 0, 0, 0, 0, 0))
    for _ in range(60):
        drive.step(followed, DT)
    assert not drive.resting
    steps = [READY, *(drive.step(Wish(twist=np.zeros(6), stop=True), DT).positions for _ in range(10))]
    assert drive.resting
    assert 0.0 < steps[-1][0] - steps[1][0] < 0.2 * 0.03
    assert drive.step(followed, DT).positions == pytest.approx(steps[-1], abs=1e-3)


def test_half_the_speed_is_half_the_speed():
    arm = follower()
    arm.step(leader(0, 0, 0, 0, 0, 0), DT)
    steps = [arm.step(leader(0.5, 0, 0, 0, 0, 0), DT, scale=0.5).positions[0] for _ in range(50)]
    assert np.diff(steps).max() / DT == pytest.approx(0.5)


def test_the_driver_follows_a_leader_up_to_the_border_of_the_workspace():
    box = PROFILE.text.replace("- 0.95\n    - 0.95\n    - 1.2", "- 0.46\n    - 0.95\n    - 1.2")
    assert box != PROFILE.text
    from_profile = ArmDriver(parse_profile(box), PROFILE.teleop, max_joint_speed=1.0, align=AlignSettings())
    from_profile.start(READY)
    reasons = set()
    for i in range(400):
        forward = min(i * DT, 0.5)
        step = from_profile.step(Wish(twist=np.zeros(6), joints=leader(0, 0.5 * forward, -0.5 * forward, 0, 0, 0)), DT)
        reasons.add(step.reason[:46])
    assert "the tool is at the border of the workspace (x " in reasons
    assert np.abs(step.positions - READY).max() < 0.2


def test_a_rate_becomes_at_most_ten_goals_a_second_and_the_last_one_is_the_end():
    gripper, sent = GripperRate((0.0, 0.8)), []
    gripper.start(0.1)
    assert gripper.goal(0) is None
    for i in range(400):
        gripper.rate(0.7 if i < 300 else 0.0, DT)
        goal = gripper.goal(to_ns(i * DT))
        if goal is not None:
            sent.append((i * DT, goal))
    assert gripper.target == gripper.closing * 0.8 == 0.8
    assert np.diff([t for t, _ in sent]).min() >= 0.1 - 1e-9
    assert sent[-1][1] == 0.8
    assert [goal for _, goal in sent] == sorted(goal for _, goal in sent)


def test_a_full_deflection_closes_in_an_eighth_of_a_second():
    gripper = GripperRate((0.0, 0.8))
    gripper.start(0.0)
    steps = 0
    while gripper.closing < 1.0:
        gripper.rate(2000.0 / 255.0, DT)
        steps += 1
    assert steps * DT == pytest.approx(255 / 2000, abs=DT)


def test_a_leaders_gripper_is_a_position_and_small_changes_send_nothing():
    gripper = GripperRate((0.04, 0.0))  # a gripper whose joint shrinks when it closes
    gripper.start(0.04)
    gripper.to(0.5)
    assert gripper.goal(0) == pytest.approx(0.02)
    gripper.to(0.501)
    assert gripper.goal(to_ns(1.0)) is None
    gripper.to(2.0)
    assert gripper.goal(to_ns(2.0)) == 0.0
