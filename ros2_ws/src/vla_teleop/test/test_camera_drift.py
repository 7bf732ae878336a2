# SPDX-License-Identifier: Apache-2.0

"""The drift check: on pictures, and as a command against the simulated cell."""

import cv2
import numpy as np
import pytest
from camera_cell import CameraCell, write_profile
from rclpy.parameter import Parameter
from vla_teleop.cameras import check_drift
from vla_teleop.cameras.drift import Thresholds, drift, shift, statistics


@pytest.fixture(scope="module")
def scene():
    """A picture with edges and colours, brightness around 110."""
    rng = np.random.default_rng(1)
    image = np.full((120, 160, 3), 90, np.uint8)
    for _ in range(40):
        corner = rng.integers(0, [140, 100])
        colour = [int(value) for value in rng.integers(40, 200, 3)]
        cv2.rectangle(image, tuple(int(v) for v in corner), tuple(int(v) for v in corner + 20), colour, -1)
    return cv2.GaussianBlur(image, (0, 0), 0.7)


def scaled(image, gains):
    return np.clip(image * np.asarray(gains, float), 0, 255).astype(np.uint8)


def noisy(image):
    return np.clip(image + np.random.default_rng(2).normal(0, 2, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda image: scaled(image, 1.12), "% brighter: check the light and blinds"),
        (lambda image: scaled(image, 0.85), "% darker: check the light"),
        (lambda image: scaled(image, (1.08, 1.0, 0.93)), "colours are warmer (redder): check the white balance"),
        (lambda image: scaled(image, (0.93, 1.0, 1.08)), "colours are colder (bluer)"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 2.0), "clean the lens and check the focus"),
        (lambda image: np.roll(image, 5, axis=1), "of its width: the camera or the scene was moved"),
        (lambda image: image[:60, :80], "the image is 80x60 instead of 160x120: set the driver's colour profile"),
    ],
)
def test_a_change_is_named_with_its_remedy(scene, change, text):
    found, _ = drift(scene, change(scene), Thresholds())
    assert any(text in sentence for sentence in found), found


def test_noise_is_no_drift(scene):
    found, measures = drift(scene, noisy(scene), Thresholds())
    assert found == []
    assert abs(measures["brightness"]) < 0.01


def test_brightness_alone_is_not_called_another_change(scene):
    found, _ = drift(scene, scaled(scene, 0.85), Thresholds())
    assert len(found) == 1


def covered(image):
    image = image.copy()
    image[20:70, 30:90] = 240
    return image


def test_a_thing_in_the_view_is_noticed(scene):
    _, measures = drift(scene, covered(scene), Thresholds())
    assert measures["histogram"] > Thresholds().histogram


@pytest.mark.parametrize("gain", [0.8, 0.93, 1.1, 1.2])
def test_a_flat_view_that_gets_brighter_is_nothing_else(gain):
    flat = np.full((60, 80, 3), 107, np.uint8)
    flat[20:30, 20:30] = (180, 60, 60)
    found, measures = drift(flat, scaled(flat, gain), Thresholds())
    assert len(found) == 1
    assert measures["histogram"] < 0.5 * Thresholds().histogram


def test_the_shift_is_that_of_the_picture(scene):
    assert shift(scene, np.roll(scene, (3, -4), axis=(0, 1))) == pytest.approx(5 / 160, abs=0.003)
    assert shift(scene, scene) < 1e-3


def test_statistics_of_a_plain_picture():
    plain = np.full((10, 20, 3), (10, 20, 30), np.uint8)
    found = statistics(plain)
    assert found.size == (10, 20)
    assert found.channel_means == (10.0, 20.0, 30.0)
    assert (found.std, found.sharpness) == (0.0, 0.0)
    assert sum(found.histogram) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A cell and a command that checks it against a stored reference."""
    folder = tmp_path_factory.mktemp("drift")
    profile = write_profile(folder, (60, 80), 50.0)
    cell = CameraCell(profile)
    command = ["--profile", str(profile), "--reference", str(folder / "ref")]

    def check(*more):
        return check_drift.main([*command, *more], domain_id=cell.domain)

    assert check("--update") == 0
    yield cell, check
    cell.close()


def test_unchanged_cameras_pass(stored, capsys):
    _, check = stored
    assert check() == 0
    out = capsys.readouterr().out
    assert "front: as stored since" in out
    assert "wrist: as stored since" in out


def test_brighter_light_fails_with_a_remedy(stored, capsys):
    cell, check = stored
    cell.set_light(1.2)
    try:
        assert check("--camera", "front") == 1
    finally:
        cell.set_light(1.0)
    captured = capsys.readouterr()
    assert "front: DRIFTED" in captured.out
    assert "% brighter" in captured.out
    assert "wrist" not in captured.out
    assert "remedy: bring light and settings back" in captured.err


def test_a_changed_exposure_is_named_by_its_parameter(stored, capsys):
    cell, check = stored
    node = next(node for node in cell.node.cameras._settings._nodes if node.get_name() == "wrist_camera")
    node.set_parameters([Parameter("rgb_camera.exposure", value=120)])
    try:
        assert check("--camera", "wrist", "--max-brightness", "0.9") == 1
    finally:
        node.set_parameters([Parameter("rgb_camera.exposure", value=156)])
    assert "rgb_camera.exposure is 120 instead of 156: start with camera_settings:=FILE" in capsys.readouterr().out
    assert check("--camera", "wrist") == 0


def test_without_a_reference_the_command_says_how_to_make_one(stored, tmp_path, capsys):
    _, check = stored
    assert check("--reference", str(tmp_path)) == 2
    assert "no reference view of camera 'front'; store one with --update" in capsys.readouterr().err
