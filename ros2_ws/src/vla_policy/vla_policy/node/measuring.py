# SPDX-License-Identifier: Apache-2.0

"""Makes the measures of each run and writes its begin and end into the log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rclpy.node import Node
from vla_core.profile import Profile

from vla_policy.execution.hooks import Stop
from vla_policy.execution.measures import Measures
from vla_policy.execution.measures_log import RunLog
from vla_policy.execution.policy_run import PolicyRun
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.run_report import report


class Measuring:
    """One per node; a run gets its `Measures` from `begin`.

    Attributes:
        taken_s: When the newest message of a stream was taken, on the clock of time.perf_counter; the node sets it.
    """

    def __init__(self, node: Node, params: PolicyParams, profile: Profile) -> None:
        """Open the log, if one is wanted.

        Raises:
            OSError: it cannot be written.
        """
        self._node = node
        self._params = params
        self._profile = profile
        self._log = RunLog(Path(params.log_file).expanduser()) if params.log_file else None
        self.taken_s = time.perf_counter()

    def begin(self, *, task: str, policy: str, strategy: str) -> Measures:
        """Measures of a new run; the log gets its first line.

        Args:
            task: Instruction.
            policy: What is loaded, for people.
            strategy: How chunks are joined.
        """
        if self._log is not None:
            names: dict[bool, list[str]] = {False: [], True: []}
            for spec in self._profile.action:
                names[spec.is_gripper] += [f"{spec.name}.{joint}" for joint in spec.joints]
            self._log.write(
                "run",
                joints=names[False],
                grippers=names[True],
                fps=self._profile.fps,
                rate_hz=self._params.rate_hz,
                clock="lockstep" if self._params.lockstep else "paced",
                strategy=strategy,
                policy=policy,
                task=task,
                t_ns=self._now_ns(),
            )
        return Measures(fps=self._profile.fps, log=self._log)

    @contextmanager
    def stopping(self, run: PolicyRun) -> Iterator[None]:
        """Around what brings the arm to rest: how long that took since it was asked for."""
        run.measures.stop_requested(self._now_ns(), time.monotonic())
        try:
            yield
        finally:
            run.measures.stopped(self._now_ns(), time.monotonic())

    def end(self, run: PolicyRun, stop: Stop) -> None:
        """The last line of a run; everything is handed to the operating system."""
        if self._log is not None:
            self._log.write("end", **report(run, stop))
            self._log.flush()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _now_ns(self) -> int:
        now: int = self._node.get_clock().now().nanoseconds
        return now
