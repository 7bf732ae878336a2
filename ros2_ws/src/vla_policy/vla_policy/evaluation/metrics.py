# SPDX-License-Identifier: Apache-2.0

"""Errors of predicted chunks against what was recorded, summed up window by window.

All arrays are in the numbers of the dataset (the units of the profile's action), chunks (T, m) with T steps of m values.
Steps after the end of an episode were never recorded and count nowhere.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vla_core.actions import ActionMap
from vla_core.errors import ActionError, KinematicsError
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.safety import SafetyFilter
from vla_core.specs import ActionSpec

Array = NDArray[np.float64]
MIN_STD = 1e-6  # a value that varies less hardly varies at all: float32 holds no seven digits
SLACK = 1e-5  # what the safety filter forgives: a target exactly on its limit, stored as float32


def dimension_units(profile: Profile) -> tuple[str, ...]:
    """Unit of each value of the action; empty for numbers without one (scaled values, parts of a rotation)."""
    turn = {"rotvec": "rad", "rpy": "rad"}.get(profile.rotation, "")
    units: list[str] = []
    for group in ActionMap(profile).groups:
        count = len(group.names)
        if group.spec.space.endswith("_eef"):
            units += ["m"] * 3 + [turn] * (count - 3)
        else:
            units += ["" if _scaled(group.spec) else "rad"] * count
    return tuple(units)


def _scaled(spec: ActionSpec) -> bool:
    return spec.scale is not None and spec.space == "absolute_joint"


class ErrorSums:
    """Squared errors of one predictor: by step of the chunk and by value.

    Attributes:
        squared: (T, m) sums over the windows.
        counts: (T,) windows in which the step was recorded.
    """

    def __init__(self, steps: int, values: int) -> None:
        self.squared: Array = np.zeros((steps, values))
        self.counts: NDArray[np.int64] = np.zeros(steps, dtype=np.int64)

    def add(self, predicted: ArrayLike, truth: ArrayLike, valid: NDArray[np.bool_]) -> None:
        """Add one window: predicted and recorded chunk (T, m), and which steps (T,) were recorded."""
        difference = np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
        self.squared += np.where(valid[:, None], difference**2, 0.0)
        self.counts += valid

    def report(self, std: Array) -> dict[str, Any]:
        """The measures of the evaluation's JSON.

        Args:
            std: (m,) standard deviation of each value in the dataset; those that hardly vary are left out of `nmse`.
        """
        total = int(self.counts.sum())
        by_value = self.squared.sum(axis=0) / total
        varies = std > MIN_STD
        share = (
            (self.squared[:, varies] / std[varies] ** 2).mean(axis=1) if varies.any() else np.zeros(len(self.counts))
        )
        seen = np.maximum(self.counts, 1)
        return {
            "mse": float(by_value.mean()),
            "mse_per_dimension": by_value.tolist(),
            "rmse_per_dimension": np.sqrt(by_value).tolist(),
            "nmse": float(share.sum() / total) if varies.any() else None,
            "nmse_over_horizon": _known(share / seen, self.counts),
            "mse_over_horizon": _known(self.squared.mean(axis=1) / seen, self.counts),
            "rmse_over_horizon_per_dimension": [
                np.sqrt(row / count).tolist() if count else None
                for row, count in zip(self.squared, self.counts, strict=True)
            ],
        }


def _known(values: Array, counts: NDArray[np.int64]) -> list[float | None]:
    """Values of the steps that some window recorded; nothing is known of the others."""
    return [float(value) if count else None for value, count in zip(values, counts, strict=True)]


class StepSizes:
    """Mean size of the steps from one action to the next within chunks, predicted and recorded."""

    def __init__(self, values: int) -> None:
        self._predicted: Array = np.zeros(values)
        self._recorded: Array = np.zeros(values)
        self._count = 0

    def add(self, predicted: ArrayLike, truth: ArrayLike, valid: NDArray[np.bool_]) -> None:
        """Add one window; only steps between two recorded actions count."""
        kept = valid[1:] & valid[:-1]
        for sums, chunk in ((self._predicted, predicted), (self._recorded, truth)):
            sums += np.abs(np.diff(np.asarray(chunk, dtype=np.float64), axis=0))[kept].sum(axis=0)
        self._count += int(kept.sum())

    def report(self) -> dict[str, Any] | None:
        """Means over all steps; None where no chunk had two recorded steps."""
        if not self._count:
            return None
        predicted, recorded = self._predicted / self._count, self._recorded / self._count
        return {
            "predicted": float(predicted.mean()),
            "recorded": float(recorded.mean()),
            "ratio": float(predicted.mean() / recorded.mean()) if recorded.mean() > 0.0 else None,
            "predicted_per_dimension": predicted.tolist(),
            "recorded_per_dimension": recorded.tolist(),
        }


@dataclass(slots=True)
class Limits:
    """Which commands the profile's limits would change, and which chunks its safety filter would refuse.

    A command counts as clipped where its joint target lies outside the position limits, or farther than `max_step` from the
    target before it (the first: from the measured joints). Grippers that overshoot their travel are set to its end by the
    executor, so they count as clipped but refuse no chunk.
    """

    profile: Profile
    clipped: dict[str, int] = field(default_factory=dict)
    refused_by: dict[str, int] = field(default_factory=dict)
    commands: int = 0
    chunks: int = 0
    refused: int = 0
    unreachable: int = 0
    why_not: str = ""

    def add(self, chunk: NDArray[np.float32], frame: Frame) -> None:
        """Look at one predicted chunk (T, m), all its steps, as the executor would send it."""
        actions = ActionMap(self.profile)
        self.chunks += 1
        try:
            targets = actions.to_joint_targets(chunk, frame.state, frame.joints or None)
        except KinematicsError:
            self.unreachable += 1
            self.refused += 1
            return
        except ActionError as error:
            self.why_not = str(error)
            return
        current = actions.current_joints(frame.state)
        for spec in self.profile.action:
            self._count(spec, targets[spec.name], current.get(spec.name))
        arms = {
            spec.name: current[spec.name]
            for spec in self.profile.action
            if spec.name in current and not spec.is_gripper
        }
        for spec in self.profile.action:
            if spec.is_gripper:
                targets[spec.name] = np.clip(targets[spec.name], spec.limits.lower, spec.limits.upper)
        report = SafetyFilter(self.profile).check(targets, 1.0 / self.profile.fps, arms)
        if not report.ok:
            self.refused += 1
            for kind in {item.kind for item in report.items}:
                self.refused_by[kind] = self.refused_by.get(kind, 0) + 1

    def _count(self, spec: ActionSpec, targets: Array, current: Array | None) -> None:
        outside = (targets < np.array(spec.limits.lower) - SLACK) | (targets > np.array(spec.limits.upper) + SLACK)
        if spec.limits.max_step is not None:
            start = targets[0] if current is None or spec.is_gripper else current
            steps = np.abs(np.diff(targets, axis=0, prepend=start[None]))
            outside |= steps > np.array(spec.limits.max_step) + SLACK
        self.commands += outside.size
        for joint, count in zip(spec.joints, outside.sum(axis=0), strict=True):
            self.clipped[joint] = self.clipped.get(joint, 0) + int(count)

    def report(self) -> dict[str, Any]:
        """Shares of commands and chunks; None with the reason where the state does not hold the joints."""
        if self.why_not:
            return {"fraction": None, "why_not": self.why_not}
        sent = self.commands / max(1, len(self.clipped))
        per_joint = {joint: count / sent for joint, count in self.clipped.items()}
        return {
            "fraction": sum(self.clipped.values()) / self.commands if self.commands else None,
            "per_joint": per_joint,
            "per_group": {
                spec.name: float(np.mean([per_joint[joint] for joint in spec.joints]))
                for spec in self.profile.action
                if per_joint
            },
            "refused_chunks": self.refused / self.chunks if self.chunks else None,
            "refused_by": dict(sorted(self.refused_by.items())),
            "unreachable_chunks": self.unreachable,
        }
