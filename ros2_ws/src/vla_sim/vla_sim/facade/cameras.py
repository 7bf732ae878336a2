# SPDX-License-Identifier: Apache-2.0

"""The cameras' topics, as realsense2_camera offers them: rgb8 images and plumb_bob calibration."""

import array
import queue
import threading
from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from vla_common.qos import SENSOR
from vla_common.run import ManagedNode
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_sim.cell_params import CellParams
from vla_sim.disturbances import CameraDisturbance, CameraSchedule
from vla_sim.errors import SceneError
from vla_sim.exposure import Sensor
from vla_sim.facade.camera_settings import SettingsNodes
from vla_sim.facade.streams import OnPublished, Stream
from vla_sim.rendering import Snapshot
from vla_sim.world import World

_QUEUE = 8  # frames that wait for rendering in paced mode; more are lost, as on an overloaded camera


def camera_sizes(profile: Profile) -> dict[str, tuple[int, int]]:
    """Image size (height, width) by camera name.

    Raises:
        SceneError: the profile wants a type that the cell does not publish.
    """
    for camera in profile.cameras:
        if camera.type != "sensor_msgs/msg/Image":
            raise SceneError(
                f"camera '{camera.name}' of profile '{profile.robot}' has type {camera.type}; the simulated cell "
                "publishes "
                "sensor_msgs/msg/Image only. Use a profile with raw images"
            )
    return {camera.name: camera.size for camera in profile.cameras}


class _Camera:
    """One camera: schedule, topics, and frames that wait for their publication."""

    def __init__(
        self,
        node: Node,
        world: World,
        spec: CameraSpec,
        disturbance: CameraDisturbance,
        on_published: OnPublished,
        sensor: Sensor,
    ) -> None:
        info = world.camera_info(spec.name)
        height, width = spec.size
        self.name = spec.name
        self.sensor = sensor
        self.schedule = CameraSchedule(spec.rate_hz, disturbance)
        self._full = _image(height, width, info["frame_id"])
        self._half = _image((height + 1) // 2, (width + 1) // 2, info["frame_id"])
        self.image = Stream(node, self._full, spec.topic, on_published, SENSOR)
        self.info: Stream | None = None
        if spec.info_topic is not None:
            message = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=list(info["d"]))
            message.k, message.r, message.p = info["k"], info["r"], info["p"]
            message.header.frame_id = info["frame_id"]
            self.info = Stream(node, message, spec.info_topic, on_published)
        self.waiting: deque[tuple[int, Snapshot]] = deque()

    def halve(self, on: bool) -> None:
        """A fault: images of half the size, as from a driver with the wrong settings."""
        self.image.message = self._half if on else self._full

    @property
    def wanted(self) -> bool:
        return self.image.wanted or (self.info is not None and self.info.wanted)

    def publish(self, world: World, snapshot: Snapshot, t_ns: int, light: float) -> None:
        if self.image.wanted:
            message, pixels = self.image.message, self.sensor.expose(world.render(self.name, snapshot), light)
            if message is self._half:
                pixels = np.ascontiguousarray(pixels[::2, ::2])
            memoryview(message.data)[:] = memoryview(pixels).cast("B")
            self.image.send(t_ns)
        if self.info is not None and self.info.wanted:
            self.info.send(t_ns)


