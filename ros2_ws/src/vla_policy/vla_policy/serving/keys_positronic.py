# SPDX-License-Identifier: Apache-2.0

"""Positronic's keys: flat strings with dots, joint positions, a gripper from 0 (open) to 1 (closed), robot commands."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vla_core.chunks import ActionChunk
from vla_core.errors import KinematicsError, listing
from vla_core.frames import Frame
from vla_core.kinematics import inverse
from vla_core.profile import Profile

from vla_policy.serving.errors import ObservationError, ReplyError
from vla_policy.serving.images import as_image, fitted
from vla_policy.serving.keys_exact import (
    TASK_KEY,
    TIME_KEY,
    TIMESTAMP_KEY,
    Observed,
    action_list,
    reply_numbers,
    time_ns,
)
from vla_policy.serving.rig import Rig, numbers, require, text

Q_KEY, GRIP_KEY, IMAGE_KEY = "robot_state.q", "grip", "image."
COMMAND_KEY, TARGET_GRIP_KEY, WALL_TIME_KEY = "robot_command", "target_grip", "wall_time_ns"
COMMAND_WRAPPER = b"__cmd__"
JOINT_POS, CARTESIAN_POS = "joint_pos", "cartesian_pos"
_POSE_NUMBERS = 12
_GRIP_SLACK = 0.05


class PositronicKeys:
    """Between the frames of a profile and Positronic's observations and actions."""

    def __init__(self, profile: Profile, image_fit: str) -> None:
        """Look up the arm, the gripper and the cameras.

        Args:
            profile: Of the policy.
            image_fit: What happens to images of another size, see `vla_policy.serving.images.FITS`.

        Raises:
            ObservationError: the profile is not one arm with at most one gripper.
        """
        self._profile = profile
        self._fit = image_fit
        self._rig = Rig(profile)
        self._dt_s = 1.0 / profile.fps
        self._expected = {Q_KEY: f"({self._rig.joints},) joint positions [rad]"}
        if self._rig.gripper is not None:
            self._expected[GRIP_KEY] = "0 open to 1 closed"
        self._expected |= {IMAGE_KEY + name: "(H, W, 3) uint8 RGB" for name in profile.camera_names}

    def ask(self, frame: Frame, task: str) -> dict[str, Any]:
        """Return the observation to send to a server."""
        q, grip = self._rig.body(frame)
        message: dict[str, Any] = {Q_KEY: q.astype(np.float32), TASK_KEY: task}
        message |= {TIME_KEY: frame.t_ns, WALL_TIME_KEY: time.time_ns()}
        if grip is not None:
            message[GRIP_KEY] = grip
        return message | {IMAGE_KEY + name: image for name, image in frame.images.items()}

    def observe(self, message: Any) -> Observed:
        """Return what a client's observation says.

        Raises:
            ObservationError: a key is missing, or has another shape, dtype or value.
        """
        found = require(message, self._expected)
        q = numbers(found[Q_KEY], Q_KEY, (self._rig.joints,))
        grip = grip_value(found[GRIP_KEY], GRIP_KEY) if self._rig.gripper is not None else None
        images = {}
        for camera in self._profile.cameras:
            key = IMAGE_KEY + camera.name
            images[camera.name] = fitted(as_image(found[key], key), camera.frame_size, self._fit, key)
        frame = self._rig.frame(q, grip, images, time_ns(found))
        return Observed(frame=frame, task=text(found, TASK_KEY, self._profile.task))

    def result(self, chunk: ActionChunk, frame: Frame) -> list[dict[str, Any]]:
        """Return a chunk as joint position commands."""
        q, grip = self._rig.targets(chunk.values, frame)
        rows: list[dict[str, Any]] = []
        for k, positions in enumerate(q):
            row = {COMMAND_KEY: {"type": JOINT_POS, "positions": positions}, TIMESTAMP_KEY: k * chunk.dt_s}
            rows.append(row if grip is None else {**row, TARGET_GRIP_KEY: float(grip[k])})
        return rows

    def chunk_of_result(self, result: Any, frame: Frame) -> ActionChunk:
        """Return the chunk in a server's list of actions.

        Joint positions are taken as they are, poses of the tool (in the profile's base frame) go through inverse
        kinematics from the measured joints on. A `mode` beside them is advice to Positronic's own drivers.

        Raises:
            ReplyError: another kind of command, or a shape or value that does not fit.
        """
        rows, dt_s = action_list(result, self._dt_s)
        q = np.empty((len(rows), self._rig.joints))
        last = self._rig.body(frame)[0]
        for k, row in enumerate(rows):
            q[k] = last = self._joints(row, last, k)
        grip = None
        if self._rig.gripper is not None:
            missing = [k for k, row in enumerate(rows) if TARGET_GRIP_KEY not in row]
            if missing:
                raise ReplyError(f"action {missing[0]} of the server has no '{TARGET_GRIP_KEY}'")
            grip = reply_numbers([float_of(row[TARGET_GRIP_KEY]) for row in rows], TARGET_GRIP_KEY, (-1,))
        return ActionChunk(t0_ns=frame.t_ns, dt_s=dt_s, values=self._rig.values(q, grip, frame))

    def _joints(self, row: dict[Any, Any], start: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        command = row.get(COMMAND_KEY)
        if isinstance(command, dict) and COMMAND_WRAPPER in command:
            command = command[COMMAND_WRAPPER]
        kind = command.get("type") if isinstance(command, dict) else None
        if isinstance(command, dict) and kind == JOINT_POS:
            return reply_numbers(command.get("positions"), f"positions of action {k}", (self._rig.joints,))
        if isinstance(command, dict) and kind == CARTESIAN_POS:
            return self._solved(reply_numbers(command.get("pose"), f"pose of action {k}", (_POSE_NUMBERS,)), start, k)
        raise ReplyError(
            f"action {k} of the server: '{COMMAND_KEY}' is of type {kind!r}; this client follows {JOINT_POS} and "
            f"{CARTESIAN_POS}. The action's keys: {listing(sorted(map(str, row)))}"
        )

    def _solved(self, pose: NDArray[np.float64], start: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        arm = self._profile.kinematics
        if arm is None:
            raise ReplyError(
                f"action {k} of the server is a pose of the tool, which needs 'kinematics' in the profile "
                f"'{self._profile.robot}'"
            )
        T = np.eye(4)
        T[:3, 3], T[:3, :3] = pose[:3], pose[3:].reshape(3, 3)
        try:
            return inverse(arm, T, start)
        except KinematicsError as error:
            raise ReplyError(f"action {k} of the server leads out of reach: {error}") from error


def grip_value(value: Any, key: str) -> float:
    """Return a gripper value from 0 (open) to 1 (closed); a sensor may be off by a little.

    Raises:
        ObservationError: it is no number, or far outside, such as one counted to 255.
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    grip = float(numbers(value, key, ()))
    if not -_GRIP_SLACK <= grip <= 1.0 + _GRIP_SLACK:
        raise ObservationError(f"{key} is {grip:g}; it must lie between 0 (open) and 1 (closed)")
    return grip


def float_of(value: Any) -> Any:
    """Return the number in an array of one, anything else as it is."""
    return value.reshape(())[()] if isinstance(value, np.ndarray) and value.size == 1 else value
