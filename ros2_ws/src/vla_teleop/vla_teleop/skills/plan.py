# SPDX-License-Identifier: Apache-2.0

"""From waypoints to joint trajectories: targets, segments, speeds, inverse kinematics; all of it before anything moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy
from vla_core.specs import Kinematics, Limits

from vla_teleop.skills.cartesian import CartesianPath, Speeds
from vla_teleop.skills.errors import PlanError
from vla_teleop.skills.limits import Bounds, Box, check_path, joint_velocities
from vla_teleop.skills.table import SkillSpec
from vla_teleop.skills.ur_ik import follow
from vla_teleop.skills.waypoints import Waypoint

Array = NDArray[np.float64]
SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WaypointEnd:
    """One waypoint on a segment.

    Attributes:
        waypoint: Its row in the file, from 0.
        sample: Index into the segment's times at which the arm is there; at a rounded corner, nearest to it.
        T_base_tcp: Pose ``(4, 4)`` of the tool centre point that the file asks for [m, profile's base_frame].
        absolute: Whether the pose is absolute; else relative to the trigger.
        rounded: The path passes it without stopping, within the blend radius.
    """

    waypoint: int
    sample: int
    T_base_tcp: Array
    absolute: bool
    rounded: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """A stretch between two commands of the gripper.

    Attributes:
        index: Number of the segment in the whole skill, from 0; a resumed skill begins with a later one.
        gripper: Closing to command before the arm moves, 0 (open) to 255; None: it stays as it was.
        times: ``(K,)`` from 0 [s].
        positions: ``(K, n)`` joints [rad]; the first row is where the segment starts.
        velocities: ``(K, n)`` [rad/s]; zero at both ends.
        ends: Its waypoints in order.
        T_end: Pose ``(4, 4)`` of the tool centre point at the end [m, base_frame].
        verification: The grasp is verified where it ends.
    """

    index: int
    gripper: int | None
    times: Array
    positions: Array
    velocities: Array
    ends: tuple[WaypointEnd, ...]
    T_end: Array
    verification: bool

    @property
    def absolute(self) -> bool:
        """Whether all of its waypoints are absolute."""
        return all(end.absolute for end in self.ends)

    @property
    def duration(self) -> float:
        """[s]."""
        return float(self.times[-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkillPlan:
    """A skill that the arm can drive, from one joint position.

    Attributes:
        spec: The skill.
        segments: In order.
        T_tool_tcp: Tool centre point ``(4, 4)`` that it was planned for, in the tool frame.
        T_base_trigger: Pose ``(4, 4)`` to which relative waypoints refer [m, base_frame].
        grasp_commanded: Closing at the verification waypoint, 0 to 255; None without one.
        waypoints: Rows of the file.
    """

    spec: SkillSpec
    segments: tuple[Segment, ...]
    T_tool_tcp: Array
    T_base_trigger: Array
    grasp_commanded: int | None
    waypoints: int

    @property
    def duration(self) -> float:
        """Time of all motion [s], without pauses of the gripper."""
        return sum(segment.duration for segment in self.segments)


def plan_skill(
    spec: SkillSpec,
    waypoints: Sequence[Waypoint],
    kinematics: Kinematics,
    T_tool_tcp: ArrayLike,
    T_base_trigger: ArrayLike | None,
    q0: ArrayLike,
    *,
    limits: Limits,
    workspace: Box | None = None,
    resume: bool = False,
    dt_s: float = SAMPLE_S,
) -> SkillPlan:
    """Plan a skill and check all of it, before anything moves.

    Args:
        spec: The skill, of the table.
        waypoints: Its file.
        kinematics: The arm's, of the profile.
        T_tool_tcp: Tool centre point ``(4, 4)`` in the profile's tool_frame [m]; one in the table comes before it.
        T_base_trigger: Pose ``(4, 4)`` of the tool centre point in the profile's base_frame, where the skill was
            triggered [m]; None: where it is at `q0`.
        q0: Measured joints ``(n,)``, in the order of ``kinematics.joints`` [rad].
        limits: Limits of these joints.
        workspace: Lower and upper corner of the box for the tool frame [m, base_frame]; None: no box.
        resume: Plan the absolute waypoints only.
        dt_s: Longest time between two samples of a trajectory [s].

    Raises:
        PlanError: the arm cannot drive it; the text names waypoint, joint or axis, value and limit. Or the threshold is
            above the closing, or there is nothing to resume.
    """
    commanded = _grasp(spec, waypoints)
    if resume and spec.relative_count >= len(waypoints):
        raise PlanError(
            f"skill '{spec.name}' has no absolute waypoints to resume with; all {len(waypoints)} rows are relative. "
            "Trigger it anew"
        )
    tcp = spec.tool_tcp(np.asarray(T_tool_tcp, dtype=np.float64))
    q = np.asarray(q0, dtype=np.float64)
    start = forward(kinematics, q) @ tcp
    trigger = start if T_base_trigger is None else np.asarray(T_base_trigger, dtype=np.float64)
    bounds = Bounds(arm=kinematics, limits=limits, workspace=workspace)
    planner = _Planner(spec, waypoints, bounds, tcp, _speeds(spec), dt_s)
    targets = target_poses(spec, waypoints, kinematics, trigger)
    return SkillPlan(
        spec=spec,
        segments=tuple(planner.segments(targets, start, q, spec.relative_count if resume else 0)),
        T_tool_tcp=tcp,
        T_base_trigger=trigger,
        grasp_commanded=commanded,
        waypoints=len(waypoints),
    )


def segment_rows(waypoints: Sequence[Waypoint]) -> tuple[tuple[int, int], ...]:
    """Return first and last row of each segment: a new one begins where the gripper changes and after a verification."""
    starts = [
        i
        for i, (before, row) in enumerate(pairwise(waypoints), start=1)
        if row.gripper != before.gripper or before.verification
    ]
    return tuple((first, after - 1) for first, after in pairwise([0, *starts, len(waypoints)]))


def gripper_rows(spec: SkillSpec, waypoints: Sequence[Waypoint]) -> tuple[int, ...]:
    """Return the closing that each row commands: the file's, or `grasp_close` where the file has its grasp."""
    grasp = next((waypoint.gripper for waypoint in waypoints if waypoint.verification), None)
    if spec.grasp_close is None or grasp is None:
        return tuple(waypoint.gripper for waypoint in waypoints)
    return tuple(spec.grasp_close if waypoint.gripper == grasp else waypoint.gripper for waypoint in waypoints)


def target_poses(
    spec: SkillSpec, waypoints: Sequence[Waypoint], kinematics: Kinematics, T_base_trigger: Array
) -> list[Array]:
    """Return poses ``(4, 4)`` of the tool centre point in the profile's base_frame [m], one per row.

    The first `relative_count` rows keep their pose relative to row 0, which becomes the trigger's pose:
    ``T_trigger · inv(T_row0) · T_row``; the others are absolute.
    """
    to_base = file_frame(spec, kinematics)
    origin = np.linalg.inv(waypoints[0].T)
    return [
        T_base_trigger @ origin @ waypoint.T if i < spec.relative_count else to_base @ waypoint.T
        for i, waypoint in enumerate(waypoints)
    ]


def file_frame(spec: SkillSpec, kinematics: Kinematics) -> Array:
    """Return the pose ``(4, 4)`` of the frame of the file's poses in the profile's base_frame [m]."""
    if spec.frame == "base":
        return pose_matrix(kinematics.base_xyz, rotation_from_rpy(kinematics.base_rpy))
    return np.eye(4)


def _grasp(spec: SkillSpec, waypoints: Sequence[Waypoint]) -> int | None:
    """Return the closing at the verification waypoint, which must not pass for a grasp by itself."""
    closings = [
        closing
        for closing, waypoint in zip(gripper_rows(spec, waypoints), waypoints, strict=True)
        if waypoint.verification
    ]
    if not closings:
        return None
    if spec.grasp_threshold > closings[0]:
        raise PlanError(
            f"skill '{spec.name}': the gripper is told to close to {closings[0]}, but grasp_threshold is "
            f"{spec.grasp_threshold:g}, so an empty gripper would pass for a grasp; set the threshold below the closing"
        )
    return closings[0]


def _speeds(spec: SkillSpec) -> Speeds:
    return Speeds(
        linear=spec.linear_speed,
        linear_acceleration=spec.linear_acceleration,
        angular=spec.angular_speed,
        angular_acceleration=spec.angular_acceleration,
    )


class _Planner:
    """Plans one segment after the other."""

    def __init__(
        self, spec: SkillSpec, waypoints: Sequence[Waypoint], bounds: Bounds, tcp: Array, speeds: Speeds, dt_s: float
    ) -> None:
        self._spec, self._waypoints, self._bounds = spec, waypoints, bounds
        self._speeds, self._dt_s, self._tool = speeds, dt_s, np.linalg.inv(tcp)

    def segments(self, targets: Sequence[Array], start: Array, q: Array, from_row: int) -> Iterator[Segment]:
        """Yield the segments from a row on, each from where the one before ended; the first from pose and joints at rest."""
        closings = gripper_rows(self._spec, self._waypoints)
        closing: int | None = None
        for index, (begin, last) in enumerate(segment_rows(self._waypoints)):
            first = max(begin, from_row)
            if first > last:
                continue
            gripper = None if closings[first] == closing else closings[first]
            segment = self._segment(index, range(first, last + 1), targets, (start, q, gripper))
            yield segment
            closing, start, q = closings[first], targets[last], segment.positions[-1]

    def _segment(
        self, index: int, rows: range, targets: Sequence[Array], now: tuple[Array, Array, int | None]
    ) -> Segment:
        start, q, gripper = now
        radii = [self._radius(row) if row not in (rows[0], rows[-1]) and rows[0] == 0 else 0.0 for row in rows]
        path = CartesianPath([start, *(targets[row] for row in rows)], [0.0, *radii], self._speeds)
        times = path.times(self._dt_s)
        samples = [int(np.argmin(np.abs(times - passed))) for passed in path.passed[1:]]
        positions, velocities = self._joints(path, times, q, _Way(self._spec.name, rows[0], samples))
        ends = tuple(
            WaypointEnd(
                waypoint=row,
                sample=sample,
                T_base_tcp=targets[row],
                absolute=row >= self._spec.relative_count,
                rounded=radius > 0.0,
            )
            for row, sample, radius in zip(rows, samples, radii, strict=True)
        )
        return Segment(
            index=index,
            gripper=gripper,
            times=times,
            positions=positions,
            velocities=velocities,
            ends=ends,
            T_end=targets[rows[-1]],
            verification=self._waypoints[rows[-1]].verification,
        )

    def _radius(self, row: int) -> float:
        if self._spec.path_mode == "points":
            return 0.0
        return self._spec.sensitive_radius if row < self._spec.sensitive_count else self._spec.blend_radius

    def _joints(self, path: CartesianPath, times: Array, q0: Array, way: _Way) -> tuple[Array, Array]:
        poses, twists = path.sample(times)
        tools = poses @ self._tool
        joints, problem = follow(self._bounds.arm, tools, q0)
        if problem:
            at = ", ".join(f"{value:.4f}" for value in tools[len(joints), :3, 3])
            raise PlanError(
                f"{way.words(len(joints))}: the tool frame at x y z = {at} m is out of reach: {problem}. "
                "Trigger the skill from another pose, or correct the waypoint"
            )
        arm = tools[:, :3, 3] - poses[:, :3, 3]
        at_tool = np.concatenate([twists[:, :3] + np.cross(twists[:, 3:], arm), twists[:, 3:]], axis=1)
        velocities, smallest = joint_velocities(self._bounds.arm, joints, at_tool)
        check_path(self._bounds, times, joints, velocities, smallest, way.words)
        return joints, velocities


@dataclass(frozen=True, slots=True)
class _Way:
    """Words for a sample of a segment that begins with row `first`; `samples` are those of its waypoints."""

    skill: str
    first: int
    samples: Sequence[int]

    def words(self, k: int) -> str:
        row = self.first + int(np.searchsorted(self.samples, k))
        return f"skill '{self.skill}', on the way to waypoint {min(row, self.first + len(self.samples) - 1)}"
