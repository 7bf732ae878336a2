# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop calibrate_cameras``: find settings for all cameras once and keep them in a file."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rclpy.node import Node
from vla_common.services import CallError
from vla_core.errors import VlaError
from vla_core.profile import Profile, load_profile
from vla_core.specs import CameraSpec

from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.matching import Knob, Means, brightness, match
from vla_teleop.cameras.preview import run_preview, with_depth
from vla_teleop.cameras.session import CameraTap, RemoteParameters, colour_cameras, session
from vla_teleop.cameras.settings import DRIVERS, CameraBlock, Names, SettingsFile, Value, write_settings

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
_LAG = 4  # images after a change that may still show the old settings
_AVERAGED = 3
_TOLERANCE = 0.05  # difference in brightness that is reported
_EXAMPLE = """examples:
  ros2 run vla_teleop calibrate_cameras --profile robot.yaml --auto --output camera_settings.json
  ros2 run vla_teleop calibrate_cameras --profile robot.yaml            (set by hand, SPACE saves, ESC leaves)
then start with: ros2 launch vla_bringup record.launch.py camera_settings:=camera_settings.json

exit codes: 0 saved, 1 a camera could not be calibrated (or left without saving), 2 wrong arguments or files
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="calibrate_cameras",
        description="Save exposure, gain, white balance and further settings of all cameras, automatic modes off. Set up "
        "the light as in operation and let nothing move.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--profile", type=Path, required=True, help="robot profile (YAML) that names the cameras")
    result.add_argument(
        "--auto", action="store_true", help="let the cameras find their settings; else set them by hand"
    )
    result.add_argument("--settle", type=float, default=20.0, metavar="S", help="time for the automatic modes [s] (20)")
    result.add_argument("--output", type=Path, default=Path("camera_settings.json"), help="file to write")
    result.add_argument("--camera", action="append", default=[], metavar="NAME", help="only this camera (repeatable)")
    result.add_argument(
        "--wait", type=float, default=10.0, metavar="S", help="how long to wait for the drivers [s] (10)"
    )
    result.add_argument(
        "--preview", type=Path, default=Path("camera_preview.jpg"), help="by hand: picture, once a second"
    )
    return result


class Calibrated:
    """One camera under calibration."""

    def __init__(self, node: Node, camera: CameraSpec, wait_s: float) -> None:
        """Find its driver.

        Raises:
            CameraError: no node with parameters, or none of the settings.
        """
        self.camera, self.names = camera, DRIVERS[camera.settings]
        self.tap = CameraTap(node, camera)
        self.remote = RemoteParameters(node, camera.node)
        self.remote.require(wait_s, camera.name)
        self._present = self.remote.names()
        self.missing = tuple(name for name in self.names.saved if name not in self._present)
        if not self.has(self.names.exposure):
            raise CameraError(
                f"camera '{camera.name}': node '{camera.node}' has no parameter {self.names.exposure}. Is it a "
                f"{camera.settings} driver? Say which with cameras.{camera.name}.settings in the profile"
            )

    def has(self, name: str) -> bool:
        """Whether the driver has a parameter."""
        return name in self._present

    def switch(self, automatic: bool) -> None:
        """Switch all automatic modes that the driver has.

        Raises:
            CameraError: the driver refuses.
        """
        modes: dict[str, Value] = {
            name: value is automatic for name, value in self.names.automatic.items() if self.has(name)
        }
        self.put(modes)

    def put(self, values: dict[str, Value]) -> None:
        """Set parameters.

        Raises:
            CameraError: the driver refuses one.
        """
        for name, reason in self.remote.set(values).items():
            raise CameraError(f"camera '{self.camera.name}': {self.camera.node} refuses {name}: {reason}")

    def look(self, skip: int = _LAG) -> Means:
        """Mean red, green and blue of the next images."""
        stack = np.stack(self.tap.images(_AVERAGED, skip=skip)).astype(np.float64)
        if stack.ndim == 3:
            return (float(stack.mean()),) * 3
        red, green, blue = (float(value) for value in stack.mean(axis=(0, 1, 2)))
        return red, green, blue

    def knob(self, name: str) -> Knob | None:
        """A setting that can be searched; None where the driver has none or does not tell its range."""
        if not self.has(name):
            return None
        descriptor = self.remote.describe([name])[name]
        value = float(self.remote.get([name])[name])
        whole = bool(descriptor.integer_range)
        ranges = descriptor.integer_range or descriptor.floating_point_range
        low, high = (ranges[0].from_value, ranges[0].to_value) if ranges else _USUAL_RANGE[_kind(self.names, name)]
        return Knob(name, value, float(low), float(high), whole or not ranges)

    def find_manual(self, target: Means) -> Means:
        """Switch the automatic modes off and search the settings that give the same image."""
        self.switch(False)
        names = self.names

        def turn(name: str, value: float) -> Means:
            self.put({name: value})
            return self.look()

        knobs = [self.knob(name) for name in (names.exposure, names.gain, names.white_balance)]
        return match(target, self.look(), turn, *knobs)

    def block(self, means: Means) -> CameraBlock:
        """What is saved."""
        saved = [name for name in self.names.saved if self.has(name)]
        values = self.remote.get(saved)
        off = {name: not on for name, on in self.names.automatic.items() if name in values}
        return CameraBlock(
            node=self.camera.node,
            settings=self.camera.settings,
            parameters={**values, **off},
            missing=self.missing,
            image={"size": list(self.camera.size), "mean_rgb": [round(value, 2) for value in means]},
        )


# depthai_ros_driver tells ranges only since its third version; these are the limits of its controls.
_USUAL_RANGE = {"exposure": (1.0, 33000.0), "gain": (100.0, 1600.0), "white_balance": (1000.0, 12000.0)}


def _kind(names: Names, name: str) -> str:
    return {names.exposure: "exposure", names.gain: "gain"}.get(name, "white_balance")


def automatic(cameras: Sequence[Calibrated], settle_s: float) -> dict[str, CameraBlock]:
    """Calibrate all cameras: automatic modes on, wait, then manual settings with the same image.

    Raises:
        CameraError: a driver refuses or a camera is silent.
    """
    for camera in cameras:
        camera.switch(True)
    print(f"automatic modes are on; waiting {settle_s:g} s for them to settle", flush=True)
    threading.Event().wait(settle_s)
    blocks = {}
    targets = [camera.look(skip=0) for camera in cameras]
    for camera, target in zip(cameras, targets, strict=True):
        reached = camera.find_manual(target)
        blocks[camera.camera.name] = camera.block(reached)
        _report(camera, target, reached)
    return blocks


def _report(camera: Calibrated, target: Means, reached: Means) -> None:
    name, names = camera.camera.name, camera.names
    values = camera.remote.get([n for n in (names.exposure, names.gain, names.white_balance) if camera.has(n)])
    text = ", ".join(f"{key.rpartition('.')[2]} {value:g}" for key, value in values.items())
    off = brightness(reached) / max(brightness(target), 0.5) - 1.0
    print(f"{name}: {text}; image {100 * off:+.1f} % against automatic", flush=True)
    if camera.missing:
        print(f"{name}: left out, because {camera.camera.node} does not have them: {', '.join(camera.missing)}")
    if abs(off) > _TOLERANCE:
        print(
            f"{name}: WARNING: the manual image is {100 * abs(off):.0f} % {'brighter' if off > 0 else 'darker'} than the "
            "automatic one. Let nothing move, add light, and calibrate again, or set it by hand",
            file=sys.stderr,
        )


def save(path: Path, profile: Profile, blocks: dict[str, CameraBlock]) -> None:
    """Write the file and say so."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    write_settings(path, SettingsFile(stamp, profile.robot, blocks))
    print(f"saved {path}; start with camera_settings:={path}", flush=True)


