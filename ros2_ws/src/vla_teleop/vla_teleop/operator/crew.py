# SPDX-License-Identifier: Apache-2.0

"""The nodes that the operator's day works with: recorder, skills, teleoperation, policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from vla_common.action_client import GoalClient
from vla_common.qos import EVENT
from vla_common.services import ActionOutcome, CallError, GoalRun, call_checked, send_goal
from vla_core.profile import Profile
from vla_msgs.action import ExecuteSkill
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import AnnotateEpisode, DiscardEpisode, LabelEpisode, SetPhase, SetSpeed, StartEpisode, StopEpisode

from vla_teleop.operator import intents
from vla_teleop.operator.desk import Pending
from vla_teleop.operator.intents import Intent, SkillEnd
from vla_teleop.operator.operator_params import OperatorParams

_ANSWER_S = 5.0  # wall time
_STOP_S = 60.0  # wall time; a long episode takes a while to be closed
_SWITCH_S = 15.0  # node clock; the arm comes to rest first
POLICY_RUNS = (PolicyStatus.RUNNING, PolicyStatus.TAKEOVER, PolicyStatus.SKILL)
_CODES = {value: name for name, value in vars(ExecuteSkill.Result).items() if name.isupper() and isinstance(value, int)}


class ServiceCall:
    """A service call that takes its time on the node clock."""

    def __init__(self, client: Client, request: Any, deadline_s: float) -> None:
        if not client.wait_for_service(timeout_sec=_ANSWER_S):
            raise CallError(f"service {client.service_name}: nobody offers it. Is its node running?")
        self._name = client.service_name
        self._deadline_s = deadline_s
        self._future: Future = client.call_async(request)

    def poll(self, t: float) -> str | None:
        """See `desk.Pending`."""
        if self._future.done():
            response: Any = self._future.result()
            return "" if response.success else f"service {self._name} refused: {response.message or 'no reason given'}"
        return f"service {self._name}: not done in time" if t > self._deadline_s else None


class TakeoverCall:
    """The policy is asked to let go, and says in its status that it has; or to drive again."""

    def __init__(self, call: ServiceCall, state: Callable[[], int], deadline_s: float, *, enable: bool) -> None:
        self._call: ServiceCall | None = call
        self._state, self._deadline_s, self._enable = state, deadline_s, enable

    def poll(self, t: float) -> str | None:
        """See `desk.Pending`: a policy that has let go sends nothing more, and its goals are cancelled."""
        if self._call is not None:
            problem = self._call.poll(t)
            if problem is None or problem:
                return problem
            self._call = None
        state = self._state()
        if (state == PolicyStatus.TAKEOVER) == self._enable:
            return ""
        if state not in POLICY_RUNS:
            return "the policy's run has ended meanwhile; the arm is free"
        return "the policy has not said on policy/status that it let go" if t > self._deadline_s else None


class NodeCrew:
    """Clients of the other nodes; see `desk.Crew`. Called by the worker thread.

    Attributes:
        policy_state: Newest state of PolicyStatus.
    """

    def __init__(self, node: Node, params: OperatorParams, profile: Profile) -> None:
        """Make the clients; nothing is called."""
        self._params = params
        self._log = node.get_logger()
        self._message = node.create_publisher(String, "~/message", EVENT)
        self._recorder = {
            kind: node.create_client(kind, f"recorder/{name}")
            for kind, name in (
                (StartEpisode, "start"),
                (StopEpisode, "stop"),
                (DiscardEpisode, "discard"),
                (SetPhase, "set_phase"),
                (LabelEpisode, "label"),
                (AnnotateEpisode, "annotate"),
            )
        }
        self._enable = node.create_client(SetBool, "teleop/enable")
        self._freedrive = node.create_client(SetBool, "teleop/freedrive")
        self._home = node.create_client(Trigger, "teleop/home")
        self._speeds = [
            node.create_client(SetSpeed, f"{name}/set_speed")
            for name in ("teleop", *(["skills"] if params.skills else []))
        ]
        self.policy_state = int(PolicyStatus.IDLE)
        self._takeover = node.create_client(SetBool, "policy/takeover")
        self._skills = GoalClient(node, ExecuteSkill, "skills/execute")
        self._still = [
            node.create_client(CancelGoal, f"{action.command.name}/_action/cancel_goal")
            for action in profile.action
            if action.command.interface == "follow_joint_trajectory"
        ]
        self._run: GoalRun | None = None
        self._do: dict[type[Intent], Callable[[Any, float], Pending | None]] = {
            intents.Start: self._start,
            intents.Stop: self._stop,
            intents.SetPhase: self._set_phase,
            intents.Discard: lambda intent, t: self._record(DiscardEpisode.Request()),
            intents.Label: lambda intent, t: self._record(LabelEpisode.Request(label=intent.label)),
            intents.Annotate: self._annotate,
            intents.RunSkill: self._run_skill,
            intents.Speed: self._speed,
            intents.Teleop: lambda intent, t: self._switch(self._enable, intent.enable, t),
            intents.Freedrive: lambda intent, t: self._switch(self._freedrive, intent.enable, t),
            intents.Takeover: self._take_over,
            intents.Home: lambda intent, t: ServiceCall(self._home, Trigger.Request(), t + params.home_timeout_s),
        }

    @property
    def skill_runs(self) -> bool:
        """Whether a skill was started whose end has not been fetched."""
        return self._run is not None

    def begin(self, intent: Intent, t: float) -> Pending | None:
        """See `desk.Crew.begin`."""
        return self._do[type(intent)](intent, t)

    def skill_end(self) -> SkillEnd | None:
        """How the skill has ended, once."""
        outcome = self._run.outcome if self._run is not None else None
        if outcome is None:
            return None
        self._run = None
        return skill_end(outcome)

    def cancel_skill(self) -> None:
        """See `desk.Crew.cancel_skill`."""
        if self._run is not None:
            self._run.request_cancel()

    def still(self) -> None:
        """See `desk.Crew.still`; a request without an id and without a time means all goals."""
        for client in self._still:
            client.call_async(CancelGoal.Request())

    def tell(self, text: str, *, warning: bool) -> None:
        """See `desk.Crew.tell`: in the log and on `~/message`."""
        if warning:
            self._log.warning(text)
        else:
            self._log.info(text)
        self._message.publish(String(data=text))

    def save_incomplete(self, stop: intents.Stop, timeout_s: float) -> None:
        """Close the episode within a wall time, because the program ends.

        Raises:
            CallError: the recorder is gone (then it has closed the episode by itself) or refuses.
        """
        call_checked(self._recorder[StopEpisode], _stop_request(stop), timeout_s)

    def return_arm(self, timeout_s: float) -> None:
        """Let teleoperation give the arm back within a wall time, because the program ends.

        Raises:
            CallError: the teleoperation node is gone (then it has given the arm back by itself) or refuses.
        """
        call_checked(self._enable, SetBool.Request(data=False), timeout_s)

    def _record(self, request: Any, timeout_s: float = _ANSWER_S) -> None:
        kind = next(kind for kind in self._recorder if isinstance(request, kind.Request))
        call_checked(self._recorder[kind], request, timeout_s)

    def _start(self, _: intents.Start, t: float) -> None:
        params = self._params
        request = StartEpisode.Request(
            task=params.task, operator_name=params.operator_name, max_duration=params.max_duration_s
        )
        self._record(request)

    def _stop(self, intent: intents.Stop, t: float) -> None:
        self._record(_stop_request(intent), _STOP_S)

    def _set_phase(self, intent: intents.SetPhase, t: float) -> None:
        self._record(SetPhase.Request(phase=intent.phase, label=intent.label, skill=intent.skill))

    def _annotate(self, intent: intents.Annotate, t: float) -> None:
        keys = sorted(intent.values)
        self._record(AnnotateEpisode.Request(keys=keys, values=[intent.values[key] for key in keys]))

    def _speed(self, intent: intents.Speed, t: float) -> None:
        for client in self._speeds:
            call_checked(client, SetSpeed.Request(scale=intent.scale), _ANSWER_S)

    def _run_skill(self, intent: intents.RunSkill, t: float) -> None:
        self._run = None  # the end of one that was given up is of no interest
        goal = ExecuteSkill.Goal(skill=intent.skill, resume=intent.resume)
        self._run = send_goal(self._skills, goal, _ANSWER_S)

    def _take_over(self, intent: intents.Takeover, t: float) -> TakeoverCall:
        call = self._switch(self._takeover, intent.enable, t)
        return TakeoverCall(call, lambda: self.policy_state, t + _SWITCH_S, enable=intent.enable)

    def _switch(self, client: Client, enable: bool, t: float) -> ServiceCall:
        return ServiceCall(client, SetBool.Request(data=enable), t + _SWITCH_S)


def _stop_request(intent: intents.Stop) -> StopEpisode.Request:
    return StopEpisode.Request(outcome=intent.outcome, skill_outcome=intent.skill_outcome, notes=intent.notes)


def skill_end(outcome: ActionOutcome) -> SkillEnd:
    """What the day needs to know of the end of an ExecuteSkill goal."""
    result = outcome.result
    code = int(result.error_code)
    if not outcome.succeeded and code == ExecuteSkill.Result.NONE:
        code = ExecuteSkill.Result.INTERRUPTED
    grasp = {
        "grasp_verified": "true" if result.grasp_verified else "false",
        "grasp_commanded": f"{result.grasp_commanded:g}",
        "grasp_actual": f"{result.grasp_actual:g}",
        "grasp_threshold": f"{result.grasp_threshold:g}",
    }
    text = "" if not code else result.error_msg or _CODES.get(code, str(code)).lower().replace("_", " ")
    return SkillEnd(code=code, text=text, waypoints=result.waypoints, grasp=grasp if result.grasp_checked else {})
