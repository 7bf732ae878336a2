# SPDX-License-Identifier: Apache-2.0

"""Plans: segments, targets, arrival, continuity, and every refusal by its text, before anything moves."""

from dataclasses import replace

import numpy as np
import pytest
from skill_examples import ARM, BASE, LIMITS, READY, TCP, WORKSPACE, at_ready, moved, pick, spec, waypoint
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy, rotation_vector
from vla_teleop.skills.errors import PlanError
from vla_teleop.skills.limits import Bounds, check_path
from vla_teleop.skills.plan import gripper_rows, plan_skill, segment_rows, target_poses


def plan(skill=None, waypoints=None, q0=READY, trigger=None, **options):
    options = {"limits": LIMITS, "workspace": WORKSPACE} | options
    return plan_skill(skill or spec(), waypoints or pick(), ARM, TCP, trigger, q0, **options)


def tcp_at(q):
    return forward(ARM, q) @ TCP


def test_segments_begin_where_the_gripper_changes_and_after_the_verification():
    assert segment_rows(pick()) == ((0, 3), (4, 5), (6, 6), (7, 7))
    result = plan()
    assert [[end.waypoint for end in s.ends] for s in result.segments] == [[0, 1, 2, 3], [4, 5], [6], [7]]
    assert [s.gripper for s in result.segments] == [3, 230, None, 3], "what does not change is not commanded"
    assert [s.verification for s in result.segments] == [False, True, False, False]
    assert [s.absolute for s in result.segments] == [False, True, True, True]
    assert [end.rounded for end in result.segments[0].ends] == [False, True, True, False]
    assert not any(end.rounded for s in result.segments[1:] for end in s.ends)
    assert (result.grasp_commanded, result.waypoints) == (230, 8)
    assert result.duration == sum(s.times[-1] for s in result.segments)


def test_each_segment_starts_where_the_last_one_ended_and_arrives_exactly():
    result = plan()
    q = READY
    for segment in result.segments:
        assert np.abs(segment.positions[0] - q).max() < 1e-9
        assert segment.times[0] == 0.0
        assert np.diff(segment.times).min(initial=1.0) > 0.0
        assert np.abs(segment.velocities[[0, -1]]).max() < 1e-9, "at rest at both ends"
        for end in segment.ends:
            if not end.rounded:
                assert np.abs(tcp_at(segment.positions[end.sample]) - end.T_base_tcp).max() < 1e-9
        q = segment.positions[-1]
        assert np.abs(tcp_at(q) - segment.T_end).max() < 1e-9


def test_velocities_are_the_rates_of_the_positions():
    tilted = at_ready() @ pose_matrix([0.0, 0.0, 0.0], rotation_from_rpy([0.4, -0.3, 0.2]))
    segment = plan(spec(relative_count=0), (waypoint(at_ready()), waypoint(moved(tilted, y=0.05)))).segments[0]
    middle = (segment.velocities[1:] + segment.velocities[:-1]) / 2.0
    rates = np.diff(segment.positions, axis=0) / np.diff(segment.times)[:, None]
    assert np.abs(rates - middle).max() < 1e-3
    assert np.abs(rates).max() > 0.1


def test_the_tool_keeps_to_the_speed_and_the_corner_of_the_table():
    skill = spec(linear_speed=0.03, blend_radius=0.005, sensitive_count=2, sensitive_radius=0.0005)
    segment = plan(skill, dt_s=0.004).segments[0]
    p = tcp_at(segment.positions)[:, :3, 3]
    steps = np.linalg.norm(np.diff(p, axis=0), axis=1) / np.diff(segment.times)
    assert steps.max() <= 0.03 * 1.01
    assert steps.max() >= 0.03 * 0.95
    for end, radius in zip(segment.ends[1:3], (0.0005, 0.005), strict=True):
        nearest = np.linalg.norm(p - end.T_base_tcp[:3, 3], axis=1).min()
        assert 0.0 < nearest <= radius, f"waypoint {end.waypoint} is cut by no more than its radius"


def test_points_stops_at_every_waypoint():
    segment = plan(spec(path_mode="points")).segments[0]
    assert not any(end.rounded for end in segment.ends)
    for end in segment.ends:
        assert np.abs(segment.velocities[end.sample]).max() < 1e-9


