# SPDX-License-Identifier: Apache-2.0

"""Skills against the simulated cell in lockstep: what they reach, how they end early, and what the operator reads."""

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from skill_bench import CLOSED, OPEN, THRESHOLD, SkillBench, moved
from ur_msgs.srv import SetSpeedSliderFraction
from vla_core.kinematics import forward, rotation_vector
from vla_core.stamps import stamp_ns
from vla_msgs.action import ExecuteSkill

Result = ExecuteSkill.Result


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    bench = SkillBench(tmp_path_factory.mktemp("skills"))
    yield bench
    bench.close()


@pytest.fixture
def bench(shared):
    shared.reset()
    shared.speed(1.0)
    return shared


def nearest(bench, T, T_tool_tcp=None):
    """Smallest distance [m] at which the tool centre point passed a pose, among those turned by no more than 0.02 rad."""
    poses = forward(bench.arm, np.array([q for _, q, _ in bench.visited]))
    poses = poses @ (bench.teleop.T_tool_tcp if T_tool_tcp is None else T_tool_tcp)
    turned = np.array([np.linalg.norm(rotation_vector(T[:3, :3] @ R.T)) for R in poses[::5, :3, :3]])
    far = np.linalg.norm(poses[::5, :3, 3] - T[:3, 3], axis=1)
    return far[turned <= 0.02].min()


def test_a_skill_goes_where_the_formula_says_and_verifies_its_grasp(bench):
    poses = bench.take()
    outcome = bench.run("take")
    result = outcome.result
    assert outcome.succeeded, result.error_msg
    assert [nearest(bench, T) <= 0.002 for T in poses] == [True] * len(poses)
    assert (result.grasp_checked, result.grasp_verified) == (True, True)
    assert (result.grasp_commanded, result.grasp_threshold) == (CLOSED, THRESHOLD)
    assert 110 < result.grasp_actual < 140  # a block of 40 mm in a stroke of 85 mm
    assert result.waypoints == len(poses)
    assert result.duration > 3.0
    assert bench.measured["robotiq_85_left_knuckle_joint"] < 0.05
    waypoints = [f.waypoint for f in bench.feedback]
    assert waypoints == sorted(waypoints)
    assert [f.absolute for f in bench.feedback if f.waypoint >= 5] == [True] * sum(w >= 5 for w in waypoints)


def test_the_gripper_moves_at_the_speed_of_the_table_and_targets_in_force_go_out_at_every_tick(bench):
    bench.take()
    assert bench.run("take").succeeded
    t, knuckle = (np.array(column) for column in zip(*((t, k) for t, _, k in bench.visited), strict=True))
    seconds = (t[np.argmax(knuckle > 0.30)] - t[np.argmax(knuckle > 0.10)]) * 1e-9
    assert 0.20 / seconds == pytest.approx(1.4 * 128 / 255, rel=0.1)
    for seen in bench.targets.values():
        stamps = np.array([stamp_ns(msg) for msg in seen])
        assert np.quantile(np.diff(stamps), 0.9) == 20_000_000
    wanted = {stamp_ns(msg): np.array(msg.position) for msg in bench.targets["command/arm"]}
    order = [bench.arm.joints.index(name) for name in bench.targets["command/arm"][0].name]
    lag = [np.abs(wanted[t] - q[order]).max() for t, q, _ in bench.visited if t in wanted]
    assert len(lag) > 100
    assert max(lag) < 0.08  # the arm follows its targets some 20 ms behind


