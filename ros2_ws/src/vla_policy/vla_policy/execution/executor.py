# SPDX-License-Identifier: Apache-2.0

"""Which actions are in force when: chunks are aligned by the time of their observation, never by their arrival.

`values[k]` of a chunk is the target at `t_obs + k / fps`. A chunk that arrives late starts at the step that lies ahead;
the steps before it are skipped, not played late. The next observation is taken so early that its chunk arrives while
the running one still has the steps that the strategy needs; the arm then never stops between chunks. Time enters as an
argument.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.errors import StaleChunkError
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter, SafetyReport
from vla_core.specs import ActionSpec
from vla_core.stamps import to_ns, to_s
from vla_core.trajectory import Trajectory, build_trajectory, follows, from_present

from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.ramp_down import RampDown
from vla_policy.execution.strategies import Latest, Running, Strategy
from vla_policy.execution.timeline import Timeline
from vla_policy.policies.runner import Prefix

Array = NDArray[np.float64]
SLACK_NS = 1000  # times are rounded to nanoseconds, so a step exactly one step ahead may look a nanosecond short


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One chunk, ready to be commanded.

    Attributes:
        chunk: The policy's output.
        predicted: The same as joint targets inside the travel of the grippers, before it is joined with anything.
        timeline: Joint targets that are followed, joined with what was in force; they may start later than the chunk.
        trajectories: Goal of each arm: the waypoints that can still be reached.
        in_force: The same as a spline that begins now; what the arm is to follow.
        skipped: Leading steps of the chunk that were over, or too near, when it came.
        clipped: Gripper targets that lay outside the gripper's travel and were set to its end.
        report: Verdict of the safety filter; when it is not ok, nothing of the plan may be sent.
    """

    chunk: ActionChunk
    predicted: Timeline
    timeline: Timeline
    trajectories: dict[str, Trajectory]
    in_force: dict[str, Trajectory]
    skipped: int
    clipped: int
    report: SafetyReport

    @property
    def grippers(self) -> dict[str, Array]:
        """Joint targets (T, k) of each gripper, one row per step of the timeline."""
        return {name: rows for name, rows in self.timeline.rows.items() if name not in self.trajectories}


