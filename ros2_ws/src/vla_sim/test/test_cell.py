# SPDX-License-Identifier: Apache-2.0

"""The cell as its callers see it: time, set-points, gripper, determinism, success conditions."""

import numpy as np
import pytest
from vla_sim import constants as c
from vla_sim import kinematics, tasks
from vla_sim.cell import Cell
from vla_sim.errors import SceneError


@pytest.fixture(scope="module")
def cell():
    return Cell({})


def reach(cell, xyz, steps=600, hold=100):
    start = cell.arm_state()[0]
    goal = kinematics.inverse(kinematics.tool_down(np.asarray(xyz)), start)
    for i in range(steps):
        u = min(1.0, (i + 1) / (steps - hold))
        cell.set_arm_target(start + (goal - start) * u**2 * (3 - 2 * u))
        cell.step()
    return goal


def test_time_is_in_steps_and_never_goes_back(cell):
    before = cell.time_ns
    cell.step(3)
    assert cell.time_ns == before + 6_000_000
    cell.reset(5)
    assert cell.time_ns == before + 6_000_000
    cell.step()
    assert cell.time_ns == before + 8_000_000


def test_arm_holds_and_follows_its_set_point(cell):
    cell.reset(1)
    start = cell.arm_state()[0]
    cell.step(250)
    np.testing.assert_allclose(cell.arm_state()[0], start, atol=1e-3)
    goal = reach(cell, (0.5, 0.05, 0.15))
    q, dq, effort = cell.arm_state()
    np.testing.assert_allclose(q, goal, atol=2e-3)
    np.testing.assert_allclose(dq, 0.0, atol=0.02)
    assert (np.abs(effort) <= np.array(c.JOINT_MAX_EFFORT) + 1e-9).all()
    np.testing.assert_allclose(cell.tool_centre(), (0.5, 0.05, 0.15), atol=3e-3)


def test_lag_behind_a_moving_set_point_is_that_of_a_stiff_servo(cell):
    cell.reset(1)
    start, speed = cell.arm_state()[0], 1.0
    for i in range(250):
        cell.set_arm_target(start - [speed * i * 0.002, 0, 0, 0, 0, 0])
        cell.step()
    lag_s = (cell.arm_state()[0][0] - (start[0] - speed * 0.498)) / speed
    assert 0.0 < lag_s < 0.04


def test_same_seed_same_episode(cell):
    def trace():
        cell.reset(11)
        rows = []
        for i in range(200):
            cell.set_arm_target(kinematics.home() + 0.1 * np.sin(i / 50))
            cell.set_gripper_target(0.4)
            cell.step(2)
            rows.append([*cell.arm_state()[0], *cell.task_state().object_pose.xyz, cell.gripper_state()[0]])
        return np.array(rows)

    first = trace()
    cell.reset(12)
    cell.step(50)
    np.testing.assert_array_equal(trace(), first)


def test_gripper_reaches_its_goal_at_the_asked_speed(cell):
    cell.reset(0)
    cell.set_gripper_target(c.KNUCKLE_CLOSED, max_speed=0.7)
    cell.step(250)
    assert cell.gripper_state()[0] == pytest.approx(0.35, abs=0.05)
    assert cell.gripper_state()[1] == pytest.approx(0.7, abs=0.05)
    cell.step(500)
    assert cell.gripper_state()[0] == pytest.approx(c.KNUCKLE_CLOSED, abs=0.005)
    cell.set_gripper_target(0.0)
    cell.step(500)
    assert cell.gripper_state()[0] == pytest.approx(0.0, abs=0.005)


def test_gripper_stalls_on_the_block_and_lifts_it_by_friction():
    cell = Cell({}, seed=4)
    block = cell.task_state().object_pose.xyz
    reach(cell, block)
    assert not cell.task_state().grasped
    cell.set_gripper_target(c.KNUCKLE_CLOSED, max_effort=30.0)
    cell.step(400)
    position, velocity, effort = cell.gripper_state()
    width = 2 * c.FINGER_TRAVEL * (1 - position / c.KNUCKLE_CLOSED)
    assert width == pytest.approx(2 * c.BLOCK_HALF, abs=0.003)
    assert abs(velocity) < 0.01
    assert effort == pytest.approx(30.0, abs=1.0)
    assert cell.task_state().grasped
    reach(cell, (block[0], block[1], 0.15))
    cell.step(300)
    state = cell.task_state()
    assert state.object_pose.xyz[2] > 0.14
    assert state.success
    assert state.tool_distance < 0.01
    cell.set_gripper_target(0.0)
    cell.step(250)
    assert not cell.task_state().success
    assert cell.task_state().object_pose.xyz[2] < 0.03


def test_gripper_opens_at_once_after_pressing_on_the_block():
    cell = Cell({}, seed=4)
    reach(cell, cell.task_state().object_pose.xyz)
    cell.set_gripper_target(c.KNUCKLE_CLOSED)
    cell.step(1000)
    held = cell.gripper_state()[0]
    cell.set_gripper_target(0.0)
    cell.step(50)
    assert cell.gripper_state()[0] < held - 0.05


