# SPDX-License-Identifier: Apache-2.0

"""OpenVLA's HTTP interface: one picture and an instruction in, one action out.

``POST /act`` with the JSON map ``{"image": array, "instruction": text, "unnorm_key": text?}`` answers with one action, as
in OpenVLA's vla-scripts/deploy.py; arrays are JSON maps ``{"__numpy__": base64, "dtype": "<f4", "shape": [..]}``
(json-numpy). A model fine-tuned on this project's RLDS data sets answers seven numbers: six joint differences [rad] to the
next step, and the gripper with 1 = open.
"""

import base64
import binascii
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.chunks import ActionChunk
from vla_core.frames import Frame
from vla_core.profile import Profile

from vla_policy.serving.errors import ReplyError, WireError
from vla_policy.serving.images import resize_with_pad
from vla_policy.serving.keys_exact import reply_numbers
from vla_policy.serving.keys_openpi import base_and_wrist, delta_mask, to_absolute
from vla_policy.serving.packing import REFUSED_KINDS
from vla_policy.serving.rig import Rig

INSTRUCTION, PROMPT = "instruction", "prompt"
IMAGE_SIDE = 224
_NUMPY = "__numpy__"


def openvla_prompt(task: str) -> str:
    """Return the text that OpenVLA was trained on for an instruction."""
    return f"In: What action should the robot take to {task.strip().lower()}?\nOut:"


class OpenVlaKeys:
    """Between the frames of a profile and OpenVLA's requests and actions."""

    def __init__(
        self,
        profile: Profile,
        *,
        send: str = INSTRUCTION,
        unnorm_key: str = "",
        image_side: int = IMAGE_SIDE,
        hold_s: float = 1.0,
    ) -> None:
        """Look up the arm, the gripper and the camera.

        Args:
            profile: Of the policy.
            send: instruction: the server makes the prompt, as OpenVLA's does; prompt: it is sent ready-made.
            unnorm_key: Data set whose statistics the server undoes the normalisation with; empty: the server's own.
            image_side: Images are padded to this many pixels, height and width.
            hold_s: How long the one target stays in force when no newer answer comes [s].

        Raises:
            ObservationError: the profile is not one arm with at most one gripper and one or two cameras.
        """
        self._rig = Rig(profile)
        self._camera = base_and_wrist(profile)[0]
        self._send, self._unnorm_key = send, unnorm_key
        self._size = (image_side, image_side)
        self._dt_s = 1.0 / profile.fps
        self._steps = max(1, round(hold_s * profile.fps))
        self._gripper = self._rig.gripper is not None
        self._width = self._rig.joints + self._gripper

    def ask(self, frame: Frame, task: str) -> dict[str, Any]:
        """Return the request; `to_json` makes its text."""
        image = resize_with_pad(frame.images[self._camera.name], self._size)
        request = {"image": image, "instruction": openvla_prompt(task) if self._send == PROMPT else task}
        return request | ({"unnorm_key": self._unnorm_key} if self._unnorm_key else {})

    def chunk_of_action(self, action: Any, frame: Frame) -> ActionChunk:
        """Return one action as a chunk that goes to its target and stays there.

        The target is that of the next step. It fills the chunk from the first row on, because a policy that thinks longer
        than one step would otherwise never be followed: its only row would always lie in the past.

        Raises:
            ReplyError: another shape, or a number that is not finite.
        """
        found = reply_numbers(action, "action", (self._width,))
        q, grip = self._rig.body(frame)
        state = q if grip is None else np.append(q, grip)
        target = to_absolute(found[None], state, delta_mask(self._rig.joints, self._gripper))
        closed = 1.0 - target[:, -1] if self._gripper else None
        values = self._rig.values(target[:, : self._rig.joints], closed, frame)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=self._dt_s, values=np.repeat(values, self._steps, axis=0))


def to_json(message: Any) -> bytes:
    """Return a message as JSON, with arrays in json-numpy's form."""
    return json.dumps(message, default=_json_array).encode()


def from_json(data: bytes) -> Any:
    """Return the message in a JSON text; one that was encoded twice, as deploy.py's answers may be, is read to the end.

    Raises:
        WireError: it is no JSON, or an array in it is damaged.
    """
    try:
        found = json.loads(data, object_hook=_array_of)
        return json.loads(found, object_hook=_array_of) if isinstance(found, str) and found[:1] in "{[" else found
    except (ValueError, RecursionError) as error:
        raise WireError(f"{len(data)} bytes that are no JSON: {error}") from error


def _json_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind in REFUSED_KINDS:
        raise ReplyError(f"a {type(value).__name__} cannot travel as JSON")
    array: NDArray[Any] = np.asarray(value)
    return {
        _NUMPY: base64.b64encode(array.tobytes()).decode(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }


def _array_of(found: dict[str, Any]) -> Any:
    if _NUMPY not in found:
        return found
    try:
        dtype = np.dtype(found["dtype"])
        if dtype.kind in REFUSED_KINDS:
            raise WireError(f"dtype {dtype} cannot travel: objects, structures and complex numbers are refused")
        return np.frombuffer(base64.b64decode(found[_NUMPY], validate=True), dtype=dtype).reshape(found["shape"])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise WireError(f"a damaged array in the answer: {error}") from error
