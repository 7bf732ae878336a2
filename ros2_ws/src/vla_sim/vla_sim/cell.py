# SPDX-License-Identifier: Apache-2.0

"""One station of the simulated cell without ROS: set-points, sensors and the truth about its task.

Not thread-safe, except that `render` may be called with a snapshot from any thread while another one steps.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vla_sim.rendering import Image, Snapshot  # isort: skip  (sets MUJOCO_GL before mujoco is loaded)

import numpy as np
from numpy.typing import NDArray

from vla_sim import constants as c
from vla_sim import kinematics, mjcf, model, tasks, urdf
from vla_sim.board import Plate
from vla_sim.errors import SceneError
from vla_sim.parts import PARTS
from vla_sim.robot import SINGLE, Station
from vla_sim.world import World

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
    """A robot with a two-finger gripper and the things of a task before it on the table.

    Poses are in the robot's base frame. By itself it is a world with one UR5e; several cells can share a world.

    Args:
        cameras: image size (height, width) by camera name, of "front" and "wrist".
        seed: start state of the first episode.
        task: one of `tasks.TASKS`. The tasks with one block share a scene; pick_which and each extraction task have
            their own, with one UR5e.
        bin_mode: "fixed", or "moving" for another bin position in each episode; the pick tasks have their own.
        yaw_range: largest turn of the block about z at the start, either side, in rad; the pick tasks have their own.
        plate: a calibration board on the table or in the gripper.
        world: a world of several stations, in place of `cameras` and `plate`.
        station: this one's.

    Raises:
        SceneError: unknown camera, task or option, a size that is not positive, or a task that the robot cannot do.
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
        world: World | None = None,
        station: Station = SINGLE,
    ) -> None:
        if bin_mode not in ("fixed", "moving"):
            raise SceneError(f"bin mode '{bin_mode}' of the simulated cell is not one of: fixed, moving")
        self._bin_mode, self._yaw_range = bin_mode, yaw_range
        self._task = tasks.check_task(task)
        self._part = PARTS.get(task)
        self.two_blocks = task == "pick_which"
        self.station, self.robot = station, station.robot
        self.world = world or World(cameras, task, plate=plate)
        self._model, self._data = self.world.model, self.world.data
        self._base = np.array(station.xyz)
        self._index()
        self.world.before_step.append(self._before_step)
        self.world.after_step.append(self._after_step)
        self.reset(seed)

    def _index(self) -> None:
        m, robot, part = self._model, self.robot, self.station.part
        self._arm_q = np.array([m.joint(name).qposadr[0] for name in robot.joints])
        self._arm_v = np.array([m.joint(name).dofadr[0] for name in robot.joints])
        self._arm_u = np.array([m.actuator(name).id for name in robot.joints])
        grip = robot.gripper
        self._slides = np.array([m.joint(name).qposadr[0] for name in grip.slides])
        if not grip.in_arm:
            self._grip_u = int(m.actuator(part(mjcf.GRIPPER_ACTUATOR)).id)
            self._grip_tendon = int(m.tendon(part(mjcf.GRIPPER_ACTUATOR)).id)
        target = mjcf.BIN_BODY if self._part is None else mjcf.PLACE_BODY
        bodies = (
            {"": mjcf.PART_BODY} if self._part is not None else _BODIES if self.two_blocks else {"": mjcf.BLOCK_BODY}
        )
        self._things = {colour: _Thing(m, part(body)) for colour, body in bodies.items()}
        self._block = next(iter(self._things.values()))
        self._other: _Thing | None = None
        self._finger_geoms = [int(m.body(name).geomadr[0]) for name in grip.fingers]
        self._bin_mocap = int(m.body(part(target)).mocapid[0])
        self._socket_mocap = None if self._part is None else int(m.body(mjcf.SOCKET_BODY).mocapid[0])
        self._tcp_site = int(m.site(part(mjcf.TCP_SITE)).id)

    @property
    def time_ns(self) -> int:
        """Simulated time; a multiple of the 2 ms step, never goes back, not even at a reset."""
        return self.world.time_ns

    @property
    def task(self) -> str:
        """Task of the running episode."""
        return self._task

    @property
    def cameras(self) -> Mapping[str, tuple[int, int]]:
        """Image size (height, width) by camera name."""
        return dict(self.world.sizes)

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
        if self.station is self.world.stations[0]:  # several are reset in their order
            self.world.clear()
        self._place(start)
        self._knuckle_goal = self._knuckle_setpoint = self.robot.gripper.open
        self._knuckle_speed = self.robot.gripper.speed
        self._set_grip_force(self.robot.gripper.efforts[2])
        self._monitor, self._other_monitor = tasks.SuccessMonitor(self._task), tasks.SuccessMonitor(self._task)
        self._until_facts = _FACTS_EVERY
        self._other_success = False
        self.world.settle()
        self._look()

    def _place(self, start: tasks.StartState) -> None:
        """Put the arm and the things where an episode begins."""
        d, grip = self._data, self.robot.gripper
        q = np.array(self.robot.home)
        count = min(6, len(self.robot.arm_joints))
        q[:count] += (start.q - kinematics.home())[:count]
        d.qpos[self._slides] = grip.open / grip.per_slide
        d.qpos[self._arm_q] = q
        d.ctrl[self._arm_u] = q
        if not grip.in_arm:
            d.ctrl[self._grip_u] = grip.open / grip.per_slide
        self._put(self._block, start.block)
        if self._other is not None and start.other is not None:
            self._put(self._other, start.other)
        d.mocap_pos[self._bin_mocap] = self._base + self.robot.scale * np.array([*start.bin.xyz[:2], 0.0])
        if start.socket is not None:
            x, y, z, w = start.socket.xyzw
            d.mocap_pos[self._socket_mocap] = start.socket.xyz
            d.mocap_quat[self._socket_mocap] = (w, x, y, z)
        self._seat = start.block
        self._bin = self._target = start.bin
        if self._part is not None:
            self._target = tasks.compose(start.bin, tasks.upright(0.0, 0.0, self._part.seat_z))

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
        """Put a block or the part at a pose of the UR5e's scene, at rest."""
        x, y, z, w = pose.xyzw
        self._data.qpos[thing.q : thing.q + 3] = self._base + self.robot.scale * np.array(pose.xyz)
        self._data.qpos[thing.q + 3 : thing.q + 7] = (w, x, y, z)
        self._data.qvel[thing.v : thing.v + 6] = 0.0

    def _look(self) -> None:
        """Look at the success condition."""
        self._success = self._monitor.update(self._facts(self._block))
        if self._other is not None:
            self._other_success = self._other_monitor.update(self._facts(self._other))

    @property
    def seat(self) -> tasks.Pose:
        """Where the block or the part was at the start of the episode, in base_link."""
        return self._true(self._seat)

    def _true(self, pose: tasks.Pose) -> tasks.Pose:
        """A pose of the UR5e's scene in metres of this robot's."""
        if self.robot.scale == 1.0:
            return pose
        x, y, z = (self.robot.scale * v for v in pose.xyz)
        return replace(pose, xyz=(x, y, z))

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
        x, y, z = (v / self.robot.scale for v in offset.xyz)
        pose = tasks.compose(self._seat, replace(offset, xyz=(x, y, z)))
        self._put(self._block, pose)
        self.world.settle()
        return self._true(pose)

    def step(self, n: int = 1) -> None:
        """Advance the world by n steps of 2 ms with the present set-points."""
        self.world.step(n)

    def _before_step(self) -> None:
        if self.robot.gripper.in_arm:
            return
        travel = self._knuckle_speed * c.STEP_NS * 1e-9
        gap = self._knuckle_goal - self._knuckle_setpoint
        self._knuckle_setpoint += min(max(gap, -travel), travel)
        self._data.ctrl[self._grip_u] = self._knuckle_setpoint / self.robot.gripper.per_slide

    def _after_step(self) -> None:
        self._until_facts -= 1
        if self._until_facts == 0:
            self._until_facts = _FACTS_EVERY
            self._look()

    def set_arm_target(self, q: Array) -> None:
        """Set-point (k,) in rad of the joint position servos, in the order of the robot's joints.

        Raises:
            SceneError: wrong length or a value that is not finite; the set-point stays as it was.
        """
        values = np.asarray(q, dtype=np.float64)
        if values.shape != self._arm_q.shape or not np.isfinite(values).all():
            count = len(self._arm_q)
            raise SceneError(f"arm set-point of the simulated cell must be {count} finite numbers in rad, got {q!r}")
        self._data.ctrl[self._arm_u] = values

    def arm_state(self) -> tuple[Array, Array, Array]:
        """Joint positions (rad), velocities (rad/s) and servo torques (Nm), each (k,), in the order of the joints."""
        d = self._data
        return d.qpos[self._arm_q].copy(), d.qvel[self._arm_v].copy(), d.actuator_force[self._arm_u].copy()

    def set_gripper_target(
        self, position: float, max_speed: float | None = None, max_effort: float | None = None
    ) -> None:
        """Move the gripper's joint to position (a UR5e's: rad, 0 open to 0.7929 closed) at max_speed (rad/s).

        The fingers stop on an object and press with max_effort (N). Like the driver of the real gripper, speed and
        effort outside the gripper's range are taken as the nearest value that it has.

        Raises:
            SceneError: position outside the gripper's range, or a number that is not finite; the set-point stays as it
                was.
        """
        grip = self.robot.gripper
        speed = grip.speed if max_speed is None else max_speed
        effort = grip.efforts[2] if max_effort is None else max_effort
        slack = 1e-3 * abs(grip.closed - grip.open)
        if not np.isfinite([position, speed, effort]).all() or not grip.lower - slack <= position <= grip.upper + slack:
            raise SceneError(
                f"gripper set-point of the simulated cell must lie in {grip.lower:g} to {grip.upper:g} {grip.unit} with "
                f"finite speed and effort, got position {position}, speed {speed}, effort {effort}"
            )
        # The set-point runs ahead of a blocked finger; a new goal starts from where the fingers are.
        here = self.gripper_state()[0]
        if (position - here) * (self._knuckle_setpoint - here) < 0.0:
            self._knuckle_setpoint = here
        self._knuckle_goal = min(max(position, grip.lower), grip.upper)
        self._knuckle_speed = min(max(speed, 0.1 * grip.speed), grip.speed)
        self._set_grip_force(min(max(effort, grip.efforts[0]), grip.efforts[1]))

    def gripper_state(self) -> tuple[float, float, float]:
        """Position and velocity of the gripper's joint (rad or m) and grip force per finger (N)."""
        d, grip = self._data, self.robot.gripper
        if grip.in_arm:
            i = self.robot.joints.index(grip.joint)
            return float(d.qpos[self._arm_q[i]]), float(d.qvel[self._arm_v[i]]), float(d.actuator_force[self._arm_u[i]])
        t = self._grip_tendon
        return (
            float(d.ten_length[t]) * grip.per_slide,
            float(d.ten_velocity[t]) * grip.per_slide,
            float(d.actuator_force[self._grip_u]) / len(grip.slides),
        )

    def _set_grip_force(self, effort: float) -> None:
        grip = self.robot.gripper
        if not grip.in_arm:
            force = len(grip.slides) * effort
            self._model.actuator_forcerange[self._grip_u] = (-force, force)

    def snapshot(self) -> Snapshot:
        """See `World.snapshot`."""
        return self.world.snapshot()

    def render(self, camera: str, snapshot: Snapshot | None = None) -> Image:
        """See `World.render`."""
        return self.world.render(camera, snapshot)

    def close_renderer(self) -> None:
        """See `World.close_renderer`."""
        self.world.close_renderer()

    def camera_info(self, camera: str) -> dict[str, Any]:
        """See `World.camera_info`."""
        return self.world.camera_info(camera)

    def tool_centre(self) -> Array:
        """Position (3,) of the tool centre point in the robot's base frame."""
        centre: Array = self._data.site_xpos[self._tcp_site] - self._base
        return centre

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
            object_pose=self._true(facts.block),
            target_pose=self._true(self._target),
            tool_distance=self.robot.scale * facts.tool_distance,
            grasped=facts.grasped,
            success=success,
        )

    def urdf(self) -> str:
        """URDF of the robot with gripper and camera mounts; same numbers and names as the physics."""
        return urdf.build_urdf(self.world.links(self.station), self.robot.base, self.robot.kind)

    def static_transforms(self) -> list[tuple[str, str, Array]]:
        """Fixed edges of the frame tree: (parent, child, pose (4, 4) of the child in the parent).

        The first station's also say where the robots and cameras stand in the world.
        """
        standing = self.world.standing_links() if self.station is self.world.stations[0] else []
        return model.static_transforms([*standing, *self.world.links(self.station)])

    def _facts(self, thing: _Thing) -> tasks.Facts:
        """What the success conditions look at, in the size of the UR5e's scene."""
        d, scale = self._data, self.robot.scale
        x, y, z = (float(v) for v in (d.qpos[thing.q : thing.q + 3] - self._base) / scale)
        qw, qx, qy, qz = (float(v) for v in d.qpos[thing.q + 3 : thing.q + 7])
        speed = float(np.linalg.norm(d.qvel[thing.v : thing.v + 3])) / scale
        return tasks.Facts(
            time_ns=self.time_ns,
            block=tasks.Pose(xyz=(x, y, z), xyzw=(qx, qy, qz, qw)),
            bin=self._bin,
            block_speed=speed,
            tool_distance=float(np.linalg.norm(self.tool_centre() / scale - (x, y, z))),
            grasped=self._both_fingers_touch(thing.geom),
            knuckle=self.robot.gripper.knuckle(self.gripper_state()[0]),
        )

    def _both_fingers_touch(self, geom: int) -> bool:
        pairs = self._data.contact.geom
        if len(pairs) == 0:
            return False
        touched = set(pairs[(pairs == geom).any(axis=1)].ravel().tolist())
        return all(finger in touched for finger in self._finger_geoms)