def test_relative_waypoints_move_with_the_trigger_and_absolute_ones_do_not():
    waypoints, rng = pick(), np.random.default_rng(1)
    home = target_poses(spec(), waypoints, ARM, at_ready())
    for i in range(8):
        assert np.abs(home[i] - BASE @ waypoints[i].T).max() < 1e-12, "triggered where it was taught: as taught"
    for _ in range(50):
        trigger = moved(at_ready(), *rng.uniform(-0.2, 0.2, 3), turn_z=rng.uniform(-3, 3))
        poses = target_poses(spec(), waypoints, ARM, trigger)
        assert np.abs(poses[0] - trigger).max() < 1e-9
        for i in range(4):
            relative = np.linalg.inv(trigger) @ poses[i] - np.linalg.inv(home[0]) @ home[i]
            assert np.abs(relative).max() < 1e-9
        for i in range(4, 8):
            assert np.abs(poses[i] - home[i]).max() < 1e-12


def test_a_file_in_base_link_is_not_turned():
    there = [replace(w, T=BASE @ w.T) for w in pick()]
    a = target_poses(spec(), pick(), ARM, at_ready())
    b = target_poses(spec(frame="base_link"), there, ARM, at_ready())
    assert np.abs(np.stack(a) - np.stack(b)).max() < 1e-12


def test_a_trigger_beside_the_arm_is_driven_to_first():
    trigger = moved(at_ready(), y=0.02)
    first = plan(trigger=trigger).segments[0]
    assert first.ends[0].sample > 0
    assert np.abs(first.positions[0] - READY).max() < 1e-9
    assert np.abs(tcp_at(first.positions[first.ends[0].sample]) - trigger).max() < 1e-9


def test_resume_drives_the_absolute_part_from_where_the_arm_stands():
    q0 = plan().segments[1].positions[-1] + np.array([0.02, 0.0, -0.01, 0.0, 0.0, 0.05])
    result = plan(q0=q0, resume=True)
    assert [(s.index, [end.waypoint for end in s.ends]) for s in result.segments] == [(1, [4, 5]), (2, [6]), (3, [7])]
    assert [s.gripper for s in result.segments] == [230, None, 3]
    assert np.abs(result.segments[0].positions[0] - q0).max() < 1e-9
    shorter = plan(spec(relative_count=5), q0=q0, resume=True)
    assert [end.waypoint for end in shorter.segments[0].ends] == [5], "a segment is cut where the absolute part begins"
    assert shorter.segments[0].gripper == 230
    with pytest.raises(PlanError, match=r"'pick' has no absolute waypoints to resume with; all 8 rows are relative"):
        plan(spec(relative_count=8), resume=True)


def test_a_jump_to_another_configuration_is_refused():
    # Solutions meet at singular poses only, which are refused before; a jump would come from an inverse that strays.
    times, q = np.linspace(0.0, 0.1, 6), np.tile(READY, (6, 1))
    q[3:, 2] += 0.05
    bounds = Bounds(arm=ARM, limits=LIMITS, workspace=None)
    with pytest.raises(PlanError) as error:
        check_path(bounds, times, q, np.zeros((6, 6)), np.ones(6), lambda k: f"sample {k}")
    assert str(error.value).startswith(
        "sample 3: elbow_joint would jump by 0.050 rad in 0.020 s, because the arm would have"
    )
    check_path(bounds, times, np.tile(READY, (6, 1)), np.zeros((6, 6)), np.ones(6), str)


def test_whole_turns_of_a_joint_are_kept():
    q0 = READY - np.array([0, 0, 0, 0, 0, 2 * np.pi]) * np.sign(READY[5]) * -1
    wide = replace(LIMITS, lower=(-10.0,) * 6, upper=(10.0,) * 6)
    result = plan(q0=q0, limits=wide)
    assert np.abs(result.segments[-1].positions[-1] - plan().segments[-1].positions[-1] - (q0 - READY)).max() < 1e-9


def test_grasp_close_replaces_the_closing_of_the_grasp_only():
    skill = spec(grasp_close=168, grasp_threshold=155.0)
    assert gripper_rows(skill, pick()) == (3, 3, 3, 3, 168, 168, 168, 3)
    result = plan(skill)
    assert [s.gripper for s in result.segments] == [3, 168, None, 3]
    assert result.grasp_commanded == 168


