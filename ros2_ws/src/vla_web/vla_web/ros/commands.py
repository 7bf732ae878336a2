# SPDX-License-Identifier: Apache-2.0

"""What the buttons do: calls of services and actions that the other nodes offer. Every refusal is passed on in words.

The page is no part of any control loop: each press is one request, as from a terminal, and a run that it has started
goes on when the page is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger
from vla_common.services import CallError, call_service, send_goal
from vla_core.profile import Profile
from vla_msgs.action import RecordEpisode, RunPolicy
from vla_msgs.srv import DiscardEpisode, LabelEpisode, SetTask, StartEpisode, StopEpisode

from vla_web.ros.crew import Crew

Arguments = Mapping[str, str]
Answer = tuple[bool, str]
_TIMEOUT_S = 10.0  # longer than the recorder takes to close an episode
_FIND_S = 1.0
_STOP_S = 3.0
_NO_ACTION = ("none", "joint_group_position")
_OUTCOMES = {
    "save": RecordEpisode.Result.OUTCOME_UNKNOWN,
    "success": RecordEpisode.Result.OUTCOME_SUCCESS,
    "failure": RecordEpisode.Result.OUTCOME_FAILURE,
}
_LABELS = {
    "success": LabelEpisode.Request.SUCCESS,
    "failure": LabelEpisode.Request.FAILURE,
    "discard": LabelEpisode.Request.DISCARD,
    "undo": LabelEpisode.Request.UNDO,
}
_REFUSED = {
    CancelGoal.Response.ERROR_REJECTED: "the server refused to cancel",
    CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID: "the server knows no such goal",
}


class Commands:
    """The buttons of the page by name."""

    def __init__(self, node: Node, profile: Profile, crew: Crew) -> None:
        """Make the clients; nothing is called.

        Args:
            node: Calls.
            profile: Names the robot's actions, which STOP cancels.
            crew: Says what the other nodes do now.
        """
        self._crew, self._node = crew, node
        self._clients: dict[str, Any] = {
            "start": node.create_client(StartEpisode, "recorder/start"),
            "stop": node.create_client(StopEpisode, "recorder/stop"),
            "discard": node.create_client(DiscardEpisode, "recorder/discard"),
            "label": node.create_client(LabelEpisode, "recorder/label"),
            "recorder_task": node.create_client(SetTask, "recorder/set_task"),
            "policy_task": node.create_client(SetTask, "policy/set_task"),
            "estop": node.create_client(Trigger, "policy/estop"),
            "reset_estop": node.create_client(Trigger, "policy/reset_estop"),
            "enable": node.create_client(SetBool, "teleop/enable"),
        }
        cancelled = {"policy run": "policy/run", "skill": "skills/execute"}
        cancelled.update({a.name: a.command.name for a in profile.action if a.command.interface not in _NO_ACTION})
        self._cancels = {
            what: node.create_client(CancelGoal, f"{action}/_action/cancel_goal") for what, action in cancelled.items()
        }
        self._run = ActionClient(node, RunPolicy, "policy/run")
        self._busy = threading.Lock()
        self._table: dict[str, Callable[[Arguments], Answer]] = {
            "start": self._start,
            "save": lambda _: self._close("save"),
            "success": lambda _: self._close("success"),
            "failure": lambda _: self._close("failure"),
            "discard": lambda _: self._discard(),
            "undo": lambda _: self._label("undo"),
            "set_task": self._set_task,
            "run_policy": self._run_policy,
            "cancel_policy": lambda _: self._cancel("policy run", _TIMEOUT_S),
            "reset_estop": lambda _: self._trigger("reset_estop"),
        }

    def allowed(self) -> list[str]:
        """Names of the buttons that make sense now; the others are grey. The nodes themselves have the last word."""
        recorder, policy = self._crew.recorder_row(), self._crew.policy_row()
        names = ["stop"]
        if recorder is not None:
            names.append("set_task")
            if recorder["recording"]:
                names += ["save", "success", "failure", "discard"]
            else:
                names.append("start")
                names += ["success", "failure", "discard"] if recorder["last_uuid"] else []
            names += ["undo"] if recorder["can_undo"] else []
        if policy is not None:
            idle = policy["state"] in ("idle", "fault")
            names += ["set_task", "estop", "reset_estop", "run_policy" if idle else "cancel_policy"]
        return names

    def do(self, name: str, arguments: Arguments) -> Answer:
        """Carry out a command: whether it was done, and a sentence. Blocks; stops wait for no other command.

        Raises:
            KeyError: There is no such command.
        """
        if name == "stop":
            return self._stop()
        if name == "estop":
            return self._trigger(name)
        act = self._table[name]
        if not self._busy.acquire(timeout=_TIMEOUT_S):
            return False, "another command is still under way; try again when it has answered"
        try:
            return act(arguments)
        except CallError as error:
            return False, str(error)
        finally:
            self._busy.release()

    def _recording(self) -> bool:
        recorder = self._crew.recorder_row()
        return recorder is not None and bool(recorder["recording"])

    def _ask(self, client: str, request: Any, done: str) -> Answer:
        reply = call_service(self._clients[client], request, _TIMEOUT_S)
        if not reply.success:
            return False, reply.message or f"refused by {self._clients[client].service_name} without a reason"
        return True, f"{done}: {reply.message}" if reply.message else done

    def _start(self, arguments: Arguments) -> Answer:
        return self._ask("start", StartEpisode.Request(task=arguments.get("task", "").strip()), "episode started")

    def _close(self, how: str) -> Answer:
        if not self._recording():
            return self._label(how)
        request = StopEpisode.Request(outcome=_OUTCOMES[how])
        return self._ask("stop", request, "saved" if how == "save" else f"saved as {how}")

    def _discard(self) -> Answer:
        if not self._recording():
            return self._label("discard")
        return self._ask(
            "discard", DiscardEpisode.Request(), "discarded; Undo brings it back until the next one is saved"
        )

    def _label(self, how: str) -> Answer:
        if how not in _LABELS:
            return False, "no episode is open, so there is nothing to save; press Start first"
        return self._ask("label", LabelEpisode.Request(label=_LABELS[how]), "last episode")

    def _set_task(self, arguments: Arguments) -> Answer:
        task = arguments.get("task", "").strip()
        recorder, policy = self._crew.recorder_row(), self._crew.policy_row()
        wanted = [("recorder", recorder)] * (recorder is not None) + [("policy", policy)] * (policy is not None)
        if not wanted:
            return False, "neither a recorder nor a policy is running; nobody could use the task"
        answers = [self._ask(f"{who}_task", SetTask.Request(task=task), f"{who}: task set") for who, _ in wanted]
        return all(done for done, _ in answers), "; ".join(said for _, said in answers)

    def _run_policy(self, arguments: Arguments) -> Answer:
        goal = RunPolicy.Goal(task=arguments.get("task", "").strip(), client="operator page")
        run = send_goal(self._run, goal, _TIMEOUT_S)
        policy = self._crew.policy_row()
        dry = " (dry run: nothing is sent)" if policy is not None and policy["dry_run"] else ""
        return (True, f"the policy runs{dry}") if run.outcome is None else (False, str(run.outcome.result.error_msg))

    def _trigger(self, name: str) -> Answer:
        try:
            return self._ask(name, Trigger.Request(), "emergency stop" if name == "estop" else "reset")
        except CallError as error:
            return False, str(error)

    def _cancel(self, what: str, timeout_s: float) -> Answer:
        """Cancel every goal of an action, whoever sent it: a zero id and stamp mean all (action_msgs/CancelGoal)."""
        reply = call_service(self._cancels[what], CancelGoal.Request(), timeout_s)
        if reply.return_code in _REFUSED:
            return False, f"{what}: {_REFUSED[reply.return_code]}"
        return True, f"{what}: {'cancelled' if reply.goals_canceling else 'nothing was running'}"

    def _stop(self) -> Answer:
        """Cancel everything that drives, side by side; no step waits for another one, none is skipped."""
        steps: dict[str, Callable[[], Answer]] = {}
        for what, client in self._cancels.items():
            if client.service_is_ready():
                steps[what] = lambda what=what: self._cancel(what, _STOP_S)  # type: ignore[misc]
        teleop = self._crew.teleop_row()
        if teleop is not None and teleop["state"] != "off":
            steps["teleoperation"] = self._disable_teleop
        if not steps:
            return False, "nothing answers that could be stopped; use the red button at the robot"
        with ThreadPoolExecutor(max_workers=len(steps), thread_name_prefix="stop") as pool:
            futures = {what: pool.submit(_told, what, step) for what, step in steps.items()}
            answers = [future.result() for future in futures.values()]
        done = all(ok for ok, _ in answers)
        said = "; ".join(text for ok, text in sorted(answers))
        return done, said if done else f"STOP IS INCOMPLETE, use the red button. {said}"

    def _disable_teleop(self) -> Answer:
        reply = call_service(self._clients["enable"], SetBool.Request(data=False), _STOP_S)
        return bool(reply.success), f"teleoperation: {reply.message or ('off' if reply.success else 'refused')}"


def _told(what: str, step: Callable[[], Answer]) -> Answer:
    try:
        return step()
    except CallError as error:
        return False, f"{what}: {error}"
