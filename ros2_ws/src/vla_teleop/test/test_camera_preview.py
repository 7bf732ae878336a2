# SPDX-License-Identifier: Apache-2.0

"""Calibration by hand: the preview, and saving by service; the search for manual settings; the settings file."""

import json
import threading

import cv2
import numpy as np
import pytest
from camera_cell import CameraCell, write_profile
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vla_common.services import call_service
from vla_core.profile import load_profile
from vla_sim.exposure import Sensor
from vla_teleop.cameras import calibrate_cameras
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.matching import Knob, brightness, match, warmth
from vla_teleop.cameras.preview import mosaic, tile, with_depth
from vla_teleop.cameras.session import session
from vla_teleop.cameras.settings import (
    DRIVERS,
    CameraBlock,
    SettingsFile,
    different,
    read_settings,
    write_settings,
)


def test_the_mosaic_has_colour_and_depth_side_by_side():
    colour = np.full((48, 64, 3), (200, 10, 10), np.uint8)
    depth = np.full((48, 64), 300, np.uint16)
    depth[:, 32:] = 0
    metres = np.where(depth > 0, depth / 1000.0, np.nan).astype(np.float32)
    picture = mosaic([tile(colour, "front"), tile(depth, "front depth"), tile(metres, "wrist depth")])
    assert picture.shape == (720, 960, 3)
    assert tuple(picture[300, 100]) == (200, 10, 10)
    near, none = picture[300, 500], picture[300, 900]
    assert near[0] > 200
    assert none.max() == 0
    assert np.abs(picture[500, 100].astype(int) - near).max() <= 1
    assert tile(None, "front: no image yet").max() == 255


def test_calibration_by_hand_shows_a_picture_and_saves_on_request(tmp_path, capsys):
    profile = write_profile(tmp_path, (48, 64), 50.0)
    cell = CameraCell(profile)
    preview, output = tmp_path / "preview.jpg", tmp_path / "settings.json"
    command = ["--profile", str(profile), "--output", str(output), "--preview", str(preview)]
    codes = []
    try:
        cell.sensors["front"].auto_exposure = True
        thread = threading.Thread(
            target=lambda: codes.append(calibrate_cameras.main(command, domain_id=cell.domain)), daemon=True
        )
        thread.start()
        with session("person", domain_id=cell.domain) as person:
            client = person.create_client(Trigger, "/calibrate_cameras/snapshot")
            assert call_service(client, Trigger.Request(), timeout_s=20.0).success
        thread.join(20.0)
    finally:
        cell.close()
    assert codes == [0]
    assert cv2.imread(str(preview)).shape == (360, 960, 3)
    assert read_settings(output).cameras["wrist"].parameters["rgb_camera.exposure"] == 156
    assert "ros2 service call /calibrate_cameras/snapshot" in capsys.readouterr().out


def test_depth_is_shown_where_the_driver_publishes_it(tmp_path):
    profile = load_profile(write_profile(tmp_path, (48, 64), 50.0))
    with session("driver", domain_id=97) as node:
        assert [camera.name for camera in with_depth(node, profile)] == ["front", "wrist"]
        publisher = node.create_publisher(Image, "wrist_camera/aligned_depth_to_color/image_raw", 1)
        assert [camera.name for camera in with_depth(node, profile)] == ["front", "wrist", "wrist depth"]
        node.destroy_publisher(publisher)


class Bench:
    """A scene in front of a simulated sensor; settings are knobs."""

    def __init__(self, **settings):
        rng = np.random.default_rng(4)
        self.scene = rng.integers(30, 140, (20, 30, 3)).astype(np.uint8)
        self.sensor = Sensor(**settings)

    def means(self):
        return tuple(float(v) for v in self.sensor.expose(self.scene, 1.0).reshape(-1, 3).mean(axis=0))

    def turn(self, name, value):
        setattr(self.sensor, name, value)
        return self.means()

    def knobs(self):
        ranges = {"exposure": (1, 10000, True), "gain": (0, 128, True), "white_balance": (2800, 6500, False)}
        return [Knob(n, float(getattr(self.sensor, n)), *ranges[n]) for n in ranges]


@pytest.mark.parametrize(
    "wanted", [{"exposure": 90}, {"exposure": 310, "white_balance": 3500.0}, {"white_balance": 6000.0}]
)
def test_manual_settings_with_the_same_image_are_found(wanted):
    target = Bench(**wanted).means()
    bench = Bench(exposure=1000, white_balance=4000.0)
    reached = match(target, bench.means(), bench.turn, *bench.knobs())
    assert brightness(reached) == pytest.approx(brightness(target), rel=0.02)
    assert warmth(reached) == pytest.approx(warmth(target), abs=0.03)
    assert bench.means() == reached


def test_where_the_exposure_ends_the_gain_goes_on():
    target = Bench(exposure=250).means()
    bench = Bench()
    _, gain, balance = bench.knobs()
    short = Knob("exposure", 156.0, 1.0, 180.0, True)
    reached = match(target, bench.means(), bench.turn, short, gain, balance)
    assert brightness(reached) == pytest.approx(brightness(target), rel=0.02)
    assert bench.sensor.exposure <= 180
    assert bench.sensor.gain > 64


def test_every_driver_switches_its_automatic_modes_before_it_sets_values():
    for names in DRIVERS.values():
        saved = list(names.saved)
        assert saved[: len(names.automatic)] == list(names.automatic)
        assert len(set(saved)) == len(saved)
    assert DRIVERS["depthai"].automatic == {"rgb.r_set_man_exposure": False, "rgb.r_set_man_whitebalance": False}


def test_differences_are_of_values_not_of_types():
    assert different({"a": 4600, "b": True, "c": 1}, {"a": 4600.0, "b": True, "c": 2}) == {"c": (1, 2)}
    assert different({"a": 1}, {}) == {"a": (1, None)}
    assert different({"a": True}, {"a": False}) == {"a": (True, False)}


def test_a_settings_file_comes_back_as_it_was(tmp_path):
    block = CameraBlock("cam", "depthai", {"rgb.r_exposure": 8000}, ("rgb.r_focus",), {"size": [4, 5]})
    content = SettingsFile("2026-01-01T00:00:00+00:00", "arm", {"front": block})
    write_settings(tmp_path / "new" / "settings.json", content)
    assert read_settings(tmp_path / "new" / "settings.json") == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the camera settings: No such file or directory; make one with: ros2 run vla_teleop"),
        ("{", "camera settings are no JSON"),
        (json.dumps({"schema": 7}), "camera settings of schema 7, but this version reads 1"),
        (
            json.dumps({"schema": 1, "timestamp": "x", "robot": "r", "cameras": {"a": {}}}),
            "incomplete (KeyError('node'))",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_what_to_do(tmp_path, text, message):
    path = tmp_path / "settings.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CameraError) as caught:
        read_settings(path)
    assert message in str(caught.value)
    assert "calibrate_cameras --auto" in str(caught.value)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--camera", "side"], 1, "has no colour camera 'side'; it has: front, wrist"),
        (
            ["--wait", "0.3"],
            1,
            "camera 'front': there is no node 'nobody' with parameters after 0.3 s. Start the driver",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_named(tmp_path, capsys, more, code, message):
    profile = write_profile(tmp_path, (48, 64), 50.0, node="nobody")
    assert calibrate_cameras.main(["--profile", str(profile), "--auto", *more], domain_id=98) == code
    assert message in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_a_usage_error(tmp_path, capsys):
    assert calibrate_cameras.main(["--profile", str(tmp_path / "none.yaml"), "--auto"]) == 2
    assert "cannot read the robot profile" in capsys.readouterr().err