def test_a_slowed_robot_is_waited_for_and_targets_in_force_keep_with_it(bench):
    start = bench.tcp()
    bench.skill("slow", [start, moved(start, y=0.15)], [OPEN] * 2, linear_speed=0.1, timeout_s=0.5)
    bench.call(SetSpeedSliderFraction, "io_and_status_controller/set_speed_slider", speed_slider_fraction=0.25)
    outcome = bench.run("slow")
    assert outcome.succeeded, outcome.result.error_msg
    assert outcome.result.duration > 5.0
    wanted = {stamp_ns(msg): np.array(msg.position) for msg in bench.targets["command/arm"]}
    order = [bench.arm.joints.index(name) for name in bench.targets["command/arm"][0].name]
    lag = [np.abs(wanted[t] - q[order]).max() for t, q, _ in bench.visited if t in wanted]
    assert max(lag) < 0.03  # without the slider's share it would be 0.15 m ahead, some 0.3 rad
    bench.call(SetSpeedSliderFraction, "io_and_status_controller/set_speed_slider", speed_slider_fraction=1.0)

    bench.skill("blocked", [bench.tcp(), start], [OPEN] * 2, linear_speed=0.1, timeout_s=0.5)
    run = bench.start("blocked")
    bench.wait(lambda: bench.tcp()[1, 3] < start[1, 3] + 0.10)
    bench.call(SetSpeedSliderFraction, "io_and_status_controller/set_speed_slider", speed_slider_fraction=0.01)
    late = run.wait(30.0).result
    assert late.error_code == Result.MOTION
    assert "skill 'blocked': waypoint 1 was not reached within 0.5 s of its time: " in late.error_msg
    assert " rad remain (limits 2 mm, 0.02 rad). The arm stands still." in late.error_msg
    bench.call(SetSpeedSliderFraction, "io_and_status_controller/set_speed_slider", speed_slider_fraction=1.0)


def test_a_grasp_of_nothing_stops_the_skill_and_the_absolute_part_follows_on_resume(bench):
    poses = bench.take(beside=0.06)
    failed = bench.run("take")
    assert (failed.status, failed.result.error_code) == (GoalStatus.STATUS_ABORTED, Result.VERIFICATION_FAILED)
    assert (failed.result.grasp_checked, failed.result.grasp_verified) == (True, False)
    assert failed.result.grasp_actual >= THRESHOLD
    assert failed.result.waypoints == 5
    text = failed.result.error_msg
    assert "skill 'take': the gripper holds nothing: told to close to 230 it closed to 2" in text
    assert "with a part it stays below 200. The arm stands still at waypoint 4" in text
    assert "call the skill again with resume" in text
    assert np.linalg.norm(bench.tcp()[:3, 3] - poses[4][:3, 3]) < 0.002
    bench.visited.clear()
    assert bench.speed(0.5).success
    resumed = bench.run("take", resume=True)
    assert resumed.succeeded, resumed.result.error_msg
    assert (resumed.result.grasp_checked, resumed.result.waypoints) == (False, 8)
    assert all(nearest(bench, T) <= 0.002 for T in poses[5:])
    assert nearest(bench, poses[1]) > 0.005
    t, q = (np.array(column) for column in zip(*((t, q) for t, q, _ in bench.visited), strict=True))
    places = (forward(bench.arm, q) @ bench.teleop.T_tool_tcp)[::10, :3, 3]
    speed = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(t[::10] * 1e-9)
    assert 0.1 < speed.max() < 0.5 * 0.3 * 1.05


def test_a_running_skill_changes_its_speed_without_a_jump(bench):
    start = bench.tcp()
    full = 0.2  # [m/s]
    bench.skill("far", [start, moved(start, y=0.3)], [OPEN] * 2, linear_speed=full, linear_acceleration=1.0)
    run = bench.start("far")
    bench.wait(lambda: np.linalg.norm(bench.tcp() - start) > 0.05)
    assert bench.speed(0.5).message == "skills run at 0.5 of their speed, a running one too"
    slowed_ns = bench.visited[-1][0]
    bench.wait(lambda: np.linalg.norm(bench.tcp() - start) > 0.18)
    bench.speed(1.0)
    outcome = run.wait(30.0)
    assert outcome.succeeded, outcome.result.error_msg
    assert np.linalg.norm(bench.tcp()[:3, 3] - moved(start, y=0.3)[:3, 3]) < 0.002
    said = sorted({stamp_ns(msg): tuple(msg.position) for msg in bench.targets["command/arm"]}.items())
    t, q = (np.array(column) for column in zip(*said, strict=True))
    places = (forward(bench.arm, q) @ bench.teleop.T_tool_tcp)[:, :3, 3]
    speed = np.linalg.norm(np.diff(places, axis=0), axis=1) / np.diff(t * 1e-9)
    slow = speed[(t[1:] > slowed_ns + 0.4e9) & (np.linalg.norm(places[1:] - start[:3, 3], axis=1) < 0.17)]
    assert len(slow) > 10
    assert slow == pytest.approx(0.5 * full, rel=0.05), "half the speed on the same way"
    assert speed.max() == pytest.approx(full, rel=0.05)
    assert speed[t[1:] > slowed_ns + 1.0e9].max() > 0.8 * full
    assert np.abs(np.diff(speed)).max() < 2.5 * 1.0 * np.diff(t * 1e-9).max(), "no jump of the velocity"


