# SPDX-License-Identifier: Apache-2.0

"""Which actions are in force when: chunks are aligned by the time of their observation, never by their arrival.

`values[k]` of a chunk is the target at `t_obs + k / fps`. A chunk that arrives late starts at the step that lies ahead;
the steps before it are skipped, not played late. The next observation is taken so early that its chunk arrives while
the running one still has a step to go; the arm then never stops between chunks. Time enters as an argument.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter, SafetyReport
from vla_core.specs import ActionSpec
from vla_core.stamps import to_ns, to_s
from vla_core.trajectory import Trajectory, build_trajectory

Array = NDArray[np.float64]
LATENCY_WINDOW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One chunk, ready to be commanded.

    Attributes:
        chunk: The policy's output.
        trajectories: Goal of each arm: the waypoints that can still be reached.
        in_force: The same as a spline that begins at the measured position now; what the arm is to follow.
        grippers: Joint targets (T, k) of each gripper, one row per step of the chunk.
        clipped: Gripper targets that lay outside the gripper's travel and were set to its end.
        report: Verdict of the safety filter; when it is not ok, nothing of the plan may be sent.
    """

    chunk: ActionChunk
    trajectories: dict[str, Trajectory]
    in_force: dict[str, Trajectory]
    grippers: dict[str, Array]
    clipped: int
    report: SafetyReport


class LatencyEstimate:
    """How long the way from observation to command takes: the longest of the last few, or the stated value."""

    def __init__(self, stated_s: float, *, fixed: bool) -> None:
        """Args: stated_s: used until something was measured. fixed: never measure (lockstep)."""
        self._stated_s = stated_s
        self._fixed = fixed
        self._measured: deque[float] = deque(maxlen=LATENCY_WINDOW)

    def add(self, seconds: float) -> None:
        """Note one measured latency [s]; old ones are forgotten, so one slow call does not count for ever."""
        if not self._fixed:
            self._measured.append(seconds)

    @property
    def seconds(self) -> float:
        """The latency to plan for [s]."""
        return max(self._measured, default=self._stated_s)


