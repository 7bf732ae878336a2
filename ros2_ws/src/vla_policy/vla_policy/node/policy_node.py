# SPDX-License-Identifier: Apache-2.0

"""The policy node: `ros2 run vla_policy policy_node --ros-args -p checkpoint:=DIR`.

Streams of the profile go into a FrameBuilder; a worker thread runs the control loop, a second one the model; chunks
leave as goals of the robot's action servers. Nothing moves until a `RunPolicy` goal is accepted on `~/run`.
"""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.action.server import ServerGoalHandle
from rosidl_runtime_py.utilities import get_message
from vla_common.diagnostics import Diagnostics
from vla_common.params import ParameterError, declare
from vla_common.qos import SENSOR, adapt, overridable
from vla_common.run import ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_core.errors import StampError, VlaError
from vla_core.frames import FrameBuilder, resolve_topic
from vla_core.profile import Profile
from vla_core.stamps import stamp_ns
from vla_msgs.action import RunPolicy
from vla_msgs.msg import PolicyStatus
from vla_msgs.srv import SetTask

from vla_policy.execution.executor import ChunkExecutor, LatencyEstimate
from vla_policy.execution.hooks import Stop
from vla_policy.execution.inference import Inference
from vla_policy.execution.measures import append_report
from vla_policy.execution.policy_run import PolicyRun, Result, RunOptions
from vla_policy.node.auto_start import AutoStart
from vla_policy.node.goals import ActionCommands, ShownCommands, commanded
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.run_report import report, result_message
from vla_policy.node.run_server import RunServer
from vla_policy.node.status import StatusPublisher, feedback
from vla_policy.policies.checkpoint import Checkpoint, choose_profile, find_checkpoint
from vla_policy.policies.lerobot_runner import LeRobotRunner, LoadOptions
from vla_policy.policies.runner import PolicyRunner

STATUS_PERIOD_NS = 500_000_000
TICK_TIMEOUT_S = 0.2
STOP_TIMEOUT_S = 6.0
LoadRunner = Callable[[Checkpoint, Profile, LoadOptions], PolicyRunner]