def test_what_is_dropped_stops_the_skill(bench):
    poses = bench.take(drop_check=True)
    assert bench.run("take").succeeded  # opening at the end is no drop
    bench.reset()
    bench.take(drop_check=True)
    run = bench.start("take")
    bench.wait(lambda: any(f.absolute for f in bench.feedback))
    bench.displace(y=0.15)
    dropped = run.wait(30.0).result
    assert dropped.error_code == Result.DROPPED
    assert dropped.grasp_verified
    assert "(holds something below 200), so the part was dropped. The arm stands still" in dropped.error_msg
    assert dropped.waypoints < len(poses)
    stood = bench.tcp()
    again = bench.run("take", resume=True).result  # a correction that has nothing in the gripper
    assert (again.error_code, again.waypoints) == (Result.VERIFICATION_FAILED, 0)
    assert not again.grasp_checked, "an episode keeps what the skill's own grasp came to"
    assert "with a part it stays below 200. The arm stands still. Take the part" in again.error_msg
    assert np.linalg.norm(bench.tcp() - stood) < 1e-3, "found before the arm moves"


def test_an_interrupt_brings_the_arm_to_rest(bench, monkeypatch):
    robot, noticed = bench.skills._robot, []
    halt = robot.halt
    monkeypatch.setattr(robot, "halt", lambda: (noticed.append(robot.now_ns), halt()))
    start = bench.tcp()
    bench.skill("far", [start, moved(start, y=0.25), moved(start, y=-0.25)], [OPEN] * 3, linear_speed=0.1)
    run = bench.start("far")
    bench.wait(lambda: bench.visited and abs(bench.tcp()[1, 3] - start[1, 3]) > 0.05)
    run.cancel()
    ended = run.wait(30.0)
    assert (ended.status, ended.result.error_code) == (GoalStatus.STATUS_CANCELED, Result.INTERRUPTED)
    assert ended.result.error_msg == "the skill was interrupted; the arm stands still"
    assert ended.result.waypoints < 3
    still_ns = noticed[0] + 200_000_000
    bench.wait(lambda: bench.visited[-1][0] > still_ns + 300_000_000)
    after = np.array([q for t, q, _ in bench.visited if t >= still_ns])
    assert np.ptp(after, axis=0).max() < 1e-3
    assert bench.run("far").succeeded


def test_a_waypoint_out_of_reach_is_found_before_the_arm_moves(bench):
    start = bench.tcp()
    bench.skill("reach", [start, moved(start, z=0.02), moved(start, x=0.9)], [OPEN] * 3)
    bench.visited.clear()
    result = bench.run("reach").result
    assert result.error_code == Result.UNREACHABLE
    assert "skill 'reach', on the way to waypoint 2: " in result.error_msg
    assert result.error_msg.endswith("The arm has not moved")
    assert np.ptp(np.array([q for _, q, _ in bench.visited]), axis=0).max() < 1e-3