def test_a_threshold_that_an_empty_gripper_passes_is_refused():
    with pytest.raises(PlanError) as error:
        plan(spec(grasp_threshold=231.0))
    assert str(error.value) == (
        "skill 'pick': the gripper is told to close to 230, but grasp_threshold is 231, so an empty gripper would pass for "
        "a grasp; set the threshold below the closing"
    )
    assert plan(spec(grasp_threshold=230.0)).grasp_commanded == 230, "equal is a failure at the check itself"
    free = [replace(w, verification=False) for w in pick()]
    assert plan(spec(grasp_threshold=255.0), free).grasp_commanded is None


def one_absolute(T):
    return (waypoint(at_ready()), waypoint(T))


def test_an_unreachable_waypoint_is_refused_with_its_number_and_place():
    with pytest.raises(PlanError) as error:
        plan(spec(relative_count=1), one_absolute(moved(at_ready(), x=1.0)), workspace=None)
    assert "skill 'pick', on the way to waypoint 1: the tool frame at x y z = " in str(error.value)
    assert "m is out of reach: no joint positions reach it: it is too far from, or too near to, the base" in str(
        error.value
    )
    assert str(error.value).endswith("Trigger the skill from another pose, or correct the waypoint")


def test_a_singular_pose_is_refused_by_name():
    q = READY.copy()
    q[4] = -0.005
    with pytest.raises(PlanError) as error:
        plan(q0=q, waypoints=(waypoint(tcp_at(q)), waypoint(moved(tcp_at(q), z=0.01))), workspace=None)
    assert "skill 'pick', on the way to waypoint" in str(error.value)
    assert "the arm is at a singular pose, with the wrist in line: wrist_2_joint at -0.0" in str(error.value)
    assert "the limit is 0.01)" in str(error.value)
    stretched = np.array([0.0, -1.2, 0.001, -1.0, -1.5, 0.0])
    with pytest.raises(PlanError, match=r"with the arm stretched or folded: elbow_joint at 0\.001 rad"):
        plan(q0=stretched, waypoints=(waypoint(tcp_at(stretched)),), workspace=None)


def test_a_wrist_above_the_base_is_singular_too():
    q = np.tile([0.3, -2.2, 2.1, -1.5, -1.5, 0.0], (20001, 1))
    q[:, 1] = np.linspace(-np.pi, np.pi, len(q))
    T = forward(ARM, q)
    wrist = T[:, :2, 3] - 0.0996 * T[:, :2, 2]
    near = q[int(np.argmin(np.hypot(*wrist.T)))]  # as near to the axis of joint 1 as its offset allows
    with pytest.raises(PlanError, match="with the wrist above the axis of the base"):
        plan(q0=near, waypoints=(waypoint(tcp_at(near)),), workspace=None)


def test_a_joint_limit_is_refused_with_value_and_limit():
    tight = replace(LIMITS, lower=(*LIMITS.lower[:5], READY[5] - 0.1))
    skill = spec(relative_count=0)
    with pytest.raises(PlanError) as error:
        plan(skill, one_absolute(moved(at_ready(), turn_z=0.3)), limits=tight)
    assert "skill 'pick', on the way to waypoint 1: wrist_3_joint would stand at -2.1786 rad" in str(error.value)
    assert f"the limit is {READY[5] - 0.1:.4f} rad" in str(error.value)
    assert "unwind this joint by a whole turn first" in str(error.value)


def test_a_speed_limit_is_refused_with_value_and_limit():
    slow = replace(LIMITS, max_velocity=(0.05,) * 6)
    with pytest.raises(PlanError, match=r"_joint would turn at 0\.\d+ rad/s, the limit is 0\.050 rad/s\. .* lower it"):
        plan(limits=slow)
    for aside in (0.05, -0.05):
        sideways = (waypoint(at_ready()), waypoint(moved(at_ready(), y=aside)))
        with pytest.raises(
            PlanError, match=r"shoulder_pan_joint would turn at 0\.\d+ rad/s, the limit is 0\.050 rad/s"
        ):
            plan(waypoints=sideways, limits=replace(LIMITS, max_velocity=(0.05, *[9.0] * 5)))
    lazy = replace(LIMITS, max_acceleration=(0.01,) * 6)
    with pytest.raises(PlanError, match=r"would accelerate by 0\.\d+ rad/s\^2, the limit is 0\.010 rad/s\^2\. Lower"):
        plan(limits=lazy)


