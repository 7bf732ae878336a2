# SPDX-License-Identifier: Apache-2.0

"""The physics that all stations share: one MuJoCo model, one clock, the cameras.

Not thread-safe, except that `render` may be called with a snapshot from any thread while another one steps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vla_sim.rendering import Image, SceneRenderer, Snapshot  # isort: skip  (sets MUJOCO_GL before mujoco is loaded)

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim import mjcf, tasks
from vla_sim.board import Plate
from vla_sim.errors import SceneError
from vla_sim.model import Camera, Link, camera_links
from vla_sim.robot import SINGLE, UR5E, Station

Array = NDArray[np.float64]


class World:
    """Robots at their stations on one table.

    Args:
        sizes: image size (height, width) by camera name.
        task: one of `tasks.TASKS`; what is on the table before each robot.
        stations: the robots.
        cameras: all cameras that there can be; `sizes` says which of them are used.
        plate: a calibration board on the table or in the gripper.

    Raises:
        SceneError: unknown camera, a size that is not positive, or a task that these robots cannot do.
    """

    def __init__(
        self,
        sizes: Mapping[str, tuple[int, int]],
        task: str,
        *,
        stations: Sequence[Station] = (SINGLE,),
        cameras: Sequence[Camera] = mjcf.CELL_CAMERAS,
        plate: Plate | None = None,
    ) -> None:
        if tasks.check_task(task) not in tasks.SINGLE_BLOCK_TASKS and any(s.robot is not UR5E for s in stations):
            raise SceneError(
                f"task '{task}' is for one UR5e; for this robot choose one of: {', '.join(tasks.SINGLE_BLOCK_TASKS)}"
            )
        self.stations = tuple(stations)
        self.all_cameras = {camera.name: camera for camera in cameras}
        _check_cameras(sizes, self.all_cameras)
        self.sizes = {name: (int(h), int(w)) for name, (h, w) in sizes.items()}
        offscreen = (
            max((h for h, _ in self.sizes.values()), default=1),
            max((w for _, w in self.sizes.values()), default=1),
        )
        text = mjcf.build_mjcf(task, offscreen=offscreen, plate=plate, stations=stations, cameras=cameras)
        self.model: Any = mujoco.MjModel.from_xml_string(text, plate.assets() if plate else None)
        self.data: Any = mujoco.MjData(self.model)
        self._renderer = SceneRenderer(self.model, self.sizes)
        self.time_ns = 0
        self.before_step: list[Callable[[], None]] = []
        self.after_step: list[Callable[[], None]] = []

    def step(self, n: int = 1) -> None:
        """Advance physics by n steps of 2 ms with the present set-points of all stations."""
        for _ in range(n):
            for call in self.before_step:
                call()
            mujoco.mj_step(self.model, self.data)
            self.time_ns += c.STEP_NS
            for call in self.after_step:
                call()

    def clear(self) -> None:
        """Everything at its model's start, at rest; the clock goes on."""
        mujoco.mj_resetData(self.model, self.data)

    def settle(self) -> None:
        """Compute what follows from the positions."""
        mujoco.mj_forward(self.model, self.data)

    def snapshot(self) -> Snapshot:
        """State of the scene now, for `render` in another thread."""
        d = self.data
        return Snapshot(self.time_ns, d.qpos.copy(), d.mocap_pos.copy(), d.mocap_quat.copy())

    def render(self, camera: str, snapshot: Snapshot | None = None) -> Image:
        """Image (H, W, 3) uint8 RGB of a camera, of the snapshot or of the present state.

        With a snapshot it may be called from any thread; each thread keeps its own OpenGL contexts.

        Raises:
            SceneError: no such camera.
            RenderError: OpenGL is not usable here; the message names the packages to install.
        """
        return self._renderer.render(camera, self.snapshot() if snapshot is None else snapshot)

    def close_renderer(self) -> None:
        """Release the OpenGL contexts of the calling thread."""
        self._renderer.close_thread()

    def camera_info(self, camera: str) -> dict[str, Any]:
        """Pinhole calibration as in sensor_msgs/CameraInfo, and where the camera sits.

        Returns:
            width, height, k (9,), d (5,), r (9,), p (12,), distortion_model, frame_id (optical frame), parent (frame)
            and T_parent (4, 4), the pose of the optical frame in the parent. Pixel centres have integer coordinates.

        Raises:
            SceneError: no such camera.
        """
        if camera not in self.sizes:
            raise SceneError(f"unknown camera '{camera}' of the simulated cell; it has: {', '.join(self.sizes)}")
        height, width = self.sizes[camera]
        spec = self.all_cameras[camera]
        f = height / 2 / np.tan(spec.fovy / 2)
        cx, cy = (width - 1) / 2, (height - 1) / 2
        return {
            "width": width,
            "height": height,
            "distortion_model": "plumb_bob",
            "k": np.array([f, 0, cx, 0, f, cy, 0, 0, 1]),
            "d": np.zeros(5),
            "r": np.eye(3).ravel(),
            "p": np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0]),
            "frame_id": spec.frame_id,
            "parent": spec.parent,
            "T_parent": spec.T_parent_optical.copy(),
        }

    def links(self, station: Station) -> list[Link]:
        """Links of a robot, with the cameras that it carries or that stand in its base frame."""
        robot = station.robot
        frames = {robot.base, *(link.name for link in robot.links)}
        return [*robot.links, *camera_links(v for v in self.all_cameras.values() if v.parent in frames)]

    def standing_links(self) -> list[Link]:
        """Links of what stands in the world: the bases of several robots, and cameras."""
        bases = [Link(name=s.robot.base, parent=mjcf.WORLD, xyz=s.xyz) for s in self.stations if s.name]
        return [*bases, *camera_links(v for v in self.all_cameras.values() if v.parent == mjcf.WORLD)]


def _check_cameras(sizes: Mapping[str, tuple[int, int]], cameras: Mapping[str, Camera]) -> None:
    for name, (height, width) in sizes.items():
        if name not in cameras:
            raise SceneError(f"unknown camera '{name}' of the simulated cell; it has: {', '.join(cameras)}")
        if height < 1 or width < 1:
            raise SceneError(f"size {width}x{height} of camera '{name}' must be at least 1x1 pixels")
