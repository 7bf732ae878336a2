# SPDX-License-Identifier: Apache-2.0

"""Settings of cameras as their drivers name them, and the file that keeps them from session to session.

Facts: realsense2_camera declares each option of a sensor as ``<module>.<option>`` (sensor_params.cpp, 4.58);
depthai_ros_driver takes run-time controls as ``rgb.r_*`` (sensor_param_handler.cpp). Neither tells what an automatic
mode has found for the colour sensor: librealsense reports the last manual values, depthai what was asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_teleop.cameras.errors import CameraError

SCHEMA = 1
Value = bool | int | float | str


@dataclass(frozen=True)
class Names:
    """How a driver names its settings.

    Attributes:
        exposure: Manual exposure.
        gain: Manual gain.
        white_balance: Manual white balance [K].
        automatic: Switches to the value that means automatic: of exposure and gain, of white balance.
        others: Further settings that change the image, saved where the driver has them.
    """

    exposure: str
    gain: str
    white_balance: str
    automatic: Mapping[str, bool]
    others: tuple[str, ...]

    @property
    def saved(self) -> tuple[str, ...]:
        """All parameters that are saved, in the order in which they are applied: automatic modes off first."""
        return (*self.automatic, self.exposure, self.gain, self.white_balance, *self.others)


_PICTURE = ("brightness", "contrast", "gamma", "hue", "saturation", "sharpness", "backlight_compensation")
DRIVERS: Mapping[str, Names] = {
    "realsense": Names(
        exposure="rgb_camera.exposure",
        gain="rgb_camera.gain",
        white_balance="rgb_camera.white_balance",
        automatic={"rgb_camera.enable_auto_exposure": True, "rgb_camera.enable_auto_white_balance": True},
        others=(
            *(f"rgb_camera.{name}" for name in (*_PICTURE, "power_line_frequency", "auto_exposure_priority")),
            # a preset replaces the settings after it
            *(f"depth_module.{name}" for name in ("visual_preset", "emitter_enabled", "laser_power")),
        ),
    ),
    "depthai": Names(
        exposure="rgb.r_exposure",
        gain="rgb.r_iso",
        white_balance="rgb.r_whitebalance",
        automatic={"rgb.r_set_man_exposure": False, "rgb.r_set_man_whitebalance": False},
        others=("rgb.r_set_man_focus", "rgb.r_focus", "rgb.r_sharpness", "rgb.r_luma_denoise", "rgb.r_chroma_denoise"),
    ),
}
"""By the profile's ``cameras.<name>.settings``."""


@dataclass(frozen=True)
class CameraBlock:
    """The settings of one camera.

    Attributes:
        node: Node of its driver.
        settings: Kind of driver, a key of `DRIVERS`.
        parameters: Values in the order in which they are applied.
        missing: Parameters that the driver does not have.
        image: What the image was like: size (height, width) and mean of red, green, blue (0 to 255).
    """

    node: str
    settings: str
    parameters: dict[str, Value]
    missing: tuple[str, ...] = ()
    image: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SettingsFile:
    """What a settings file says."""

    timestamp: str
    robot: str
    cameras: dict[str, CameraBlock]


def write_settings(path: Path, content: SettingsFile) -> None:
    """Write a settings file: whole, or not at all.

    Raises:
        CameraError: the file cannot be written.
    """
    blocks = {
        name: {
            "node": block.node,
            "settings": block.settings,
            "parameters": block.parameters,
            "missing": list(block.missing),
            "image": block.image,
        }
        for name, block in content.cameras.items()
    }
    whole = {"schema": SCHEMA, "timestamp": content.timestamp, "robot": content.robot, "cameras": blocks}
    write_atomically(path, json.dumps(whole, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that nobody ever sees half of it.

    Raises:
        CameraError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise CameraError(f"{path}: cannot be written: {error.strerror}") from error


def read_settings(path: Path) -> SettingsFile:
    """Read a settings file.

    Raises:
        CameraError: it is absent, no JSON, of another schema or incomplete; the text says how to make one.
    """
    remedy = "make one with: ros2 run vla_teleop calibrate_cameras --auto --profile …"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: cannot read the camera settings: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise CameraError(f"{path}: camera settings are no JSON: {error}; {remedy}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise CameraError(f"{path}: camera settings of schema {schema}, but this version reads {SCHEMA}; {remedy}")
    try:
        blocks = {name: _block(entry) for name, entry in content["cameras"].items()}
        return SettingsFile(str(content["timestamp"]), str(content["robot"]), blocks)
    except (KeyError, TypeError, AttributeError) as error:
        raise CameraError(f"{path}: camera settings are incomplete ({error!r}); {remedy}") from error


def _block(entry: Mapping[str, Any]) -> CameraBlock:
    return CameraBlock(
        node=str(entry["node"]),
        settings=str(entry["settings"]),
        parameters=dict(entry["parameters"]),
        missing=tuple(entry.get("missing", ())),
        image=dict(entry.get("image", {})),
    )


def different(wanted: Mapping[str, Value], found: Mapping[str, Value]) -> dict[str, tuple[Value, Value | None]]:
    """Return wanted and found value of each parameter that differs; None: the driver does not have it."""
    return {name: (value, found.get(name)) for name, value in wanted.items() if not _same(value, found.get(name))}


def _same(a: Value, b: Value | None) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or isinstance(a, str) or b is None or isinstance(b, str):
        return a == b
    return abs(a - b) <= 1e-6 * max(1.0, abs(a))
