# SPDX-License-Identifier: Apache-2.0

"""One run of a policy, tick by tick: observe, infer, check, command, and the first reason to stop.

No ROS here: the node calls `PolicyRun.tick` from its control loop, and commands leave through a `Commands` object.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.errors import ActionError, KinematicsError, StaleChunkError
from vla_core.frames import IMAGE_PREFIX, Frame, FrameBuilder, Missing
from vla_core.profile import Profile
from vla_core.stamps import to_ns, to_s
from vla_msgs.action import RunPolicy

from vla_policy.execution.commands import Commands
from vla_policy.execution.executor import ChunkExecutor, Plan, describe
from vla_policy.execution.hooks import ChunkWatcher, Gate, Guard, Stop
from vla_policy.execution.inference import Answer, Inference
from vla_policy.execution.measures import Measures
from vla_policy.execution.run_guards import run_guards, stale
from vla_policy.policies.runner import InferenceError, ServerLostError

Array = NDArray[np.float64]
Result = RunPolicy.Result
LOCKSTEP_INFERENCE_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Limits and timing of a run.

    Attributes:
        max_duration_s: The run ends after this time on the node clock.
        start_timeout_s: Longest wait for the first complete observation.
        lockstep: A chunk becomes usable at the observation time plus the stated latency, however long the inference
            takes by the wall clock.
        gripper_deadband: Smallest change of a gripper target that is sent [rad or m].
        max_refused: Consecutive chunks that the safety filter may refuse before the run stops.
        starved_after_s: The run ends when no new chunk came for so long after the last one was over.
    """

    max_duration_s: float
    start_timeout_s: float
    lockstep: bool
    gripper_deadband: float
    max_refused: int
    starved_after_s: float = float("inf")


