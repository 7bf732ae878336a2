# SPDX-License-Identifier: Apache-2.0

"""Between joint targets (what controllers take) and action vectors (what a policy predicts).

An action vector is the parts of the profile's ``action`` list, one after the other. Each part is in one of four spaces:

- ``absolute_joint``: the joint targets [rad or m], through the part's scale.
- ``delta_joint``: the joint targets minus the joint positions in the state at the time of observation.
- ``absolute_eef``: the pose of the tool that the joint targets lead to: x y z [m] in base_frame, then its orientation as
  the profile's ``rotation`` says (see `vla_core.rotations`), counted from ``kinematics.reference_rpy``, about the axes of
  that reference. Counted from the orientation the tool usually has (down, for grasping), the jumps are far away.
- ``delta_eef``: the same pose against the tool's pose at the time of observation: translation [m] and turn, both about
  the axes of base_frame.

Gripper parts stay ``absolute_joint`` unless the profile says otherwise. Targets have one row per step; for the delta
spaces all rows of a chunk count from the same state, that at the time of observation. Rows of a dataset each count from
their own frame's state; `ActionMap.rebase` turns a stack of such rows into a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core import rotations
from vla_core.errors import ActionError, listing
from vla_core.kinematics import forward, inverse
from vla_core.states import StateMap, apply_scale, pose_names, pose_numbers, poses_of, undo_scale

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import ActionSpec, Kinematics

__all__ = ["ActionGroup", "ActionMap", "apply_scale", "undo_scale"]

Array = NDArray[np.float64]
# float32 keeps about seven digits; angles and lengths stay below ten. Inverse kinematics amplify what is lost.
_ROUND_TRIP_TOLERANCE = 1e-5
_ROUND_TRIP_TOLERANCE_EEF = 1e-3


@dataclass(frozen=True, slots=True)
class ActionGroup:
    """One part of the action vector.

    Attributes:
        spec: The part in the profile.
        values: Where it lies in the action vector.
        names: Names of its values.
    """

    spec: ActionSpec
    values: slice
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a frame or chunk starts: measured joints by group, and the pose of the tool if the state holds it."""

    joints: Mapping[str, Array]
    pose: Array | None


def _value_names(spec: ActionSpec, profile: Profile) -> tuple[str, ...]:
    if spec.space == "absolute_joint":
        return tuple(f"{joint}.pos" for joint in spec.joints)
    if spec.space == "delta_joint":
        return tuple(f"{joint}.delta" for joint in spec.joints)
    return pose_names(profile.tool_frame, profile.rotation, "d" if spec.space == "delta_eef" else "")


