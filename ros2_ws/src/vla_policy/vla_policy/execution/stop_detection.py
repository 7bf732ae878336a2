# SPDX-License-Identifier: Apache-2.0

"""A policy's sign that it is done: several actions in a row that keep the arm where it is and the gripper closed.

Datasets of the targets `planner` and `correction` end with such rows (stop frames), so a policy that was trained on them
predicts them where its part of the task ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionGroup, ActionMap, undo_scale
from vla_core.chunks import ActionChunk
from vla_core.errors import ActionError, ProfileError
from vla_core.frames import Frame
from vla_core.profile import Profile

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When a chunk says stop.

    Attributes:
        steps: Consecutive actions that must say it.
        distance: Norm below which the arm's part of an action stays where the arm was observed, in the numbers of the
            action (rad for joints); in delta spaces the norm of the action itself.
        gripper: Closing above which a gripper counts as closed; 0 open, 1 closed.
    """

    steps: int
    distance: float
    gripper: float


PRESETS = {
    "default": StopRule(steps=3, distance=5e-3, gripper=0.95),
    "cpu": StopRule(steps=3, distance=4e-3, gripper=0.97),
    "ram": StopRule(steps=5, distance=8e-3, gripper=0.95),
}
"""Tried values by name of what is grasped: a processor, a memory module."""


def stop_rule(preset: str, *, steps: int = 0, distance: float = 0.0, gripper: float = 0.0) -> StopRule:
    """The rule of a preset, with single values replaced.

    Args:
        preset: One of `PRESETS`.
        steps: See `StopRule`; 0 keeps the preset's, as with the others.
        distance: See `StopRule`.
        gripper: See `StopRule`.
    """
    base = PRESETS[preset]
    return StopRule(steps=steps or base.steps, distance=distance or base.distance, gripper=gripper or base.gripper)


class StopDetector:
    """Looks at the chunks of one policy; pure. Chunks shorter than the rule's steps are counted together."""

    def __init__(self, profile: Profile, rule: StopRule) -> None:
        """Prepare.

        Raises:
            ProfileError: the profile has no arm or no gripper, so nothing can say stop.
        """
        self._map = ActionMap(profile)
        self._rule = rule
        self._arms = tuple(group for group in self._map.groups if not group.spec.is_gripper)
        self._grippers = tuple(group for group in self._map.groups if group.spec.is_gripper)
        self._before = 0
        if not self._arms or not self._grippers:
            lacking = "gripper" if self._arms else "arm"
            raise ProfileError(
                f"{profile.source}: stop detection needs an arm that stands and a gripper that is closed, and the profile's "
                f"action has no {lacking}; run the policy with mode:=e2e"
            )

    def reset(self) -> None:
        """Forget the chunks before; another run or another policy begins."""
        self._before = 0

    @property
    def steps(self) -> int:
        """Consecutive actions that make a signal."""
        return self._rule.steps

    def find(self, chunk: ActionChunk, observed: Frame) -> int | None:
        """Where the chunk says stop: the first of the actions that make the signal, or None.

        Args:
            chunk: (T, m) actions of the policy.
            observed: Frame that they were computed from.

        Raises:
            ActionError: the frame does not hold the joints of an arm.
        """
        values = np.asarray(chunk.values, dtype=np.float64)
        done = self._stands(values, observed) & self._closed(values, observed)
        run, found = self._before, None
        for index, step in enumerate(done):
            run = run + 1 if step else 0
            if run >= self._rule.steps and found is None:
                found = max(0, index + 1 - self._rule.steps)
        # Long chunks overlap in time, so what they say is not added up.
        self._before = run if len(done) < self._rule.steps else 0
        return found

    def _stands(self, values: Array, observed: Frame) -> NDArray[np.bool_]:
        """Rows (T,) in which all arms stay where they were observed."""
        stay = self._stay(observed)
        columns = np.concatenate([np.arange(self._map.dim)[group.values] for group in self._arms])
        distances = np.linalg.norm(values[:, columns] - stay[columns], axis=1)
        found: NDArray[np.bool_] = distances < self._rule.distance
        return found

    def _stay(self, observed: Frame) -> Array:
        """The action (m,) that keeps every arm where it was observed: in delta spaces zero."""
        joints = {group.spec.name: np.array(group.spec.limits.lower)[None] for group in self._grippers}
        for group in (*self._arms, *self._grippers):
            name = group.spec.name
            if name in observed.joints:
                joints[name] = np.asarray(observed.joints[name])[None]
            elif not group.spec.is_gripper:
                raise ActionError(
                    f"stop detection compares actions with the arm '{name}', but the profile's state does not hold its "
                    f"joints; add their position fields under state:"
                )
        return np.asarray(self._map.encode(joints, observed.state64)[0], dtype=np.float64)

    def _closed(self, values: Array, observed: Frame) -> NDArray[np.bool_]:
        """Rows (T,) in which all grippers are closed."""
        closed = [
            (_closing(group, values[:, group.values], observed) > self._rule.gripper).all(axis=1)
            for group in self._grippers
        ]
        found: NDArray[np.bool_] = np.logical_and.reduce(closed)
        return found


def _closing(group: ActionGroup, values: Array, observed: Frame) -> Array:
    """How far a gripper's actions (T, k) close it: 0 open, 1 closed, by its scale (else by its limits)."""
    spec = group.spec
    if spec.space == "delta_joint":
        joints = values + observed.joints.get(spec.name, np.array(spec.limits.lower))
    else:
        joints = np.asarray(undo_scale(spec.scale, values))
    if spec.scale is None:
        start, end = np.array(spec.limits.lower), np.array(spec.limits.upper)
    else:
        start, end = (np.asarray(undo_scale(spec.scale, pick(spec.scale.target))) for pick in (min, max))
    share: Array = (joints - start) / (end - start)
    return share
