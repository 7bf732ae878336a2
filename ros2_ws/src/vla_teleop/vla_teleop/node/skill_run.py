# SPDX-License-Identifier: Apache-2.0

"""One skill from its trigger to its end: plan, gripper, segments, verification."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.kinematics import forward, rotation_vector
from vla_core.profile import Profile
from vla_core.stamps import to_ns, to_s
from vla_msgs.action import ExecuteSkill

from vla_teleop.node.progress import Progress
from vla_teleop.node.skill_robot import SkillRobot
from vla_teleop.node.skill_stop import SkillStopError, motion
from vla_teleop.skills.errors import PlanError
from vla_teleop.skills.limits import Box, limits_in_order
from vla_teleop.skills.plan import Segment, SkillPlan, plan_skill
from vla_teleop.skills.retime import Timing, change_rate, retimed, timing
from vla_teleop.skills.table import SkillSpec
from vla_teleop.skills.waypoints import Waypoint

Array = NDArray[np.float64]
Result = ExecuteSkill.Result
Feedback = Callable[[ExecuteSkill.Feedback], None]
GRIPPER_NEAR = 5.0  # numbers; nearer than this, the first segment leaves the gripper as it is


@dataclass(frozen=True, slots=True)
class Remaining:
    """How far the tool centre point is from where it should be: [m] and [rad] (geodesic)."""

    far: float
    turned: float

    @classmethod
    def between(cls, wanted: Array, measured: Array) -> "Remaining":
        """The way from a measured pose ``(4, 4)`` to the wanted one."""
        return cls(
            far=float(np.linalg.norm(wanted[:3, 3] - measured[:3, 3])),
            turned=float(np.linalg.norm(rotation_vector(wanted[:3, :3] @ measured[:3, :3].T))),
        )

    def __str__(self) -> str:
        return f"{self.far * 1e3:.1f} mm and {self.turned:.3f} rad remain"


class Way:
    """One segment while the arm follows it.

    Its speed can be changed on the way, from the target in force on. Where the robot's own speed slider makes the arm late,
    nobody knows where exactly its controller is, so a change waits until the arm is on time again, or for the next segment.
    """

    def __init__(self, robot: SkillRobot, segment: Segment, part: float, rate: float) -> None:
        """Send the arm on its way.

        Args:
            robot: to be driven.
            segment: where to; the gripper's alone is a way that has ended already.
            part: of the full speed, above 0 to 1.
            rate: how fast the part may change [1/s].
        """
        self._robot, self._segment, self._part, self._rate = robot, segment, part, rate
        self._timing: Timing = timing(segment, part)
        self._progress: Progress | None = None
        self._begin_ns = robot.now_ns
        if len(segment.times) > 1:
            self._follow()

    def _follow(self) -> None:
        way, self._begin_ns = self._timing, self._robot.now_ns
        self._progress = self._robot.follow(way.times, way.positions, way.velocities)

    def at_speed(self, part: float) -> None:
        """Go on at this part of the full speed."""
        progress, robot = self._progress, self._robot
        if part == self._part or progress is None or robot.resting() or not progress.on_time:
            return
        self._part = part
        seconds = to_s(robot.now_ns - self._begin_ns)
        way = retimed(self._segment, self._timing, seconds, robot.in_force(progress), part=part, rate=self._rate)
        if way is not None:
            self._timing = way
            self._follow()

    @property
    def planned_s(self) -> float:
        """Where the arm is: time in the full-speed plan of the segment [s]."""
        return 0.0 if self._progress is None else self._timing.planned_at(self._progress.seconds)

    @property
    def due_ns(self) -> int:
        """When the arm is due, or when it last came further: with the speed slider down it may be late."""
        due_ns = self._begin_ns + to_ns(self._timing.duration)
        return due_ns if self._progress is None else max(due_ns, self._progress.moved_ns)


class SkillRun:
    """Runs one skill; made anew for each goal.

    Attributes:
        result: What is known so far of how it went.
    """

    def __init__(
        self,
        robot: SkillRobot,
        profile: Profile,
        spec: SkillSpec,
        *,
        part: Callable[[], float],
        feedback: Feedback,
        log: Callable[[str], None],
    ) -> None:
        """Prepare; `robot` has begun.

        Args:
            robot: to be driven.
            profile: with limits and workspace.
            spec: of the table.
            part: of the full speed, above 0 to 1; asked at every tick.
            feedback: takes what the client is told meanwhile.
            log: takes lines for people.
        """
        self.result = Result()
        self._robot, self._spec, self._part, self._feedback, self._log = robot, spec, part, feedback, log
        low, high = profile.safety.workspace_min, profile.safety.workspace_max
        self._workspace: Box | None = None if low is None or high is None else (low, high)
        self._said: tuple[int, str] | None = None

    def run(self, waypoints: Sequence[Waypoint], *, resume: bool) -> None:
        """Plan, then drive.

        Args:
            waypoints: of the skill's file.
            resume: only the absolute part, from where the arm stands, holding the part.

        Raises:
            SkillStopError: it ended early; the caller halts the arm.
        """
        plan = self._planned(waypoints, resume=resume)
        grasp = plan.grasp_commanded
        holding = resume and grasp is not None
        unproven = holding and self._spec.drop_check  # a correction may have closed the gripper on nothing
        self._hold(False)
        self._robot.tick()  # planning takes its time on a clock: trajectories begin now, and targets are not silent long
        x, y, z = plan.T_base_trigger[:3, 3]
        self._log(
            f"skill '{self._spec.name}': {'resumed' if resume else 'triggered'} at x y z = {x:.4f} {y:.4f} {z:.4f} m; "
            f"{plan.duration / self._part():.1f} s of motion lie ahead"
        )
        number = float(plan.segments[0].gripper or 0)
        for segment in plan.segments:
            first = segment is plan.segments[0]
            number = number if segment.gripper is None else float(segment.gripper)
            holding = holding and grasp is not None and number >= grasp
            self._hold(holding and not unproven)
            self._tell(plan, segment, 0, f"gripper to {number:g}")
            if segment.gripper is not None and (not first or abs(self._robot.closing() - number) > GRIPPER_NEAR):
                speed = self._spec.gripper_speed * self._part()
                self._robot.grip(number, speed=speed, settle_s=self._spec.gripper_settle_s, holding=holding)
            if unproven and holding:
                self._verify(plan, again=True)
                self._hold(True)
            unproven = False
            self._drive(plan, segment)
            if segment.verification:
                self._verify(plan)
                holding = True
        self._tell(plan, plan.segments[-1], -1, "done; gripper at full speed")
        self._hold(False)
        self._robot.grip(
            number, speed=self._spec.gripper_speed_after, settle_s=0.0, holding=True
        )  # the last value again, which also leaves the gripper at its full speed

    def _hold(self, holding: bool) -> None:
        """Whether the gripper has something that it must not lose; looked at from the next tick on."""
        self._robot.holding_below = self._spec.grasp_threshold if holding and self._spec.drop_check else None

    def _planned(self, waypoints: Sequence[Waypoint], *, resume: bool) -> SkillPlan:
        robot = self._robot
        try:
            return plan_skill(
                self._spec,
                waypoints,
                robot.kinematics,
                robot.teleop.T_tool_tcp,
                None,  # triggered where the arm stands
                robot.q(),
                limits=limits_in_order(robot.arm, robot.kinematics.joints),
                workspace=self._workspace,
                resume=resume,
            )
        except PlanError as error:
            raise SkillStopError(Result.UNREACHABLE, f"{error}. The arm has not moved") from error

    def _drive(self, plan: SkillPlan, segment: Segment) -> None:
        """Follow one segment and wait until the tool centre point is there."""
        robot, spec = self._robot, self._spec
        way = Way(robot, segment, self._part(), change_rate(spec))
        passed = segment.times[[end.sample for end in segment.ends]]
        while True:
            robot.tick()
            way.at_speed(self._part())
            index = min(int(np.searchsorted(passed, way.planned_s, side="right")), len(segment.ends) - 1)
            self._tell(plan, segment, index, "on the way")
            left = Remaining.between(segment.T_end, self._tcp(plan))
            if robot.resting() and left.far <= spec.arrival_m and left.turned <= spec.arrival_rad:
                self.result.waypoints = segment.ends[-1].waypoint + 1
                return
            self.result.waypoints = segment.ends[0].waypoint + index
            if to_s(robot.now_ns - way.due_ns) > spec.timeout_s:
                raise motion(
                    f"skill '{spec.name}': waypoint {segment.ends[-1].waypoint} was not reached within {spec.timeout_s:g} s "
                    f"of its time: {left} (limits {spec.arrival_m * 1e3:g} mm, {spec.arrival_rad:g} rad). The arm stands "
                    "still. Is something in its way, or the speed slider at 0?"
                )

    def _tcp(self, plan: SkillPlan) -> Array:
        """Measured pose ``(4, 4)`` of the tool centre point [m, base_frame]."""
        T: Array = forward(self._robot.kinematics, self._robot.q()) @ plan.T_tool_tcp
        return T

    def _verify(self, plan: SkillPlan, *, again: bool = False) -> None:
        """Raise unless the gripper holds something; what the skill's own grasp came to is kept when it is done `again`."""
        result, limit = self.result, self._spec.grasp_threshold
        commanded, actual = float(plan.grasp_commanded or 0), self._robot.closing()
        if not again:
            result.grasp_checked = True
            result.grasp_commanded, result.grasp_actual, result.grasp_threshold = commanded, actual, float(limit)
            result.grasp_verified = actual < limit
        if actual < limit:
            return
        raise SkillStopError(
            Result.VERIFICATION_FAILED,
            f"skill '{self._spec.name}': the gripper holds nothing: told to close to {commanded:g} it "
            f"closed to {actual:.1f}, with a part it stays below {limit:g}. The arm stands still"
            + (f" at waypoint {result.waypoints - 1}" if result.waypoints else "")
            + ". Take the part into the gripper by hand control, then call the skill again with resume: the absolute "
            "waypoints follow",
        )

    def _tell(self, plan: SkillPlan, segment: Segment, index: int, detail: str) -> None:
        end = segment.ends[index]
        if self._said == (end.waypoint, detail):
            return
        self._said = (end.waypoint, detail)
        self._feedback(
            ExecuteSkill.Feedback(
                waypoint=end.waypoint,
                waypoints=plan.waypoints,
                detail=detail,
                segment=segment.index,
                absolute=end.absolute,
            )
        )
