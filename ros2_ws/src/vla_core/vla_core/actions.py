# SPDX-License-Identifier: Apache-2.0

"""Between joint targets (what controllers take) and action vectors (what a policy predicts).

An action vector is the parts of the profile's ``action`` list, one after the other. Each part is in one of four spaces:

- ``absolute_joint``: the joint targets [rad or m], through the part's scale.
- ``delta_joint``: the joint targets minus the joint positions in the state at the time of observation.
- ``absolute_eef``: the pose of the tool that the joint targets lead to, six numbers: x y z [m] in base_frame, then the
  rotation vector [rad] of the tool's orientation counted from ``kinematics.reference_rpy``, about the axes of that
  reference. A rotation vector jumps at half a turn; counted from the orientation the tool usually has (down, for
  grasping), the jump is far away.
- ``delta_eef``: the same pose against the tool's pose at the time of observation: translation [m] and rotation vector
  [rad], both about the axes of base_frame.

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

from vla_core.errors import ActionError, listing
from vla_core.fields import joint_of
from vla_core.kinematics import (
    forward,
    inverse,
    pose_matrix,
    rotation_from_rpy,
    rotation_from_vector,
    rotation_vector,
)

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import ActionSpec, Kinematics, Scale

Array = NDArray[np.float64]
_EEF_NUMBERS = 6
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


def _value_names(spec: ActionSpec, tool_frame: str) -> tuple[str, ...]:
    if spec.space == "absolute_joint":
        return tuple(f"{joint}.pos" for joint in spec.joints)
    if spec.space == "delta_joint":
        return tuple(f"{joint}.delta" for joint in spec.joints)
    prefix = "d" if spec.space == "delta_eef" else ""
    return tuple(f"{tool_frame}.{prefix}{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz"))


def apply_scale(scale: Scale | None, values: ArrayLike) -> Array:
    """Return message values as dataset values."""
    array = np.asarray(values, dtype=np.float64)
    return array if scale is None else array * scale.gain + scale.bias


def undo_scale(scale: Scale | None, values: ArrayLike) -> Array:
    """Return dataset values as message values."""
    array = np.asarray(values, dtype=np.float64)
    return array if scale is None else (array - scale.bias) / scale.gain


class ActionMap:
    """The action codec of a profile.

    Attributes:
        groups: The parts of the action vector.
        names: Names of all values, in order.
        dim: Length of the action vector.
    """

    def __init__(self, profile: Profile) -> None:
        groups: list[ActionGroup] = []
        start = 0
        for spec in profile.action:
            names = _value_names(spec, profile.tool_frame)
            groups.append(ActionGroup(spec, slice(start, start + len(names)), names))
            start += len(names)
        self.groups = tuple(groups)
        self.names = tuple(name for group in groups for name in group.names)
        self.dim = start
        self._state_dim = sum(len(spec.fields) for spec in profile.state)
        self._arm = profile.kinematics
        # Joint -> (index in the state vector, scale to undo).
        self._in_state: dict[str, tuple[int, Scale | None]] = {}
        index = 0
        for state in profile.state:
            for field in state.fields:
                joint = joint_of(field)
                if joint:
                    self._in_state.setdefault(joint, (index, state.scale))
                index += 1

    def current_joints(self, state: ArrayLike) -> dict[str, Array]:
        """Return the measured joints ``(k,)`` [rad or m] of every group whose joints the state vector holds.

        Args:
            state: State vector ``(n,)`` of a frame.
        """
        vector = np.asarray(state, dtype=np.float64)
        if vector.shape != (self._state_dim,):
            raise ActionError(f"the profile's state has {self._state_dim} values, got an array of shape {vector.shape}")
        found = {}
        for group in self.groups:
            places = [self._in_state.get(joint) for joint in group.spec.joints]
            if None not in places:
                found[group.spec.name] = np.array([undo_scale(s, vector[i]) for i, s in filter(None, places)])
        return found

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
        current = {} if state is None else self.current_joints(state)
        parts = []
        for group in self.groups:
            array = np.asarray(targets[group.spec.name], dtype=np.float64)
            if array.ndim != 2 or array.shape[1] != len(group.spec.joints):
                raise ActionError(
                    f"joint targets of '{group.spec.name}' must be (T, {len(group.spec.joints)}), got {array.shape}"
                )
            parts.append(self._encode(group.spec, array, current))
        if len({len(part) for part in parts}) > 1:
            raise ActionError(f"groups have different numbers of steps: {[len(part) for part in parts]}")
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_joint_targets(self, values: ArrayLike, state: ArrayLike | None = None) -> dict[str, Array]:
        """Return action vectors as joint targets, the inverse of `encode`.

        Args:
            values: ``(T, m)`` action vectors of one chunk.
            state: State vector ``(n,)`` at the time of observation; ``absolute_joint`` does without.

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
        current = {} if state is None else self.current_joints(state)
        return {group.spec.name: self._decode(group.spec, array[:, group.values], current) for group in self.groups}

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
        steps = [self.to_joint_targets(row[None], state) for row, state in zip(actions, vectors, strict=True)]
        targets = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
        return self.encode(targets, vectors[0])

    def check_round_trip(self) -> None:
        """Encode and decode joint targets around the middle of the joint limits.

        Raises:
            ActionError: decoding does not lead back.
        """
        targets, state = self._samples()
        decoded = self.to_joint_targets(self.encode(targets, state), state)
        for group in self.groups:
            want, got = targets[group.spec.name], decoded[group.spec.name]
            error = float(np.abs(want - got).max())
            if error > (_ROUND_TRIP_TOLERANCE_EEF if group.spec.space.endswith("_eef") else _ROUND_TRIP_TOLERANCE):
                raise ActionError(
                    f"'{group.spec.name}' in the space {group.spec.space} comes back {error:.2g} away from what went in"
                )

    def _samples(self) -> tuple[dict[str, Array], Array]:
        state = np.zeros(self._state_dim)
        targets = {}
        for group in self.groups:
            lower, upper = np.array(group.spec.limits.lower), np.array(group.spec.limits.upper)
            # Off the middle, where arms tend to be stretched out and lose a degree of freedom; and near each other.
            start = lower + (upper - lower) * np.linspace(0.55, 0.62, len(lower))
            # Joints go different ways, so that a redundant arm cannot come back by luck.
            span = np.minimum(0.02 * (upper - lower), 0.05) * np.cos(2.0 * np.arange(len(lower)))
            targets[group.spec.name] = start + np.linspace(0.0, 1.0, 3)[:, None] * span
            for joint, value in zip(group.spec.joints, start, strict=True):
                if joint in self._in_state:
                    index, scale = self._in_state[joint]
                    state[index] = apply_scale(scale, value)
        return targets, state

    def _encode(self, spec: ActionSpec, targets: Array, current: Mapping[str, Array]) -> Array:
        if spec.space == "absolute_joint":
            return apply_scale(spec.scale, targets)
        if spec.space == "delta_joint":
            return targets - self._current(spec, current)
        arm = self._kinematics(spec)
        poses = forward(arm, targets)
        if spec.space == "absolute_eef":
            R_ref = rotation_from_rpy(arm.reference_rpy)
            return np.stack([_numbers(T[:3, 3], R_ref.T @ T[:3, :3]) for T in poses])
        start = forward(arm, self._current(spec, current))
        return np.stack([_numbers(T[:3, 3] - start[:3, 3], T[:3, :3] @ start[:3, :3].T) for T in poses])

    def _decode(self, spec: ActionSpec, values: Array, current: Mapping[str, Array]) -> Array:
        if spec.space == "absolute_joint":
            return undo_scale(spec.scale, values)
        joints = self._current(spec, current)
        if spec.space == "delta_joint":
            return values + joints
        arm = self._kinematics(spec)
        R_ref, start = rotation_from_rpy(arm.reference_rpy), forward(arm, joints)
        targets = np.empty((len(values), len(joints)))
        for i, row in enumerate(values):
            turn = rotation_from_vector(row[3:])
            if spec.space == "absolute_eef":
                wanted = pose_matrix(row[:3], R_ref @ turn)
            else:
                wanted = pose_matrix(start[:3, 3] + row[:3], turn @ start[:3, :3])
            targets[i] = joints = inverse(arm, wanted, joints)
        return targets

    def _kinematics(self, spec: ActionSpec) -> Kinematics:
        if self._arm is None:
            raise ActionError(f"'{spec.name}' in the space {spec.space} needs 'kinematics' in the profile")
        return self._arm

    def _current(self, spec: ActionSpec, current: Mapping[str, Array]) -> Array:
        try:
            return current[spec.name]
        except KeyError:
            raise ActionError(
                f"'{spec.name}' in the space {spec.space} needs the state vector at the time of observation"
            ) from None


def _numbers(xyz: Array, rotation: Array) -> Array:
    return np.concatenate([xyz, rotation_vector(rotation)])