def test_a_path_near_a_singular_pose_says_so_when_it_is_too_fast():
    q = READY.copy()
    q[4] = -0.03
    sideways = (waypoint(tcp_at(q)), waypoint(moved(tcp_at(q), y=0.02)))
    fast = spec(linear_acceleration=2.0, angular_acceleration=10.0)
    with pytest.raises(
        PlanError, match=r"rad/s, the limit is 0\.600 .*near a singular pose; move the waypoint|singular"
    ):
        plan(fast, sideways, q0=q, workspace=None, limits=replace(LIMITS, max_velocity=(0.6,) * 6))


def test_the_workspace_is_checked_along_the_way_with_axis_value_and_limit():
    low = at_ready()[2, 3] + 0.1792 - 0.03
    box = ((-0.95, -0.95, low), (0.95, 0.95, 1.2))
    with pytest.raises(PlanError) as error:
        plan(workspace=box)
    assert "skill 'pick', on the way to waypoint 3: z of the tool frame would be" in str(error.value)
    assert f"the limit of the workspace is {low:.4f} m" in str(error.value)
    assert "widen safety.workspace of the profile" in str(error.value)


def test_rotations_near_half_a_turn_take_the_short_way():
    there = moved(at_ready(), x=0.03, turn_z=0.02)
    back = moved(at_ready(), x=0.06, turn_z=-0.02)
    segment = plan(spec(relative_count=0), (waypoint(at_ready()), waypoint(there), waypoint(back))).segments[0]
    turned = [rotation_vector(at_ready()[:3, :3].T @ T[:3, :3]) for T in tcp_at(segment.positions)]
    assert np.linalg.norm(turned, axis=1).max() <= 0.021


def test_a_skill_with_its_own_tool_is_planned_for_that():
    longer = spec(tcp_xyz=(0.0, 0.0, 0.2292))
    result = plan(longer)
    assert result.T_tool_tcp[2, 3] == 0.2292
    end = result.segments[-1]
    reached = forward(ARM, end.positions[-1])
    reached = reached[:3, 3] + 0.2292 * reached[:3, 2]
    assert np.abs(reached - end.T_end[:3, 3]).max() < 1e-9


def between(times, positions, velocities, at):
    """What a trajectory controller does between two points with velocities: a cubic."""
    k = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    h = (times[k + 1] - times[k])[:, None]
    s = ((at - times[k]) / (times[k + 1] - times[k]))[:, None]
    a, b, va, vb = positions[k], positions[k + 1], velocities[k] * h, velocities[k + 1] * h
    return (2 * s**3 - 3 * s**2 + 1) * a + (s**3 - 2 * s**2 + s) * va + (3 * s**2 - 2 * s**3) * b + (s**3 - s**2) * vb


def test_what_the_controller_does_between_the_samples_is_still_the_path():
    coarse, fine = plan().segments[0], plan(dt_s=0.004).segments[0]
    q = between(coarse.times, coarse.positions, coarse.velocities, fine.times)
    apart = (tcp_at(q) - tcp_at(fine.positions))[:, :3, 3]
    assert np.linalg.norm(apart, axis=1).max() < 2e-6


def test_an_arm_with_factory_calibration_is_planned_too():
    arm = replace(
        ARM,
        a=(0.0001, -0.4249, -0.3921, 0.00002, 0.0, 0.0),
        d=(0.1624, 3.2, -3.2, 0.1334, 0.0998, 0.0995),
        alpha=(np.pi / 2 + 2e-4, 3e-4, -2e-4, np.pi / 2 - 3e-4, -np.pi / 2 + 1e-4, 0.0),
    )
    start = forward(arm, READY) @ TCP
    result = plan_skill(spec(), pick(start), arm, TCP, None, READY, limits=LIMITS, dt_s=0.05)
    for segment in result.segments:
        for end in segment.ends:
            if not end.rounded:
                assert np.abs(forward(arm, segment.positions[end.sample]) @ TCP - end.T_base_tcp).max() < 1e-5
