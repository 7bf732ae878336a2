# SPDX-License-Identifier: Apache-2.0

"""Camera settings from calibration to application, against the simulated cameras' real parameter services."""

import json
import threading

import pytest
import rclpy
from camera_cell import CameraCell, write_profile
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from vla_common.params import overrides
from vla_teleop.cameras import calibrate_cameras
from vla_teleop.cameras.camera_settings_node import CameraSettingsNode
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.session import RemoteParameters, session
from vla_teleop.cameras.settings import read_settings


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profile"), (48, 64), 50.0)


@pytest.fixture(scope="module")
def cell(profile):
    cell = CameraCell(profile, light=1.6)  # brighter than the defaults are made for
    yield cell
    cell.close()


@pytest.fixture(scope="module")
def calibrated(cell, profile, tmp_path_factory):
    """Settings file and output of one automatic calibration."""
    path = tmp_path_factory.mktemp("settings") / "camera_settings.json"
    command = ["--profile", str(profile), "--auto", "--settle", "1.5", "--output", str(path)]
    assert calibrate_cameras.main(command, domain_id=cell.domain) == 0
    return path


class Applied:
    """A settings node in the cell's domain."""

    def __init__(self, cell, **params):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=cell.domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        values = {"driver_timeout_s": 5.0, **params}
        self.node = CameraSettingsNode(context=self.context, parameter_overrides=overrides(values))
        self.executor.add_node(self.node)
        self.reports, self.heard = {}, threading.Condition()
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def _hear(self, msg):
        with self.heard:
            self.reports.update({status.name: status for status in msg.status})
            self.heard.notify_all()

    def wait_report(self, camera, level, text):
        def there():
            status = self.reports.get(f"camera_settings: camera {camera}")
            return status is not None and status.level == level and text in status.message

        with self.heard:
            assert self.heard.wait_for(there, 15.0), self.reports

    def close(self):
        self.node.close()
        self.executor.shutdown()
        self.thread.join(timeout=5.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def parameters_of(cell, node):
    with session("reader", domain_id=cell.domain) as reader:
        remote = RemoteParameters(reader, node)
        remote.require(10.0, node)
        return remote.get([name for name in remote.names() if name.startswith("rgb_camera.")])


def test_automatic_calibration_finds_settings_that_give_the_same_brightness(cell, calibrated):
    content = read_settings(calibrated)
    assert content.robot == "sim_ur5e"
    assert set(content.cameras) == {"front", "wrist"}
    assert content.timestamp.endswith("+00:00")
    for name, block in content.cameras.items():
        assert block.node == f"{name}_camera"
        assert block.parameters["rgb_camera.enable_auto_exposure"] is False
        assert block.parameters["rgb_camera.enable_auto_white_balance"] is False
        assert block.image["size"] == [48, 64]
        # the automatic mode looks for a mean of 0.45 of 255; the defaults are much brighter in this light
        assert 0.42 * 255 < sum(block.image["mean_rgb"]) / 3 < 0.48 * 255
        assert block.parameters["rgb_camera.exposure"] != 156
        assert block.parameters["rgb_camera.white_balance"] == pytest.approx(4600.0, rel=0.05)
        assert "rgb_camera.brightness" in block.missing


def test_the_file_is_json_with_a_block_per_camera(calibrated):
    content = json.loads(calibrated.read_text())
    assert content["schema"] == 1
    assert set(content["cameras"]["front"]) == {"node", "settings", "parameters", "missing", "image"}
    assert not list(calibrated.parent.glob(".*partial"))


def test_applied_settings_are_those_of_the_file_and_a_later_change_is_a_warning(cell, profile, calibrated):
    wanted = read_settings(calibrated).cameras
    for sensor in cell.sensors.values():
        sensor.exposure, sensor.gain = 300, 20
    with session("spoiler", domain_id=cell.domain) as spoiler:
        remote = RemoteParameters(spoiler, "front_camera")
        remote.require(10.0, "front")
        assert remote.set({"rgb_camera.exposure": 300, "rgb_camera.enable_auto_white_balance": True}) == {}
        applied = Applied(cell, profile=str(profile), settings_file=str(calibrated), check_period_s=0.2)
        try:
            for name in ("front", "wrist"):
                applied.wait_report(name, DiagnosticStatus.OK, "5 settings as in the file")
                assert parameters_of(cell, f"{name}_camera") == wanted[name].parameters
                assert cell.sensors[name].exposure == wanted[name].parameters["rgb_camera.exposure"]
            assert remote.set({"rgb_camera.gain": 5}) == {}
            text = f"rgb_camera.gain is 5 instead of {wanted['front'].parameters['rgb_camera.gain']}"
            applied.wait_report("front", DiagnosticStatus.WARN, text)
            applied.wait_report("wrist", DiagnosticStatus.OK, "as in the file")
        finally:
            applied.close()


def test_a_driver_that_is_not_there_is_named(cell, profile, calibrated, tmp_path):
    content = json.loads(calibrated.read_text())
    del content["cameras"]["front"]
    lonely = tmp_path / "settings.json"
    lonely.write_text(json.dumps(content))
    elsewhere = write_profile(tmp_path, (48, 64), 50.0, node="nobody")
    applied = Applied(cell, profile=str(elsewhere), settings_file=str(lonely), driver_timeout_s=0.4, once=True)
    try:
        assert applied.node.stop.wait(10.0)
        assert applied.node.stop.code == 1
        assert "not every camera took its settings" in applied.node.stop.reason
        assert "no driver node 'nobody'" in applied.node._report_of("wrist")[1]
    finally:
        applied.close()


def test_a_file_for_another_robot_is_refused_by_name(cell, profile, calibrated, tmp_path):
    content = json.loads(calibrated.read_text())
    content["cameras"]["side"] = content["cameras"].pop("front")
    other = tmp_path / "settings.json"
    other.write_text(json.dumps(content))
    with pytest.raises(CameraError, match=r"profile sim_ur5e has no camera 'side'; it has: front, wrist"):
        Applied(cell, profile=str(profile), settings_file=str(other))
