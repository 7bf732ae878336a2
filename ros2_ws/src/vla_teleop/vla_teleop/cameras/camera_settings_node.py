# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop apply_camera_settings``: give all cameras their saved settings, and watch that they keep them."""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from vla_common.diagnostics import Diagnostics
from vla_common.params import declare
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode, run_node
from vla_common.services import CallError
from vla_core.profile import load_profile

from vla_teleop.cameras.camera_settings_params import CameraSettingsParams
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.session import RemoteParameters
from vla_teleop.cameras.settings import CameraBlock, Value, different, read_settings

Report = tuple[bytes, str, dict[str, str]]


class CameraSettingsNode(ManagedNode):
    """Applies a settings file to the cameras' drivers and reports differences on `/diagnostics`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("camera_settings", **kwargs)
        self._params = declare(self, CameraSettingsParams)
        profile = load_profile(self._params.profile)
        content = read_settings(Path(self._params.settings_file))
        known = {camera.name: camera for camera in profile.cameras}
        for name in content.cameras:
            if name not in known:
                raise CameraError(
                    f"{self._params.settings_file}: the profile {profile.robot} has no camera '{name}'; it has: "
                    f"{', '.join(known)}. Calibrate with this profile"
                )
        self._blocks = content.cameras
        self._lock = threading.Lock()
        self._reports: dict[str, Report] = {}
        diagnostics = Diagnostics(self)
        for name in self._blocks:
            self._reports[name] = (DiagnosticStatus.STALE, "waiting for the driver", {})
            diagnostics.part(f"camera {name}", lambda name=name: self._report_of(name))  # type: ignore[misc]
        for name, camera in known.items():
            if name not in self._blocks and not camera.depth and camera.settings != "none":
                self.get_logger().warning(f"camera '{name}' has no settings in {self._params.settings_file}")
        # the profile says where a driver is now, which may differ from the session of the calibration
        self._remotes = {name: RemoteParameters(self, known[name].node or b.node) for name, b in self._blocks.items()}
        self._ending = threading.Event()
        self._worker = self.start_thread(self._work, "settings")

    def close(self) -> None:
        """Stop watching."""
        self._ending.set()
        self._worker.join(timeout=2.0)

    def _report_of(self, name: str) -> Report:
        with self._lock:
            return self._reports[name]

    def _tell(self, name: str, level: bytes, message: str, values: Mapping[str, str] | None = None) -> None:
        """Keep a report, and log it where it is news."""
        with self._lock:
            news = self._reports[name][1] != message
            self._reports[name] = (level, message, dict(values or {}))
        if news:
            log = self.get_logger()
            (log.info if level == DiagnosticStatus.OK else log.warning)(f"camera '{name}': {message}")

    def _work(self) -> None:
        applied = [self._apply(name, block) for name, block in self._blocks.items()]
        if self._params.once:
            done = all(applied)
            self.stop.set(EXIT_OK if done else EXIT_FAILURE, "" if done else "not every camera took its settings")
            return
        while not self._ending.wait(self._params.check_period_s):
            for name, block in self._blocks.items():
                self._check(name, block)

    def _apply(self, name: str, block: CameraBlock) -> bool:
        remote = self._remotes[name]
        if not self._wait_for(remote):
            self._tell(name, DiagnosticStatus.ERROR, f"no driver node '{remote.name}'; its settings were not applied")
            return False
        try:
            present = remote.names()
            wanted = {key: value for key, value in block.parameters.items() if key in present}
            for key, reason in remote.set(wanted).items():
                self.get_logger().warning(f"camera '{name}': {remote.name} refuses {key}: {reason}")
        except CallError as error:
            self._tell(name, DiagnosticStatus.ERROR, str(error))
            return False
        return self._check(name, block)

    def _wait_for(self, remote: RemoteParameters) -> bool:
        """Wait for a driver in short pieces, so that the node can end meanwhile."""
        waited = 0.0
        while waited < self._params.driver_timeout_s and not self._ending.is_set():
            if remote.ready(0.2):
                return True
            waited += 0.2
        return False

    def _check(self, name: str, block: CameraBlock) -> bool:
        remote = self._remotes[name]
        try:
            present = remote.names()
            found = remote.get([key for key in block.parameters if key in present])
        except CallError as error:
            self._tell(name, DiagnosticStatus.ERROR, str(error))
            return False
        wrong = different(block.parameters, found)
        if not wrong:
            self._tell(name, DiagnosticStatus.OK, f"{len(found)} settings as in the file", _text(found))
            return True
        listed = "; ".join(f"{key} is {_shown(now)} instead of {want}" for key, (want, now) in wrong.items())
        self._tell(name, DiagnosticStatus.WARN, f"settings differ from the file: {listed}", _text(found))
        return False


def _shown(value: Value | None) -> str:
    return "absent" if value is None else str(value)


def _text(values: Mapping[str, Value]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(CameraSettingsNode, args)


if __name__ == "__main__":
    sys.exit(main())