class ActionMap:
    """The action codec of a profile.

    Attributes:
        groups: The parts of the action vector.
        names: Names of all values, in order.
        dim: Length of the action vector.
        state: The state codec of the same profile.
    """

    def __init__(self, profile: Profile) -> None:
        groups: list[ActionGroup] = []
        start = 0
        for spec in profile.action:
            names = _value_names(spec, profile)
            groups.append(ActionGroup(spec, slice(start, start + len(names)), names))
            start += len(names)
        self.groups = tuple(groups)
        self.names = tuple(name for group in groups for name in group.names)
        self.dim = start
        self.state = StateMap(profile)
        self._arm = profile.kinematics
        self._rotation = profile.rotation

    def current_joints(self, state: ArrayLike) -> dict[str, Array]:
        """Return the joints ``(k,)`` [rad or m] of every group whose joints the state vector holds.

        With ``state_space: eef`` the state holds the pose of the arm instead, so the arm is not among them; its measured
        joints are in `Frame.joints`.

        Args:
            state: State vector ``(n,)`` of a frame.
        """
        vector = self._vector(state)
        found = {}
        for group in self.groups:
            places = [self.state.in_state.get(joint) for joint in group.spec.joints]
            if None not in places:
                found[group.spec.name] = np.array([undo_scale(s, vector[i]) for i, s in filter(None, places)])
        return found

    def measured_joints(self, measured: ArrayLike) -> dict[str, Array]:
        """Return the joints ``(k,)`` [rad or m] of every group whose joints are among the measured values.

        Args:
            measured: Values ``(m,)`` of the profile's state streams, one after the other.
        """
        found = {group.spec.name: self.state.joints(measured, group.spec.joints) for group in self.groups}
        return {name: joints for name, joints in found.items() if joints is not None}

    def encode(self, targets: Mapping[str, ArrayLike], state: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return joint targets as action vectors.

        Args:
            targets: Name of each group to its joint targets ``(T, k)`` [rad or m].
            state: State vector ``(n,)`` at the time of observation; only the absolute spaces do without.

        Returns:
            ``(T, m)`` float32.

        Raises:
            ActionError: a group is missing, shapes differ, or a state is needed and not given.
        """
        names = [group.spec.name for group in self.groups]
        if set(targets) != set(names):
            raise ActionError(f"expected joint targets for {listing(names)}, got {listing(targets)}")
        origin = self._origin(state)
        parts = []
        for group in self.groups:
            array = np.asarray(targets[group.spec.name], dtype=np.float64)
            if array.ndim != 2 or array.shape[1] != len(group.spec.joints):
                raise ActionError(
                    f"joint targets of '{group.spec.name}' must be (T, {len(group.spec.joints)}), got {array.shape}"
                )
            parts.append(self._values(group.spec, self._goals(group.spec, array), origin))
        if len({len(part) for part in parts}) > 1:
            raise ActionError(f"groups have different numbers of steps: {[len(part) for part in parts]}")
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_joint_targets(
        self,
        values: ArrayLike,
        state: ArrayLike | None = None,
        joints: Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, Array]:
        """Return action vectors as joint targets, the inverse of `encode`.

        Args:
            values: ``(T, m)`` action vectors of one chunk.
            state: State vector ``(n,)`` at the time of observation; ``absolute_joint`` does without.
            joints: Measured joints at the time of observation (`Frame.joints`), where inverse kinematics start their
                search; those in the state by default.

        Returns:
            Name of each group to its joint targets ``(T, k)`` float64 [rad or m].

        Raises:
            ActionError: wrong shape, a value that is not finite, or a state is needed and not given.
            KinematicsError: a pose is out of reach.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != self.dim:
            raise ActionError(
                f"an action chunk of this profile is (T, {self.dim}) with {listing(self.names)}; got {array.shape}"
            )
        bad = np.argwhere(~np.isfinite(array))
        if bad.size:
            step, column = bad[0]
            raise ActionError(f"the action is not finite: {self.names[column]} at step {step} is {array[step, column]}")
        origin = self._origin(state)
        found = {}
        for group in self.groups:
            goals = self._decode(group.spec, array[:, group.values], origin)
            if group.spec.space.endswith("_eef"):
                start = (joints or origin.joints).get(group.spec.name)
                goals = self._solve(group.spec, goals, start)
            found[group.spec.name] = goals
        return found

    decode = to_joint_targets

    def rebase(self, rows: ArrayLike, states: ArrayLike) -> NDArray[np.float32]:
        """Return rows that each count from their own state as one chunk that counts from the first state.

        Args:
            rows: ``(T, m)`` actions of consecutive frames.
            states: ``(T, n)`` states of the same frames.
        """
        actions, vectors = np.asarray(rows), np.asarray(states)
        if len(actions) != len(vectors) or len(actions) == 0:
            raise ActionError(f"expected one state per row, got {len(actions)} rows and {len(vectors)} states")
        origins = [self._origin(state) for state in vectors]
        parts = []
        for group in self.groups:
            goals = [
                self._decode(group.spec, row[None, group.values], origin)
                for row, origin in zip(np.asarray(actions, dtype=np.float64), origins, strict=True)
            ]
            parts.append(self._values(group.spec, np.concatenate(goals), origins[0]))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def check_round_trip(self) -> None:
        """Encode and decode joint targets around the middle of the joint limits.

        Raises:
            ActionError: decoding does not lead back.
        """
        targets, measured = self._samples()
        state = self.state.encode(measured[None])[0].astype(np.float32)
        decoded = self.to_joint_targets(self.encode(targets, state), state, self.measured_joints(measured))
        for group in self.groups:
            want, got = targets[group.spec.name], decoded[group.spec.name]
            error = float(np.abs(want - got).max())
            if error > (_ROUND_TRIP_TOLERANCE_EEF if group.spec.space.endswith("_eef") else _ROUND_TRIP_TOLERANCE):
                raise ActionError(
                    f"'{group.spec.name}' in the space {group.spec.space} comes back {error:.2g} away from what went in"
                )

    def _samples(self) -> tuple[dict[str, Array], Array]:
        measured = np.zeros(self.state.measured_dim)
        targets = {}
        for group in self.groups:
            lower, upper = np.array(group.spec.limits.lower), np.array(group.spec.limits.upper)
            # Off the middle, where arms tend to be stretched out and lose a degree of freedom; and near each other.
            start = lower + (upper - lower) * np.linspace(0.55, 0.62, len(lower))
            # Joints go different ways, so that a redundant arm cannot come back by luck.
            span = np.minimum(0.02 * (upper - lower), 0.05) * np.cos(2.0 * np.arange(len(lower)))
            targets[group.spec.name] = start + np.linspace(0.0, 1.0, 3)[:, None] * span
            for joint, value in zip(group.spec.joints, start, strict=True):
                if joint in self.state.measured:
                    index, scale = self.state.measured[joint]
                    measured[index] = apply_scale(scale, value)
        return targets, measured

    def _vector(self, state: ArrayLike) -> Array:
        vector = np.asarray(state, dtype=np.float64)
        if vector.shape != (self.state.dim,):
            raise ActionError(f"the profile's state has {self.state.dim} values, got an array of shape {vector.shape}")
        return vector

    def _origin(self, state: ArrayLike | None) -> _Origin:
        if state is None:
            return _Origin({}, None)
        return _Origin(self.current_joints(state), self.state.pose(state))

    def _goals(self, spec: ActionSpec, targets: Array) -> Array:
        """Return where joint targets lead: the targets themselves, or poses ``(T, 4, 4)`` in eef spaces."""
        return forward(self._kinematics(spec), targets) if spec.space.endswith("_eef") else targets

    def _values(self, spec: ActionSpec, goals: Array, origin: _Origin) -> Array:
        """Return goals as the numbers of the part's space."""
        if spec.space == "absolute_joint":
            return apply_scale(spec.scale, goals)
        if spec.space == "delta_joint":
            return goals - self._current(spec, origin.joints)
        if spec.space == "absolute_eef":
            return pose_numbers(self._kinematics(spec), self._rotation, goals)
        start = self._start(spec, origin)
        turns = rotations.encode(self._rotation, goals[:, :3, :3], start[:3, :3], fixed_axes=True)
        return np.concatenate([goals[:, :3, 3] - start[:3, 3], turns], axis=1)

    def _decode(self, spec: ActionSpec, values: Array, origin: _Origin) -> Array:
        """Return the goals of a part's numbers, the inverse of `_values`."""
        if spec.space == "absolute_joint":
            return undo_scale(spec.scale, values)
        if spec.space == "delta_joint":
            return values + self._current(spec, origin.joints)
        if spec.space == "absolute_eef":
            return poses_of(self._kinematics(spec), self._rotation, values)
        start = self._start(spec, origin)
        poses = np.tile(np.eye(4), (len(values), 1, 1))
        poses[:, :3, 3] = start[:3, 3] + values[:, :3]
        poses[:, :3, :3] = rotations.decode(self._rotation, values[:, 3:], start[:3, :3], fixed_axes=True)
        return poses

    def _solve(self, spec: ActionSpec, poses: Array, start: ArrayLike | None) -> Array:
        """Return the joint targets ``(T, k)`` that lead to poses; every search starts at the solution before."""
        if start is None:
            raise ActionError(
                f"'{spec.name}' in the space {spec.space} needs the measured joints at the time of observation, where "
                "inverse kinematics start; pass the frame's state, or with state_space eef Frame.joints"
            )
        arm = self._kinematics(spec)
        q = np.asarray(start, dtype=np.float64)
        targets = np.empty((len(poses), len(q)))
        for i, pose in enumerate(poses):
            targets[i] = q = inverse(arm, pose, q)
        return targets

    def _kinematics(self, spec: ActionSpec) -> Kinematics:
        if self._arm is None:
            raise ActionError(f"'{spec.name}' in the space {spec.space} needs 'kinematics' in the profile")
        return self._arm

    def _start(self, spec: ActionSpec, origin: _Origin) -> Array:
        """Return the pose of the tool at the time of observation."""
        if origin.pose is not None:
            return origin.pose
        return forward(self._kinematics(spec), self._current(spec, origin.joints))

    def _current(self, spec: ActionSpec, current: Mapping[str, Array]) -> Array:
        try:
            return current[spec.name]
        except KeyError:
            raise ActionError(
                f"'{spec.name}' in the space {spec.space} needs the state vector at the time of observation"
            ) from None
