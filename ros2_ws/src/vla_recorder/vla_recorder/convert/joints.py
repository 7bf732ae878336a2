# SPDX-License-Identifier: Apache-2.0

"""What conversion needs to know of a robot: its measured joints, its grippers, and actions made of measured states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionGroup, ActionMap, apply_scale, undo_scale
from vla_core.fields import joint_of
from vla_core.profile import Profile
from vla_core.specs import Scale

from vla_recorder.convert.targets import NOOP_RULES, Row, TargetError

Array = NDArray[np.float64]


class Robot:
    """The joints of a profile, seen from the state vector of its frames."""

    def __init__(self, profile: Profile, gripper_closed: float | None = None) -> None:
        """Prepare.

        Args:
            profile: Profile of the dataset.
            gripper_closed: Joint position of a closed gripper [message units]; None: the upper end of its scale.
        """
        self._map = ActionMap(profile)
        self._source = profile.source
        self._closed = gripper_closed
        self._scales: dict[str, tuple[int, Scale | None]] = {}
        index = 0
        for spec in profile.state:
            for field in spec.fields:
                if joint := joint_of(field):
                    self._scales.setdefault(joint, (index, spec.scale))
                index += 1

    @property
    def grippers(self) -> tuple[ActionGroup, ...]:
        """Parts of the action that drive a gripper."""
        return tuple(group for group in self._map.groups if group.spec.is_gripper)

    def position(self, rule: str) -> Callable[[Array], Array]:
        """Return what tells whether the robot moved.

        Args:
            rule: ``joints``: arm joints [rad or m]; ``all``: also the grippers, in the units of the dataset.

        Returns:
            State vector (n,) -> positions (k,).

        Raises:
            TargetError: The state holds no joint that the rule could look at.
        """
        assert rule in NOOP_RULES
        groups = [group for group in self._map.groups if rule == "all" or not group.spec.is_gripper]
        joints = [(joint, group.spec.is_gripper) for group in groups for joint in group.spec.joints]
        known = [(*self._scales[joint], gripper) for joint, gripper in joints if joint in self._scales]
        if not known:
            raise TargetError(
                f"{self._source}: no-op removal compares measured joints, but the state holds none of "
                f"{', '.join(joint for joint, _ in joints)}. Add their positions to the state, or use --keep-noops"
            )

        def position(state: Array) -> Array:
            return np.array(
                [state[index] if gripper else undo_scale(scale, state[index]) for index, scale, gripper in known]
            )

        return position

    def close(self, row: Row) -> Row:
        """Return a copy of a row with every gripper closed, in the state and in the action.

        Raises:
            TargetError: Nobody says what closed means.
        """
        state = row.state.copy()
        action = None if row.action is None else row.action.copy()
        for group in self.grippers:
            closed = np.array([self._closed_joint(group, joint) for joint in group.spec.joints])
            for joint, value in zip(group.spec.joints, closed, strict=True):
                if joint in self._scales:
                    index, scale = self._scales[joint]
                    state[index] = apply_scale(scale, value)
            if action is not None:
                absolute = group.spec.space == "absolute_joint"
                action[group.values] = apply_scale(group.spec.scale, closed) if absolute else 0.0
        return replace(row, state=state, action=action)

    def check_closed(self) -> None:
        """Refuse stop frames if nobody says what a closed gripper is.

        Raises:
            TargetError: A gripper has no scale and its closed position was not given.
        """
        for group in self.grippers:
            for joint in group.spec.joints:
                self._closed_joint(group, joint)

    def _closed_joint(self, group: ActionGroup, joint: str) -> float:
        if self._closed is not None:
            return self._closed
        scale = group.spec.scale or self._scales.get(joint, (0, None))[1]
        if scale is None:
            raise TargetError(
                f"{self._source}: stop frames close the gripper '{group.spec.name}', but no scale says where closed is. "
                "Give the profile a scale that maps closed to 1.0, or its closed position by --gripper-closed"
            )
        return float(undo_scale(scale, max(scale.target)))

    def next_state_actions(self, states: Array) -> NDArray[np.float32]:
        """Return, for every row, the action that leads to the measured joints of the next; the last row leads to itself.

        In a space that counts from the state, that is the difference between the two rows, taken in float64.

        Args:
            states: (N, n) states.

        Returns:
            (N, m) float32 actions in the space of the profile.

        Raises:
            TargetError: A part of the action is not measured in the state.
        """
        following = np.concatenate([states[1:], states[-1:]])
        rows = []
        for state, after in zip(states, following, strict=True):
            targets = self._map.current_joints(after)
            if absent := [group.spec.name for group in self._map.groups if group.spec.name not in targets]:
                raise TargetError(
                    f"{self._source}: actions made of the next state need the joints of {', '.join(absent)} in the "
                    "state. Add their positions, or use --action commanded"
                )
            rows.append(self._map.encode({name: value[None] for name, value in targets.items()}, state)[0])
        return np.stack(rows)
