# SPDX-License-Identifier: Apache-2.0

"""Rows of a dataset from one codec into another, for the same robot.

Converters work on joints, where a robot that stands still is easy to see, and write the dataset in the codec that was
asked for. State vectors come out as a frame builder with the other profile gives them, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.actions import ActionMap
from vla_core.errors import ActionError

if TYPE_CHECKING:
    from vla_core.profile import Profile


class Recoder:
    """Turns states and actions of one profile into those of another that reads the same streams.

    Args:
        source: Profile of the rows; its ``state_space`` is joint.
        target: Profile that they are wanted in, for example `vla_core.profile.with_codec` of `source`.

    Raises:
        ActionError: the profiles differ in more than the codec.
    """

    def __init__(self, source: Profile, target: Profile) -> None:
        if source.state_space != "joint":
            raise ActionError(
                "rows can only be recoded from the state space joint: a pose does not say where the joints are; "
                "build the frames with state_space: joint"
            )
        same_state = [spec.fields for spec in source.state] == [spec.fields for spec in target.state]
        same_action = [(spec.name, spec.joints) for spec in source.action] == [
            (spec.name, spec.joints) for spec in target.action
        ]
        if not (same_state and same_action):
            raise ActionError("rows can only be recoded between profiles with the same 'state' and 'action' entries")
        self._source, self._target = ActionMap(source), ActionMap(target)

    def states(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return states ``(N, n)`` of the source as states ``(N, k)`` of the target."""
        return self._target.state.encode(self._source.state.measured_values(states))

    def actions(self, actions: ArrayLike, states: ArrayLike) -> NDArray[np.float32]:
        """Return actions ``(N, m)`` of the source, each counted from its own state ``(N, n)``, in the target's codec."""
        rows, vectors = np.asarray(actions, dtype=np.float64), np.asarray(states, dtype=np.float64)
        if len(rows) != len(vectors) or len(rows) == 0:
            raise ActionError(f"expected one state per row, got {len(rows)} rows and {len(vectors)} states")
        wanted = self.states(vectors).astype(np.float32)
        return np.concatenate(
            [
                self._target.encode(self._source.to_joint_targets(row[None], before), after)
                for row, before, after in zip(rows, vectors, wanted, strict=True)
            ]
        )