def _calibrate(arguments: argparse.Namespace, ros: Sequence[str], domain_id: int | None) -> int:
    profile = load_profile(arguments.profile)
    wanted = colour_cameras(profile, arguments.camera)
    skipped = [camera for camera in wanted if camera.settings == "none"]
    for spec in skipped:
        print(f"{spec.name}: the profile names no driver with settings (cameras.{spec.name}.settings); left out")
    with session("calibrate_cameras", ros, domain_id=domain_id) as node:
        cameras = [Calibrated(node, spec, arguments.wait) for spec in wanted if spec not in skipped]
        if not cameras:
            raise CameraError(f"{arguments.profile}: no camera has settings; add cameras.<name>.settings and node")
        if arguments.auto:
            save(arguments.output, profile, automatic(cameras, arguments.settle))
            return EXIT_OK
        for camera in cameras:
            camera.switch(False)
        taps = [CameraTap(node, spec) for spec in with_depth(node, profile)]
        if not run_preview(node, taps, arguments.preview):
            print("left without saving")
            return EXIT_FAILURE
        save(arguments.output, profile, {camera.camera.name: camera.block(camera.look(0)) for camera in cameras})
        return EXIT_OK


def main(args: Sequence[str] | None = None, *, domain_id: int | None = None) -> int:
    """Run the command and return its exit code."""
    arguments, ros = parser().parse_known_args(args)
    try:
        return _calibrate(arguments, ros, domain_id)
    except (CameraError, CallError) as error:
        print(f"calibrate_cameras: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except VlaError as error:
        print(f"calibrate_cameras: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted; nothing was saved", file=sys.stderr)
        return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
