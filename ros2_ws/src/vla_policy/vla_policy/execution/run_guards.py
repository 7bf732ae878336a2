# SPDX-License-Identifier: Apache-2.0

"""Guards that every run has: a stream that falls silent, and a policy that lets the arm run out of chunks."""

from vla_core.frames import FrameBuilder
from vla_core.stamps import to_s
from vla_msgs.action import RunPolicy

from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.hooks import Guard, Stop

Result = RunPolicy.Result


class SilenceGuard:
    """Watchdog: every stream must keep coming while the arm moves."""

    def __init__(self, builder: FrameBuilder, executor: ChunkExecutor, watchdog_s: float) -> None:
        """Args: watchdog_s: longest silence; a stream whose own max_age_s is longer may be silent for that [s]."""
        self._builder, self._executor, self._watchdog_s = builder, executor, watchdog_s

    def begin(self, t_ns: int) -> None:
        """Before the first plan nothing is expected; the start has a time limit of its own."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        if self._executor.plan is None:
            return None
        for stream in self._builder.streams:
            newest = self._builder.newest_ns(stream.key)
            age_s = float("inf") if newest is None else to_s(t_ns - newest)
            if age_s > max(self._watchdog_s, stream.max_age_s):
                return stale(
                    f"{stream.key}: no message for {age_s:.2f} s on {stream.topic} (watchdog {self._watchdog_s:g} s), so "
                    f"the arm was stopped. Is its driver running? Try: ros2 topic hz {stream.topic}"
                )
        return None


class StarvationGuard:
    """The arm rests at the end of its last chunk because the policy has not given another one."""

    def __init__(self, executor: ChunkExecutor, timeout_s: float) -> None:
        """Args: timeout_s: longest rest [s of the node clock]; infinite: the arm waits."""
        self._executor, self._timeout_s = executor, timeout_s

    def begin(self, t_ns: int) -> None:
        """Nothing is in force yet."""

    def check(self, t_ns: int) -> Stop | None:
        """See `Guard.check`."""
        plan = self._executor.plan
        waited_s = 0.0 if plan is None else to_s(t_ns - plan.timeline.end_ns)
        if waited_s <= self._timeout_s:
            return None
        return Stop(
            termination=Result.TERMINATION_STARVED,
            error_code=Result.STARVED,
            message=f"no new chunk for {waited_s:.2f} s after the last one was over (starvation_timeout_s "
            f"{self._timeout_s:g} s); is the policy too slow, or are its chunks refused? inference_ms in ~/status tells",
        )


def run_guards(
    builder: FrameBuilder, executor: ChunkExecutor, watchdog_s: float, starved_after_s: float
) -> tuple[Guard, ...]:
    """The guards of a run; see the classes for the arguments."""
    return SilenceGuard(builder, executor, watchdog_s), StarvationGuard(executor, starved_after_s)


def stale(message: str) -> Stop:
    """An input that is too old to act on."""
    return Stop(termination=Result.TERMINATION_STALE_INPUT, error_code=Result.STALE_INPUT, message=message)
