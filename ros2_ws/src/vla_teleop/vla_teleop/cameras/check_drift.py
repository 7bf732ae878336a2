# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_teleop check_drift``: compare a reference view of every camera with the stored one."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from vla_core.errors import VlaError
from vla_core.profile import load_profile
from vla_core.specs import CameraSpec

from vla_teleop.cameras.drift import Thresholds, drift, statistics
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.session import CameraTap, RemoteParameters, colour_cameras, session
from vla_teleop.cameras.settings import DRIVERS, Value, different, write_atomically

EXIT_OK, EXIT_DRIFT, EXIT_USAGE = 0, 1, 2
_AVERAGED = 5
_EXAMPLE = """examples:
  ros2 run vla_teleop check_drift --profile robot.yaml --reference ref/ --update   (once, after calibrate_cameras)
  ros2 run vla_teleop check_drift --profile robot.yaml --reference ref/            (before every session)

exit codes: 0 as stored, 1 something drifted, 2 wrong arguments, no reference, or a silent camera
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="check_drift",
        description="Compare brightness, colour, contrast, sharpness and place of a reference view with the stored one. "
        "Move the arm to the same pose and clear the table before.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--profile", type=Path, required=True, help="robot profile (YAML) that names the cameras")
    result.add_argument("--reference", type=Path, required=True, help="folder of the stored views")
    result.add_argument("--update", action="store_true", help="store the present views as the reference")
    result.add_argument("--camera", action="append", default=[], metavar="NAME", help="only this camera (repeatable)")
    result.add_argument("--wait", type=float, default=10.0, metavar="S", help="how long to wait for images [s] (10)")
    for field in fields(Thresholds):
        result.add_argument(
            f"--max-{field.name}", type=float, default=field.default, metavar="X", help=f"limit ({field.default})"
        )
    return result


def _view(tap: CameraTap, wait_s: float) -> NDArray[np.uint8]:
    """Mean of some images, in which noise of the sensor hardly counts."""
    stack = np.stack(tap.images(_AVERAGED, timeout_s=wait_s)).astype(np.float64)
    image = np.rint(stack.mean(axis=0)).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _settings(node: Node, camera: CameraSpec, wait_s: float) -> dict[str, Value]:
    """The settings of a camera's driver, as far as it has some."""
    if camera.settings == "none":
        return {}
    remote = RemoteParameters(node, camera.node)
    remote.require(wait_s, camera.name)
    present = remote.names()
    return remote.get([name for name in DRIVERS[camera.settings].saved if name in present])


def _store(folder: Path, camera: str, image: NDArray[np.uint8], settings: dict[str, Value]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(folder / f"{camera}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise CameraError(f"{folder / camera}.png: cannot be written; choose another folder with --reference")
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"timestamp": stamp, "settings": settings, "statistics": statistics(image).as_json()}
    write_atomically(folder / f"{camera}.json", json.dumps(content, indent=2) + "\n")


def _load(folder: Path, camera: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    picture, text = folder / f"{camera}.png", folder / f"{camera}.json"
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if image is None or not text.is_file():
        raise CameraError(
            f"{folder}: no reference view of camera '{camera}'; store one with --update while everything is as it should be"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), json.loads(text.read_text(encoding="utf-8"))


def _compare(
    camera: str, folder: Path, image: NDArray[np.uint8], settings: dict[str, Value], limits: Thresholds
) -> bool:
    """Print what drifted; returns whether nothing did."""
    before, content = _load(folder, camera)
    found, measures = drift(before, image, limits)
    for name, (want, now) in different(content["settings"], settings).items():
        found.append(f"{name} is {now} instead of {want}: start with camera_settings:=FILE")
    listed = ", ".join(f"{name} {value:+.3f}" for name, value in measures.items())
    print(f"{camera}: {'DRIFTED' if found else 'as stored'} since {content['timestamp']} ({listed})")
    for text in found:
        print(f"  {text}")
    return not found


def _check(arguments: argparse.Namespace, ros: Sequence[str], domain_id: int | None) -> int:
    profile = load_profile(arguments.profile)
    limits = Thresholds(**{field.name: getattr(arguments, f"max_{field.name}") for field in fields(Thresholds)})
    good = True
    with session("check_drift", ros, domain_id=domain_id) as node:
        taps = [CameraTap(node, camera) for camera in colour_cameras(profile, arguments.camera)]
        for tap in taps:
            name, settings = tap.camera.name, _settings(node, tap.camera, arguments.wait)
            image = _view(tap, arguments.wait)
            if arguments.update:
                _store(arguments.reference, name, image, settings)
                print(f"{name}: stored in {arguments.reference}")
            else:
                good &= _compare(name, arguments.reference, image, settings, limits)
    if not good:
        print(
            "remedy: bring light and settings back; if the change is meant, run calibrate_cameras, then check_drift --update. "
            "A policy trained before may do worse",
            file=sys.stderr,
        )
    return EXIT_OK if good else EXIT_DRIFT


def main(args: Sequence[str] | None = None, *, domain_id: int | None = None) -> int:
    """Run the command and return its exit code."""
    arguments, ros = parser().parse_known_args(args)
    try:
        return _check(arguments, ros, domain_id)
    except (VlaError, OSError) as error:
        print(f"check_drift: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
