# SPDX-License-Identifier: Apache-2.0

"""openpi's keys for one arm with a gripper, as its UR5e example names them.

Request: ``observation/image`` and ``observation/wrist_image`` (224, 224, 3) uint8, ``observation/state`` (k + 1,): joint
positions [rad] and the gripper from 0 (open) to 1 (closed), not normalised, and ``prompt``. Reply: ``actions``
(horizon, >= k + 1), of which the first k + 1 columns are joint targets and the gripper.

A server may also be asked in the names of the model's own inputs (`slots`): three image slots, of which the third stays
empty, with a mask that says so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vla_core.chunks import ActionChunk
from vla_core.errors import listing
from vla_core.frames import Frame
from vla_core.profile import Profile
from vla_core.specs import CameraSpec

from vla_policy.serving.errors import ObservationError, ReplyError
from vla_policy.serving.images import Image, as_image, fitted, resize_with_pad
from vla_policy.serving.keys_exact import Observed, reply_numbers
from vla_policy.serving.keys_positronic import grip_value
from vla_policy.serving.rig import EXACT_KEYS_HINT, Rig, numbers, require, text

IMAGE_KEY, WRIST_KEY, STATE_KEY, PROMPT_KEY = (
    "observation/image",
    "observation/wrist_image",
    "observation/state",
    "prompt",
)
BASE_SLOT, WRIST_SLOT, SPARE_SLOT = "base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"
IMAGE_SIDE = 224
_MAX_CAMERAS = 2


def delta_mask(joints: int, gripper: bool) -> NDArray[np.bool_]:
    """Return which columns of an action count from the state: the joints, not the gripper."""
    return np.array([True] * joints + [False] * gripper)


def to_absolute(actions: ArrayLike, state: ArrayLike, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return actions ``(T, m)`` whose masked columns count from `state` ``(m,)`` as absolute ones."""
    origin: NDArray[np.float64] = np.where(mask, np.asarray(state, dtype=np.float64), 0.0)
    return np.asarray(actions, dtype=np.float64) + origin


