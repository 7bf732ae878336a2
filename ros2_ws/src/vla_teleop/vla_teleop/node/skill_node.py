# SPDX-License-Identifier: Apache-2.0

"""Skills from waypoint files: precise motions by name, from where the arm stands.

Skill table and waypoint files are read anew for every goal, so both can be edited while the node runs.
"""

import sys
from typing import Any

from rclpy.action.server import ServerGoalHandle
from vla_common.one_goal import OneGoalServer
from vla_common.params import declare
from vla_common.preflight import guarded
from vla_common.run import ManagedNode, run_node
from vla_common.services import CallError
from vla_common.ticks import make_ticker
from vla_core.errors import listing, nearest_name
from vla_core.profile import load_profile
from vla_msgs.action import ExecuteSkill
from vla_msgs.srv import SetSpeed

from vla_teleop.node.skill_params import SkillParams
from vla_teleop.node.skill_robot import SkillRobot
from vla_teleop.node.skill_run import SkillRun
from vla_teleop.node.skill_stop import SkillStopError, not_ready
from vla_teleop.skills.check import disagreement, mismatches
from vla_teleop.skills.errors import SkillFileError
from vla_teleop.skills.table import SkillSpec, load_skill_table
from vla_teleop.skills.waypoints import Waypoint, load_skill

Result = ExecuteSkill.Result
POLL_S = 0.2  # wall
CLOSE_S = 5.0  # wall


class SkillNode(ManagedNode):
    """Serves `~/execute`, one skill at a time, and `~/set_speed`."""

    def __init__(self, **kwargs: Any) -> None:
        """Read profile and table; nothing moves before a goal comes.

        Raises:
            VlaError: a parameter, the profile or the table cannot be used.
        """
        super().__init__("skills", **kwargs)
        self.params = declare(self, SkillParams)
        self._profile = guarded(load_profile(self.params.profile), self.params.preflight)
        names = tuple(self._table())
        self._ticker = make_ticker(self, lockstep=self.params.lockstep)
        self._server = OneGoalServer(self, ExecuteSkill, "~/execute", busy=self._busy)
        self._robot = SkillRobot(self, self._profile, self._ticker, self.params, self._ends)
        self._scale = 1.0
        self._closing = False
        self._warned: set[str] = set()
        self.create_service(SetSpeed, "~/set_speed", self._on_set_speed)
        self._thread = self.start_thread(self._work, "skills")
        self.get_logger().info(f"skills: {listing(names)} ({self.params.table})")

    def close(self) -> None:
        """Bring the arm to rest, answer the goal and leave the lockstep."""
        self._closing = True
        self._thread.join(CLOSE_S)
        self._ticker.close()

    def _table(self) -> dict[str, SkillSpec]:
        return load_skill_table(self.params.table, self.params.skills_dir or None)

    def _ends(self) -> bool:
        return self._server.cancelled() or self._closing

    def _busy(self, handle: ServerGoalHandle) -> Any:
        text = f"skill '{handle.request.skill}': another skill is running; cancel it or wait for its end"
        self.get_logger().warning(text)
        return Result(error_code=Result.NOT_READY, error_msg=text)

    def _on_set_speed(self, request: SetSpeed.Request, response: SetSpeed.Response) -> SetSpeed.Response:
        response.success = bool(0.0 < request.scale <= 1.0)
        if response.success:
            self._scale = request.scale
            response.message = f"skills run at {request.scale:g} of their speed, a running one too"
        else:
            response.message = f"scale {request.scale:g} is outside 0 (excluded) to 1; the speed stays {self._scale:g}"
        return response

    def _work(self) -> None:
        with self._ticker.attached():
            while not self._closing:
                now = self._ticker.wait(timeout_s=POLL_S)
                if now is None:
                    continue
                if (handle := self._server.take()) is not None:
                    self._execute(handle, now)
                else:
                    self._robot.idle(now)

    def _execute(self, handle: ServerGoalHandle, begin_ns: int) -> None:
        """Run one goal; whatever happens, the arm stands and the client gets an answer."""
        goal, result = handle.request, Result(error_code=Result.NOT_READY, error_msg="the skill node failed")
        self._robot.now_ns = begin_ns
        try:
            result = self._outcome(handle)
        finally:
            result.duration = (self._robot.now_ns - begin_ns) * 1e-9
            self._server.finish(handle, result, succeeded=not result.error_code)
            self._log(goal, result)

    def _log(self, goal: ExecuteSkill.Goal, result: ExecuteSkill.Result) -> None:
        what = f"skill '{goal.skill}'{' (resumed)' if goal.resume else ''}"
        if result.error_code:
            self.get_logger().warning(f"{what} failed after {result.duration:.1f} s: {result.error_msg}")
        else:
            self.get_logger().info(f"{what} done in {result.duration:.1f} s")

    def _outcome(self, handle: ServerGoalHandle) -> Any:
        goal, run = handle.request, None
        code, text = Result.NONE, ""
        try:
            spec, waypoints = self._skill(goal.skill)
            log = self.get_logger().info
            run = SkillRun(
                self._robot,
                self._profile,
                spec,
                part=lambda: self._scale,
                feedback=handle.publish_feedback,
                log=log,
            )
            self._robot.begin()
            run.run(waypoints, resume=goal.resume)
        except SkillStopError as stop:
            code, text = stop.code, str(stop)
        except CallError as error:
            code, text = Result.MOTION, str(error)
        finally:
            self._robot.halt()
            self._robot.end()
        result = Result() if run is None else run.result
        result.error_code, result.error_msg = code, text
        return result

    def _skill(self, name: str) -> tuple[SkillSpec, tuple[Waypoint, ...]]:
        try:
            table = self._table()
            if name not in table:
                raise SkillStopError(
                    Result.UNKNOWN_SKILL,
                    f"there is no skill '{name}' in {self.params.table}; there are: {listing(table)}"
                    f"{nearest_name(name, table)}",
                )
            waypoints = load_skill(table[name])
        except SkillFileError as error:
            raise not_ready(f"{error}. The arm has not moved") from error
        self._warn(table[name], waypoints)
        return table[name], waypoints

    def _warn(self, spec: SkillSpec, waypoints: tuple[Waypoint, ...]) -> None:
        """Say once which rows were edited: what is seen on the pendant at such a row is not where the arm goes."""
        text = disagreement(mismatches(spec, waypoints, self._robot.kinematics, self._robot.teleop.T_tool_tcp))
        if text and text not in self._warned:
            self._warned.add(text)
            self.get_logger().warning(f"skill '{spec.name}', {spec.file}: {text}")


def main(args: list[str] | None = None) -> int:
    """Serve skills until the node is told to end."""
    return run_node(SkillNode, args)


if __name__ == "__main__":
    sys.exit(main())