class PolicyRun:
    """The state of one run. All methods but `request_stop` belong to the control thread."""

    def __init__(
        self,
        profile: Profile,
        builder: FrameBuilder,
        inference: Inference,
        executor: ChunkExecutor,
        commands: Commands,
        *,
        options: RunOptions,
        now_ns: Callable[[], int],
        guards: Sequence[Guard] = (),
        gate: Gate | None = None,
        watchers: Sequence[ChunkWatcher] = (),
        measures: Measures | None = None,
        taken_s: Callable[[], float] = time.perf_counter,
        followed: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        """Begin a run.

        Args:
            profile: Robot profile.
            builder: Holds the newest messages of every stream.
            inference: The policy.
            executor: Turns chunks into plans.
            commands: Where commands go.
            options: Limits and timing.
            now_ns: The node clock, read when a command leaves (the tick may be a little older).
            guards: Reasons to stop, asked first in every tick.
            gate: Says when somebody else drives; None: nobody ever does.
            watchers: See each chunk that may be sent, before it is; all of them are asked.
            measures: What the run measures goes here; by default measures without a log.
            taken_s: When the last message was taken, on the clock of time.perf_counter.
            followed: Gets each plan that is put into force, after its commands have left.
        """
        self._profile = profile
        self._builder = builder
        self._inference = inference
        self._executor = executor
        self._commands = commands
        self._options = options
        self._now_ns = now_ns
        self._guards, self._gate, self._watchers = tuple(guards), gate, tuple(watchers)
        self._own_guards = run_guards(builder, executor, profile.safety.watchdog_s, options.starved_after_s)
        self._held: str | None = None
        self.measures = measures or Measures(fps=profile.fps)
        self._taken, self._taken_s = taken_s, 0.0
        self._followed = followed
        self.task = profile.task
        self.detail = "waiting for the first observation"
        self._started_ns: int | None = None
        self._last_ns: int | None = None
        self._missing_since_ns: int | None = None
        self._refused = 0
        self._asked_ns = 0
        self._answer: Answer | None = None
        self._gripper_sent: dict[str, float] = {}
        self._requested: Stop | None = None
        executor.reset()
        inference.reset()

    def request_stop(self, stop: Stop) -> None:
        """Ask the run to end at the next tick; from any thread. The first reason is kept."""
        if self._requested is None:
            now_ns = max(self._now_ns(), self._last_ns or 0)  # in lockstep /clock may come after the tick
            self.measures.stop_requested(now_ns, time.monotonic())
            self._requested = stop

    @property
    def requested(self) -> Stop | None:
        """The stop that was asked for."""
        return self._requested

    @property
    def duration_s(self) -> float:
        """Time since the first tick on the node clock [s]."""
        if self._started_ns is None or self._last_ns is None:
            return 0.0
        return to_s(self._last_ns - self._started_ns)

    @property
    def steps(self) -> int:
        """Action steps executed so far."""
        return self._executor.steps

    def queue(self) -> int:
        """Steps of the running chunk that lie ahead."""
        return 0 if self._last_ns is None else self._executor.remaining(self._last_ns)

    def tick(self, t_ns: int) -> Stop | None:
        """Do everything that is due at `t_ns`; a `Stop` ends the run.

        Args:
            t_ns: Time of the tick on the node clock [ns], never going back.
        """
        self.measures.tick(t_ns, None if self._options.lockstep else time.monotonic())
        if self._last_ns is not None and t_ns < self._last_ns:
            return stale("the clock went back while the policy ran; start the run again after a reset of the clock")
        if self._started_ns is None:
            self._started_ns = t_ns
            for guard in self._guards:
                guard.begin(t_ns)
        self._last_ns = t_ns
        self._executor.count(t_ns)
        stop = self._limits() or self._guarded(t_ns) or self._give_way(t_ns)
        if stop is not None or self._held is not None:
            return stop
        stop = self._reasons(t_ns) or self._use_answer(t_ns)
        if stop is not None:
            return stop
        self._command_grippers(t_ns)
        self._publish(t_ns)
        return self._observe(t_ns)  # last: whatever this thread did after it, the inference would wait for

    def between(self, t_ns: int) -> Stop | None:
        """An answer came at `t_ns`, between two ticks: use it at once, under the same guards."""
        if self._last_ns is None or t_ns < self._last_ns or self._held is not None:
            return None
        if self._gate is not None and self._gate.holding(t_ns) is not None:
            return None
        self._last_ns = t_ns
        self._executor.count(t_ns)
        return self._limits() or self._guarded(t_ns) or self._reasons(t_ns) or self._use_answer(t_ns)

    def _limits(self) -> Stop | None:
        """Reasons to stop that hold whoever drives."""
        if self._requested is not None:
            return self._requested
        if self.duration_s >= self._options.max_duration_s:
            message = f"the time limit of {self._options.max_duration_s:g} s was reached"
            return Stop(termination=Result.TERMINATION_TIMEOUT, message=message)
        return None

    def _guarded(self, t_ns: int) -> Stop | None:
        for guard in self._guards:
            stop = guard.check(t_ns)
            if stop is not None:
                return stop
        return None

    def _give_way(self, t_ns: int) -> Stop | None:
        """Leave the arm to whoever drives; afterwards begin anew from where the arm is then."""
        why = None if self._gate is None else self._gate.holding(t_ns)
        if why is None:
            if self._held is not None:
                self._held, self.detail = None, ""
                self._commands.failures()  # goals that ended while somebody else drove
            return None
        if self._held is None:
            self._executor.release()
            self._inference.discard()
            self._answer, self._missing_since_ns, self._refused = None, None, 0
            self._gripper_sent.clear()
            self.measures.released()
            problems = self._commands.stop()
            if problems:
                return _failed(problems)
        self._commands.failures()
        self._held, self.detail = why, why
        return None

    def _reasons(self, t_ns: int) -> Stop | None:
        """Reasons to stop that need no new observation and matter only while the policy drives."""
        failed = self._commands.failures()
        if failed:
            return _failed(failed)
        return next((stop for guard in self._own_guards if (stop := guard.check(t_ns)) is not None), None)

    def _use_answer(self, t_ns: int) -> Stop | None:
        """Turn a finished inference into commands."""
        if self._answer is None:
            stop = self._take_answer(t_ns)
            if stop is not None or self._answer is None:
                return stop
        present = self._builder.sample(t_ns, images=False)  # of the present only the joints matter
        if isinstance(present, Missing):
            return self._without_frame(present, t_ns)  # where the arm is must be known before it is sent elsewhere
        self._missing_since_ns = None
        answer, self._answer = self._answer, None
        now_ns = t_ns if self._options.lockstep else max(t_ns, self._now_ns())
        self._executor.latency.add(to_s(now_ns - self._asked_ns))
        try:
            plan = self._executor.prepare(answer.chunk, answer.frame, now_ns, present)
        except StaleChunkError as error:
            self.measures.stale_chunks += 1
            self.detail = str(error)
            return None
        except (ActionError, KinematicsError) as error:
            return Stop(termination=Result.TERMINATION_LIMIT, error_code=Result.UNSAFE_ACTION, message=str(error))
        if not plan.report.ok:
            return self._refuse(plan)
        self._refused = 0
        looks = [watcher.look(answer.chunk, answer.frame) for watcher in self._watchers]  # each sees each chunk
        if not all(looks):
            self.detail = "a chunk was withheld"
            return None
        self._send(plan, answer, now_ns)
        return None

    def _take_answer(self, t_ns: int) -> Stop | None:
        """Fetch the running inference's chunk if it may be used by now."""
        if not self._inference.busy or (
            self._options.lockstep and t_ns < self._asked_ns + to_ns(self._executor.latency.seconds)
        ):
            return None
        wait_s = LOCKSTEP_INFERENCE_LIMIT_S if self._options.lockstep else 0.0
        try:
            self._answer = self._inference.take(wait_s)
        except InferenceError as error:
            code = Result.SERVER_LOST if isinstance(error, ServerLostError) else Result.INFERENCE
            return Stop(termination=Result.TERMINATION_ERROR, error_code=code, message=str(error))
        if self._answer is not None:
            self.measures.answered(self._answer)
        elif self._options.lockstep:
            message = f"no answer from the policy after {wait_s:g} s of wall time"
            return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.INFERENCE, message=message)
        return None

    def _refuse(self, plan: Plan) -> Stop | None:
        self.measures.refuse(plan.report.violations)
        self._refused += 1
        self.detail = f"chunk refused: {'; '.join(plan.report.violations)}"
        if self._refused <= self._options.max_refused:
            return None
        return Stop(
            termination=Result.TERMINATION_LIMIT,
            error_code=Result.UNSAFE_ACTION,
            message=f"{self._refused} chunks in a row broke the limits of the profile, nothing of them was sent: "
            + "; ".join(plan.report.violations),
        )

    def _send(self, plan: Plan, answer: Answer, now_ns: int) -> None:
        for name, trajectory in plan.trajectories.items():
            self._commands.trajectory(name, trajectory)
            self.measures.goals_sent += self._commands.sends
        sent_s = time.perf_counter()
        self._executor.adopt(plan, now_ns)
        self.measures.clipped += plan.clipped
        self._commands.show(describe(plan, now_ns))
        self._commands.settle()
        self.measures.sent(
            self._now_ns(),
            skipped=plan.skipped,
            clamped=len(plan.report.clamped),
            overhead_s=None if self._options.lockstep else sent_s - self._taken_s - answer.seconds,
        )
        self.detail = ""
        self._followed(plan)

    def _observe(self, t_ns: int) -> Stop | None:
        """Start the next inference when it is time and the observation is complete."""
        if self._inference.busy or self._answer is not None or not self._executor.wants_observation(t_ns):
            return None
        frame = self._builder.sample(self._observable_ns(t_ns))
        if isinstance(frame, Missing):
            return self._without_frame(frame, t_ns)
        self._missing_since_ns = None
        self._taken_s = self._taken()
        self._inference.start(frame, self.task, self._executor.prefix(frame, t_ns), self._earlier(frame.t_ns))
        self._asked_ns = t_ns
        return None

    def _earlier(self, t_ns: int) -> list[Frame]:
        """Observations that a policy with a `history` looks back at, oldest first, as far as this run has them."""
        steps = int(getattr(self._inference.runner, "history", 0))
        times = [t_ns - to_ns(k / self._profile.fps) for k in range(steps, 0, -1)]
        begun_ns = self._started_ns or 0
        found = [self._builder.sample(past_ns) for past_ns in times if past_ns >= begun_ns]
        return [frame for frame in found if not isinstance(frame, Missing)]

    def _observable_ns(self, t_ns: int) -> int:
        """The newest time of which every camera has told: the stamp of the older of the newest images.

        Images arrive tens of milliseconds after they were taken. What is seen belongs to the stamp, and so does the
        first step of the chunk. Where an image is too old, the present is asked for, and the answer says what is missing.
        """
        latest_ns = t_ns - to_ns(self._builder.lookahead_s)
        for stream in self._builder.streams:
            if not stream.key.startswith(IMAGE_PREFIX):
                continue
            newest_ns = self._builder.newest_ns(stream.key)
            if newest_ns is None or to_s(t_ns - newest_ns) > stream.max_age_s:
                return t_ns - to_ns(self._builder.lookahead_s)
            latest_ns = min(latest_ns, newest_ns)
        return latest_ns

    def _without_frame(self, missing: Missing, t_ns: int) -> Stop | None:
        self.measures.frames_missing += 1
        self.detail = missing.detail
        if self._missing_since_ns is None:
            self._missing_since_ns = t_ns
        waited_s = to_s(t_ns - self._missing_since_ns)
        started = self._executor.plan is not None
        limit_s = self._profile.safety.watchdog_s if started else self._options.start_timeout_s
        if waited_s < limit_s and not missing.lasting:
            return None
        if started:
            return stale(f"no observation for {waited_s:.2f} s: {missing.detail}")
        return Stop(
            termination=Result.TERMINATION_ERROR,
            error_code=Result.NO_OBSERVATION,
            message=f"no complete observation within {waited_s:.1f} s: {missing.detail}",
        )

    def _command_grippers(self, t_ns: int) -> None:
        """Grippers get a goal when their target changes; each goal is a motion of its own."""
        sent = False
        for name, target in self._executor.gripper_targets(t_ns).items():
            position = float(target[0])
            before = self._gripper_sent.get(name)
            if before is not None and abs(position - before) < self._options.gripper_deadband:
                continue
            self._gripper_sent[name] = position
            self._commands.gripper(name, position)
            self.measures.goals_sent += self._commands.sends
            sent = True
        if sent:
            self._commands.settle()

    def _publish(self, t_ns: int) -> None:
        """Publish and measure what is in force; in a dry run nothing is published."""
        plan, arms = self._executor.plan, self._executor.arm_targets(t_ns)
        observed_ns = None if plan is None else plan.chunk.t0_ns
        held = self._executor.exhausted(t_ns)
        self.measures.in_force(t_ns, arms, observed_ns, held=held, grippers=list(self._gripper_sent.values()))
        if not self._commands.sends:
            return
        for name, positions in arms.items():
            self._commands.in_force(t_ns, name, positions)
        for name, position in self._gripper_sent.items():
            self._commands.in_force(t_ns, name, np.array([position]))


def _failed(problems: Sequence[str]) -> Stop:
    return Stop(termination=Result.TERMINATION_ERROR, error_code=Result.CONTROLLER, message="; ".join(problems))
