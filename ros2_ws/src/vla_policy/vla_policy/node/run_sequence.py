# SPDX-License-Identifier: Apache-2.0

"""What happens during one goal, stage by stage: connect, load, ready, run, ready again, finish.

All of it runs in the control thread of `RunServer`. In lockstep the ticks are attached meanwhile and simulated time
stands still until the first tick is asked for, which is the one that the client saw.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path

from rclpy.action.server import ServerGoalHandle
from vla_common.priority import prefer_this_thread
from vla_common.run import ManagedNode
from vla_core.errors import VlaError
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus

from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.hooks import Stop
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.measures import append_report
from vla_policy.execution.policy_run import PolicyRun, Result, RunOptions
from vla_policy.node.goals import ActionCommands, ShownCommands
from vla_policy.node.guards import explained
from vla_policy.node.loading import PolicyBusyError, chosen_strategy
from vla_policy.node.ready_pose import ReadyMove, returns_to_ready
from vla_policy.node.run_parts import Participant, RunParts
from vla_policy.node.run_report import report, result_message
from vla_policy.node.status import feedback
from vla_policy.policies.checkpoint import find_checkpoint

STATUS_PERIOD_NS = 500_000_000
TICK_TIMEOUT_S = 0.2
CONNECT, LOAD, READY, RUN, FINISH = "connect", "load", "ready", "run", "finish"
PROGRESS = {CONNECT: 0.05, LOAD: 0.1, READY: 0.15, RUN: 0.2, FINISH: 0.95}
DRIVERS = {PolicyStatus.TAKEOVER: "takeover", PolicyStatus.SKILL: "skill"}
BROKE_DOWN = "the control loop failed; the node's log has the traceback"
RunCommands = ActionCommands | ShownCommands


class RunSequence:
    """Carries out one goal at a time."""

    def __init__(self, node: ManagedNode, parts: RunParts) -> None:
        """Args: node: for its clock and log."""
        self._node = node
        self._parts = parts
        self._params = parts.params
        self._default_task = parts.status.task
        self._run: PolicyRun | None = None
        self._requested: Stop | None = None
        self._active = False
        self._dropped_before: Counter[str] = Counter()

    def set_task(self, task: str) -> None:
        """Use another instruction from the next inference on, in an active run too."""
        self._default_task = self._parts.status.task = task
        run = self._run
        if run is not None:
            run.task = task

    def cancel(self) -> None:
        """The client cancelled its goal; from the executor's thread."""
        self.request_stop(Stop(termination=Result.TERMINATION_CANCELED, message="cancelled by the client"))

    def request_stop(self, stop: Stop) -> None:
        """Ask the active goal, if there is one, to end; from any thread. The first reason is kept."""
        if self._active and self._requested is None:
            self._requested = stop
            run = self._run
            if run is not None:
                run.request_stop(stop)

    def close(self) -> None:
        """Leave the robot's action servers; no goal is active any more."""
        if self._parts.actions is not None:
            self._parts.actions.close()

    def control(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        """Run one accepted goal to its end; in the control thread."""
        self._requested, self._active, self._run = None, True, None
        status = self._parts.status
        status.dry_run = self._params.dry_run or handle.request.dry_run
        status.task = handle.request.task or self._default_task
        try:
            return self._carry_out(handle)
        finally:
            self._active, self._run = False, None
            status.task = self._default_task

    def _carry_out(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        commands = self._commands()
        ready = self._ready_move(commands) if handle.request.ready_pose else None
        accepted: list[Participant] = []
        stop, result = _error(Result.INFERENCE, BROKE_DOWN), RunPolicy.Result()
        try:
            stop = self._stages(handle, commands, ready, accepted)
            result = self._conclude(stop)
        finally:
            for participant in accepted:
                self._node.run_guarded(partial(participant.finish, stop, result))()  # each, whatever the others do
        if ready is not None and ready.moved and self._run is not None and returns_to_ready(stop):
            back = self._go_ready(handle, ready, commands)
            if back is not None:
                self._node.get_logger().error(f"after the run: {back.message}")
        self._say(handle, FINISH, stop.message)
        state = PolicyStatus.FAULT if stop.error_code else PolicyStatus.IDLE
        result.status = self._parts.status.publish(state, stop.message, self._run)
        return result

    def _stages(
        self, handle: ServerGoalHandle, commands: RunCommands, ready: ReadyMove | None, accepted: list[Participant]
    ) -> Stop:
        """Everything up to the end of the run, at which the arm rests."""
        goal = handle.request
        stop = (
            self._connect(handle, commands, accepted)
            or self._load(handle)
            or self._go_ready(handle, ready, commands)
            or self._start(goal, accepted)
        )
        if stop is not None:
            return stop
        try:
            with self._parts.policy.use():
                self._run = self._make_run(goal, commands)
                return self._drive(handle, self._run, commands)
        except PolicyBusyError as error:
            return _error(Result.NOT_READY, str(error))

    def _connect(self, handle: ServerGoalHandle, commands: RunCommands, accepted: list[Participant]) -> Stop | None:
        """Find the action servers and tell the participants; nothing moves.

        What the robot says of itself, such as a protective stop, is why its controllers are not active, so it comes first.
        """
        self._say(handle, CONNECT, "waiting for the action servers and their controllers")
        absent = None
        try:
            commands.begin(self._params.start_timeout_s)
        except VlaError as error:
            absent = _error(Result.CONTROLLER, str(error))
        for participant in self._parts.participants:
            accepted.append(participant)
            stop = participant.accept(handle.request)
            if stop is not None:
                return stop
        return absent or self._requested

    def _load(self, handle: ServerGoalHandle) -> Stop | None:
        """Load the goal's checkpoint, if it names one that is not loaded."""
        checkpoint = handle.request.checkpoint
        if not checkpoint or same_checkpoint(checkpoint, self._parts.policy.source):
            self._say(handle, LOAD, f"loaded already: {self._parts.policy.description}")
            return None
        self._say(handle, LOAD, f"loading {checkpoint}", PolicyStatus.LOADING)
        try:
            self._node.get_logger().info(f"loaded {self._parts.policy.load(checkpoint)}")
        except VlaError as error:
            return _error(Result.CHECKPOINT, str(error))
        return self._requested

    def _go_ready(self, handle: ServerGoalHandle, ready: ReadyMove | None, commands: RunCommands) -> Stop | None:
        """Move to the ready pose; whatever ends the move stops it."""
        if ready is None:
            return None
        self._say(handle, READY, "moving to the ready pose")
        try:
            return ready.move()
        finally:
            self._stop_commands(commands)

    def _ready_move(self, commands: RunCommands) -> ReadyMove:
        gate = self._parts.gate
        return ReadyMove(
            self._parts.limits(self._parts.profile),
            self._parts.builder,
            self._parts.ticker,
            commands,
            speed=self._params.ready_speed,
            wait_s=self._params.start_timeout_s,
            requested=lambda: self._requested,
            guards=self._parts.guards,
            held=lambda t_ns: gate is not None and gate.holding(t_ns) is not None,
        )

    def _start(self, goal: RunPolicy.Goal, accepted: list[Participant]) -> Stop | None:
        """Tell the participants that the policy is about to drive."""
        for participant in accepted:
            stop = participant.start(goal, self._parts.status.task)
            if stop is not None:
                return stop
        return self._requested

    def _make_run(self, goal: RunPolicy.Goal, commands: RunCommands) -> PolicyRun:
        parts, params = self._parts, self._params
        inference = parts.policy.inference
        options = RunOptions(
            max_duration_s=goal.max_duration or params.max_duration_s,
            start_timeout_s=params.start_timeout_s,
            lockstep=params.lockstep,
            gripper_deadband=params.gripper_deadband,
            max_refused=params.max_refused,
            starved_after_s=params.starvation_timeout_s if params.on_starvation == "abort" else float("inf"),
        )
        latency = LatencyEstimate(
            params.inference_latency_s, fixed=params.lockstep, percentile=params.latency_percentile
        )
        executor = ChunkExecutor(
            parts.limits(parts.profile),
            n_action_steps=lambda: inference.runner.n_action_steps,
            latency=latency,
            strategy=chosen_strategy(params),
            refill=params.refill,
            ramp_down=params.on_starvation == "ramp_down",
        )
        run = PolicyRun(
            parts.profile,
            parts.builder,
            inference,
            executor,
            commands,
            options=options,
            now_ns=lambda: self._node.get_clock().now().nanoseconds,
            guards=parts.guards,
            gate=parts.gate,
            watchers=parts.watchers,
            measures=parts.measuring.begin(
                task=self._parts.status.task, policy=parts.policy.description, strategy=parts.status.strategy
            ),
            taken_s=lambda: parts.measuring.taken_s,
            followed=parts.followed,
        )
        run.task = self._parts.status.task
        return run

    def _drive(self, handle: ServerGoalHandle, run: PolicyRun, commands: RunCommands) -> Stop:
        """Let the policy drive until there is a reason to stop, and bring the arm to rest."""
        self._dropped_before = Counter(self._parts.builder.dropped)
        try:
            stop = self._loop(handle, run)
        finally:
            with self._parts.measuring.stopping(run):
                self._parts.status.publish(PolicyStatus.STOPPING, run.detail, run)
                self._stop_commands(commands)
                if self._parts.gate is not None:
                    self._parts.gate.end()
        return explained(stop, self._parts.guards, self._node.get_clock().now().nanoseconds)

    def _loop(self, handle: ServerGoalHandle, run: PolicyRun) -> Stop:
        goal, next_status_ns = handle.request, 0
        self._parts.policy.inference.on_answer = self._parts.ticker.wake
        problem = None if self._params.lockstep else prefer_this_thread(self._params.thread_priority)
        if problem is not None:
            self._node.get_logger().info(problem, once=True)
        self._publish(handle, run)
        if self._requested is not None:  # while the run was being made
            run.request_stop(self._requested)
        while True:
            t_ns = self._parts.ticker.wait(timeout_s=TICK_TIMEOUT_S)
            if t_ns is None:
                if run.requested is not None:
                    return run.requested
                continue
            stop = run.between(t_ns) if self._parts.ticker.between else run.tick(t_ns)
            stop = stop or _step_limit(run, goal.max_steps)
            if stop is not None:
                return stop
            if t_ns >= next_status_ns or self._parts.status.driver_changed():
                next_status_ns = t_ns + STATUS_PERIOD_NS
                self._publish(handle, run)

    def _publish(self, handle: ServerGoalHandle, run: PolicyRun) -> None:
        goal = handle.request
        done = run.duration_s / (goal.max_duration or self._params.max_duration_s)
        if goal.max_steps:
            done = max(done, run.steps / goal.max_steps)
        message = feedback(run)
        message.stage = DRIVERS.get(self._parts.status.driver(), RUN)
        message.progress = PROGRESS[RUN] + (PROGRESS[FINISH] - PROGRESS[RUN]) * min(1.0, done)
        handle.publish_feedback(message)
        self._parts.status.publish(self._parts.status.driver(), run.detail, run)

    def _say(self, handle: ServerGoalHandle, stage: str, detail: str, state: int = PolicyStatus.RUNNING) -> None:
        progress = max(PROGRESS[stage], PROGRESS[FINISH] if self._run is not None else 0.0)
        handle.publish_feedback(RunPolicy.Feedback(stage=stage, progress=progress, detail=detail))
        if stage != FINISH:
            self._parts.status.publish(state, detail)

    def _commands(self) -> RunCommands:
        if self._params.output == "print":
            return ShownCommands(_to_stdout)
        actions = self._parts.actions
        if self._parts.status.dry_run or actions is None:
            return ShownCommands(lambda text: self._node.get_logger().info(text))
        return actions

    def _stop_commands(self, commands: RunCommands) -> None:
        for problem in commands.stop():
            self._node.get_logger().error(problem)

    def _conclude(self, stop: Stop) -> RunPolicy.Result:
        """Say how it ended: log, report file and result."""
        run = self._run
        text = stop.message if run is None else _summary(run, stop)
        if stop.error_code:
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().info(text)
        if run is None:
            return RunPolicy.Result(error_code=stop.error_code, error_msg=stop.message, termination=stop.termination)
        self._parts.measuring.end(run, stop)
        self._report(run, stop)
        return result_message(run, stop)

    def _report(self, run: PolicyRun, stop: Stop) -> None:
        if not self._params.report_file:
            return
        extra = {
            "policy": self._parts.policy.description,
            "clock": "lockstep" if self._params.lockstep else "paced",
            "dry_run": self._parts.status.dry_run,
            "dropped": dict(Counter(self._parts.builder.dropped) - self._dropped_before),
        }
        append_report(Path(self._params.report_file).expanduser(), {**report(run, stop), **extra})


def _summary(run: PolicyRun, stop: Stop) -> str:
    return (
        f"run ended after {run.duration_s:.2f} s: {stop.message} ({run.steps} steps, {run.measures.chunks} chunks, "
        f"{run.measures.goals_sent} goals)"
    )


def same_checkpoint(asked: str, loaded: str) -> bool:
    """Whether two names (run, step or `pretrained_model` folder, or an id on a server) mean the same checkpoint."""
    if asked == loaded:
        return True
    try:
        folders = [find_checkpoint(Path(name).expanduser()).path.resolve() for name in (asked, loaded)]
    except VlaError:
        return False
    return folders[0] == folders[1]


def _step_limit(run: PolicyRun, max_steps: int) -> Stop | None:
    if not max_steps or run.steps < max_steps:
        return None
    message = f"the limit of {max_steps} action steps was reached"
    return Stop(termination=Result.TERMINATION_TIMEOUT, message=message)


def _error(code: int, message: str) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=code, message=message)


def _to_stdout(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
