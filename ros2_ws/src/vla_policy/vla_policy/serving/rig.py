# SPDX-License-Identifier: Apache-2.0

"""One arm and its gripper as other protocols see them: joint positions [rad] and a gripper from 0 (open) to 1 (closed).

Keys that come from elsewhere name no joints, so they can only be understood for a profile of one arm with at most one
gripper. The gripper's ends are the two ends of its `scale` in the profile: the first is open, the second closed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionGroup, ActionMap
from vla_core.errors import listing
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.specs import Scale
from vla_core.states import apply_scale

from vla_policy.serving.errors import ObservationError

Floats = NDArray[np.float64]
_GREY = 128
# In the very middle arms tend to be stretched out and lose a degree of freedom.
_OFF_THE_MIDDLE = 0.6
EXACT_KEYS_HINT = "use the profile's own keys instead (observation.state, observation.images.<name>)"


def numbers(value: Any, key: str, shape: tuple[int, ...]) -> Floats:
    """Return finite numbers of a shape as float64; a length of -1 fits any.

    Raises:
        ObservationError: `value` is something else; the message names `key`, shape and dtype.
    """
    wanted = f"{shape}".replace("-1", "any")
    if isinstance(value, bool | str | bytes | dict) or value is None:
        raise ObservationError(f"{key}: expected numbers of shape {wanted}, got a {type(value).__name__}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ObservationError(f"{key}: expected numbers of shape {wanted}, got rows of different lengths") from None
    if array.dtype.kind not in "iuf":
        raise ObservationError(f"{key}: expected numbers of shape {wanted}, got dtype {array.dtype}")
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise ObservationError(f"{key}: expected numbers of shape {wanted}, got shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = "".join(f"[{i}]" for i in bad[0])
        raise ObservationError(f"{key}{place} is {array[tuple(bad[0])]}; every number must be finite")
    return array.astype(np.float64)


def require(message: Any, keys: Mapping[str, str]) -> Mapping[str, Any]:
    """Return an observation map that has all of `keys`.

    Args:
        message: What came.
        keys: Key to what is expected under it, for the message.

    Raises:
        ObservationError: it is no map, or keys are missing.
    """
    if not isinstance(message, dict):
        raise ObservationError(f"an observation is a map of keys to values, got a {type(message).__name__}")
    missing = [f"'{key}' ({what})" for key, what in keys.items() if key not in message]
    if missing:
        given = listing(str(key) for key in message)
        raise ObservationError(f"the observation lacks {', '.join(missing)}; it has: {given}")
    return message


def text(message: Mapping[str, Any], key: str, default: str) -> str:
    """Return the text under `key`, `default` where it is absent or empty.

    Raises:
        ObservationError: it is no text.
    """
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise ObservationError(f"{key}: expected text, got a {type(value).__name__}")
    return value or default


class Rig:
    """A profile of one arm and at most one gripper.

    Attributes:
        arm: The arm's part of the action.
        gripper: The gripper's part, or None.
    """

    def __init__(self, profile: Profile) -> None:
        """Find the arm and the gripper.

        Raises:
            ObservationError: the profile has several, a gripper without a scale, or a state that is not made of the
                positions of their joints.
        """
        self._map = ActionMap(profile)
        arms = [group for group in self._map.groups if not group.spec.is_gripper]
        grippers = [group for group in self._map.groups if group.spec.is_gripper]
        if len(arms) != 1 or len(grippers) > 1:
            raise ObservationError(
                f"the profile '{profile.robot}' has {len(arms)} arms and {len(grippers)} grippers, but these keys mean "
                f"one arm with at most one gripper; {EXACT_KEYS_HINT}"
            )
        self.arm: ActionGroup = arms[0]
        self.gripper: ActionGroup | None = grippers[0] if grippers else None
        self.joints = len(self.arm.spec.joints)
        self._ends = self._gripper_scale(profile)
        measured = self._map.state.measured
        known = {*self.arm.spec.joints, *(self.gripper.spec.joints if self.gripper else ())}
        if set(measured) - known or len(measured) != self._map.state.measured_dim:
            raise ObservationError(
                f"the state of the profile '{profile.robot}' holds more than the positions of {listing(sorted(known))}, "
                f"which is all that these keys carry; {EXACT_KEYS_HINT}"
            )

    def frame(self, q: Floats, grip: float | None, images: dict[str, NDArray[np.uint8]], t_ns: int) -> Frame:
        """Return the frame of the profile for joint positions ``(k,)`` [rad] and a gripper in [0, 1]."""
        places = dict(zip(self.arm.spec.joints, q, strict=True))
        if self.gripper is not None:
            assert grip is not None
            places |= dict.fromkeys(self.gripper.spec.joints, float(self._joint_of_grip(np.array(grip))))
        state_map = self._map.state
        measured = np.zeros(state_map.measured_dim)
        for joint, (index, scale) in state_map.measured.items():
            measured[index] = apply_scale(scale, places[joint])
        state64 = state_map.encode(measured[None])[0]
        return Frame(
            t_ns=t_ns,
            state=state64.astype(np.float32),
            state64=state64,
            images=dict(images),
            action=None,
            ages_s={},
            joints=self._map.measured_joints(measured),
        )

    def body(self, frame: Frame) -> tuple[Floats, float | None]:
        """Return the joint positions ``(k,)`` [rad] and the gripper in [0, 1] of a frame.

        Raises:
            ObservationError: the frame does not hold them.
        """
        found = {**self._map.current_joints(frame.state), **frame.joints}
        if self.arm.spec.name not in found:
            raise ObservationError(f"the frame does not hold the joints of '{self.arm.spec.name}'")
        if self.gripper is None:
            return found[self.arm.spec.name], None
        if self.gripper.spec.name not in found:
            raise ObservationError(f"the frame does not hold the joints of '{self.gripper.spec.name}'")
        return found[self.arm.spec.name], float(self._grip_of_joint(found[self.gripper.spec.name])[0])

    def targets(self, values: NDArray[np.float32], frame: Frame) -> tuple[Floats, Floats | None]:
        """Return action vectors ``(T, m)`` as joint targets ``(T, k)`` [rad] and gripper targets ``(T,)`` in [0, 1]."""
        found = self._map.to_joint_targets(values, frame.state, frame.joints or None)
        if self.gripper is None:
            return found[self.arm.spec.name], None
        return found[self.arm.spec.name], self._grip_of_joint(found[self.gripper.spec.name][:, 0])

    def values(self, q: Floats, grip: Floats | None, frame: Frame) -> NDArray[np.float32]:
        """Return joint targets ``(T, k)`` [rad] and gripper targets ``(T,)`` as action vectors ``(T, m)``."""
        targets = {self.arm.spec.name: q}
        if self.gripper is not None:
            assert grip is not None
            fingers = len(self.gripper.spec.joints)
            targets[self.gripper.spec.name] = np.repeat(self._joint_of_grip(grip)[:, None], fingers, axis=1)
        return self._map.encode(targets, frame.state)

    def _gripper_scale(self, profile: Profile) -> Scale | None:
        if self.gripper is None:
            return None
        scale = self.gripper.spec.scale
        if scale is None:
            raise ObservationError(
                f"the gripper '{self.gripper.spec.name}' of the profile '{profile.robot}' has no scale, so a gripper value "
                f"from 0 (open) to 1 (closed) has no meaning; {EXACT_KEYS_HINT}"
            )
        return scale

    def _joint_of_grip(self, grip: Floats) -> Floats:
        assert self._ends is not None
        first, last = self._ends.source
        return first + grip * (last - first)

    def _grip_of_joint(self, joint: Floats) -> Floats:
        assert self._ends is not None
        first, last = self._ends.source
        return (joint - first) / (last - first)


def synthetic_frame(profile: Profile) -> Frame:
    """Return a made-up frame for a first request: grey images, the arm near the middle of its limits, the gripper open.

    A profile of several arms, or with more than joints in its state, gets zeros for its state.
    """
    images: dict[str, NDArray[Any]] = {
        camera.name: np.full((*camera.frame_size, 3), _GREY, dtype=np.uint8) for camera in profile.cameras
    }
    try:
        rig = Rig(profile)
    except ObservationError:
        state = np.zeros(len(profile.state_names), dtype=np.float32)
        return Frame(t_ns=0, state=state, state64=state.astype(np.float64), images=images, action=None, ages_s={})
    lower, upper = np.array(rig.arm.spec.limits.lower), np.array(rig.arm.spec.limits.upper)
    return rig.frame(lower + _OFF_THE_MIDDLE * (upper - lower), 0.0 if rig.gripper else None, images, 0)