def to_delta(actions: ArrayLike, state: ArrayLike, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return absolute actions ``(T, m)`` with the masked columns counted from `state` ``(m,)``."""
    return to_absolute(actions, -np.asarray(state, dtype=np.float64), mask)


def base_and_wrist(profile: Profile) -> tuple[CameraSpec, CameraSpec | None]:
    """Return the camera that looks at the scene and the one at the wrist, if there is one.

    The wrist camera is the one with `wrist` in its name, or else the second.

    Raises:
        ObservationError: the profile has none, or more than two.
    """
    cameras = profile.cameras
    if not 1 <= len(cameras) <= _MAX_CAMERAS:
        raise ObservationError(
            f"the profile '{profile.robot}' has {len(cameras)} cameras ({listing(profile.camera_names)}), but openpi's keys "
            f"name one or two; {EXACT_KEYS_HINT}"
        )
    if len(cameras) == 1:
        return cameras[0], None
    wrist = next((camera for camera in cameras if "wrist" in camera.name), cameras[1])
    return next(camera for camera in cameras if camera is not wrist), wrist


class OpenpiKeys:
    """Between the frames of a profile and openpi's observations and actions."""

    def __init__(
        self,
        profile: Profile,
        *,
        image_fit: str,
        image_side: int = IMAGE_SIDE,
        deltas: bool = False,
        slots: bool = False,
        spare_mask: bool = False,
    ) -> None:
        """Look up the arm, the gripper and the cameras.

        Args:
            profile: Of the policy.
            image_fit: Server: what happens to images of another size, see `vla_policy.serving.images.FITS`.
            image_side: Client: images are padded to this many pixels, height and width.
            deltas: Client: the server's joint targets count from the state (its gripper never does).
            slots: Client: ask in the names of the model's inputs.
            spare_mask: Client, with slots: mask of the empty slot; False for pi0 and pi0.5, True for pi0-FAST.

        Raises:
            ObservationError: the profile is not one arm with at most one gripper and one or two cameras.
        """
        self._profile = profile
        self._fit = image_fit
        self._size = (image_side, image_side)
        self._deltas, self._slots, self._spare_mask = deltas, slots, spare_mask
        self._rig = Rig(profile)
        self._base, self._wrist = base_and_wrist(profile)
        self._dt_s = 1.0 / profile.fps
        self._gripper = self._rig.gripper is not None
        self._width = self._rig.joints + self._gripper
        self._cameras = {IMAGE_KEY: self._base} | ({WRIST_KEY: self._wrist} if self._wrist else {})
        self._expected = {STATE_KEY: f"({self._width},) joint positions [rad]" + ", gripper 0 to 1" * self._gripper}
        self._expected |= dict.fromkeys(self._cameras, "(H, W, 3) uint8 RGB")

    def ask(self, frame: Frame, task: str) -> dict[str, Any]:
        """Return the observation to send to a server."""
        state = self._state(frame).astype(np.float32)
        padded = {key: resize_with_pad(frame.images[camera.name], self._size) for key, camera in self._cameras.items()}
        if self._slots:
            return self._in_slots(padded, state, task)
        return {**padded, STATE_KEY: state, PROMPT_KEY: task}

    def _in_slots(self, padded: Mapping[str, Image], state: NDArray[np.float32], task: str) -> dict[str, Any]:
        empty = np.zeros_like(padded[IMAGE_KEY])
        images = {BASE_SLOT: padded[IMAGE_KEY], WRIST_SLOT: padded.get(WRIST_KEY, empty), SPARE_SLOT: empty}
        mask = {BASE_SLOT: True, WRIST_SLOT: WRIST_KEY in padded or self._spare_mask, SPARE_SLOT: self._spare_mask}
        return {
            "image": images,
            "image_mask": {slot: np.bool_(seen) for slot, seen in mask.items()},
            "state": state,
            PROMPT_KEY: task,
        }

    def chunk_of_actions(self, actions: Any, frame: Frame) -> ActionChunk:
        """Return the chunk in a server's `actions` (T, >= k + 1); further columns are the model's padding.

        Raises:
            ReplyError: another shape, or a number that is not finite.
        """
        found = reply_numbers(actions, "actions", (-1, -1))
        if found.shape[1] < self._width:
            raise ReplyError(f"the server's actions have {found.shape[1]} columns; the profile needs {self._width}")
        found = found[:, : self._width]
        if self._deltas:
            found = to_absolute(found, self._state(frame), delta_mask(self._rig.joints, self._gripper))
        grip = found[:, -1] if self._gripper else None
        values = self._rig.values(found[:, : self._rig.joints], grip, frame)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=self._dt_s, values=values)

    def observe(self, message: Any) -> Observed:
        """Return what a client's observation says.

        Raises:
            ObservationError: a key is missing, or has another shape, dtype or value.
        """
        found = require(message, self._expected)
        state = numbers(found[STATE_KEY], STATE_KEY, (self._width,))
        grip = grip_value(state[-1], f"{STATE_KEY}[{self._width - 1}]") if self._gripper else None
        images = {}
        for key, camera in self._cameras.items():
            images[camera.name] = fitted(as_image(found[key], key, floats=True), camera.frame_size, self._fit, key)
        ordered = {name: images[name] for name in self._profile.camera_names}
        frame = self._rig.frame(state[: self._rig.joints], grip, ordered, 0)
        return Observed(frame=frame, task=text(found, PROMPT_KEY, self._profile.task))

    def actions(self, chunk: ActionChunk, frame: Frame) -> NDArray[np.float32]:
        """Return a chunk as ``(T, k + 1)`` float32: absolute joint targets [rad] and the gripper from 0 to 1."""
        q, grip = self._rig.targets(chunk.values, frame)
        found = q if grip is None else np.concatenate([q, grip[:, None]], axis=1)
        return found.astype(np.float32)

    def _state(self, frame: Frame) -> NDArray[np.float64]:
        q, grip = self._rig.body(frame)
        return q if grip is None else np.append(q, grip)
