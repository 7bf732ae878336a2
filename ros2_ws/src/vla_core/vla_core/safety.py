# SPDX-License-Identifier: Apache-2.0

"""The last check before a command leaves: limits of the profile, workspace box, distance of arms, finite numbers.

Nothing is changed silently. A command that breaks a limit is refused with a report; with ``safety.clamp: true`` in the
profile, positions and steps are pulled back to their limits and the report lists each. What is too fast, outside the
workspace or too near to another arm is refused either way.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.arm_distance import ArmDistance
from vla_core.errors import ActionError, SafetyError, listing
from vla_core.kinematics import forward
from vla_core.stamps import to_ns, to_s

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import ActionSpec

Array = NDArray[np.float64]
NOT_FINITE, POSITION, STEP, VELOCITY, WORKSPACE = "not_finite", "position", "step", "velocity", "workspace"
ACCELERATION, DISTANCE = "acceleration", "distance"
# Actions travel as float32: a target that is exactly on a limit may come back this much beyond it.
_SLACK = 1e-5
_UNITS = {
    NOT_FINITE: "", POSITION: " rad", STEP: " rad per step", VELOCITY: " rad/s", ACCELERATION: " rad/s^2", WORKSPACE: " m",
    DISTANCE: " m",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One limit that is broken, at its worst step.

    Attributes:
        kind: not_finite, position, step, velocity, acceleration, workspace or distance.
        group: Name of the action.
        where: Joint, axis of the tool, or two links.
        step: Index in the chunk.
        value: What was commanded, in the unit of the limit (for linear joints m instead of rad).
        limit: What is allowed.
        count: In how many steps of the chunk.
    """

    kind: str
    group: str
    where: str
    step: int
    value: float
    limit: float
    count: int

    def __str__(self) -> str:
        more = f" (and in {self.count - 1} more steps)" if self.count > 1 else ""
        if self.kind == NOT_FINITE:
            return f"{self.group}: {self.where} at step {self.step} is {self.value}{more}"
        unit = _UNITS[self.kind]
        if self.kind == DISTANCE:
            return (
                f"{self.group}: {self.where} are {self.value:.3f} m apart at step {self.step}, at least {self.limit:.3f} m "
                f"must stay between the arms{more}"
            )
        return (
            f"{self.group}: {self.kind} of {self.where} at step {self.step} is {self.value:.4g}{unit}, "
            f"the limit is {self.limit:.4g}{unit}{more}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SafetyReport:
    """Whether a command may be sent.

    Attributes:
        ok: No violation is left.
        violations: What is wrong, one text per limit and joint.
        clamped: What was pulled back to its limit; always empty unless the profile allows it.
        items: The violations as values.
        targets: What may be sent: the targets as given, or with the clamped values; None when not ok.
    """

    ok: bool
    violations: tuple[str, ...]
    clamped: tuple[str, ...]
    items: tuple[Violation, ...]
    targets: dict[str, Array] | None

    def raise_if_bad(self) -> dict[str, Array]:
        """Return the targets that may be sent.

        Raises:
            SafetyError: there are violations.
        """
        if self.targets is None:
            raise SafetyError(f"the command was refused: {'; '.join(self.violations)}")
        return self.targets


class SafetyFilter:
    """Checks joint targets against the profile: finite, joint limits, workspace of each tool, distance between arms."""

    def __init__(self, profile: Profile) -> None:
        self._specs = {spec.name: spec for spec in profile.action}
        self._safety = profile.safety
        self._arms = {arm.name: arm for arm in profile.arms}
        self._columns = {
            arm.name: [self._specs[arm.name].joints.index(joint) for joint in arm.kinematics.joints]
            for arm in profile.arms
        }
        least = profile.safety.arms_min_distance_m
        pairs = itertools.combinations(profile.arms, 2) if least is not None else ()
        self._pairs = tuple((a.name, b.name, ArmDistance(a, b, least or 0.0)) for a, b in pairs)

    def check(
        self,
        targets: Mapping[str, ArrayLike],
        dt_s: float,
        current: Mapping[str, ArrayLike] | None = None,
        *,
        first_dt_s: float | None = None,
        velocity: Mapping[str, ArrayLike] | None = None,
    ) -> SafetyReport:
        """Check one chunk.

        Args:
            targets: Name of each action to its joint targets ``(T, k)`` [rad or m]; groups that send nothing may be
                left out.
            dt_s: Time between two targets [s].
            current: Name of the action to the measured joints ``(k,)``; the first target is checked against them. An arm
                without targets stays there.
            first_dt_s: Time from `current` to the first target; one step by default [s].
            velocity: Name of the action to the velocity at `current` ``(k,)`` [rad/s or m/s], which the first
                acceleration counts from; left out, that one is not checked.

        Raises:
            ActionError: an unknown action, an array of the wrong shape, or the distance to another arm is to be checked
                and neither targets nor `current` say where that is.
        """
        items: list[Violation] = []
        clamped: list[Violation] = []
        checked: dict[str, Array] = {}
        for name, values in targets.items():
            spec = self._spec(name)
            array = _shaped(name, values, (None, len(spec.joints)))
            start = None
            if current is not None and name in current:
                start = _shaped(f"current {name}", current[name], (len(spec.joints),))
            moving = None
            if velocity is not None and name in velocity:
                moving = _shaped(f"velocity {name}", velocity[name], (len(spec.joints),))
            durations = np.full((len(array), 1), dt_s)
            durations[0] = dt_s if first_dt_s is None else first_dt_s
            bad = self._not_finite(spec, array, start)
            if not bad:
                if self._safety.clamp:
                    array = _clamp(spec, array, start, clamped)
                bad = self._limits(spec, array, start, moving, durations)
            items += bad
            checked[name] = array
        if not any(item.kind == NOT_FINITE for item in items):
            items += self._distances(checked, current or {})
        return SafetyReport(
            ok=not items,
            violations=tuple(str(item) for item in items),
            clamped=tuple(str(item) for item in clamped),
            items=tuple(items),
            targets=None if items else checked,
        )

    def _spec(self, name: str) -> ActionSpec:
        try:
            return self._specs[name]
        except KeyError:
            raise ActionError(f"the profile has no action '{name}'; actions: {listing(self._specs)}") from None

    def _not_finite(self, spec: ActionSpec, array: Array, start: Array | None) -> list[Violation]:
        bad = _columns(spec, NOT_FINITE, spec.joints, array, np.zeros_like(array), ~np.isfinite(array))
        if start is not None and not np.isfinite(start).all():
            joint = int(np.argmin(np.isfinite(start)))
            bad.append(
                Violation(
                    kind=NOT_FINITE,
                    group=spec.name,
                    where=f"measured {spec.joints[joint]}",
                    step=0,
                    value=float(start[joint]),
                    limit=0.0,
                    count=1,
                )
            )
        return bad

    def _limits(
        self, spec: ActionSpec, array: Array, start: Array | None, moving: Array | None, durations: Array
    ) -> list[Violation]:
        differences = _differences(array, start)
        velocities = differences / durations
        return [
            *_position(spec, array),
            *_step(spec, differences),
            *_velocity(spec, velocities),
            *_acceleration(spec, velocities, durations, start, moving),
            *self._workspace(spec, array),
        ]

    def _workspace(self, spec: ActionSpec, array: Array) -> list[Violation]:
        arm = self._arms.get(spec.name)
        if arm is None or arm.workspace is None:
            return []
        tool = forward(arm.kinematics, array[:, self._columns[spec.name]])[:, :3, 3]
        axes = ("tool x", "tool y", "tool z")
        return _box(spec, WORKSPACE, axes, tool, arm.workspace)

    def _distances(self, targets: Mapping[str, Array], current: Mapping[str, ArrayLike]) -> list[Violation]:
        """Return one violation for every two arms that come too near to each other."""
        found = []
        for first, second, distance in self._pairs:
            if first not in targets and second not in targets:
                continue
            starts = first in current and second in current
            count = max(len(targets[name]) for name in (first, second) if name in targets)
            ways = [self._way(name, targets, current, count, starts) for name in (first, second)]
            worst = distance.check(ways[0], ways[1], starts=starts)
            if worst is not None:
                found.append(
                    Violation(
                        kind=DISTANCE,
                        group=f"{first} and {second}",
                        where=f"{first} {worst.links[0]} and {second} {worst.links[1]}",
                        step=worst.step,
                        value=worst.distance_m,
                        limit=worst.limit_m,
                        count=worst.count,
                    )
                )
        return found

    def _way(
        self, name: str, targets: Mapping[str, Array], current: Mapping[str, ArrayLike], count: int, starts: bool
    ) -> Array:
        """Return the joints ``(T, n)`` of an arm at `count` waypoints, after where it is now if that `starts` the way."""
        if name not in targets and name not in current:
            raise ActionError(
                f"the distance between arms cannot be checked: nothing says where '{name}' is; pass its targets or its "
                "measured joints"
            )
        here = np.atleast_2d(np.asarray(current[name], dtype=np.float64)) if name in current else None
        rows = targets.get(name, here)
        assert rows is not None
        held = np.repeat(rows[-1:], count - len(rows), axis=0)  # who has fewer waypoints stays at its last
        parts = [here, rows, held] if starts and here is not None else [rows, held]
        return np.concatenate(parts)[:, self._columns[name]]


def _shaped(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.size == 0:
        wanted = ", ".join("T" if size is None else str(size) for size in shape)
        raise ActionError(f"joint targets '{name}' must have the shape ({wanted}), got {array.shape}")
    return array


def _clamp(spec: ActionSpec, array: Array, start: Array | None, clamped: list[Violation]) -> Array:
    """Return the targets within position and step limits; what was changed is appended to `clamped`."""
    clamped += _position(spec, array)
    result = np.clip(array, spec.limits.lower, spec.limits.upper)
    if spec.limits.max_step is None:
        return result
    most = np.array(spec.limits.max_step)
    clamped += _step(spec, _differences(result, start))
    previous = result[0] if start is None else start
    for i, row in enumerate(result):
        result[i] = previous = previous + np.clip(row - previous, -most, most)
    return result


def _differences(array: Array, start: Array | None) -> Array:
    """Return ``(T, k)`` steps; the first counts from `start`, and is zero when that is not known."""
    return np.diff(array, axis=0, prepend=(array[0] if start is None else start)[None])


def _position(spec: ActionSpec, array: Array) -> list[Violation]:
    return _box(spec, POSITION, spec.joints, array, (spec.limits.lower, spec.limits.upper))


def _step(spec: ActionSpec, differences: Array) -> list[Violation]:
    return _magnitude(spec, STEP, differences, spec.limits.max_step)


def _velocity(spec: ActionSpec, velocities: Array) -> list[Violation]:
    return _magnitude(spec, VELOCITY, velocities, spec.limits.max_velocity)


def _acceleration(
    spec: ActionSpec, velocities: Array, durations: Array, start: Array | None, moving: Array | None
) -> list[Violation]:
    """Change of the mean velocity on the way to each target against the way before, over the time between their middles."""
    rates = np.zeros_like(velocities)
    rates[1:] = np.diff(velocities, axis=0) / ((durations[:-1] + durations[1:]) / 2.0)
    if start is None:
        rates[1:2] = 0.0  # the way to the first target is not known
    elif moving is not None:
        rates[0] = (velocities[0] - moving) / (durations[0] / 2.0)
    return _magnitude(spec, ACCELERATION, rates, spec.limits.max_acceleration)


def _magnitude(spec: ActionSpec, kind: str, values: Array, most: tuple[float, ...] | None) -> list[Violation]:
    if most is None:
        return []
    limits = np.broadcast_to(np.array(most), values.shape)
    return _columns(spec, kind, spec.joints, np.abs(values), limits, np.abs(values) > limits + _SLACK)


def _box(
    spec: ActionSpec, kind: str, names: tuple[str, ...], values: Array, box: tuple[tuple[float, ...], tuple[float, ...]]
) -> list[Violation]:
    low, high = np.array(box[0]), np.array(box[1])
    limits = np.where(values < low, low, np.broadcast_to(high, values.shape))
    return _columns(spec, kind, names, values, limits, (values < low - _SLACK) | (values > high + _SLACK))


def _columns(
    spec: ActionSpec, kind: str, names: tuple[str, ...], values: Array, limits: Array, bad: NDArray[np.bool_]
) -> list[Violation]:
    """Return one violation per column that has any, at its worst step."""
    found: list[Violation] = []
    if not bad.any():
        return found
    excess = np.where(bad, np.nan_to_num(np.abs(values - limits), nan=np.inf), -1.0)
    for column in np.flatnonzero(bad.any(axis=0)):
        step = int(np.argmax(excess[:, column]))
        found.append(
            Violation(
                kind=kind,
                group=spec.name,
                where=names[column],
                step=step,
                value=float(values[step, column]),
                limit=float(limits[step, column]),
                count=int(bad[:, column].sum()),
            )
        )
    return found


class Watchdog:
    """Tells when an input has been silent for too long. Time is passed in; it reads no clock.

    Args:
        timeout_s: Longest allowed silence [s].
    """

    def __init__(self, timeout_s: float) -> None:
        if not timeout_s > 0.0:
            raise SafetyError(f"the watchdog's time-out must be positive, got {timeout_s} s")
        self._timeout_ns = to_ns(timeout_s)
        self._last_ns: int | None = None

    def feed(self, t_ns: int) -> None:
        """Note a sign of life; an older one than the last does not count."""
        self._last_ns = t_ns if self._last_ns is None else max(t_ns, self._last_ns)

    def age_s(self, now_ns: int) -> float | None:
        """Return the time since the last sign of life [s], None before the first."""
        return None if self._last_ns is None else to_s(now_ns - self._last_ns)

    def expired(self, now_ns: int) -> bool:
        """Return whether the silence is too long; before the first sign of life it is."""
        return self._last_ns is None or now_ns - self._last_ns > self._timeout_ns
