# SPDX-License-Identifier: Apache-2.0

"""What a skill would do on a robot, without the robot: reach, limits, speeds, and rows whose joints and pose disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import listing
from vla_core.kinematics import forward, rotation_vector
from vla_core.profile import Profile
from vla_core.specs import Kinematics, Limits

from vla_teleop.skills.errors import PlanError, SkillError
from vla_teleop.skills.limits import Box, limits_in_order
from vla_teleop.skills.plan import Segment, SkillPlan, file_frame, gripper_rows, plan_skill, target_poses
from vla_teleop.skills.table import SkillSpec
from vla_teleop.skills.ur_ik import follow
from vla_teleop.skills.waypoints import Waypoint

Array = NDArray[np.float64]
MISMATCH_M = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
    """One waypoint.

    Attributes:
        row: In the file, from 0.
        part: relative or absolute.
        verification: The grasp is verified here.
        gripper: Closing that is commanded, 0 to 255.
        distance: From the row before [m].
        turn: Geodesic angle from the row before [rad].
        mismatch: Between the file's pose and where its joints put the tool centre point [m].
        mismatch_turn: The same as an angle [rad].
        reached: Whether the arm has joints for the pose; the path to it is another question.
    """

    row: int
    part: str
    verification: bool
    gripper: int
    distance: float
    turn: float
    mismatch: float
    mismatch_turn: float
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCheck:
    """One planned segment.

    Attributes:
        segment: From 0.
        first: Its first row.
        last: Its last row.
        gripper: Closing that is commanded before it moves; None: none.
        mode: blend or points.
        verification: The grasp is verified where it ends.
        length: Of the way of the tool centre point [m].
        duration: [s].
        speed: Largest of the tool centre point [m/s].
        joint: The joint that comes nearest to its limit of velocity; empty where nothing moves or nothing is limited.
        joint_share: Its velocity over that limit.
    """

    segment: int
    first: int
    last: int
    gripper: int | None
    mode: str
    verification: bool
    length: float
    duration: float
    speed: float
    joint: str
    joint_share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkillCheck:
    """The findings about one skill.

    Attributes:
        skill: Its name.
        file: Where its waypoints were read.
        rows: Of the file.
        segments: Of the plan; empty where the skill cannot be driven.
        duration: Of all motion [s]; 0 where it cannot be driven.
        problems: Why it cannot be driven.
        warnings: What to look at.
        plan: For drawing; None where it cannot be driven.
    """

    skill: str
    file: str
    rows: tuple[RowCheck, ...]
    segments: tuple[SegmentCheck, ...]
    duration: float
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    plan: SkillPlan | None

    @property
    def ok(self) -> bool:
        """Whether the arm can drive it."""
        return not self.problems

    def plain(self) -> dict[str, Any]:
        """Return everything but the plan, as JSON knows it."""
        names = ("skill", "file", "duration", "problems", "warnings")
        return {
            "ok": self.ok,
            **{name: getattr(self, name) for name in names},
            "rows": [asdict(row) for row in self.rows],
            "segments": [asdict(segment) for segment in self.segments],
        }


def check_skill(
    spec: SkillSpec, waypoints: Sequence[Waypoint], profile: Profile, trigger: Array | None = None
) -> SkillCheck:
    """Return what the skill would do when it is triggered at a pose.

    Args:
        spec: The skill, of the table.
        waypoints: Its file.
        profile: The robot, with `kinematics` and `teleop`.
        trigger: Pose ``(4, 4)`` of the tool centre point in the skill's frame [m]; None: the first of the file.

    Raises:
        SkillError: the profile has no kinematics or no section teleop, or its arm has other joints.
    """
    robot = _robot(spec, profile)
    start = file_frame(spec, robot.arm) @ (waypoints[0].T if trigger is None else trigger)
    targets = target_poses(spec, waypoints, robot.arm, start)
    rows = tuple(_rows(spec, waypoints, targets, robot))
    problems = [f"waypoint {row.row} is out of the arm's reach" for row in rows if not row.reached]
    plan: SkillPlan | None = None
    if not problems:
        try:
            plan = _plan(spec, waypoints, robot, start)
        except PlanError as error:
            problems.append(str(error))
    return SkillCheck(
        skill=spec.name,
        file=str(spec.path()),
        rows=rows,
        segments=() if plan is None else tuple(_segment(segment, plan, robot) for segment in plan.segments),
        duration=0.0 if plan is None else plan.duration,
        problems=tuple(problems),
        warnings=tuple(_warnings(spec, waypoints, rows)),
        plan=plan,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Robot:
    arm: Kinematics
    limits: Limits
    tcp: Array
    workspace: Box | None


def _robot(spec: SkillSpec, profile: Profile) -> _Robot:
    arm, teleop = profile.kinematics, profile.teleop
    if arm is None or teleop is None:
        lacks = "kinematics" if arm is None else "teleop"
        raise SkillError(f"{profile.source}: skills need the section '{lacks}', which this profile lacks; add it")
    action = next(action for action in profile.action if action.name == teleop.arm)
    if set(action.joints) != set(arm.joints):
        raise SkillError(
            f"{profile.source}: the joints of the action '{action.name}' ({listing(action.joints)}) are not those of "
            f"kinematics ({listing(arm.joints)}); skills drive the arm that kinematics describes"
        )
    low, high = profile.safety.workspace_min, profile.safety.workspace_max
    return _Robot(
        arm=arm,
        limits=limits_in_order(action, arm.joints),
        tcp=spec.tool_tcp(teleop.T_tool_tcp),
        workspace=None if low is None or high is None else (low, high),
    )


def _plan(spec: SkillSpec, waypoints: Sequence[Waypoint], robot: _Robot, start: Array) -> SkillPlan:
    """Plan the skill, and its absolute part from where the grasp is verified."""
    joints, problem = follow(robot.arm, (start @ np.linalg.inv(robot.tcp))[None], waypoints[0].joints)
    if problem:
        raise PlanError(f"skill '{spec.name}': the arm does not reach the pose of the trigger: {problem}")
    plan = plan_skill(
        spec, waypoints, robot.arm, robot.tcp, start, joints[0], limits=robot.limits, workspace=robot.workspace
    )
    verified = next((segment for segment in plan.segments if segment.verification), None)
    if verified is not None and spec.relative_count < len(waypoints):
        q = verified.positions[-1]
        try:
            plan_skill(
                spec,
                waypoints,
                robot.arm,
                robot.tcp,
                None,
                q,
                limits=robot.limits,
                workspace=robot.workspace,
                resume=True,
            )
        except PlanError as error:
            raise PlanError(f"resumed from the verification waypoint: {error}") from None
    return plan


def mismatches(
    spec: SkillSpec, waypoints: Sequence[Waypoint], arm: Kinematics, T_tool_tcp: Array
) -> list[tuple[float, float]]:
    """Return for each row how far its pose is from where its joints put the tool centre point: [m] and [rad].

    Args:
        spec: The skill; its own tool centre point comes before `T_tool_tcp`.
        waypoints: Its file.
        arm: Kinematics of the arm.
        T_tool_tcp: Tool centre point ``(4, 4)`` of the profile, in the tool frame [m].
    """
    to_file = np.linalg.inv(file_frame(spec, arm))
    tcp = spec.tool_tcp(T_tool_tcp)
    return [_apart(to_file @ forward(arm, waypoint.joints) @ tcp, waypoint.T) for waypoint in waypoints]


def disagreement(apart: Sequence[tuple[float, float]]) -> str:
    """Return what to say about rows whose joints and pose disagree, of `mismatches`; empty when all agree."""
    rows = ", ".join(f"{row} ({far * 1e3:.1f} mm)" for row, (far, _) in enumerate(apart) if far > MISMATCH_M)
    if not rows:
        return ""
    return (
        f"joints and pose disagree by more than {MISMATCH_M * 1e3:g} mm in row {rows}: edited by hand, or taught with "
        "another tool centre point. The arm is driven by the pose"
    )


def _rows(
    spec: SkillSpec, waypoints: Sequence[Waypoint], targets: Sequence[Array], robot: _Robot
) -> Iterator[RowCheck]:
    closings = gripper_rows(spec, waypoints)
    apart = mismatches(spec, waypoints, robot.arm, robot.tcp)
    for i, waypoint in enumerate(waypoints):
        distance, turn = _apart(targets[i - 1], targets[i]) if i else (0.0, 0.0)
        _, unreached = follow(robot.arm, (targets[i] @ np.linalg.inv(robot.tcp))[None], waypoint.joints)
        yield RowCheck(
            row=i,
            part="relative" if i < spec.relative_count else "absolute",
            verification=waypoint.verification,
            gripper=closings[i],
            distance=distance,
            turn=turn,
            mismatch=apart[i][0],
            mismatch_turn=apart[i][1],
            reached=not unreached,
        )


def _apart(a: Array, b: Array) -> tuple[float, float]:
    turn = rotation_vector(a[:3, :3].T @ b[:3, :3])
    return float(np.linalg.norm(b[:3, 3] - a[:3, 3])), float(np.linalg.norm(turn))


def _segment(segment: Segment, plan: SkillPlan, robot: _Robot) -> SegmentCheck:
    steps = np.linalg.norm(np.diff(tool_positions(segment, plan, robot.arm), axis=0), axis=1)
    limits = robot.limits.max_velocity
    joint, share = "", 0.0
    if limits is not None and len(segment.times) > 1:
        shares = np.abs(segment.velocities).max(axis=0) / np.array(limits)
        joint, share = robot.arm.joints[int(np.argmax(shares))], float(shares.max())
    return SegmentCheck(
        segment=segment.index,
        first=segment.ends[0].waypoint,
        last=segment.ends[-1].waypoint,
        gripper=segment.gripper,
        mode="blend" if any(end.rounded for end in segment.ends) else "points",
        verification=segment.verification,
        length=float(steps.sum()),
        duration=segment.duration,
        speed=float((steps / np.diff(segment.times)).max(initial=0.0)),
        joint=joint,
        joint_share=share,
    )


def tool_positions(segment: Segment, plan: SkillPlan, arm: Kinematics) -> Array:
    """Return the positions ``(K, 3)`` of the tool centre point at the segment's samples [m, base_frame]."""
    positions: Array = (forward(arm, segment.positions) @ plan.T_tool_tcp)[:, :3, 3]
    return positions


def _warnings(spec: SkillSpec, waypoints: Sequence[Waypoint], rows: Sequence[RowCheck]) -> Iterator[str]:
    if text := disagreement([(row.mismatch, row.mismatch_turn) for row in rows]):
        yield text
    back = [i for i, (a, b) in enumerate(pairwise(waypoints), start=1) if b.timestamp < a.timestamp]
    if back:
        yield f"row {listing(map(str, back))} was taught before the row above it; is the order of the rows as wanted?"
    if not any(waypoint.verification for waypoint in waypoints):
        yield "no row is marked verification_wp, so the grasp is never verified"
    if spec.relative_count == len(waypoints):
        yield "all rows are relative, so the skill cannot be resumed after a correction"
    if spec.relative_count == 0:
        yield "no row is relative: the skill goes to the same places wherever it is triggered"