class ChunkExecutor:
    """Turns chunks into plans and knows what is in force; pure, one thread."""

    def __init__(self, profile: Profile, *, n_action_steps: int, latency: LatencyEstimate) -> None:
        """Args: n_action_steps: steps of each chunk to execute. latency: from observation to command."""
        self._map = ActionMap(profile)
        self._filter = SafetyFilter(profile)
        self._arms = tuple(spec for spec in profile.action if not spec.is_gripper)
        self._grippers = tuple(spec for spec in profile.action if spec.is_gripper)
        self._n = n_action_steps
        self.latency = latency
        self._plan: Plan | None = None
        self._counted_ns = 0
        self.steps = 0

    def reset(self) -> None:
        """Begin a new run."""
        self._plan = None
        self.steps = 0

    @property
    def plan(self) -> Plan | None:
        """The plan in force, or None before the first."""
        return self._plan

    def wants_observation(self, now_ns: int) -> bool:
        """Whether it is time to observe, so that the next chunk takes over where this one's last step begins.

        The arm comes to rest at the last waypoint of a chunk, so another chunk takes over one step before that.
        """
        if self._plan is None:
            return True
        chunk = self._plan.chunk
        take_over_ns = chunk.time_ns(max(0, min(self._n - 1, len(chunk) - 2)))
        return now_ns + to_ns(self.latency.seconds) >= take_over_ns

    def prepare(self, chunk: ActionChunk, observed: Frame, now_ns: int, present: Frame) -> Plan:
        """Align a chunk with the present and check it; nothing changes until `adopt`.

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
        current = present.joints
        trajectories, in_force = {}, {}
        for spec in self._arms:
            built = build_trajectory(
                targets[spec.name],
                chunk.t0_ns,
                chunk.dt_s,
                now_ns,
                joint_names=spec.joints,
                current=current.get(spec.name),
            )
            trajectories[spec.name] = built
            in_force[spec.name] = _from_present(built, current.get(spec.name))
        grippers, clipped = self._gripper_targets(targets)
        report = self._check(trajectories, grippers, chunk, current)
        return Plan(
            chunk=chunk,
            trajectories=trajectories,
            in_force=in_force,
            grippers=grippers,
            clipped=clipped,
            report=report,
        )

    def _gripper_targets(self, targets: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        """A regression overshoots the ends of a gripper's travel, where the hardware stops anyway: clip and count."""
        clipped, found = 0, {}
        for spec in self._grippers:
            inside = np.clip(targets[spec.name], spec.limits.lower, spec.limits.upper)
            clipped += int((inside != targets[spec.name]).any(axis=1).sum())
            found[spec.name] = inside
        return found, clipped

    def _check(
        self,
        trajectories: Mapping[str, Trajectory],
        grippers: Mapping[str, Array],
        chunk: ActionChunk,
        current: Mapping[str, Array],
    ) -> SafetyReport:
        first_dt_s = min((float(t.time_from_start[0]) for t in trajectories.values()), default=chunk.dt_s)
        arms = {name: trajectory.positions for name, trajectory in trajectories.items()}
        measured = {name: joints for name, joints in current.items() if name in arms}
        return self._filter.check({**arms, **grippers}, chunk.dt_s, measured, first_dt_s=first_dt_s)

    def adopt(self, plan: Plan, now_ns: int) -> None:
        """From now on `plan` is in force."""
        self.count(now_ns)
        self._plan = plan
        self._counted_ns = now_ns

    def count(self, now_ns: int) -> None:
        """Add the steps that have come into force since the last call to `steps`."""
        if self._plan is None:
            return
        chunk = self._plan.chunk
        until = min(now_ns, chunk.end_ns)
        if until > self._counted_ns:
            self.steps += chunk.first_at_or_after(until + 1) - chunk.first_at_or_after(self._counted_ns + 1)
            self._counted_ns = until

    def remaining(self, now_ns: int) -> int:
        """Steps of the running chunk that lie ahead."""
        return 0 if self._plan is None else self._plan.chunk.remaining(now_ns)

    def exhausted(self, now_ns: int) -> bool:
        """Whether the running chunk is over, so that the arm rests at its last target."""
        return self._plan is not None and now_ns > self._plan.chunk.end_ns

    def arm_targets(self, now_ns: int) -> dict[str, Array]:
        """Joint positions (k,) that each arm is to be at now; empty before the first plan."""
        if self._plan is None:
            return {}
        return {name: spline.position_at(now_ns) for name, spline in self._plan.in_force.items()}

    def gripper_targets(self, now_ns: int) -> dict[str, Array]:
        """Joint target (k,) of each gripper in force now; the last one of a chunk stays. Empty before the first plan."""
        if self._plan is None:
            return {}
        chunk = self._plan.chunk
        index = min(len(chunk) - 1, max(0, chunk.first_at_or_after(now_ns + 1) - 1))
        return {name: rows[index] for name, rows in self._plan.grippers.items()}

    @property
    def arm_specs(self) -> tuple[ActionSpec, ...]:
        """Parts of the action that go to trajectory controllers."""
        return self._arms

    @property
    def gripper_specs(self) -> tuple[ActionSpec, ...]:
        """Parts of the action that go to grippers."""
        return self._grippers


def _from_present(trajectory: Trajectory, current: Array | None) -> Trajectory:
    """The trajectory with the measured position as its first point, as a controller plays it."""
    if current is None:
        return trajectory
    slope = (trajectory.positions[0] - current) / trajectory.time_from_start[0]
    return Trajectory(
        joint_names=trajectory.joint_names,
        start_ns=trajectory.start_ns,
        time_from_start=np.concatenate([[0.0], trajectory.time_from_start]),
        positions=np.vstack([current, trajectory.positions]),
        velocities=np.vstack([slope, trajectory.velocities]),
        first_step=trajectory.first_step,
    )


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
        count, end_s = len(trajectory.positions), float(trajectory.time_from_start[-1])
        parts.append(f"{name}: {count} points in {end_s:.2f} s, {moves} rad")
    for name, rows in plan.grippers.items():
        parts.append(f"{name}: {rows[0][0]:.3f}→{rows[-1][0]:.3f} rad")
    age_ms = 1e3 * to_s(now_ns - plan.chunk.t0_ns)
    return f"observed {age_ms:.0f} ms ago; " + "; ".join(parts)
