# SPDX-License-Identifier: Apache-2.0

"""The rules of validate: each finds what breaks it, and nothing in what is whole."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.profile import load_profile, parse_profile
from vla_recorder.testing.rows import PROFILE
from vla_recorder.tools.validate_bag import check_pictures_used
from vla_recorder.tools.validate_rules import (
    ERROR,
    WARNING,
    ImageWatch,
    RobotRules,
    Thresholds,
    check_finite,
    check_frequency,
    check_offsets,
    check_range,
    check_statistics,
    check_times,
)

OK = Thresholds()


def rules(findings):
    """Names of what was found."""
    return [finding.rule for finding in findings]


def test_the_defaults_are_those_of_the_recipe():
    assert (OK.frame_tolerance, OK.camera_offset_s, OK.joint_jump, OK.tcp_jump_m) == (0.5, 0.012, 0.5, 0.05)


def test_nan_is_counted_by_row():
    values = np.zeros((5, 3), np.float32)
    assert check_finite("x", values) == []
    values[2, 1] = np.nan
    values[4] = np.inf
    (found,) = check_finite("x", values)
    assert (found.rule, found.level, found.count, found.row) == ("nan", ERROR, 2, 2)
    assert found.text == "x: 2 rows hold NaN or infinity"
    assert check_finite("n", np.arange(4)) == []


def test_a_value_at_its_limit_is_inside():
    values = np.array([[-1.0, 0.0], [1.0, 0.5], [0.0, 2.0]])
    assert check_range(["a", "b"], values, [-1.0, 0.0], [1.0, 2.0]) == []
    (found,) = check_range(["a", "b"], values, [-1.0, 0.0], [1.0, 1.9])
    assert (found.rule, found.count, found.row) == ("range", 1, 2)
    assert found.text == "b: 1 rows outside 0 to 1.9, the farthest is 2"
    assert rules(check_range(["a", "b"], values, [-np.inf, 0.1], [np.inf, np.inf])) == ["range"]


def test_the_farthest_value_is_named_on_either_side():
    (found,) = check_range(["a"], np.array([[1.5], [-3.0], [0.0]]), [-1.0], [1.0])
    assert (found.count, found.row) == (2, 0)
    assert "the farthest is -3" in found.text


def test_even_time_is_fine_whatever_its_start():
    assert check_times(np.arange(10) / 30 + 1e6, 30, OK) == []
    assert check_times(np.zeros(1), 30, OK) == []


def test_a_step_just_within_half_of_a_frame_is_fine_and_just_beyond_is_not():
    steps = np.array([1, 1.49, 1, 0.51, 1])
    assert check_times(np.concatenate([[0], np.cumsum(steps)]) / 30, 30, OK) == []
    steps = np.array([1, 1.52, 1, 0.48, 3])
    (found,) = check_times(np.concatenate([[0], np.cumsum(steps)]) / 30, 30, OK)
    assert (found.rule, found.level, found.count, found.row) == ("frame_interval", WARNING, 3, 2)
    assert "the farthest is 0.1 s" in found.text


def test_time_that_stands_or_goes_back_is_an_error():
    found = check_times(np.array([0, 0.1, 0.1, 0.2, 0.15]), 10, Thresholds(frame_tolerance=10))
    assert [(f.rule, f.level, f.count, f.row) for f in found] == [("non_monotonic_time", ERROR, 2, 2)]


def test_a_picture_that_is_shown_twice_or_left_out():
    assert check_pictures_used("front", np.arange(6) / 30, 30, 30, OK) == []
    assert check_pictures_used("front", np.zeros(1), 30, 30, OK) == []
    (found,) = check_pictures_used("front", np.array([0, 1, 1, 2, 4]) / 30, 30, 30, OK)
    assert (found.rule, found.level, found.count, found.row) == ("frame_interval", WARNING, 2, 2)
    assert found.text == (
        "front: 2 of 4 steps between the pictures used are uneven, the longest is 0.06667 s for 0.03333 s; 1 rows repeat the "
        "picture before"
    )


def test_of_a_quick_camera_only_repeated_and_lost_pictures_count():
    stamps = np.array([0, 1, 4, 6, 7, 10]) / 60  # of 60 Hz for 30 rows per second
    assert check_pictures_used("front", stamps, 30, 60, OK) == []
    assert len(check_pictures_used("front", stamps, 30, 30, OK)) == 1
    for wrong in ([0, 2, 2, 4], [0, 2, 6, 8]):
        assert check_pictures_used("front", np.array(wrong) / 60, 30, 60, OK)[0].count == 1


def test_the_rate_of_a_whole_episode():
    assert check_frequency(np.arange(100) / 30, 30, 0.0) == []
    assert check_frequency(np.arange(100) / 29, 30, 5.0) == []
    (found,) = check_frequency(np.arange(100) / 25, 30, 5.0)
    assert found.text == "25 rows per second, 30 are promised with a tolerance of 5 %"


KINEMATICS = (
    PROFILE
    + """\
