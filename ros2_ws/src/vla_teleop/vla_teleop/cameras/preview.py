# SPDX-License-Identifier: Apache-2.0

"""A live preview of all cameras without a window: a picture file and a topic, keys of the terminal, a service."""

# ruff: noqa: T201  (part of a command)

from __future__ import annotations

import contextlib
import queue
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger
from vla_common.terminal_keys import terminal_keys
from vla_core.codecs import IMAGE
from vla_core.images import resize
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.session import CameraTap

Pixels = NDArray[np.uint8]
_TILE = (360, 480)  # height, width
_NEAR_MM, _FAR_MM = 200.0, 2000.0
_PERIOD_S = 1.0
# Depth below the driver's node: realsense2_camera with align_depth.enable, depthai_ros_driver with an RGBD pipeline.
_DEPTH = {"realsense": "aligned_depth_to_color/image_raw", "depthai": "stereo/image_raw"}
SAVE, LEAVE = "save", "leave"
_KEYS = {" ": SAVE, "\r": SAVE, "\n": SAVE, "\x1b": LEAVE, "q": LEAVE}


def with_depth(node: Node, profile: Profile) -> list[CameraSpec]:
    """Return the cameras of a profile, each colour camera followed by its depth where the driver publishes it."""
    named = {camera.topic for camera in profile.cameras}
    shown = []
    for camera in profile.cameras:
        shown.append(camera)
        topic = f"{camera.node}/{_DEPTH.get(camera.settings, '')}"
        if camera.depth or camera.settings not in _DEPTH or topic in named:
            continue
        if node.count_publishers(node.resolve_topic_name(topic)):
            shown.append(replace(camera, name=f"{camera.name} depth", topic=topic, type=IMAGE, depth=True))
    return shown


def tile(image: NDArray[Any] | None, label: str) -> Pixels:
    """Return one image as a tile of the mosaic; depth becomes grey from near (white) to far, None a dark tile."""
    if image is None:
        shown: Pixels = np.full((*_TILE, 3), 40, np.uint8)
    elif image.dtype == np.uint8:
        shown = resize(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2), _TILE)
    else:
        metric = image.astype(np.float64) * (1000.0 if image.dtype.kind == "f" else 1.0)
        near = np.nan_to_num(255.0 * (1.0 - np.clip((metric - _NEAR_MM) / (_FAR_MM - _NEAR_MM), 0.0, 1.0)))
        grey = np.where(metric > 0.0, near, 0.0).astype(np.uint8)
        shown = resize(np.repeat(grey[..., None], 3, axis=2), _TILE)
    shown = np.ascontiguousarray(shown)
    for colour, width in ((0, 3), (255, 1)):
        cv2.putText(shown, label, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (colour,) * 3, width, cv2.LINE_AA)
    return shown


def mosaic(tiles: Sequence[Pixels]) -> Pixels:
    """Return tiles in rows of two."""
    padded = [*tiles, *([np.zeros_like(tiles[0])] if len(tiles) % 2 else [])]
    rows = [np.concatenate(padded[i : i + 2], axis=1) for i in range(0, len(padded), 2)]
    return np.concatenate(rows, axis=0)


def run_preview(node: Node, taps: Sequence[CameraTap], path: Path) -> bool:
    """Show all cameras until somebody saves or leaves; returns whether to save.

    Every second a picture of all cameras is written to `path` and published on `~/preview`. SPACE or ENTER in the
    terminal or the service `~/snapshot` saves, ESC or q leaves.

    Raises:
        CameraError: the picture cannot be written.
    """
    wishes: queue.Queue[str] = queue.Queue()

    def snapshot(_: Any, response: Any) -> Any:
        wishes.put(SAVE)
        response.success, response.message = True, "the settings are being saved"
        return response

    publisher = node.create_publisher(CompressedImage, "~/preview", 1)
    service = node.create_service(Trigger, "~/snapshot", snapshot)
    try:
        with terminal_keys(wishes, _KEYS) as terminal:
            keys = "SPACE saves, ESC leaves; " if terminal else ""
            print(
                f"{keys}preview in {path} and on {node.get_name()}/preview; change settings with rqt or ros2 param set; "
                f"ros2 service call /{node.get_name()}/snapshot std_srvs/srv/Trigger saves too",
                flush=True,
            )
            while True:
                _show(taps, path, publisher, node)
                with contextlib.suppress(queue.Empty):
                    return wishes.get(timeout=_PERIOD_S) == SAVE
    finally:
        node.destroy_service(service)
        node.destroy_publisher(publisher)


def _show(taps: Sequence[CameraTap], path: Path, publisher: Any, node: Node) -> None:
    picture = mosaic([_tile_of(tap) for tap in taps])
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    except OSError as error:
        raise CameraError(
            f"{path}: cannot write the preview: {error.strerror}; name another file with --preview"
        ) from error
    message = CompressedImage(format="jpeg", data=data.tobytes())
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)


def _tile_of(tap: CameraTap) -> Pixels:
    if tap.count == 0:
        return tile(None, f"{tap.camera.name}: no image yet")
    return tile(tap.newest(), tap.camera.name)
