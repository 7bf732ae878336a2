# SPDX-License-Identifier: Apache-2.0

"""Records runs as evaluation episodes through the recorder's services, and tells the recorder who drives.

Recorder and policy are nodes of their own; a run that was to be recorded and cannot be is refused, and one that fails
or is stopped is closed with what is known of it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.task import Future
from vla_common.services import CallError, call_checked, wait_future
from vla_msgs.action import RecordEpisode, RunPolicy
from vla_msgs.msg import EpisodeEvent
from vla_msgs.srv import AnnotateEpisode, SetPhase, StartEpisode, StopEpisode

from vla_policy.execution.hooks import Stop
from vla_policy.node.modes import Modes
from vla_policy.node.run_report import TERMINATIONS
from vla_policy.policies.checkpoint import WEIGHTS_FILE

Result = RunPolicy.Result
FIND_TIMEOUT_S = 10.0
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 15.0
PHASE_TIMEOUT_S = 2.0
SHUTDOWN_TIMEOUT_S = 1.5
"""Per call. At ctrl-c the recorder ends too and keeps the episode; launchers wait 5 s for a node."""
PREFIX = "x_"
"""Begins every key that a rollout adds to the episode's metadata, as the recorder asks of foreign keys."""
INTERRUPTED = "interrupted"
"""Termination of a rollout whose end the policy node could not report."""

