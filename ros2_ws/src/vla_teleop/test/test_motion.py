# SPDX-License-Identifier: Apache-2.0

"""From twists to joints: straight lines, limits, singular poses, prepared motions."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from vla_core.errors import KinematicsError
from vla_core.kinematics import forward, rotation_from_rpy, rotation_vector
from vla_core.profile import load_profile, parse_profile
from vla_core.specs import Kinematics
from vla_teleop.motion.alignment import AlignSettings
from vla_teleop.motion.driver import ArmDriver, Wish
from vla_teleop.motion.limits import ArmLimits, Workspace
from vla_teleop.motion.prepared import JointMove, Reorient
from vla_teleop.motion.ramp import TwistRamp
from vla_teleop.motion.resolved_rate import ResolvedRate, damped_inverse
from vla_teleop.motion.rotation import CLOCKWISE, COUNTERCLOCKWISE, PreparedRotation

DT = 0.005
PROFILE = load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e.yaml")
ARM, TELEOP = PROFILE.kinematics, PROFILE.teleop
READY = np.array(PROFILE.ready["arm"])
STRAIGHT_ELBOW = np.array([0.0, -1.2, 0.0, -1.2, -1.5708, 0.0])
STRAIGHT_WRIST = np.array([0.0, -1.5708, 1.8, -0.3, 0.0, 0.0])


def limits(n=6, velocity=1.0, acceleration=8.0, low=-6.28, high=6.28, stop_s=0.05):
    joints = ARM.joints if n == 6 else tuple(f"j{i}" for i in range(n))
    full = np.full(n, 1.0)
    return ArmLimits(
        joints=joints,
        lower=low * full,
        upper=high * full,
        velocity=velocity * full,
        acceleration=acceleration * full,
        stop_s=stop_s,
    )


def rate(q=READY, **options):
    made = ResolvedRate(ARM, TELEOP.T_tool_tcp, options.pop("limits", limits()), **options)
    made.start(q)
    return made


def driver(profile=PROFILE, q=READY, **align):
    made = ArmDriver(profile, profile.teleop, max_joint_speed=1.0, align=AlignSettings(**align))
    made.start(q)
    return made


def tcp(q):
    return forward(ARM, q) @ TELEOP.T_tool_tcp


def turned(before, after):
    return float(np.linalg.norm(rotation_vector(after[:3, :3] @ before[:3, :3].T)))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, -1), (1, -2, 0.5)])
def test_a_straight_twist_keeps_the_line_and_the_orientation(direction):
    moved, ramp = rate(), TwistRamp(0.5, 2.5, 0.05)
    begin, unit = tcp(READY), np.array(direction) / np.linalg.norm(direction)
    wanted = np.concatenate([0.05 * unit, np.zeros(3)])
    for _ in range(600):
        step = moved.step(ramp.step(wanted, DT), DT)
        way = tcp(step.positions)[:3, 3] - begin[:3, 3]
        assert np.linalg.norm(way - (way @ unit) * unit) < 1e-5
        assert turned(begin, tcp(step.positions)) < 1e-5
    assert way @ unit == pytest.approx(0.05 * (3.0 - 0.05), abs=2e-4)  # half of the ramp of 0.1 s is lost
    assert step.share == 1.0
    assert step.reason == ""


def test_a_turn_keeps_the_tool_centre_point():
    moved, begin = rate(), tcp(READY)
    for _ in range(400):
        step = moved.step(np.array([0, 0, 0, 0.1, 0.05, 0.2]), DT)
    end = tcp(step.positions)
    assert np.linalg.norm(end[:3, 3] - begin[:3, 3]) < 1e-5
    assert turned(begin, end) == pytest.approx(2.0 * np.linalg.norm([0.1, 0.05, 0.2]), abs=0.02)


@pytest.mark.parametrize("pose", [STRAIGHT_ELBOW, STRAIGHT_WRIST], ids=["elbow", "wrist"])
@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_at_a_singular_pose_joints_stay_slow_and_finite(pose, axis, sign):
    moved, given = rate(pose), limits()
    twist = np.zeros(6)
    twist[axis] = sign * (0.05 if axis < 3 else 0.25)
    before, before_dq = pose, np.zeros(6)
    for _ in range(400):
        step = moved.step(twist, DT)
        assert np.isfinite(step.positions).all()
        assert (np.abs(step.velocities) <= given.velocity + 1e-9).all()
        assert step.positions == pytest.approx(before + step.velocities * DT, abs=1e-12)
        assert (np.abs(step.velocities - before_dq) <= given.brake * DT + 1e-9).all()
        before, before_dq = step.positions, step.velocities


def test_moving_into_a_singularity_is_slowed_and_said_and_the_way_back_is_free():
    stretched = np.array([0.0, -1.2, 0.35, -0.8, -1.5708, 0.0])
    moved = rate(stretched)
    outward = tcp(stretched)[:3, 3] - tcp(READY)[:3, 3]
    twist = np.concatenate([0.05 * outward / np.linalg.norm(outward), np.zeros(3)])
    shares = [moved.step(twist, DT) for _ in range(1500)]
    slowest = min(shares, key=lambda step: step.share)
    assert slowest.share < 0.5
    assert slowest.reason.startswith("near a singular pose, so the arm is slow")
    at_border = moved.q.copy()
    back = [moved.step(-twist, DT) for _ in range(400)]
    assert np.linalg.norm(tcp(moved.q)[:3, 3] - tcp(at_border)[:3, 3]) > 0.05
    assert min(step.share for step in back) > 0.9


def test_damping_is_only_in_the_lost_direction():
    J = np.diag([1.0, 0.5, 0.3, 0.2, 0.1, 1e-6])
    inverse, smallest = damped_inverse(J)
    assert smallest == pytest.approx(1e-6)
    assert np.diag(inverse)[:5] == pytest.approx(1.0 / np.diag(J)[:5], rel=1e-6)
    assert np.abs(inverse[5, 5]) < 1e-2
    assert np.isfinite(damped_inverse(np.zeros((6, 6)))[0]).all()


def test_a_joint_stops_in_front_of_its_limit_and_leaves_it_again():
    high = READY[0] + 0.05
    narrow = limits()
    narrow.upper[0] = high
    moved = rate(limits=narrow)
    twist = np.array([0.0, 0.05, 0.0, 0.0, 0.0, 0.0])
    steps = [moved.step(twist, DT) for _ in range(1200)]
    assert max(step.positions[0] for step in steps) <= high + 1e-5
    assert steps[-1].share < 0.01
    assert steps[-1].reason == f"shoulder_pan_joint is at its limit of {high:.3f} rad; move it the other way"
    assert moved.step(-twist, DT).share == 1.0


def test_the_velocity_limit_scales_the_whole_twist():
    moved, begin = rate(limits=limits(velocity=0.05)), tcp(READY)
    for _ in range(200):
        step = moved.step(np.array([0.05, 0.0, 0.0, 0.0, 0.0, 0.0]), DT)
        assert np.abs(step.velocities).max() <= 0.05 + 1e-9
    way = tcp(step.positions)[:3, 3] - begin[:3, 3]
    assert way[0] > 0.01
    assert np.abs(way[1:]).max() < 2e-4
    assert "is at its speed limit of 0.05 rad/s" in step.reason


def test_the_tool_stops_at_the_border_of_the_workspace_with_the_reason():
    x = forward(ARM, READY)[0, 3]
    box = Workspace(low=(-1, -1, 0), high=(x + 0.02, 1, 1), deceleration=0.5)
    moved = rate(workspace=box)
    steps = [moved.step(np.array([0.05, 0, 0, 0, 0, 0.0]), DT) for _ in range(400)]
    reached = forward(ARM, steps[-1].positions)[0, 3]
    assert x + 0.019 < reached <= x + 0.02 + 1e-6
    assert steps[-1].reason.startswith(
        f"the tool is at the border of the workspace (x = {x + 0.02:g} m, safety.workspace"
    )
    # Straight in front of the border the arm brakes instead of being stopped from full speed.
    speeds = [np.abs(step.velocities).max() for step in steps]
    assert max(abs(b - a) for a, b in pairwise(speeds[10:])) < 8.0 * DT
    assert moved.step(np.array([-0.05, 0, 0, 0, 0, 0.0]), DT).share == 1.0


def test_a_redundant_arm_drifts_to_its_rest_pose_without_moving_the_tool():
    arm = Kinematics(
        joints=tuple(f"j{i}" for i in range(7)),
        a=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        d=(0.34, 0.0, 0.4, 0.0, 0.4, 0.0, 0.126),
        alpha=tuple(np.pi / 2 * np.array([-1, 1, 1, -1, -1, 1, 0])),
        theta=(0.0,) * 7,
        base_xyz=(0, 0, 0),
        base_rpy=(0, 0, 0),
        tool_xyz=(0, 0, 0),
        tool_rpy=(0, 0, 0),
        reference_rpy=(0, 0, 0),
    )
    begin = np.array([0.2, 0.6, 0.5, -1.4, 0.3, 0.8, 0.1])
    ends = {}
    for name, rest in (("free", None), ("rest", np.array([0.2, 0.6, 0.0, -1.4, 0.3, 0.8, 0.1]))):
        moved = ResolvedRate(arm, np.eye(4), limits(7), rest=rest)
        moved.start(begin)
        start, ramp = moved.pose, TwistRamp(0.5, 2.5, 0.05)
        for i in range(800):
            moved.step(ramp.step(np.array([0.02 if i < 400 else -0.02, 0, 0, 0, 0, 0]), DT), DT)
        ends[name] = moved.q
        assert np.linalg.norm(moved.pose[:3, 3] - start[:3, 3]) < 2e-3  # what the ramps take
        assert np.abs(moved.pose[1:3, 3] - start[1:3, 3]).max() < 1e-5
        assert turned(start, moved.pose) < 1e-4
    assert abs(ends["rest"][2]) < abs(ends["free"][2]) - 0.1
    moved.start(begin)
    assert not moved.step(np.zeros(6), DT).velocities.any()  # at rest nothing drifts


def test_other_joints_than_the_kinematics_are_refused():
    with pytest.raises(
        KinematicsError, match="a twist needs the kinematics of the joints that it drives: the action has j0"
    ):
        ResolvedRate(ARM, np.eye(4), limits(7))


def test_a_stop_takes_no_longer_than_stop_s_and_keeps_its_direction():
    ramp = TwistRamp(0.5, 2.5, 0.05)
    wanted = np.array([0.03, 0.04, 0.0, 0.0, 0.0, 0.393])
    for _ in range(100):
        ramp.step(wanted, DT)
    assert ramp.twist == pytest.approx(wanted)
    first = ramp.step(wanted, DT, stop=True)
    assert first[1] / first[0] == pytest.approx(4 / 3)
    for _ in range(9):
        ramp.step(wanted, DT, stop=True)
    assert ramp.resting


@pytest.mark.parametrize(("gain", "scale"), [(0.1, 1.0), (1.0, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize(("name", "sign"), [("rotate_cw", -1.0), ("rotate_ccw", 1.0)])
def test_a_quarter_turn_is_one_whatever_the_gain_and_the_number_of_presses(gain, scale, name, sign):
    drive, angle, steps = driver(), 0.0, 0
    assert drive.rotate(name)
    wish = Wish(twist=gain * np.array([0.02, 0.0, 0.0, 0.0, 0.0, 0.25]))
    before = drive.positions
    for steps in range(1200):
        assert steps != 300 or not drive.rotate(name)  # a second press
        angle += drive.step(wish, DT, scale=scale).twist[5] * DT
        if not drive.motion:
            break
        assert drive.motion == name
    assert angle == pytest.approx(sign * 1.571, abs=0.02)
    assert steps * DT == pytest.approx(4.1, abs=0.3)
    way = (tcp(drive.positions) - tcp(before))[:2, 3]
    assert np.linalg.norm(way) == pytest.approx(gain * scale * 0.02 * steps * DT, rel=0.05)  # other axes stay live


def test_a_turn_that_is_held_up_is_given_up():
    drive = driver(parse_profile(PROFILE.text.replace("max_velocity: 3.1416", "max_velocity: 0.02")))
    drive.rotate("rotate_cw")
    seconds = 0.0
    while drive.motion and seconds < 30.0:
        drive.step(Wish(twist=np.zeros(6)), DT)
        seconds += DT
    assert seconds == pytest.approx(7.2, abs=0.2)


def test_the_stop_ends_a_prepared_motion():
    drive = driver()
    drive.rotate("rotate_ccw")
    for _ in range(200):
        drive.step(Wish(twist=np.zeros(6)), DT)
    for _ in range(11):
        drive.step(Wish(twist=np.zeros(6), stop=True), DT)
    assert drive.resting
    assert drive.motion == ""
    assert not drive.step(Wish(twist=np.zeros(6)), DT).twist.any()


@pytest.mark.parametrize("tilt", [(0.4, 0.0, 0.0), (0.2, -0.3, 0.5), (0.0, 0.0, 3.0)])
def test_reorient_turns_upright_and_keeps_the_position(tilt):
    drive, tilting = driver(), rate()
    for _ in range(400):
        q = tilting.step(np.concatenate([np.zeros(3), np.array(tilt) / 2.0]), DT).positions
    drive.start(q)
    begin = tcp(q)
    assert drive.reorient()
    assert not drive.reorient()
    for _ in range(3000):
        drive.step(Wish(twist=np.array([0.05, 0, 0, 0, 0, 0.0])), DT)
        if not drive.motion:
            break
    assert np.linalg.norm(tcp(drive.positions)[:3, 3] - begin[:3, 3]) < 2e-4
    for _ in range(100):
        drive.step(Wish(twist=np.zeros(6)), DT)
    wanted = rotation_from_rpy(ARM.base_rpy) @ rotation_from_rpy(TELEOP.vertical_rpy)
    assert np.linalg.norm(rotation_vector(wanted @ tcp(drive.positions)[:3, :3].T)) < 0.01


def test_a_half_turn_does_not_dither_between_its_two_ways():
    half = Reorient(speed=0.393, acceleration=2.0)
    present = rotation_from_rpy((0.0, 0.0, math.pi))
    assert half.start(np.eye(3), present) == pytest.approx(math.pi)
    first = half.want(present, DT)
    crossed = rotation_from_rpy((0.0, 0.0, math.pi + math.copysign(0.002, -first[2])))
    assert half.want(crossed, DT)[2] * first[2] > 0.0


def test_twists_are_meant_in_the_arms_base_or_in_the_tool():
    for frame, expected in (("base", [-1, 0, 0]), ("tool", [1, 0, 0])):  # base_link is turned against the base
        drive, begin = driver(), tcp(READY)[:3, 3]
        for _ in range(200):
            drive.step(Wish(twist=np.array([0.05, 0, 0, 0, 0, 0.0]), frame=frame), DT)
        way = tcp(drive.positions)[:3, 3] - begin
        assert way / np.linalg.norm(way) == pytest.approx(expected, abs=1e-3)


def test_more_than_the_profile_allows_is_scaled_as_a_whole():
    drive = driver()
    for _ in range(100):
        step = drive.step(Wish(twist=np.array([0.2, 0.1, 0, 0, 0, 0.1])), DT)
    assert np.abs(step.twist) == pytest.approx([0.05, 0.025, 0, 0, 0, 0.025], abs=1e-6)


def test_joint_moves_arrive_together_and_stay_slow():
    end = READY + np.array([0.5, -0.2, 0.1, 0, 0, 1.0])
    move = JointMove(READY, end, speed=0.5, acceleration=0.3)
    times = np.arange(0.0, move.duration_s, DT)
    path = np.array([move.position(t) for t in times])
    speed = np.abs(np.diff(path, axis=0)).max() / DT
    assert 0.2 < speed <= 0.5
    assert np.abs(np.diff(path, 2, axis=0)).max() / DT**2 <= 0.3 + 1e-3
    assert move.position(move.duration_s) == pytest.approx(end)
    assert move.path(10)[-1] == pytest.approx(end)
    assert JointMove(READY, READY, speed=0.5, acceleration=0.3).duration_s == 0.0


def test_directions_of_the_buttons():
    turn = PreparedRotation(acceleration=2.0)
    assert turn.start(CLOCKWISE)
    assert turn.want(DT) < 0.0
    assert not turn.start(COUNTERCLOCKWISE)
    turn.cancel()
    assert turn.start(COUNTERCLOCKWISE)
    assert turn.want(DT) > 0.0


def test_without_kinematics_only_leader_arms_drive():
    text = PROFILE.text
    begin, end = text.index("kinematics:"), text.index("teleop:")
    blind = text[:begin] + text[end:]
    begin = blind.index("  workspace:")
    blind = blind[:begin] + blind[blind.index("  clamp:") :]
    drive = driver(parse_profile(blind))
    with pytest.raises(KinematicsError, match="moving the tool centre point needs the key 'kinematics'"):
        drive.step(Wish(twist=np.array([0.05, 0, 0, 0, 0, 0.0])), DT)
    with pytest.raises(KinematicsError, match="only leader arms can drive"):
        drive.rotate("rotate_cw")
    leader = dict(zip(ARM.joints, READY + 0.01, strict=True))
    for _ in range(100):
        step = drive.step(Wish(twist=np.zeros(6), joints=leader), DT)
    assert step.positions == pytest.approx(READY + 0.01)
