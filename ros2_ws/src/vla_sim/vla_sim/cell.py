# SPDX-License-Identifier: Apache-2.0

"""The simulated cell without ROS: physics, set-points, sensors, cameras and the truth about the task.

Not thread-safe, except that `render` may be called with a snapshot from any thread while another one steps.
"""

from collections.abc import Mapping
from typing import Any

from vla_sim.rendering import Image, SceneRenderer, Snapshot  # isort: skip  (sets MUJOCO_GL before mujoco is loaded)

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim import mjcf, model, tasks, urdf
from vla_sim.board import Plate
from vla_sim.errors import SceneError
from vla_sim.parts import PARTS

Array = NDArray[np.float64]

_BODIES = {"red": mjcf.BLOCK_BODY, "blue": mjcf.BLUE_BLOCK_BODY}  # of the blocks, by colour
_FACTS_EVERY = 5  # steps between looks at the success condition (10 ms)


class _Thing:
    """Where a body that can move freely is in MuJoCo's vectors."""

    def __init__(self, model_: Any, body: str) -> None:
        self.q = int(model_.joint(body).qposadr[0])
        self.v = int(model_.joint(body).dofadr[0])
        self.geom = int(model_.geom(body).id)


class Cell:
    """UR5e with a two-finger gripper, the things of a task on a table, and up to two cameras.

    Args:
        cameras: image size (height, width) by camera name, of "front" and "wrist".
        seed: start state of the first episode.
        task: one of `tasks.TASKS`. The tasks with one block share a scene; pick_which and each extraction task have
            their own.
        bin_mode: "fixed", or "moving" for another bin position in each episode; the pick tasks have their own.
        yaw_range: largest turn of the block about z at the start, either side, in rad; the pick tasks have their own.
        plate: a calibration board on the table or in the gripper.

    Raises:
        SceneError: unknown camera, task or option, or a size that is not positive.
    """

    def __init__(
        self,
        cameras: Mapping[str, tuple[int, int]],
        seed: int = 0,
        task: str = "lift",
        *,
        bin_mode: tasks.BinMode = "fixed",
        yaw_range: float = 0.0,
        plate: Plate | None = None,
    ) -> None:
        _check_cameras(cameras)
        if bin_mode not in ("fixed", "moving"):
            raise SceneError(f"bin mode '{bin_mode}' of the simulated cell is not one of: fixed, moving")
        self._sizes = {name: (int(h), int(w)) for name, (h, w) in cameras.items()}
        self._bin_mode, self._yaw_range = bin_mode, yaw_range
        offscreen = (
            max((h for h, _ in self._sizes.values()), default=1),
            max((w for _, w in self._sizes.values()), default=1),
        )
        self._task = tasks.check_task(task)
        self._part = PARTS.get(task)
        self.two_blocks = task == "pick_which"
        self._model: Any = mujoco.MjModel.from_xml_string(
            mjcf.build_mjcf(task, offscreen=offscreen, plate=plate), plate.assets() if plate else None
        )
        self._data: Any = mujoco.MjData(self._model)
        self._renderer = SceneRenderer(self._model, self._sizes)
        self._index()
        self._time_ns = 0
        self.reset(seed)

    def _index(self) -> None:
        m = self._model
        self._arm_q = np.array([m.joint(name).qposadr[0] for name in c.ARM_JOINTS])
        self._arm_v = np.array([m.joint(name).dofadr[0] for name in c.ARM_JOINTS])
        self._arm_u = np.array([m.actuator(name).id for name in c.ARM_JOINTS])
        self._grip_u = int(m.actuator(mjcf.GRIPPER_ACTUATOR).id)
        self._grip_tendon = int(m.tendon("gripper").id)
        target = mjcf.BIN_BODY if self._part is None else mjcf.PLACE_BODY
        bodies = (
            {"": mjcf.PART_BODY} if self._part is not None else _BODIES if self.two_blocks else {"": mjcf.BLOCK_BODY}
        )
        self._things = {colour: _Thing(m, body) for colour, body in bodies.items()}
        self._block = next(iter(self._things.values()))
        self._other: _Thing | None = None
        self._finger_geoms = [int(m.body(name).geomadr[0]) for name in mjcf.FINGERS]
        self._bin_mocap = int(m.body(target).mocapid[0])
        self._socket_mocap = None if self._part is None else int(m.body(mjcf.SOCKET_BODY).mocapid[0])
        self._tcp_site = int(m.site(mjcf.TCP_SITE).id)

    @property
    def time_ns(self) -> int:
        """Simulated time; a multiple of the 2 ms step, never goes back, not even at a reset."""
        return self._time_ns

    @property
    def task(self) -> str:
        """Task of the running episode."""
        return self._task

    @property
    def cameras(self) -> Mapping[str, tuple[int, int]]:
        """Image size (height, width) by camera name."""
        return dict(self._sizes)

    def reset(self, seed: int, task: str | None = None) -> None:
        """Put the scene into the start state of a seed: arm near home and at rest, gripper open, block on the table.

        Time goes on from where it is.

        Raises:
            SceneError: unknown task, a task of another scene, or negative seed; the scene is left as it was.
        """
        wanted = tasks.check_task(self._task if task is None else task)
        if PARTS.get(wanted) is not self._part or (wanted == "pick_which") != self.two_blocks:
            raise SceneError(
                f"the simulated cell shows the scene of task '{self._task}'; for task '{wanted}' start it with "
                f"scene:={wanted} (parameter 'task')"
            )
        start = self._start(wanted, seed)
        self._task, self._seed = wanted, seed
        if self.two_blocks:
            self._block = self._things[start.colour]
            self._other = next(thing for colour, thing in self._things.items() if colour != start.colour)
        mujoco.mj_resetData(self._model, self._data)
        d = self._data
        d.qpos[self._arm_q] = start.q
        self._put(self._block, start.block)
        if self._other is not None and start.other is not None:
            self._put(self._other, start.other)
        d.mocap_pos[self._bin_mocap] = (start.bin.xyz[0], start.bin.xyz[1], 0.0)
        if start.socket is not None:
            x, y, z, w = start.socket.xyzw
            d.mocap_pos[self._socket_mocap] = start.socket.xyz
            d.mocap_quat[self._socket_mocap] = (w, x, y, z)
        self._seat = start.block
        d.ctrl[self._arm_u] = start.q
        d.ctrl[self._grip_u] = 0.0
        self._bin = self._target = start.bin
        if self._part is not None:
            self._target = tasks.compose(start.bin, tasks.upright(0.0, 0.0, self._part.seat_z))
        self._knuckle_goal = self._knuckle_setpoint = 0.0
        self._knuckle_speed = c.GRIPPER_MAX_SPEED
        self._set_grip_force(c.GRIPPER_DEFAULT_EFFORT)
        self._monitor, self._other_monitor = tasks.SuccessMonitor(self._task), tasks.SuccessMonitor(self._task)
        self._until_facts = _FACTS_EVERY
        self._other_success = False
        mujoco.mj_forward(self._model, d)
        self._look()

    def _start(self, task: str, seed: int) -> tasks.StartState:
        if self._part is not None:
            return tasks.extraction_start(task, seed)
        if task in tasks.PICK_TASKS:
            if self._bin_mode != "fixed" or self._yaw_range:
                raise SceneError(
                    f"task '{task}' says itself how the bin moves and the block turns; leave bin:=fixed and yaw_range 0"
                )
            return tasks.pick_start(task, seed)
        return tasks.start_state(seed, bin_mode=self._bin_mode, yaw_range=self._yaw_range)

    def _put(self, thing: _Thing, pose: tasks.Pose) -> None:
        """Put a block or the part at a pose, at rest."""
        x, y, z, w = pose.xyzw
        self._data.qpos[thing.q : thing.q + 7] = (*pose.xyz, w, x, y, z)
        self._data.qvel[thing.v : thing.v + 6] = 0.0

    def _look(self) -> None:
        """Look at the success condition."""
        self._success = self._monitor.update(self._facts(self._block))
        if self._other is not None:
            self._other_success = self._other_monitor.update(self._facts(self._other))

    @property
    def seat(self) -> tasks.Pose:
        """Where the block or the part was at the start of the episode, in base_link."""
        return self._seat

    def displace(self, offset: tasks.Pose) -> tasks.Pose:
        """Put the block or the part elsewhere, at rest; from there it falls.

        Args:
            offset: as seen from where it was at the start of the episode, for example 6 cm to the side.

        Returns:
            The new pose in base_link.

        Raises:
            SceneError: numbers that are not finite or a quaternion that is not one; the scene is left as it was.
        """
        norm = float(np.linalg.norm(offset.xyzw))
        if not np.isfinite([*offset.xyz, norm]).all() or abs(norm - 1.0) > 1e-3:
            raise SceneError(
                f"displacement {offset.xyz} with quaternion {offset.xyzw}: it must be finite, in metres, with a unit "
                "quaternion x y z w; no turn is 0 0 0 1"
            )
        pose = tasks.compose(self._seat, offset)
        self._put(self._block, pose)
        mujoco.mj_forward(self._model, self._data)
        return pose

    def step(self, n: int = 1) -> None:
        """Advance physics by n steps of 2 ms with the present set-points."""
        for _ in range(n):
            travel = self._knuckle_speed * c.STEP_NS * 1e-9
            gap = self._knuckle_goal - self._knuckle_setpoint
            self._knuckle_setpoint += min(max(gap, -travel), travel)
            self._data.ctrl[self._grip_u] = self._knuckle_setpoint * (c.FINGER_TRAVEL / c.KNUCKLE_CLOSED)
            mujoco.mj_step(self._model, self._data)
            self._time_ns += c.STEP_NS
            self._until_facts -= 1
            if self._until_facts == 0:
                self._until_facts = _FACTS_EVERY
                self._look()

    def set_arm_target(self, q: Array) -> None:
        """Set-point (6,) in rad of the joint position servos, in the order pan, lift, elbow, wrist 1, 2, 3.

        Raises:
            SceneError: wrong length or a value that is not finite; the set-point stays as it was.
        """
        values = np.asarray(q, dtype=np.float64)
        if values.shape != (6,) or not np.isfinite(values).all():
            raise SceneError(f"arm set-point of the simulated cell must be 6 finite numbers in rad, got {q!r}")
        self._data.ctrl[self._arm_u] = values

    def arm_state(self) -> tuple[Array, Array, Array]:
        """Joint positions (rad), velocities (rad/s) and servo torques (Nm), each (6,): pan, lift, elbow, w1, w2, w3."""
        d = self._data
        return d.qpos[self._arm_q].copy(), d.qvel[self._arm_v].copy(), d.actuator_force[self._arm_u].copy()

    def set_gripper_target(
        self, position: float, max_speed: float = c.GRIPPER_MAX_SPEED, max_effort: float = c.GRIPPER_DEFAULT_EFFORT
    ) -> None:
        """Move the knuckle joint to position (rad, 0 open to 0.7929 closed) at max_speed (rad/s).

        The fingers stop on an object and press with max_effort (N). Like the driver of the real gripper, speed and
        effort outside the gripper's range are taken as the nearest value that it has.

        Raises:
            SceneError: position outside 0 to 0.7929, or a number that is not finite; the set-point stays as it was.
        """
        if not np.isfinite([position, max_speed, max_effort]).all() or not -1e-3 <= position <= c.KNUCKLE_CLOSED + 1e-3:
            raise SceneError(
                f"gripper set-point of the simulated cell must lie in 0 to {c.KNUCKLE_CLOSED} rad with finite speed "
                f"and effort, got position {position}, speed {max_speed}, effort {max_effort}"
            )
        # The set-point runs ahead of a blocked finger; a new goal starts from where the fingers are.
        here = self.gripper_state()[0]
        if (position - here) * (self._knuckle_setpoint - here) < 0.0:
            self._knuckle_setpoint = here
        self._knuckle_goal = min(max(position, 0.0), c.KNUCKLE_CLOSED)
        self._knuckle_speed = min(max(max_speed, 0.1 * c.GRIPPER_MAX_SPEED), c.GRIPPER_MAX_SPEED)
        self._set_grip_force(min(max(max_effort, c.GRIPPER_MIN_EFFORT), c.GRIPPER_MAX_EFFORT))

    def gripper_state(self) -> tuple[float, float, float]:
        """Knuckle joint position (rad), velocity (rad/s) and grip force per finger (N)."""
        scale = c.KNUCKLE_CLOSED / c.FINGER_TRAVEL
        d, t = self._data, self._grip_tendon
        return (
            float(d.ten_length[t]) * scale,
            float(d.ten_velocity[t]) * scale,
            float(d.actuator_force[self._grip_u]) / 2,
        )

    def _set_grip_force(self, effort: float) -> None:
        self._model.actuator_forcerange[self._grip_u] = (-2 * effort, 2 * effort)

    def snapshot(self) -> Snapshot:
        """State of the scene now, for `render` in another thread."""
        d = self._data
        return Snapshot(self._time_ns, d.qpos.copy(), d.mocap_pos.copy(), d.mocap_quat.copy())

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
        if camera not in self._sizes:
            raise SceneError(f"unknown camera '{camera}' of the simulated cell; it has: {', '.join(self._sizes)}")
        height, width = self._sizes[camera]
        spec = model.CAMERAS[camera]
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

    def tool_centre(self) -> Array:
        """Position (3,) of the tool centre point in base_link."""
        return np.array(self._data.site_xpos[self._tcp_site])

    def task_state(self) -> tasks.TaskState:
        """Truth about the running episode, now; success is looked at every 10 ms."""
        return self._state(self._block, self._success)

    def other_state(self) -> tasks.TaskState | None:
        """The same about the block that the sentence does not name; None where there is one block."""
        return None if self._other is None else self._state(self._other, self._other_success)

    def _state(self, thing: _Thing, success: bool) -> tasks.TaskState:
        facts = self._facts(thing)
        return tasks.TaskState(
            task=self._task,
            seed=self._seed,
            object_pose=facts.block,
            target_pose=self._target,
            tool_distance=facts.tool_distance,
            grasped=facts.grasped,
            success=success,
        )

    def urdf(self) -> str:
        """URDF of the robot with gripper and camera mounts; same numbers and names as the physics."""
        return urdf.build_urdf()

    def static_transforms(self) -> list[tuple[str, str, Array]]:
        """Fixed edges of the frame tree: (parent, child, pose (4, 4) of the child in the parent)."""
        return model.static_transforms()

    def _facts(self, thing: _Thing) -> tasks.Facts:
        d = self._data
        x, y, z, qw, qx, qy, qz = (float(v) for v in d.qpos[thing.q : thing.q + 7])
        speed = float(np.linalg.norm(d.qvel[thing.v : thing.v + 3]))
        tool = self._data.site_xpos[self._tcp_site]
        return tasks.Facts(
            time_ns=self._time_ns,
            block=tasks.Pose(xyz=(x, y, z), xyzw=(qx, qy, qz, qw)),
            bin=self._bin,
            block_speed=speed,
            tool_distance=float(np.linalg.norm(tool - (x, y, z))),
            grasped=self._both_fingers_touch(thing.geom),
            knuckle=self.gripper_state()[0],
        )

    def _both_fingers_touch(self, geom: int) -> bool:
        pairs = self._data.contact.geom
        if len(pairs) == 0:
            return False
        touched = set(pairs[(pairs == geom).any(axis=1)].ravel().tolist())
        return all(finger in touched for finger in self._finger_geoms)


def _check_cameras(cameras: Mapping[str, tuple[int, int]]) -> None:
    for name, (height, width) in cameras.items():
        if name not in model.CAMERAS:
            raise SceneError(f"unknown camera '{name}' of the simulated cell; it has: {', '.join(model.CAMERAS)}")
        if height < 1 or width < 1:
            raise SceneError(f"size {width}x{height} of camera '{name}' must be at least 1x1 pixels")