def test_goals_that_cannot_be_served_say_why_and_the_node_lives_on(bench):
    start = bench.tcp()
    bench.skill("short", [start, moved(start, z=0.02)], [OPEN] * 2)
    bench.skill("long", [start, moved(start, z=0.05), start], [OPEN] * 3, linear_speed=0.05)
    bench.skill("broken", [start], [OPEN])
    unknown = bench.run("shart").result
    assert unknown.error_code == Result.UNKNOWN_SKILL
    assert "there is no skill 'shart' in " in unknown.error_msg
    assert "long" in unknown.error_msg
    assert "did you mean 'short'?" in unknown.error_msg
    broken = bench.folder / "broken.csv"
    broken.write_text(broken.read_text().replace("tcp_rx", "tcp_r"))
    lacking = bench.run("broken").result
    assert lacking.error_code == Result.NOT_READY
    assert "broken.csv: column 'tcp_rx' is missing" in lacking.error_msg
    table = bench.table.read_text()
    bench.table.write_text(table.replace("relative_count", "relative_cuont"))
    assert "did you mean 'relative_count'" in bench.run("short").result.error_msg
    bench.table.write_text(table)
    first = bench.start("long")
    second = bench.run("short").result
    assert second.error_code == Result.NOT_READY
    assert "another skill is running; cancel it or wait for its end" in second.error_msg
    assert first.wait(30.0).succeeded
    assert bench.run("short").succeeded
    refused = bench.speed(0.0)
    assert not refused.success
    assert refused.message == "scale 0 is outside 0 (excluded) to 1; the speed stays 1"


def test_faults_of_the_robot_stop_the_skill_and_say_what_to_do(bench, monkeypatch):
    start = bench.tcp()
    bench.skill("far", [start, moved(start, y=0.2), start], [OPEN] * 3, linear_speed=0.1)

    def break_down(name):
        run, begin = bench.start("far"), bench.tcp()
        bench.wait(lambda: np.linalg.norm(bench.tcp() - begin) > 0.02)
        bench.fault(name)
        result = run.wait(30.0).result
        assert result.error_code == Result.MOTION, result.error_msg
        return result.error_msg

    text = break_down("protective_stop")
    assert "safety_mode says mode = 3, allowed: 1, 2" in text
    assert "unlock_protective_stop" in text
    stood = bench.tcp()
    refused = bench.run("far").result
    assert refused.error_code == Result.NOT_READY
    assert "safety_mode says mode = 3" in refused.error_msg
    assert np.linalg.norm(bench.tcp() - stood) < 1e-3
    bench.fault("protective_stop", False)
    text = break_down("silent/arm")
    assert "joint_states was silent for 0.5" in text
    assert "Is the robot's driver running?" in text
    bench.fault("silent/arm", False)
    bench.reset()
    assert bench.run("far").succeeded
    robot, real = bench.skills._robot, bench.skills._robot._watch.positions
    bench.visited.clear()
    monkeypatch.setattr(
        robot._watch,
        "positions",
        lambda joints: real(joints) * (np.nan if len(bench.visited) > 300 and len(joints) == 7 else 1.0),
    )
    assert (
        "the position of shoulder_pan_joint is not a number, so the arm was stopped"
        in bench.run("far").result.error_msg
    )


def test_a_gripper_that_does_not_move_is_no_grasp(bench):
    bench.take()
    bench.fault("gripper_stuck")
    result = bench.run("take").result
    assert result.error_code == Result.MOTION
    assert "the gripper does not move: it was told to go from 3 to 230 and is at 3" in result.error_msg
    assert not result.grasp_checked
    bench.fault("gripper_stuck", False)


def test_a_person_who_has_the_arm_comes_first(bench):
    start = bench.tcp()
    bench.skill("far", [start, moved(start, y=0.2), start], [OPEN] * 3, linear_speed=0.1)
    own, stream = bench.teleop.trajectory_controller, bench.teleop.stream_controller
    bench.switch([stream], [own])
    result = bench.run("far").result
    assert result.error_code == Result.NOT_READY
    assert "teleoperation has the arm" in result.error_msg
    bench.switch([], [stream])
    result = bench.run("far").result
    assert result.error_code == Result.NOT_READY
    assert f"{own} is not active, so the arm takes no goals" in result.error_msg
    bench.switch([own], [])
    run = bench.start("far")
    bench.wait(lambda: abs(bench.tcp()[1, 3] - start[1, 3]) > 0.02)
    bench.switch([stream], [own])
    result = run.wait(30.0).result
    assert result.error_code == Result.MOTION
    assert f"action {own}/follow_joint_trajectory: the goal was aborted" in result.error_msg
    bench.switch([own], [stream])
