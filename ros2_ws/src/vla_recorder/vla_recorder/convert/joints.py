# SPDX-License-Identifier: Apache-2.0

"""What conversion needs to know of a robot: whether it moved, its closed grippers, and the actions of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionGroup, ActionMap
from vla_core.profile import Profile
from vla_core.specs import Scale
from vla_core.states import apply_scale, undo_scale

from vla_recorder.convert.targets import NOOP_RULES, STOP_STATES, Row, TargetError

Array = NDArray[np.float64]


class Robot:
    """The parts of a profile's action, seen from the rows of an episode."""

    def __init__(self, profile: Profile, gripper_closed: float | None = None, stop_state: str = "closed") -> None:
        """Prepare.

        Args:
            profile: Profile of the dataset.
            gripper_closed: Joint position of a closed gripper [message units]; None: the upper end of its scale.
            stop_state: What the observed state of a stop frame says of the grippers: ``closed`` as its action does, or as
                ``measured`` in the row that it copies.
        """
        assert stop_state in STOP_STATES
        self._shows_closed = stop_state == "closed"
        self._map = ActionMap(profile)
        self._source = profile.source
        self._closed = gripper_closed

    @property
    def grippers(self) -> tuple[ActionGroup, ...]:
        """Parts of the action that drive a gripper."""
        return tuple(group for group in self._map.groups if group.spec.is_gripper)

    def position(self, rule: str) -> Callable[[Row], Array]:
        """Return what tells whether the robot moved.

        Args:
            rule: ``joints``: arm joints [rad or m]; ``all``: also the grippers, in the units of the dataset.

        Returns:
            Row -> positions (k,).

        Raises:
            TargetError: The state holds no joint that the rule could look at.
        """
        assert rule in NOOP_RULES
        groups = [group for group in self._map.groups if rule == "all" or not group.spec.is_gripper]
        measured = self._map.state.measured
        known = [group for group in groups if all(joint in measured for joint in group.spec.joints)]
        if not known:
            joints = ", ".join(joint for group in groups for joint in group.spec.joints)
            raise TargetError(
                f"{self._source}: no-op removal compares measured joints, but the state holds none of {joints}. Add their "
                "positions to the state, or use --keep-noops"
            )
        scales = {group.spec.name: self._scale(group) if group.spec.is_gripper else None for group in known}

        def position(row: Row) -> Array:
            return np.concatenate([apply_scale(scale, row.joints[name]) for name, scale in scales.items()])

        return position

    def close(self, row: Row) -> Row:
        """Return a copy of a row with every gripper closed, in what actions are made of and, if asked for, in the state.

        Raises:
            TargetError: Nobody says what closed means.
        """
        state, joints, targets = row.state.copy(), dict(row.joints), dict(row.targets)
        for group in self.grippers:
            name = group.spec.name
            closed = np.full(len(group.spec.joints), self._closed_joint(group))
            for joint, value in zip(group.spec.joints, closed, strict=True):
                if self._shows_closed and joint in self._map.state.in_state:
                    index, scale = self._map.state.in_state[joint]
                    state[index] = apply_scale(scale, value)
            joints |= {name: closed} if name in joints else {}
            targets |= {name: closed} if name in targets else {}
        return replace(row, state=state, joints=joints, targets=targets)

    def check_closed(self) -> None:
        """Refuse stop frames if nobody says what a closed gripper is.

        Raises:
            TargetError: A gripper has no scale and its closed position was not given.
        """
        for group in self.grippers:
            self._closed_joint(group)

    def check_measured(self) -> None:
        """Refuse actions made of states if the state does not hold all joints.

        Raises:
            TargetError: Names the parts of the action that are not measured.
        """
        measured = self._map.state.measured
        absent = [group.spec.name for group in self._map.groups if not set(group.spec.joints) <= set(measured)]
        if absent:
            raise TargetError(
                f"{self._source}: actions made of the next state need the joints of {', '.join(absent)} in the state. Add "
                "their positions, or use --action commanded"
            )

    def commanded(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return the targets in force at every row as (N, m) actions, each counted from the state that is stored."""
        return self._actions([row.targets for row in rows], [row.state.astype(np.float32) for row in rows])

    def next_state(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return, for every row, the action that leads to the measured joints of the next; the last leads to itself.

        In a space that counts from the state, that is the difference between two rows, taken in float64, and zero in the
        last row.

        Returns:
            (N, m) actions.
        """
        following = [row.joints for row in (*rows[1:], rows[-1])]
        return self._actions(following, [row.state for row in rows])

    def _actions(
        self, targets: Sequence[Mapping[str, Array]], states: Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float32]:
        names = [group.spec.name for group in self._map.groups]
        return np.concatenate(
            [
                self._map.encode({name: values[name][None] for name in names}, state)
                for values, state in zip(targets, states, strict=True)
            ]
        )

    def _scale(self, group: ActionGroup) -> Scale | None:
        """Return the scale of a gripper: that of its action, else that of its state."""
        places = [self._map.state.measured.get(joint) for joint in group.spec.joints]
        return group.spec.scale or next((place[1] for place in places if place), None)

    def _closed_joint(self, group: ActionGroup) -> float:
        if self._closed is not None:
            return self._closed
        scale = self._scale(group)
        if scale is None:
            raise TargetError(
                f"{self._source}: stop frames close the gripper '{group.spec.name}', but no scale says where closed is. "
                "Give the profile a scale that maps closed to 1.0, or its closed position by --gripper-closed"
            )
        return float(undo_scale(scale, max(scale.target)))