class CameraRig:
    """All cameras of the profile; rendered between two physics steps in lockstep, else by a thread of their own."""

    def __init__(
        self, node: ManagedNode, world: World, profile: Profile, params: CellParams, on_published: OnPublished
    ) -> None:
        if params.camera_phase_s and len(params.camera_phase_s) != len(profile.cameras):
            raise SceneError(
                f"camera_phase_s has {len(params.camera_phase_s)} values for {len(profile.cameras)} cameras of the "
                "profile: "
                f"{', '.join(camera.name for camera in profile.cameras)}"
            )
        self._node = node
        self._world = world
        phases = params.camera_phase_s or (0.0,) * len(profile.cameras)
        self._settings = SettingsNodes(node, {camera.name: camera for camera in profile.cameras})
        sensors = self._settings.sensors
        self._cameras = [
            _Camera(node, world, spec, _disturbance(params, phase, index), on_published, sensors[spec.name])
            for index, (spec, phase) in enumerate(zip(profile.cameras, phases, strict=True))
        ]
        self._threaded = params.clock_mode == "paced"
        self._queue: queue.Queue[tuple[_Camera, Snapshot, int] | None] = queue.Queue(maxsize=_QUEUE)
        self._stopped = threading.Event()
        self.overruns = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras."""
        return tuple(camera.name for camera in self._cameras)

    def silence(self, name: str, on: bool) -> None:
        """A fault: the camera sends nothing."""
        for stream in (self._camera(name).image, self._camera(name).info):
            if stream is not None:
                stream.silent = on

    def halve(self, name: str, on: bool) -> None:
        """A fault: the camera sends images of half the size."""
        self._camera(name).halve(on)

    @property
    def _light(self) -> float:
        return float(self._node.get_parameter("light").value)

    def _camera(self, name: str) -> _Camera:
        return next(camera for camera in self._cameras if camera.name == name)

    def restart(self, t_ns: int, seed: int) -> None:
        """Begin the frame grids anew, for the episode `seed`; frames that wait for their publication are forgotten."""
        for camera in self._cameras:
            camera.schedule.restart(t_ns, seed)
            camera.waiting.clear()

    def after_step(self, t_ns: int) -> None:
        """Take and publish what is due at `t_ns`; the plant is locked."""
        snapshot: Snapshot | None = None
        for camera in self._cameras:
            if camera.schedule.due(t_ns) and camera.wanted:
                snapshot = snapshot or self._world.snapshot()
                camera.waiting.append((t_ns, snapshot))
            while camera.waiting and camera.waiting[0][0] + camera.schedule.latency_ns <= t_ns:
                stamp_ns, taken = camera.waiting.popleft()
                self._deliver(camera, taken, stamp_ns)

    def _deliver(self, camera: _Camera, snapshot: Snapshot, t_ns: int) -> None:
        if not self._threaded:
            camera.publish(self._world, snapshot, t_ns, self._light)
            return
        try:
            self._queue.put_nowait((camera, snapshot, t_ns))
        except queue.Full:
            self.overruns += 1
            self._node.get_logger().warning(
                f"camera '{camera.name}': rendering is slower than the frame rate; {self.overruns} frames lost so "
                "far. Use "
                "smaller images, a smaller real_time_factor or clock_mode:=lockstep",
                throttle_duration_sec=5.0,
            )

    def render_loop(self) -> None:
        """Render and publish until `stop`; the body of the render thread in paced mode."""
        while not self._stopped.is_set():
            item = self._queue.get()
            if item is not None:
                camera, snapshot, t_ns = item
                camera.publish(self._world, snapshot, t_ns, self._light)
        self._world.close_renderer()

    def stop(self) -> None:
        """End the render thread and the nodes of the cameras' settings."""
        self._settings.close()
        self._stopped.set()
        while not self._queue.empty():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put(None)


def _image(height: int, width: int, frame_id: str) -> Image:
    image = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    image.header.frame_id = frame_id
    image.data = array.array("B", bytes(height * width * 3))  # the message keeps a copy, which `publish` overwrites
    return image


def _disturbance(params: CellParams, phase_s: float, index: int) -> CameraDisturbance:
    return CameraDisturbance(
        phase_s=phase_s,
        jitter_s=params.camera_jitter_s,
        drop_fraction=params.camera_drop_fraction,
        latency_s=params.camera_latency_s,
        seed=params.disturbance_seed + index,
    )


def describe(info: dict[str, Any]) -> str:
    """One line about a camera's calibration, for the log."""
    return f"{info['width']}x{info['height']}, f = {info['k'][0]:.1f} px, frame {info['frame_id']}"
