# SPDX-License-Identifier: Apache-2.0

"""The newest picture of each camera, made while somebody looks."""

from __future__ import annotations

import threading

from rclpy.node import Node
from vla_core.errors import CodecError
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_web.ros.health import StreamWatch
from vla_web.ros.pictures import can_show, picture, size_problem
from vla_web.ros.taps import Tap, Unserved

_DEPTH = 1  # images are large, and only the newest is wanted


class CameraView:
    """One camera: its subscription, its health and its newest picture."""

    def __init__(self, node: Node, group: Unserved, camera: CameraSpec, *, width: int, quality: int) -> None:
        """Args: width, quality: of the pictures."""
        self.camera = camera
        self.tap = Tap(node, group, camera.topic, camera.type, _DEPTH)
        self.watch = StreamWatch(
            f"camera {camera.name}", self.tap.name, "camera", expected_hz=camera.rate_hz, max_age_s=camera.max_age_s
        )
        self._width, self._quality = width, quality
        self._shown = can_show(camera)
        if not self._shown:
            self.watch.problem = "an encoded video: its rate is shown, its pictures are not"
        self._lock = threading.Lock()
        self._number, self._jpeg = 0, b""

    def newest(self) -> tuple[int, bytes]:
        """The newest picture as JPEG and its number, which grows with each; from any thread."""
        with self._lock:
            return self._number, self._jpeg

    def look(self, now_s: float, steady_s: float, *, sim_time: bool) -> None:
        """Poll, count, and make a picture of what is new.

        Args:
            now_s: Node clock.
            steady_s: Monotonic clock.
            sim_time: Whether the node clock is a simulated one, on which ages of wall time mean nothing.
        """
        new = self.tap.poll()
        sample = self.tap.recent[-1] if new else None
        age_s = 0.0 if sample is None or sim_time else max(0.0, steady_s - sample.received_s)
        number = None if sample is None else sample.number
        self.watch.note(now_s, number, new, all_seen=new < _DEPTH, age_s=age_s)
        if sample is None or not self._shown:
            return
        try:
            jpeg = picture(self.camera, sample.message, width=self._width, quality=self._quality)
        except CodecError as error:
            self.watch.problem = str(error)
            return
        self.watch.problem = size_problem(self.camera, sample.message)
        with self._lock:
            self._number, self._jpeg = self._number + 1, jpeg


def camera_views(node: Node, group: Unserved, profile: Profile, *, width: int, quality: int) -> list[CameraView]:
    """The cameras of a profile, in its order."""
    return [CameraView(node, group, camera, width=width, quality=quality) for camera in profile.cameras]