_SKILL_OUTCOMES = {
    Result.TERMINATION_TIMEOUT: "timeout",
    Result.TERMINATION_ESTOP: "estop",
    Result.TERMINATION_SHUTDOWN: "estop",  # ctrl-c during a run is the operator's stop
    Result.TERMINATION_CANCELED: "incomplete",
    Result.TERMINATION_STALE_INPUT: "incomplete",
    Result.TERMINATION_LIMIT: "incomplete",
    Result.TERMINATION_STARVED: "incomplete",
    Result.TERMINATION_ERROR: "incomplete",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """What is run, for the metadata of a rollout.

    Attributes:
        policy: For people.
        checkpoint: Folder or address.
        strategy: How chunks are joined.
        profile_sha256: Hash of the profile that the policy runs under.
        seed: Of the policy's noise.
    """

    policy: str
    checkpoint: str
    strategy: str
    profile_sha256: str
    seed: int


class RolloutRecorder:
    """Takes part in every goal; see `vla_policy.node.run_parts.Participant`."""

    def __init__(
        self,
        node: Node,
        *,
        modes: Callable[[], Modes],
        identity: Callable[[], RunIdentity],
        always: bool,
        dry_run: bool,
        lockstep: bool,
    ) -> None:
        """Make the clients.

        Args:
            node: Of the policy.
            modes: Who drives.
            identity: What is run now.
            always: Record every run that moves the arm, whether or not the goal asks for it.
            dry_run: The node sends nothing.
            lockstep: Wait until the recorder has taken a change of phase, because simulated time stands still.
        """
        self._log = node.get_logger()
        self._modes = modes
        self._identity = identity
        self._always = always
        self._dry_run = dry_run
        self._lockstep = lockstep
        self._start = node.create_client(StartEpisode, "recorder/start")
        self._stop = node.create_client(StopEpisode, "recorder/stop")
        self._annotate = node.create_client(AnnotateEpisode, "recorder/annotate")
        self._phase = node.create_client(SetPhase, "recorder/set_phase")
        self._open = False

    def accept(self, goal: RunPolicy.Goal) -> Stop | None:
        """Refuse a goal that is to be recorded and cannot be."""
        if not self._wanted(goal):
            return None
        if self._dry_run or goal.dry_run:
            return _refused("a dry run moves nothing, so there is nothing to record; leave record_eval out")
        if not self._start.wait_for_service(timeout_sec=FIND_TIMEOUT_S):
            return _refused(
                f"the run is to be recorded, but nobody offers {self._start.service_name} after {FIND_TIMEOUT_S:g} s. Start "
                f"the recorder (ros2 launch vla_bringup infer.launch.py record_eval:=true …), or leave record_eval out"
            )
        return None

    def _wanted(self, goal: RunPolicy.Goal) -> bool:
        dry = self._dry_run or goal.dry_run
        return bool(goal.record_eval or (self._always and not dry))

    def start(self, goal: RunPolicy.Goal, task: str) -> Stop | None:
        """Open the episode; it is recorded from now on."""
        self._open = False
        if not self._wanted(goal):
            return None
        identity = self._identity()
        about = {
            "eval": "1",
            "policy": identity.policy,
            "checkpoint": identity.checkpoint,
            "checkpoint_sha256": checkpoint_sha256(identity.checkpoint),
            "policy_profile_sha256": identity.profile_sha256,
            "policy_seed": str(identity.seed),
            "strategy": identity.strategy,
            "mode": self._modes().mode,
            "scene": goal.scene or "default",
            "client": goal.client,
            "run_termination": INTERRUPTED,
        }
        try:
            call_checked(self._start, StartEpisode.Request(task=task), START_TIMEOUT_S)
            self._open = True
            self._note(about)
            call_checked(self._phase, SetPhase.Request(phase=EpisodeEvent.POLICY, label="run begins"), PHASE_TIMEOUT_S)
        except CallError as error:
            self._close_quietly()
            return _refused(f"the run cannot be recorded: {error}")
        return None

    def finish(self, stop: Stop, result: RunPolicy.Result) -> None:
        """Close the episode with what became of the run; each step is tried whatever became of the one before."""
        if not self._open:
            return
        self._open = False
        modes = self._modes()
        ends = stop.termination == Result.TERMINATION_SHUTDOWN
        about = {
            "run_termination": TERMINATIONS[stop.termination],
            "run_error_code": str(stop.error_code),
            "run_message": stop.message,
            "run_duration_s": f"{result.duration:.3f}",
            "run_steps": str(result.steps),
            "run_chunks": str(result.chunks),
            "interventions": str(modes.interventions),
            "failed_grasps": str(modes.failed_grasps),
        }
        try:
            self._note(about, SHUTDOWN_TIMEOUT_S if ends else START_TIMEOUT_S)
        except CallError as error:
            self._log.error(f"the recorded run lacks its end: {error}")
        request = StopEpisode.Request(outcome=outcome_of(stop, modes), skill_outcome=skill_outcome_of(stop, modes))
        try:
            answer = call_checked(self._stop, request, SHUTDOWN_TIMEOUT_S if ends else STOP_TIMEOUT_S)
            result.eval_dir = str(answer.bag_path)
        except CallError as error:
            self._log.error(f"the recorder did not confirm the end of the run: {error}")

    def announce(self, phase: int, label: str, skill: str = "") -> None:
        """Tell the recorder who drives from now on; where nothing is being recorded, nobody needs to know."""
        if not self._phase.service_is_ready():
            return
        request = SetPhase.Request(phase=phase, label=label, skill=skill)
        future = self._phase.call_async(request)
        future.add_done_callback(partial(self._announced, phase, label))
        if self._lockstep:
            try:
                wait_future(future, PHASE_TIMEOUT_S, f"service {self._phase.service_name}")
            except CallError as error:
                self._log.error(str(error))

    def _announced(self, phase: int, label: str, future: Future) -> None:
        response: Any = future.result()
        if response is None or response.success or response.phase == EpisodeEvent.IDLE:
            return  # taken, or no episode is open
        if phase == EpisodeEvent.CORRECTION and label != _SECOND_TRY:
            # Before the first motion there is nothing to correct: a person who drives then teleoperates.
            self._phase.call_async(SetPhase.Request(phase=EpisodeEvent.TELEOP, label=_SECOND_TRY)).add_done_callback(
                partial(self._announced, EpisodeEvent.TELEOP, _SECOND_TRY)
            )
            return
        self._log.warning(f"the recorder did not take the change of phase ({label}): {response.message}")

    def _note(self, about: Mapping[str, str], timeout_s: float = START_TIMEOUT_S) -> None:
        keys = [PREFIX + key for key in about]
        call_checked(self._annotate, AnnotateEpisode.Request(keys=keys, values=list(about.values())), timeout_s)

    def _close_quietly(self) -> None:
        """Do not leave an episode open that was begun for a run which does not begin."""
        if not self._open:
            return
        self._open = False
        try:
            call_checked(self._stop, StopEpisode.Request(skill_outcome="incomplete"), STOP_TIMEOUT_S)
        except CallError as error:
            self._log.error(str(error))


_SECOND_TRY = "takeover before the first motion"


def outcome_of(stop: Stop, modes: Modes) -> int:
    """Label of a rollout as far as the node knows: a verified skill is a success, an error a failure, else unknown."""
    if modes.skill_done:
        return int(RecordEpisode.Result.OUTCOME_SUCCESS)
    if stop.error_code or stop.termination == Result.TERMINATION_ESTOP:
        return int(RecordEpisode.Result.OUTCOME_FAILURE)
    return int(RecordEpisode.Result.OUTCOME_UNKNOWN)


def skill_outcome_of(stop: Stop, modes: Modes) -> str:
    """One of `vla_core.episode.SKILL_OUTCOMES`; empty: as the phases tell."""
    if stop.error_code == Result.SKILL and modes.skill_outcome:
        return modes.skill_outcome
    return _SKILL_OUTCOMES.get(stop.termination, modes.skill_outcome)


def checkpoint_sha256(source: str) -> str:
    """SHA-256 of a checkpoint's weights; empty where they are not on this machine."""
    weights = Path(source) / WEIGHTS_FILE
    if not source or not weights.is_file():
        return ""
    stat = weights.stat()
    return _file_sha256(weights, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Args beyond the path tell when the file has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(message: str) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.RECORDER, message=message)
