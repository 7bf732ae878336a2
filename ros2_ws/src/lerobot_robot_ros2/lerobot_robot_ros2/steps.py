# SPDX-License-Identifier: Apache-2.0

"""One action at a time, as LeRobot sends them: what becomes of it before it leaves. Pure: time enters as an argument.

An action is a joint target for now. The arm is sent to it by a short trajectory that begins in the state in force, so
the next action, one step later, finds the arm in motion and bends its way: no stop between actions, and no motion beyond
the last one when no more come.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter
from vla_core.stamps import to_ns
from vla_core.trajectory import Trajectory, build_trajectory, follows, from_present

Array = NDArray[np.float64]
# In units of the profile's step. Trajectories end at rest: at 1.0 the arm would stop at each action, at 2.0 it lags by half
# a step more than here. At 1.5 its velocity between two actions of an even motion dips by a fifth.
HORIZON_STEPS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One action, checked and ready to be sent.

    Attributes:
        values: ``(m,)`` the action vector as it is sent.
        targets: Name of each part to its joint targets ``(k,)`` [rad or m].
        trajectories: Goal of each arm.
        in_force: The same as a spline that begins now.
        changed: What was pulled back to its limit, one text each; empty unless the profile says ``safety.clamp``, except
            for grippers, which stop at the ends of their travel anyway.
    """

    values: NDArray[np.float32]
    targets: dict[str, Array]
    trajectories: dict[str, Trajectory]
    in_force: dict[str, Trajectory]
    changed: tuple[str, ...]


class StepPlanner:
    """Plans steps and knows what is in force; one thread."""

    def __init__(self, profile: Profile) -> None:
        """Begin with nothing in force."""
        self._map = ActionMap(profile)
        self._filter = SafetyFilter(profile)
        self._dt_s = 1.0 / profile.fps
        self._splines: dict[str, Trajectory] = {}
        self._grips: dict[str, Array] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the action vector, in order."""
        return self._map.names

    def decode(self, values: Array, observed: Frame) -> dict[str, Array]:
        """Return the joint targets ``(1, k)`` [rad or m] of each part of an action vector ``(m,)``.

        Raises:
            ActionError: a value is not finite.
            KinematicsError: a pose is out of reach.
        """
        return self._map.to_joint_targets(values[None], observed.state, observed.joints)

    def plan(self, values: Array, observed: Frame, present: Frame, now_ns: int) -> Step:
        """Check an action and prepare its commands; nothing is in force until `adopt`.

        Args:
            values: ``(m,)`` action vector.
            observed: Frame that the action was decided from; delta actions count from it.
            present: Frame of now; where the joints are.
            now_ns: Present time [ns].

        Raises:
            ActionError: a value is not finite.
            KinematicsError: a pose is out of reach.
            SafetyError: a limit of the profile is broken.
        """
        rows, changed = self._inside(self.decode(values, observed))
        starts = self._starts(now_ns, present.joints)
        arms = [group.spec for group in self._map.groups if not group.spec.is_gripper]
        begins = {spec.name: present.joints[spec.name] for spec in arms if spec.name in present.joints}
        begins |= {name: state[0] for name, state in starts.items()}
        horizon_s = HORIZON_STEPS * self._dt_s
        report = self._filter.check(
            rows,
            self._dt_s,
            begins,
            first_dt_s=horizon_s,
            velocity={name: state[1] for name, state in starts.items()},
        )
        rows = report.raise_if_bad()
        changed += report.clamped
        trajectories = {
            spec.name: build_trajectory(
                rows[spec.name],
                now_ns + to_ns(horizon_s),
                self._dt_s,
                now_ns,
                joint_names=spec.joints,
                current=present.joints.get(spec.name),
                start=starts.get(spec.name),
            )
            for spec in arms
        }
        return Step(
            values=self._map.encode(rows, observed.state)[0] if changed else np.asarray(values, dtype=np.float32),
            targets={name: row[0] for name, row in rows.items()},
            trajectories=trajectories,
            in_force={name: from_present(t, present.joints.get(name)) for name, t in trajectories.items()},
            changed=changed,
        )

    def adopt(self, step: Step) -> None:
        """From now on `step` is in force."""
        self._splines = step.in_force
        self._grips = {name: target for name, target in step.targets.items() if name not in step.in_force}

    def release(self) -> None:
        """Nothing is in force any more; the next action begins where the arm is then."""
        self._splines, self._grips = {}, {}

    def in_force(self, now_ns: int) -> dict[str, Array]:
        """Joint targets ``(k,)`` [rad or m] of each part at `now_ns`; empty before the first action."""
        return {name: spline.position_at(now_ns) for name, spline in self._splines.items()} | self._grips

    def _inside(self, rows: Mapping[str, Array]) -> tuple[dict[str, Array], tuple[str, ...]]:
        """Grippers inside their travel: a regression overshoots its ends, where the hardware stops anyway."""
        found, changed = dict(rows), []
        for spec in (group.spec for group in self._map.groups if group.spec.is_gripper):
            found[spec.name] = np.clip(rows[spec.name], spec.limits.lower, spec.limits.upper)
            if (found[spec.name] != rows[spec.name]).any():
                changed.append(f"{spec.name}: set to the end of its travel, {found[spec.name][0].tolist()}")
        return found, tuple(changed)

    def _starts(self, now_ns: int, measured: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """State in force of each arm that follows its commands; one that does not is picked up where it is."""
        return {
            name: spline.state_at(now_ns)
            for name, spline in self._splines.items()
            if name in measured and follows(spline, now_ns, measured[name])
        }