kinematics:
  joints: [j0, j1, j2, j3, j4, j5]
  a: [0.0, -0.425, -0.3922, 0.0, 0.0, 0.0]
  d: [0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996]
  alpha: [1.5707963267948966, 0.0, 0.0, 1.5707963267948966, -1.5707963267948966, 0.0]
"""
)


def states(length=6):
    """A state vector that hardly moves."""
    return np.tile([0.1, -1.0, 1.0, 0.2, 0.3, 0.4, 0.5], (length, 1)) + np.arange(length)[:, None] * 1e-3


def test_a_joint_jump_is_found_with_its_row():
    checked = RobotRules(parse_profile(PROFILE, "p.yaml"))
    assert checked.check(states(), OK) == []
    assert checked.unchecked == {"tcp_jump": "the profile has no kinematics"}
    jumped = states()
    jumped[3:, 5] += 0.51
    (found,) = checked.check(jumped, OK)
    assert (found.rule, found.level, found.count, found.row) == ("joint_jump", WARNING, 1, 3)
    assert found.text.startswith("j5: 1 steps of more than 0.5 rad, the largest is 0.51")
    jumped[3:, 5] -= 0.02
    assert checked.check(jumped, OK) == []


def test_a_gripper_may_close_at_once_but_not_leave_its_limits():
    checked = RobotRules(parse_profile(PROFILE, "p.yaml"))
    closed = states()
    closed[3:, 6] = 1.0
    assert checked.check(closed, OK) == []
    closed[4, 6] = 1.2
    (found,) = checked.check(closed, OK)
    assert (found.rule, found.row) == ("range", 4)
    assert "finger: 1 rows outside 0 to 0.8, the farthest is 0.96" in found.text  # in joint units


def test_the_tool_jumps_where_several_joints_move_a_little():
    checked = RobotRules(parse_profile(KINEMATICS, "p.yaml"))
    assert checked.unchecked == {}
    assert checked.check(states(), OK) == []
    jumped = states()
    jumped[2:, 1] += 0.1  # far below the limit of a joint, but the arm is 0.8 m long
    (found,) = checked.check(jumped, OK)
    assert (found.rule, found.count, found.row) == ("tcp_jump", 1, 2)


def test_the_tool_of_each_of_two_arms_is_looked_at():
    checked = RobotRules(load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_bimanual.yaml"))
    assert checked.unchecked == {}
    jumped = np.tile([0.0, -1.5, 1.5, -1.5, -1.5, 0.0, 0.0], (4, 2)) + np.arange(4)[:, None] * 1e-3
    assert checked.check(jumped, OK) == []
    jumped[2:, 8] += 0.1
    (found,) = checked.check(jumped, OK)
    assert found.text.startswith("tool of right_arm: 1 steps of more than ")


def test_camera_and_robot_within_twelve_milliseconds():
    assert check_offsets("front", np.array([0.0119, -0.0119]), OK) == []
    (found,) = check_offsets("front", np.array([0.0, 0.02, 0.013, -0.033]), OK)
    assert (found.rule, found.count, found.row) == ("camera_offset", 3, 1)
    assert (
        found.text
        == "front: in 3 of 4 rows the picture is more than 12 ms from the joints, median 6.5 ms, at most -33.0 ms"
    )


def pictures(count, seed=0):
    """Different noise every time."""
    return list(np.random.default_rng(seed).integers(60, 200, (count, 8, 8, 3), np.uint8))


def watched(images, joints=None, thresholds=OK):
    """Findings of a sequence of pictures."""
    watch = ImageWatch("front", thresholds)
    for image in images:
        watch.add(image)
    assert watch.rows == len(images)
    return watch.findings(joints)


def test_pictures_that_change_are_fine():
    assert watched(pictures(20)) == []
    assert watched([]) == []
    assert watched(pictures(1)) == []


@pytest.mark.parametrize(("copies", "frozen"), [(4, False), (5, True), (9, True)])
def test_the_same_picture_again_and_again_is_frozen(copies, frozen):
    images = pictures(4) + [pictures(1, 9)[0].copy() for _ in range(copies)] + pictures(3, 1)
    found = watched(images)
    assert rules(found) == (["frozen_image"] if frozen else [])
    if frozen:
        assert (found[0].row, found[0].count) == (4, copies - 1)
        assert f"for up to {copies} rows" in found[0].text


def test_a_picture_may_stay_while_the_robot_does():
    images = pictures(3) + [pictures(1, 9)[0]] * 6
    still = np.zeros((9, 6))
    assert watched(images, still) == []
    moving = still.copy()
    moving[:, 2] = np.arange(9) * 0.01
    (found,) = watched(images, moving)
    assert "while the robot moves" in found.text
    moving[:, 2] = np.arange(9) * 0.003  # 0.015 rad over the stretch
    assert watched(images, moving) == []


def test_black_pictures_are_counted_also_where_they_are_all_the_same():
    black = np.full((8, 8, 3), 5, np.uint8)
    found = watched([*pictures(2), black, black, *pictures(1, 2), black.copy(), np.full((8, 8, 3), 6, np.uint8)])
    assert [(f.rule, f.count, f.row) for f in found] == [("black_image", 3, 2)]


def test_depth_is_black_only_where_nothing_is_seen():
    near = np.full((8, 8), 3, np.uint16)
    assert watched([near]) == []
    assert rules(watched([near * 0])) == ["black_image"]


def test_statistics_of_other_rows_are_found():
    values = np.random.default_rng(0).normal(size=(200, 2))
    stored = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0), "count": [200]}
    plain = {key: np.asarray(value).tolist() for key, value in stored.items()}
    assert check_statistics("state", plain, values, OK) == []
    for key in ("min", "max", "mean", "std"):
        wrong = {**plain, key: [plain[key][0], plain[key][1] + 0.02]}
        (found,) = check_statistics("state", wrong, values, OK)
        assert (found.rule, found.level) == ("statistics", ERROR)
        assert found.text.startswith(f"state: the stored {key} is [")
    (found,) = check_statistics("state", {**plain, "count": [199]}, values, OK)
    assert found.text == "state: the stored count is 199, there are 200 rows"
    (found,) = check_statistics("state", {"mean": [0.0]}, values, OK)
    assert "the stored mean is [0]" in found.text


def test_a_constant_column_has_statistics_too():
    values = np.full((10, 1), 7.0)
    assert check_statistics("x", {"min": [7], "max": [7], "mean": [7], "std": [0]}, values, OK) == []
    assert rules(check_statistics("x", {"mean": [7.1]}, values, OK)) == ["statistics"]