class PolicyNode(ManagedNode):
    """See the module."""

    def __init__(self, *, load: LoadRunner = LeRobotRunner, **kwargs: Any) -> None:
        """Load everything; nothing is sent.

        Args:
            load: Makes the policy's runner.
            kwargs: For rclpy's Node, e.g. `parameter_overrides`.

        Raises:
            VlaError: a parameter, the profile or the checkpoint is unusable.
        """
        super().__init__("policy", **kwargs)
        self._params = declare(self, PolicyParams)
        self._status = StatusPublisher(self, task=self._params.task, dry_run=self._params.dry_run)
        self._run: PolicyRun | None = None
        self._dropped_before: Counter[str] = Counter()
        if self._params.start_on_ready and not self._params.dry_run:
            raise ParameterError("policy: start_on_ready:=true needs dry_run:=true; an arm moves only by a goal")
        checkpoint = find_checkpoint(Path(self._params.checkpoint).expanduser())
        given = self._params.profile
        self._profile = choose_profile(checkpoint, Path(given).expanduser() if given else None)
        commanded(self._profile)
        self._status.task = self._params.task or self._profile.task
        options = LoadOptions(
            device=self._params.device,
            torch_threads=self._params.torch_threads,
            n_action_steps=self._params.n_action_steps,
            seed=self._params.seed,
        )
        self._inference = Inference(lambda: load(checkpoint, self._profile, options))
        self.get_logger().info(f"loaded {self._inference.runner.description}")
        self._builder = FrameBuilder(
            self._profile,
            actions=False,
            namespace=self.get_namespace(),
            warn=lambda text: self.get_logger().warning(text),
        )
        self._ticker = make_ticker(self, rate_hz=self._params.rate_hz, lockstep=self._params.lockstep)
        self._received_ns = 0
        self._subscribe()
        self._actions = self._action_commands()
        self.create_service(SetTask, "~/set_task", self._on_set_task)
        self._server = RunServer(self, self._ticker, control=self._control, cancel=self._on_cancel)
        self._auto_start = AutoStart(self, self._builder) if self._params.start_on_ready else None
        self._status.publish(PolicyStatus.IDLE, "ready")

    def _action_commands(self) -> ActionCommands | None:
        """Clients exist only where goals may be sent at all."""
        if self._params.dry_run or self._params.output == "print":
            return None
        return ActionCommands(self, self._profile, lockstep=self._params.lockstep)

    def _subscribe(self) -> None:
        """One subscription per topic; in lockstep a tick waits for its newest message."""
        diagnostics = Diagnostics(self, hardware_id=self._profile.robot)
        streams = {stream.topic: stream for stream in self._builder.streams}
        for topic, type_name in self._builder.topics.items():
            stream = streams[topic]
            resolved = resolve_topic(topic, self.get_namespace())
            monitor = diagnostics.stream(topic, expected_hz=stream.rate_hz, max_age_s=stream.max_age_s)

            def receive(msg: Any, topic: str = topic, resolved: str = resolved, seen: Any = monitor.tick) -> None:
                now_ns = self.get_clock().now().nanoseconds
                if now_ns < self._received_ns:
                    self._builder.clear()  # the clock went back: a bag or a simulation begins again
                self._received_ns = now_ns
                self._builder.push_topic(topic, now_ns, msg)
                seen(now_ns)
                try:
                    self._ticker.notice(resolved, stamp_ns(msg))
                except StampError:
                    return  # a type without a header; the cell's ticks are not about it

            qos = SENSOR if self._params.lockstep else adapt(self, topic, SENSOR)
            self.create_subscription(get_message(type_name), topic, receive, qos, qos_overriding_options=overridable())
            self._ticker.watch(resolved)

    def _on_set_task(self, request: SetTask.Request, response: SetTask.Response) -> SetTask.Response:
        if not request.task.strip():
            response.success, response.message = False, "the task is empty; give an instruction"
            return response
        self._status.task = request.task
        if self._run is not None:
            self._run.task = request.task
        response.success, response.message = True, f"task: {request.task}"
        return response

    def _on_cancel(self) -> None:
        if self._run is not None:
            self._run.request_stop(Stop(termination=Result.TERMINATION_CANCELED, message="cancelled by the client"))

    def _control(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        goal = handle.request
        self._status.dry_run = self._params.dry_run or goal.dry_run
        commands = self._commands()
        options = RunOptions(
            max_duration_s=goal.max_duration or self._params.max_duration_s,
            start_timeout_s=self._params.start_timeout_s,
            lockstep=self._params.lockstep,
            gripper_deadband=self._params.gripper_deadband,
            max_refused=self._params.max_refused,
        )
        latency = LatencyEstimate(self._params.inference_latency_s, fixed=self._params.lockstep)
        executor = ChunkExecutor(self._profile, n_action_steps=self._inference.runner.n_action_steps, latency=latency)
        run = PolicyRun(
            self._profile,
            self._builder,
            self._inference,
            executor,
            commands,
            options=options,
            now_ns=lambda: self.get_clock().now().nanoseconds,
        )
        run.task = goal.task or self._status.task
        self._run = run
        self._dropped_before = Counter(self._builder.dropped)
        self._status.publish(PolicyStatus.RUNNING, run.detail, run)
        try:
            stop = self._start_and_loop(run, commands, handle)
        finally:
            self._status.publish(PolicyStatus.STOPPING, run.detail, run)
            for problem in commands.stop():
                self.get_logger().error(problem)
        self._conclude(run, stop)
        return result_message(run, stop)

    def _start_and_loop(
        self, run: PolicyRun, commands: ActionCommands | ShownCommands, handle: ServerGoalHandle
    ) -> Stop:
        if handle.is_cancel_requested:
            return Stop(termination=Result.TERMINATION_CANCELED, message="cancelled by the client")
        try:
            commands.begin(self._params.start_timeout_s)
        except VlaError as error:
            return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.CONTROLLER, message=str(error))
        next_status_ns = 0
        while True:
            t_ns = self._ticker.wait(timeout_s=TICK_TIMEOUT_S)
            if t_ns is None:
                if run.requested is not None:
                    return run.requested
                continue
            stop = run.tick(t_ns)
            if stop is not None:
                return stop
            if t_ns >= next_status_ns:
                next_status_ns = t_ns + STATUS_PERIOD_NS
                handle.publish_feedback(feedback(run))
                self._status.publish(PolicyStatus.RUNNING, run.detail, run)

    def _commands(self) -> ActionCommands | ShownCommands:
        if self._params.output == "print":
            return ShownCommands(_to_stdout)
        if self._status.dry_run or self._actions is None:
            return ShownCommands(lambda text: self.get_logger().info(text))
        return self._actions

    def _conclude(self, run: PolicyRun, stop: Stop) -> None:
        text = (
            f"run ended after {run.duration_s:.2f} s: {stop.message} ({run.steps} steps, {run.measures.chunks} chunks, "
            f"{run.measures.goals_sent} goals)"
        )
        if stop.error_code:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)
        if self._params.report_file:
            extra = {
                "policy": self._inference.runner.description,
                "clock": "lockstep" if self._params.lockstep else "paced",
                "dry_run": self._status.dry_run,
                "dropped": dict(Counter(self._builder.dropped) - self._dropped_before),
            }
            append_report(Path(self._params.report_file).expanduser(), {**report(run, stop), **extra})
        self._run = None
        self._status.publish(PolicyStatus.FAULT if stop.error_code else PolicyStatus.IDLE, stop.message, run)

    def close(self) -> None:
        """Stop a running policy and its goals, then leave."""
        run = self._run
        if run is not None:
            run.request_stop(Stop(termination=Result.TERMINATION_SHUTDOWN, message="the node was told to end"))
        if not self._server.close(STOP_TIMEOUT_S):
            self.get_logger().error(f"the control loop has not ended within {STOP_TIMEOUT_S:g} s")
        self._ticker.close()
        self._inference.close()


def _to_stdout(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(args: list[str] | None = None) -> int:
    """Entry point of `policy_node`."""
    code = run_node(PolicyNode, args)
    gc.freeze()  # else the interpreter's last collection walks through torch for seconds, longer than launchers wait
    return code