class ChunkExecutor:
    """Turns chunks into plans and knows what is in force; pure, one thread."""

    def __init__(
        self,
        profile: Profile,
        *,
        n_action_steps: int | Callable[[], int],
        latency: LatencyEstimate,
        strategy: Strategy | None = None,
        refill: int = 0,
        ramp_down: bool = False,
    ) -> None:
        """Begin without a plan.

        Args:
            profile: Robot profile.
            n_action_steps: Steps of each chunk to execute before the next one takes over; called anew each time where
                another policy may take its turn.
            latency: From observation to command.
            strategy: How chunks follow each other; by default the newest replaces the others.
            refill: Steps left to execute when the next observation is taken; 0: as late as the latency allows. Sooner
                is always allowed, later never happens.
            ramp_down: An arm whose chunk is over slows down along its way, instead of within the last step.
        """
        self._map = ActionMap(profile)
        self._filter = SafetyFilter(profile)
        self._arms = tuple(spec for spec in profile.action if not spec.is_gripper)
        self._grippers = tuple(spec for spec in profile.action if spec.is_gripper)
        self._steps_of = n_action_steps
        self._refill = refill
        self._ramp_down = RampDown(profile) if ramp_down else None
        self.strategy = strategy or Latest()
        self.latency = latency
        self._plan: Plan | None = None
        self._counted_ns = 0
        self.steps = 0
        self.strategy.reset()

    @property
    def _n(self) -> int:
        return self._steps_of() if callable(self._steps_of) else self._steps_of

    def reset(self) -> None:
        """Begin a new run."""
        self.release()
        self.steps = 0

    def release(self) -> None:
        """Nothing is in force any more: somebody else drives. The next chunk begins where the arm is then."""
        self._plan = None
        self.strategy.reset()

    @property
    def plan(self) -> Plan | None:
        """The plan in force, or None before the first."""
        return self._plan

    def wants_observation(self, now_ns: int) -> bool:
        """Whether it is time to observe.

        The arm comes to rest at the last waypoint of a chunk, so another chunk takes over one step before that at the
        latest, and earlier by the steps that the strategy joins over. A strategy that waits observes at rest.
        """
        if self._plan is None or self.strategy.eager:
            return True
        timeline = self._plan.timeline
        if self.strategy.waits:
            return now_ns >= timeline.end_ns
        overlap = min(self.strategy.overlap, (len(timeline) - 2) // 2)
        last = max(0, min(self._n - 1, len(timeline) - 2 - overlap))
        if now_ns + to_ns(self.latency.seconds) >= timeline.time_ns(last):
            return True
        return self._refill > 0 and now_ns > timeline.time_ns(max(0, min(self._n, len(timeline)) - 1 - self._refill))

    def prefix(self, frame: Frame, now_ns: int) -> Prefix | None:
        """What the arm will do while the model thinks, for a policy that is guided; None where nothing is in force.

        Args:
            frame: The new observation, which the values count from.
            now_ns: When the inference begins [ns].
        """
        if self._plan is None or not self.strategy.guided:
            return None
        running = self._plan.timeline
        ready_ns = now_ns + to_ns(self.latency.seconds + running.dt_s) - SLACK_NS
        grid = Timeline(t0_ns=frame.t_ns, dt_s=running.dt_s, rows=running.rows)
        times = grid.times_ns()
        times = times[times <= running.end_ns]
        if len(times) == 0:
            return None
        values = self._map.encode(self._targets_at(times), frame.state)
        return Prefix(values=values, frozen=min(grid.first_at_or_after(ready_ns), len(values)))

    def prepare(self, chunk: ActionChunk, observed: Frame, now_ns: int, present: Frame) -> Plan:
        """Align a chunk with the present, join it with what is in force and check it; nothing changes until `adopt`.

        Args:
            chunk: The policy's output.
            observed: Frame that the chunk was computed from; delta actions count from it.
            now_ns: Present time [ns].
            present: Frame of now; where the joints are.

        Raises:
            ActionError: a value is not finite, or the width does not fit the profile.
            KinematicsError: a pose is out of reach.
            StaleChunkError: no step of the chunk lies ahead.
        """
        targets = self._map.to_joint_targets(chunk.values, observed.state, observed.joints)
        new, clipped = self._aligned(chunk, targets, now_ns)
        first = new.first_at_or_after(now_ns + to_ns(new.dt_s) - SLACK_NS)
        if first == len(new):
            raise _stale(chunk, now_ns)
        starts = self._starts(now_ns, present.joints)
        joined = self._joined(new, first, now_ns, present.joints)
        report = self._check(joined, first, now_ns, present.joints, starts)
        if report.clamped and report.targets is not None:
            joined = _replaced(joined, first, report.targets)
        trajectories = {
            spec.name: build_trajectory(
                joined.rows[spec.name],
                joined.t0_ns,
                joined.dt_s,
                now_ns,
                joint_names=spec.joints,
                current=present.joints.get(spec.name),
                start=starts.get(spec.name),
            )
            for spec in self._arms
        }
        if self._ramp_down is not None:
            trajectories = self._ramp_down(trajectories, joined.dt_s)
        return Plan(
            chunk=chunk,
            predicted=new,
            timeline=joined,
            trajectories=trajectories,
            in_force={name: from_present(t, present.joints.get(name)) for name, t in trajectories.items()},
            skipped=first,
            clipped=clipped,
            report=report,
        )

    def _aligned(self, chunk: ActionChunk, targets: Mapping[str, Array], now_ns: int) -> tuple[Timeline, int]:
        """Targets on the grid of the chunk. Where the arm waits for the policy, its first step is the next one."""
        rows, clipped = dict(targets), 0
        for spec in self._grippers:  # a regression overshoots the ends of the travel, where the hardware stops anyway
            inside = np.clip(rows[spec.name], spec.limits.lower, spec.limits.upper)
            clipped += int((inside != rows[spec.name]).any(axis=1).sum())
            rows[spec.name] = inside
        if not self.strategy.waits:
            return Timeline(t0_ns=chunk.t0_ns, dt_s=chunk.dt_s, rows=rows), clipped
        executed = {name: values[: self._n] for name, values in rows.items()}
        return Timeline(t0_ns=now_ns + to_ns(chunk.dt_s), dt_s=chunk.dt_s, rows=executed), clipped

    def _starts(self, now_ns: int, measured: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """State in force of each arm that follows its commands: the next trajectory goes on from it without a jump.

        An arm that does not (speed scaling, a stop, a reset) is picked up where it is, as controllers do by default.
        """
        if self._plan is None:
            return {}
        found = {}
        for name, spline in self._plan.in_force.items():
            position = measured.get(name)
            if position is not None and follows(spline, now_ns, position):
                found[name] = spline.state_at(now_ns)
        return found

    def _joined(self, new: Timeline, first: int, now_ns: int, measured: Mapping[str, Array]) -> Timeline:
        """What is to be followed, on the grid of the new chunk.

        Before the first chunk the arms stand where they are measured: a strategy that takes over smoothly begins smoothly
        too, however long the first inference took.

        Grippers are never mixed, since half open is neither: they follow the new chunk from the first step that can be
        reached on, and what was in force before it. So arm and gripper change over at the same step.
        """
        rows = dict(new.rows)
        arms = Timeline(t0_ns=new.t0_ns, dt_s=new.dt_s, rows={spec.name: rows[spec.name] for spec in self._arms})
        running = None
        if self._plan is not None:
            old = self._targets_at(new.times_ns())
            covered = new.first_at_or_after(self._plan.timeline.end_ns + SLACK_NS)
            running = Running(rows={spec.name: old[spec.name] for spec in self._arms}, covered=covered)
            before = np.maximum(new.times_ns()[:first], now_ns)  # a row that began in the past holds what is so now
            for spec in self._grippers:
                held = self._plan.timeline.held(spec.name, before)
                rows[spec.name] = np.concatenate([held, rows[spec.name][first:]])
        elif all(spec.name in measured for spec in self._arms):
            standing = {spec.name: np.tile(measured[spec.name], (len(new), 1)) for spec in self._arms}
            running = Running(rows=standing, covered=0)
        if self._arms:
            rows.update(self.strategy.join(arms, running, first))
        return Timeline(t0_ns=new.t0_ns, dt_s=new.dt_s, rows=rows)

    def _targets_at(self, times_ns: NDArray[np.int64]) -> dict[str, Array]:
        """Targets (T, k) in force at the times (T,): arms on their spline, grippers step by step."""
        assert self._plan is not None
        splines = self._plan.in_force
        found = {name: spline.positions_at(times_ns) for name, spline in splines.items()}
        for spec in self._grippers:
            found[spec.name] = self._plan.timeline.held(spec.name, times_ns)
        return found

    def _check(
        self,
        joined: Timeline,
        first: int,
        now_ns: int,
        measured: Mapping[str, Array],
        starts: Mapping[str, tuple[Array, Array]],
    ) -> SafetyReport:
        """Check what would be sent, counted from where each arm's trajectory begins."""
        arms = [spec.name for spec in self._arms]
        begins = {name: starts[name][0] if name in starts else measured[name] for name in arms if name in measured}
        return self._filter.check(
            {name: rows[first:] for name, rows in joined.rows.items()},
            joined.dt_s,
            begins,
            first_dt_s=to_s(joined.time_ns(first) - now_ns),
            velocity={name: state[1] for name, state in starts.items()},
        )

    def adopt(self, plan: Plan, now_ns: int) -> None:
        """From now on `plan` is in force."""
        self.count(now_ns)
        self._plan = plan
        self._counted_ns = now_ns

    def count(self, now_ns: int) -> None:
        """Add the steps that have come into force since the last call to `steps`."""
        if self._plan is None:
            return
        timeline = self._plan.timeline
        until = min(now_ns, timeline.end_ns)
        if until > self._counted_ns:
            self.steps += timeline.first_at_or_after(until + 1) - timeline.first_at_or_after(self._counted_ns + 1)
            self._counted_ns = until

    def remaining(self, now_ns: int) -> int:
        """Steps of the running chunk that lie ahead."""
        return 0 if self._plan is None else self._plan.timeline.remaining(now_ns)

    def exhausted(self, now_ns: int) -> bool:
        """Whether the running chunk is over, so that the arm rests at its last target."""
        return self._plan is not None and now_ns > self._plan.timeline.end_ns

    def arm_targets(self, now_ns: int) -> dict[str, Array]:
        """Joint positions (k,) that each arm is to be at now; empty before the first plan."""
        if self._plan is None:
            return {}
        return {name: spline.position_at(now_ns) for name, spline in self._plan.in_force.items()}

    def gripper_targets(self, now_ns: int) -> dict[str, Array]:
        """Joint target (k,) of each gripper in force now; the last one of a chunk stays. Empty before the first plan."""
        if self._plan is None:
            return {}
        times = np.array([now_ns], dtype=np.int64)
        return {spec.name: self._plan.timeline.held(spec.name, times)[0] for spec in self._grippers}

    @property
    def arm_specs(self) -> tuple[ActionSpec, ...]:
        """Parts of the action that go to trajectory controllers."""
        return self._arms

    @property
    def gripper_specs(self) -> tuple[ActionSpec, ...]:
        """Parts of the action that go to grippers."""
        return self._grippers


def _stale(chunk: ActionChunk, now_ns: int) -> StaleChunkError:
    return StaleChunkError(
        f"all {len(chunk)} steps of the chunk are over or too near: it was observed {to_s(now_ns - chunk.t0_ns):.3f} s ago "
        f"and lasts {to_s(chunk.end_ns - chunk.t0_ns):.3f} s; use longer chunks or faster inference"
    )


def _replaced(timeline: Timeline, first: int, targets: Mapping[str, Array]) -> Timeline:
    """The timeline with the rows from `first` on as the safety filter left them."""
    rows = {name: np.concatenate([values[:first], targets[name]]) for name, values in timeline.rows.items()}
    return Timeline(t0_ns=timeline.t0_ns, dt_s=timeline.dt_s, rows=rows)


def describe(plan: Plan, now_ns: int) -> str:
    """One line that says what a plan would command, for dry runs."""
    parts = []
    for name, trajectory in plan.trajectories.items():
        moves = ", ".join(
            f"{joint} {a:+.3f}→{b:+.3f}"
            for joint, a, b in zip(
                trajectory.joint_names, trajectory.positions[0], trajectory.positions[-1], strict=True
            )
        )
        count, end_s = len(trajectory.waypoints), float(trajectory.time_from_start[-1])
        parts.append(f"{name}: {count} points in {end_s:.2f} s, {moves} rad")
    for name, rows in plan.grippers.items():
        parts.append(f"{name}: {rows[plan.skipped][0]:.3f}→{rows[-1][0]:.3f} rad")
    age_ms = 1e3 * to_s(now_ns - plan.chunk.t0_ns)
    return f"observed {age_ms:.0f} ms ago; " + "; ".join(parts)
