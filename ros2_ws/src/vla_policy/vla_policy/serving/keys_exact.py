# SPDX-License-Identifier: Apache-2.0

"""The profile's own keys: state, images and actions travel as they are in a frame, bit for bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.frames import IMAGE_PREFIX, STATE_KEY, Frame
from vla_core.profile import Profile

from vla_policy.policies.runner import Prefix
from vla_policy.serving.errors import ObservationError, ReplyError
from vla_policy.serving.images import as_image
from vla_policy.serving.rig import numbers, require, text

TASK_KEY, TIME_KEY, TIMESTAMP_KEY = "task", "obs_time_ns", "timestamp"
PREFIX_KEY, FROZEN_KEY, HISTORY_KEY = "prefix", "prefix_frozen", "history"
ROW_KEY = "action"
JOINTS_PREFIX = "observation.joints."
MAX_HISTORY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A request that was understood.

    Attributes:
        frame: What was observed.
        task: The instruction.
        prefix: What the new chunk is to continue, if that was sent.
        history: Earlier observations, oldest first, if they were sent.
    """

    frame: Frame
    task: str
    prefix: Prefix | None = None
    history: tuple[Frame, ...] = ()


class ExactKeys:
    """See the module. Works for every profile."""

    def __init__(self, profile: Profile) -> None:
        """Look up names and sizes.

        Args:
            profile: Of the policy.
        """
        self.profile = profile
        self._dt_s = 1.0 / profile.fps
        self._width = len(profile.action_names)
        self._states = len(profile.state_names)
        self._map = ActionMap(profile)
        self._expected = {STATE_KEY: f"({self._states},) float32"} | {
            IMAGE_PREFIX + camera.name: f"{camera.frame_shape} uint8 RGB" for camera in profile.cameras
        }

    @staticmethod
    def fits(message: Any) -> bool:
        """Whether an observation is written in these keys."""
        return isinstance(message, dict) and STATE_KEY in message

    def ask(
        self, frame: Frame, task: str, prefix: Prefix | None = None, history: Sequence[Frame] = ()
    ) -> dict[str, Any]:
        """Return the observation to send.

        Args:
            frame: What was observed.
            task: The instruction.
            prefix: What the new chunk is to continue.
            history: Earlier observations, oldest first.
        """
        message = {**_seen(frame), TASK_KEY: task}
        if prefix is not None:
            message |= {PREFIX_KEY: prefix.values, FROZEN_KEY: prefix.frozen}
        if history:
            message[HISTORY_KEY] = [_seen(one) for one in history]
        return message

    def observe(self, message: Any) -> Observed:
        """Return what an observation says.

        Raises:
            ObservationError: a key is missing, or has another shape, dtype or value.
        """
        found = require(message, self._expected)
        earlier = found.get(HISTORY_KEY, [])
        if not isinstance(earlier, list) or len(earlier) > MAX_HISTORY:
            raise ObservationError(
                f"{HISTORY_KEY}: expected a list of at most {MAX_HISTORY} observations, oldest first"
            )
        return Observed(
            frame=self._frame(found),
            task=text(found, TASK_KEY, self.profile.task),
            prefix=self._prefix(found),
            history=tuple(self._frame(require(one, self._expected)) for one in earlier),
        )

    def _frame(self, found: Mapping[str, Any]) -> Frame:
        state = numbers(found[STATE_KEY], STATE_KEY, (self._states,))
        images = {}
        for camera in self.profile.cameras:
            key = IMAGE_PREFIX + camera.name
            images[camera.name] = as_image(found[key], key)
            if images[camera.name].shape[:2] != camera.frame_size:
                raise ObservationError(f"{key}: expected {camera.frame_shape} uint8, got {images[camera.name].shape}")
        return Frame(
            t_ns=time_ns(found),
            state=state.astype(np.float32),
            state64=state,
            images=images,
            action=None,
            ages_s={},
            joints=self._joints(found, state),
        )

    def _joints(self, found: Mapping[str, Any], state: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The measured joints: those that were sent, and those in the state."""
        joints = self._map.current_joints(state)
        for group in self._map.groups:
            key = JOINTS_PREFIX + group.spec.name
            if key in found:
                joints[group.spec.name] = numbers(found[key], key, (len(group.spec.joints),))
        return joints

    def _prefix(self, found: Mapping[str, Any]) -> Prefix | None:
        if PREFIX_KEY not in found:
            return None
        values = numbers(found[PREFIX_KEY], PREFIX_KEY, (-1, self._width)).astype(np.float32)
        frozen = found.get(FROZEN_KEY)
        if (
            isinstance(frozen, bool)
            or not isinstance(frozen, int)
            or not 0 <= frozen <= len(values)
            or len(values) == 0
        ):
            raise ObservationError(
                f"{FROZEN_KEY}: expected a whole number from 0 to the {len(values)} rows of '{PREFIX_KEY}', got {frozen!r}"
            )
        return Prefix(values=values, frozen=frozen)

    def result(self, chunk: ActionChunk, frame: Frame) -> list[dict[str, Any]]:
        """Return a chunk as Positronic's list of action maps."""
        return [{ROW_KEY: row, TIMESTAMP_KEY: k * chunk.dt_s} for k, row in enumerate(chunk.values)]

    def actions(self, chunk: ActionChunk, frame: Frame) -> NDArray[np.float32]:
        """Return a chunk as openpi's array of actions."""
        return chunk.values

    def chunk_of_result(self, result: Any, frame: Frame) -> ActionChunk:
        """Return the chunk in a list of action maps, the inverse of `result`.

        Raises:
            ReplyError: the list is something else.
        """
        rows, dt_s = action_list(result, self._dt_s)
        if any(ROW_KEY not in row for row in rows):
            raise ReplyError(f"the server's actions lack '{ROW_KEY}'; their keys are {sorted(map(str, rows[0]))}")
        return self._chunk([row[ROW_KEY] for row in rows], frame, dt_s)

    def chunk_of_actions(self, actions: Any, frame: Frame) -> ActionChunk:
        """Return the chunk in an array of actions, the inverse of `actions`.

        Raises:
            ReplyError: the array is something else.
        """
        return self._chunk(actions, frame, self._dt_s)

    def _chunk(self, values: Any, frame: Frame, dt_s: float) -> ActionChunk:
        return ActionChunk(
            t0_ns=frame.t_ns, dt_s=dt_s, values=reply_numbers(values, "actions", (-1, self._width)).astype(np.float32)
        )


def _seen(frame: Frame) -> dict[str, Any]:
    message: dict[str, Any] = {STATE_KEY: frame.state, TIME_KEY: frame.t_ns}
    message |= {JOINTS_PREFIX + name: joints for name, joints in frame.joints.items()}
    return message | {IMAGE_PREFIX + name: image for name, image in frame.images.items()}


def time_ns(found: Mapping[str, Any]) -> int:
    """Return the time of an observation [ns], 0 where the sender gives none.

    Raises:
        ObservationError: it is no whole number.
    """
    value = found.get(TIME_KEY, 0)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ObservationError(f"{TIME_KEY}: expected a whole number of nanoseconds, got a {type(value).__name__}")
    return int(value)


def reply_numbers(value: Any, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return finite numbers of a reply as float64, at least one row; a length of -1 fits any.

    Raises:
        ReplyError: something else.
    """
    try:
        array = numbers(value, key, shape)
    except ObservationError as error:
        raise ReplyError(f"the server's answer is unusable: {error}") from None
    if array.size == 0:
        raise ReplyError(f"the server's answer is unusable: {key} is empty")
    return array


def action_list(result: Any, dt_s: float) -> tuple[list[dict[Any, Any]], float]:
    """Return the maps of a list of actions (or of one action) and the time between two of them [s].

    Args:
        result: `result` of a reply.
        dt_s: The time between two actions where the reply states none.

    Raises:
        ReplyError: there is no action, or their times are not evenly spaced from 0.
    """
    rows = [result] if isinstance(result, dict) else result
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ReplyError(f"expected a list of actions from the server, got {_short(result)}")
    stamps = [row[TIMESTAMP_KEY] for row in rows if TIMESTAMP_KEY in row]
    if not stamps:
        return rows, dt_s
    if len(stamps) != len(rows):
        raise ReplyError(f"{len(stamps)} of {len(rows)} actions of the server have a '{TIMESTAMP_KEY}'")
    times = reply_numbers(stamps, TIMESTAMP_KEY, (-1,))
    step = float(times[1] - times[0]) if len(times) > 1 else dt_s
    if step <= 0.0 or np.abs(times - step * np.arange(len(times))).max() > 0.01 * step:
        raise ReplyError(
            f"the server's actions are not evenly spaced from 0: timestamps {[round(t, 4) for t in times[:6]]}"
        )
    return rows, step if abs(step - dt_s) > 0.001 * dt_s else dt_s


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:80] + "…"
