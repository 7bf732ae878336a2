# SPDX-License-Identifier: Apache-2.0

"""Hand-eye calibration: exact and noisy views, degenerate and contradicting ones, and rendered pictures."""

from pathlib import Path

import numpy as np
import pytest
from hand_eye_scenes import LENS, X, rendered, synthetic
from vla_core.boards import parse_board
from vla_core.kinematics import pose_matrix, rotation_from_vector
from vla_core.profile import load_profile
from vla_teleop.cameras.errors import CalibrationError
from vla_teleop.cameras.hand_eye import SETUPS, calibrate, pose_distance
from vla_teleop.cameras.loop import Loop, View

PROFILE = load_profile(Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e.yaml")


@pytest.mark.parametrize("setup", SETUPS)
def test_exact_views_give_the_exact_pose(setup):
    views, Z = synthetic(setup, noise=0.0)
    found = calibrate(views, LENS, setup)
    assert pose_distance(found.X, X) == pytest.approx((0.0, 0.0), abs=1e-7)
    assert pose_distance(found.Z, Z) == pytest.approx((0.0, 0.0), abs=1e-7)
    assert found.outliers == ()
    assert found.rms < 1e-4


@pytest.mark.parametrize("setup", SETUPS)
def test_the_derivative_is_that_of_the_residuals(setup):
    views, Z = synthetic(setup, count=3, noise=0.5)
    loop = Loop(views, LENS, setup, X, Z)
    step = np.random.default_rng(1).uniform(-0.05, 0.05, 12)
    numeric = np.stack(
        [(loop.residuals(step + e) - loop.residuals(step - e)) / 2e-6 for e in 1e-6 * np.eye(12)], axis=1
    )
    assert loop.jacobian(step) == pytest.approx(numeric, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("setup", SETUPS)
def test_noise_is_averaged_and_the_spread_tells_how_good_it_is(setup):
    errors, spreads = [], []
    for seed in range(4):
        views, _ = synthetic(setup, noise=0.3, seed=seed)
        found = calibrate(views, LENS, setup)
        assert found.rms == pytest.approx(0.3 * np.sqrt(2), rel=0.15)
        errors.append(pose_distance(found.X, X))
        spreads.append(found.spread_m)
    assert max(far for far, _ in errors) < 1.5e-3
    assert np.degrees(max(turn for _, turn in errors)) < 0.15
    # the spread is of the size of the error, neither boasting nor useless
    assert 0.1 < np.mean(spreads) / np.mean([far for far, _ in errors]) < 3.0


@pytest.mark.parametrize("setup", SETUPS)
def test_views_of_a_moved_board_are_found_named_and_left_out(setup):
    views, _ = synthetic(setup, noise=0.2)
    clean = calibrate(views, LENS, setup)
    for bad in (3, 8):
        kick = pose_matrix([0.0, 0.01, 0.0], rotation_from_vector([0.0, 0.03, 0.0]))
        views[bad] = View(views[bad].name, views[bad].T_base_tool @ kick, views[bad].points, views[bad].pixels)
    found = calibrate(views, LENS, setup)
    assert set(found.outliers) == {"view 4", "view 9"}
    assert found.view_rms["view 4"] > 5.0
    assert pose_distance(found.X, clean.X)[0] < 1e-3


def test_too_many_contradicting_views_are_no_calibration():
    views, _ = synthetic("eye_in_hand", noise=0.2)
    rng = np.random.default_rng(5)
    for bad in range(0, 14, 2):
        kick = pose_matrix(rng.uniform(-0.02, 0.02, 3), rotation_from_vector(rng.uniform(-0.1, 0.1, 3)))
        views[bad] = View(views[bad].name, views[bad].T_base_tool @ kick, views[bad].points, views[bad].pixels)
    with pytest.raises(CalibrationError, match=r"contradict the others|do not fit together"):
        calibrate(views, LENS, "eye_in_hand")


def test_a_board_of_another_size_is_noticed():
    views, _ = synthetic("eye_in_hand", noise=0.2)
    wrong = [View(view.name, view.T_base_tool, view.points * 1.25, view.pixels) for view in views]
    with pytest.raises(CalibrationError, match="size of the board"):
        calibrate(wrong, LENS, "eye_in_hand")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 4}, "4 views are too few; at least 6 are needed"),
        ({"tilt": 0.02}, "degrees at most between the views; at least 20 are needed"),
        ({"axes": (0.0, 0.0, 1.0)}, "turns about one axis only"),
        ({"axes": (1.0, 0.0, 0.0)}, "turns about one axis only"),
    ],
)
def test_motion_from_which_nothing_follows_is_refused(options, message):
    views, _ = synthetic("eye_in_hand", **options)
    with pytest.raises(CalibrationError, match=message):
        calibrate(views, LENS, "eye_in_hand")


def test_the_missing_motion_is_named():
    views, _ = synthetic("eye_in_hand", axes=(1.0, 0.0, 0.0))
    with pytest.raises(CalibrationError) as caught:
        calibrate(views, LENS, "eye_in_hand")
    text = str(caught.value)
    assert "+1.00" in text or "-1.00" in text
    assert "Add views with the tool tilted about its y axis" in text or "about its z axis" in text


def test_a_view_with_few_points_is_named():
    views, _ = synthetic("eye_in_hand")
    views[2] = View("view 3", views[2].T_base_tool, views[2].points[:5], views[2].pixels[:5])
    with pytest.raises(CalibrationError, match=r"fewer than 8 points of the board are seen in view 3; leave them out"):
        calibrate(views, LENS, "eye_in_hand")


@pytest.mark.parametrize("setup", SETUPS)
def test_rendered_pictures_give_the_cameras_pose_within_two_millimetres(setup, record_property):
    views, lens, T_camera, T_board = rendered(PROFILE, setup, 12)
    found = calibrate(views, lens, setup)
    far, turn = pose_distance(found.X, T_camera)
    record_property("camera", f"{far * 1e3:.3f} mm {np.degrees(turn):.4f} deg")
    # the requirement is 2 mm and 0.3 degrees; a detector that is off by half a pixel would turn the camera by 0.1
    assert far < 0.3e-3
    assert np.degrees(turn) < 0.03
    assert found.rms < 0.15
    assert pose_distance(found.Z, T_board)[0] < 0.5e-3
    assert found.outliers == ()


def test_a_grid_of_april_tags_works_as_well():
    views, lens, T_camera, _ = rendered(PROFILE, "eye_in_hand", 8, parse_board("apriltag:4x6:0.035:0.010"))
    far, turn = pose_distance(calibrate(views, lens, "eye_in_hand").X, T_camera)
    assert far < 2e-3
    assert np.degrees(turn) < 0.3
