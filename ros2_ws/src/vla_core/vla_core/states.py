# SPDX-License-Identifier: Apache-2.0

"""From measured values to the state vector of a profile.

Measured are the values of the profile's ``state`` streams, one after the other. With ``state_space: joint`` they are the
state vector, and entries that are constant stand between them. With ``state_space: eef`` the positions of the arm's
joints give way to the pose of the tool, where the first of them stood: x y z [m] in base_frame, and the orientation as
the profile's ``rotation`` says, counted from ``kinematics.reference_rpy``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core import rotations
from vla_core.errors import ActionError
from vla_core.fields import joint_of
from vla_core.kinematics import forward, pose_matrix, rotation_from_rpy

if TYPE_CHECKING:
    from vla_core.profile import Profile
    from vla_core.specs import Kinematics, Scale

Array = NDArray[np.float64]


def apply_scale(scale: Scale | None, values: ArrayLike) -> Array:
    """Return message values as dataset values."""
    array = np.asarray(values, dtype=np.float64)
    return array if scale is None else array * scale.gain + scale.bias


def undo_scale(scale: Scale | None, values: ArrayLike) -> Array:
    """Return dataset values as message values."""
    array = np.asarray(values, dtype=np.float64)
    return array if scale is None else (array - scale.bias) / scale.gain


def pose_numbers(arm: Kinematics, kind: str, poses: Array) -> Array:
    """Return poses ``(T, 4, 4)`` of the tool in base_frame as ``(T, 3 + k)``, counted from the arm's reference."""
    turns = rotations.encode(kind, poses[:, :3, :3], rotation_from_rpy(arm.reference_rpy), fixed_axes=False)
    return np.concatenate([poses[:, :3, 3], turns], axis=1)


def poses_of(arm: Kinematics, kind: str, numbers: Array) -> Array:
    """Return the poses ``(T, 4, 4)`` of ``(T, 3 + k)`` numbers, the inverse of `pose_numbers`."""
    turned = rotations.decode(kind, numbers[:, 3:], rotation_from_rpy(arm.reference_rpy), fixed_axes=False)
    return np.stack([pose_matrix(row[:3], R) for row, R in zip(numbers, turned, strict=True)])


class StateMap:
    """The state codec of a profile.

    Attributes:
        names: Names of the state vector, in order.
        dim: Its length.
        measured_dim: Number of measured values.
        measured: Joint -> (index among the measured values, scale), for every joint whose position is measured.
        in_state: Joint -> (index in the state vector, scale), for every joint whose position is in it.
    """

    def __init__(self, profile: Profile) -> None:
        self._kind = profile.rotation
        self._arm = profile.kinematics if profile.state_space == "eef" else None
        self.measured: dict[str, tuple[int, Scale | None]] = {}
        self.in_state: dict[str, tuple[int, Scale | None]] = {}
        # One entry per block of the state vector: indices of measured values, constants, or None for the pose.
        self._blocks: list[NDArray[np.intp] | Array | None] = []
        self._pose_at: int | None = None
        names: list[str] = []
        index = 0
        for field, name, scale, value in _entries(profile):
            if value is not None:
                self._blocks.append(np.array([value]))
                names.append(name)
                continue
            joint = joint_of(field)
            if joint:
                self.measured.setdefault(joint, (index, scale))
            if self._arm is None or joint not in self._arm.joints:
                if joint:
                    self.in_state.setdefault(joint, (len(names), scale))
                self._blocks.append(np.array([index]))
                names.append(name)
            elif self._pose_at is None:
                self._blocks.append(None)
                self._pose_at = len(names)
                names += pose_names(profile.tool_frame, self._kind)
            index += 1
        self.names = tuple(names)
        self.dim, self.measured_dim = len(names), index
        self._plain = self._arm is None and not profile.constants

    def encode(self, measured: ArrayLike) -> Array:
        """Return measured values ``(T, k)`` as state vectors ``(T, n)``, float64."""
        values = np.asarray(measured, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.measured_dim:
            raise ActionError(f"the profile measures {self.measured_dim} values, got an array of shape {values.shape}")
        if self._plain:
            return values
        parts = []
        for block in self._blocks:
            if block is None:
                parts.append(self._pose_block(values))
            elif block.dtype == np.intp:
                parts.append(values[:, block])
            else:
                parts.append(np.broadcast_to(block, (len(values), 1)))
        return np.concatenate(parts, axis=1)

    def measured_values(self, states: ArrayLike) -> Array:
        """Return the measured values ``(T, k)`` of state vectors ``(T, n)``, the inverse of `encode`.

        Raises:
            ActionError: the state has a pose in place of joints, or another length.
        """
        values = np.asarray(states, dtype=np.float64)
        if self._arm is not None:
            raise ActionError("with state_space eef the state vector does not hold the joints; keep them beside it")
        if values.ndim != 2 or values.shape[1] != self.dim:
            raise ActionError(f"the profile's state has {self.dim} values, got an array of shape {values.shape}")
        kept = [i for i, block in enumerate(self._blocks) if block is not None and block.dtype == np.intp]
        return values if self._plain else values[:, kept]

    def joints(self, measured: ArrayLike, names: tuple[str, ...]) -> Array | None:
        """Return the positions ``(k,)`` [rad or m] of joints in measured values ``(m,)``; None if one is not measured."""
        values = np.asarray(measured, dtype=np.float64)
        places = [self.measured.get(joint) for joint in names]
        if None in places:
            return None
        return np.array([undo_scale(scale, values[i]) for i, scale in filter(None, places)])

    def pose(self, state: ArrayLike) -> Array | None:
        """Return ``T_base_tool`` of a state vector ``(n,)``; None if the state has joints instead of a pose."""
        if self._arm is None or self._pose_at is None:
            return None
        values = np.asarray(state, dtype=np.float64)
        last = self._pose_at + 3 + len(rotations.AXES[self._kind])
        pose: Array = poses_of(self._arm, self._kind, values[None, self._pose_at : last])[0]
        return pose

    def _pose_block(self, values: Array) -> Array:
        assert self._arm is not None
        places = [self.measured[joint] for joint in self._arm.joints]
        q = np.stack([undo_scale(scale, values[:, i]) for i, scale in places], axis=1)
        # Row by row: the numbers of a state do not depend on the rows before it.
        return np.concatenate([pose_numbers(self._arm, self._kind, T[None]) for T in forward(self._arm, q)])


def pose_names(tool_frame: str, kind: str, prefix: str = "") -> tuple[str, ...]:
    """Return the names of the numbers of a pose: ``tool0.x`` and so on."""
    return tuple(f"{tool_frame}.{prefix}{axis}" for axis in ("x", "y", "z", *rotations.AXES[kind]))


def _entries(profile: Profile) -> Iterator[tuple[str, str, Scale | None, float | None]]:
    """Yield field, name, scale and, for constants, the value of everything in the profile's ``state``, in order."""
    for i in range(len(profile.state) + 1):
        for constant in profile.constants:
            if constant.before == i:
                for name, value in zip(constant.names, constant.values, strict=True):
                    yield "", name, None, value
        if i < len(profile.state):
            spec = profile.state[i]
            for field, name in zip(spec.fields, spec.names, strict=True):
                yield field, name, spec.scale, None