@pytest.mark.parametrize("q", [np.zeros(5), np.array([0, 0, 0, 0, 0, np.nan])])
def test_arm_set_point_must_be_six_finite_numbers(cell, q):
    with pytest.raises(SceneError, match="arm set-point of the simulated cell must be 6 finite numbers in rad"):
        cell.set_arm_target(q)


@pytest.mark.parametrize("values", [(-0.1, 1.0, 40.0), (0.9, 1.0, 40.0), (0.4, float("nan"), 40.0)])
def test_gripper_set_point_must_be_within_its_range(cell, values):
    with pytest.raises(SceneError, match=r"gripper set-point .* must lie in 0 to 0\.7929 rad"):
        cell.set_gripper_target(*values)


def test_bad_options_are_named():
    with pytest.raises(SceneError, match="unknown camera 'side' of the simulated cell; it has: front, wrist"):
        Cell({"side": (96, 96)})
    with pytest.raises(SceneError, match="size 96x0 of camera 'front' must be at least 1x1"):
        Cell({"front": (0, 96)})
    with pytest.raises(SceneError, match=r"unknown task 'juggle' .* lift, pick_place"):
        Cell({}, task="juggle")
    with pytest.raises(SceneError, match=r"bin mode 'flying' .* fixed, moving"):
        Cell({}, bin_mode="flying")


def test_refused_reset_leaves_the_scene_as_it_was(cell):
    cell.reset(3, "lift")
    before = cell.task_state()
    for seed, task in ((-1, None), (4, "juggle")):
        with pytest.raises(SceneError):
            cell.reset(seed, task)
    assert cell.task_state() == before


def test_camera_info_projects_the_block_onto_its_pixels():
    cell = Cell({"front": (120, 160)}, seed=8)
    info = cell.camera_info("front")
    assert (info["width"], info["height"], info["frame_id"]) == (160, 120, "front_camera_color_optical_frame")
    assert info["parent"] == "base_link"
    point = np.linalg.inv(info["T_parent"]) @ [*cell.task_state().object_pose.xyz, 1.0]
    u, v, _ = info["k"].reshape(3, 3) @ (point[:3] / point[2])
    image = cell.render("front").astype(int)
    red = (image[..., 0] > 100) & (image[..., 1] < 60) & (image[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert abs(columns.mean() - u) < 2.0
    assert abs(rows.mean() - v) < 2.0
    with pytest.raises(SceneError, match="unknown camera 'wrist'"):
        cell.camera_info("wrist")


def test_start_states_cover_the_range_and_do_not_depend_on_options():
    starts = [tasks.start_state(seed) for seed in range(300)]
    xy = np.array([s.block.xyz[:2] for s in starts])
    assert (xy >= [c.BLOCK_X[0], c.BLOCK_Y[0]]).all()
    assert (xy <= [c.BLOCK_X[1], c.BLOCK_Y[1]]).all()
    cells = np.floor((xy - [c.BLOCK_X[0], c.BLOCK_Y[0]]) / [0.035, 0.055])  # 4 x 4 parts of the range
    for first in (0, 100, 268):
        assert len({tuple(part) for part in cells[first : first + 32]}) == 16, "32 seeds in a row leave a part unseen"
    assert np.abs([s.q - kinematics.home() for s in starts]).max() <= c.START_NOISE
    assert {s.bin.xyz for s in starts} == {(*c.BIN_CENTRE, c.BIN_FLOOR)}
    moved = tasks.start_state(5, bin_mode="moving", yaw_range=0.5)
    assert moved.block.xyz == starts[5].block.xyz
    assert abs(moved.block.yaw) <= 0.5
    assert moved.bin.xyz != starts[5].bin.xyz


def test_two_blocks_touch_each_other_and_the_named_one_is_the_object():
    cell = Cell({}, 0, "pick_which")
    red, blue = cell.task_state().object_pose, cell.other_state().object_pose
    cell.reset(1)  # the sentence names the blue one now
    assert cell.task_state().object_pose != blue
    x, y, _ = cell.other_state().object_pose.xyz
    sx, sy, sz = cell.seat.xyz
    cell.displace(tasks.upright(x - sx, y - sy, 0.06 - sz))  # above the other one, so that it falls onto it
    cell.step(300)
    assert cell.task_state().object_pose.xyz[2] == pytest.approx(0.06, abs=2e-3)
    cell.reset(0)
    np.testing.assert_allclose(cell.task_state().object_pose.xyz, red.xyz, atol=1e-3)
    with pytest.raises(SceneError, match="for task 'lift' start it with scene:=lift"):
        cell.reset(0, "lift")
    assert Cell({}).other_state() is None


def test_pick_tasks_have_their_own_bin_and_turn():
    with pytest.raises(SceneError, match="task 'pick_rotated' says itself how the bin moves"):
        Cell({}, 0, "pick_rotated", bin_mode="moving")
    with pytest.raises(SceneError, match="task 'pick' says itself"):
        Cell({}, yaw_range=0.3).reset(0, "pick")
