# SPDX-License-Identifier: Apache-2.0

"""Errors of the workspace. Every message says what is wrong, where, why it matters and what to do.

VlaError
├── ProfileError       a robot profile that cannot be used
├── CodecError         a message that cannot be turned into numbers
│   ├── FieldError     a field path that the message (type) does not have
│   ├── DecoderError   an image that needs a decoder which is absent, or of an unsupported kind
│   ├── DamagedError   a message whose data are damaged or cut short
│   └── LostReferenceError  a video picture that refers to one that was not received
├── StampError         a message without a usable time stamp
├── FrameError         frames cannot be built as asked
├── ActionError        an action vector that does not fit the profile
├── KinematicsError    a pose that the arm cannot reach, or joints that do not fit the arm
├── TrajectoryError    a chunk that cannot become a trajectory
│   └── StaleChunkError  every step of the chunk lies in the past
├── SafetyError        a command that must not be sent
├── EpisodeError       an episode phase change or metadata that is not allowed
├── BagError           a bag that cannot be read or written
└── CheckpointError    a checkpoint that cannot be loaded or does not fit the profile
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class VlaError(Exception):
    """Base of all errors that this workspace raises on purpose."""


class ProfileError(VlaError):
    """A robot profile that cannot be used; names the file, the dotted key and, where known, the line.

    Attributes:
        key: The dotted key; empty where it is about the whole.
    """

    key = ""


class CodecError(VlaError):
    """A message that cannot be turned into numbers."""


class FieldError(CodecError):
    """A field path that a message type, or one message, does not have."""


class DecoderError(CodecError):
    """An image that needs a decoder which is absent, or of a kind that is not supported."""


class DamagedError(CodecError):
    """A message whose data are damaged or cut short."""


class LostReferenceError(CodecError):
    """A picture of a video that cannot be decoded, because one that it refers to was not received."""


class StampError(VlaError):
    """A message without a usable time stamp."""


class FrameError(VlaError):
    """Frames cannot be built as asked."""


class ActionError(VlaError):
    """An action vector or joint target that does not fit the profile."""


class KinematicsError(VlaError):
    """A pose that the arm cannot reach, or joint values that do not fit the arm."""


class TrajectoryError(VlaError):
    """An action chunk that cannot become a trajectory."""


class StaleChunkError(TrajectoryError):
    """Every step of an action chunk lies in the past; nothing of it may be executed."""


class SafetyError(VlaError):
    """A command that must not be sent to the robot."""


class EpisodeError(VlaError):
    """A phase change that is not allowed, or episode metadata that cannot be read."""


class BagError(VlaError):
    """A bag that cannot be read or written."""


class CheckpointError(VlaError):
    """A checkpoint that cannot be loaded, or that does not fit the profile."""


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the allowed name nearest to `name`, or an empty string."""
    near = get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def listing(names: Iterable[str]) -> str:
    """Return the names joined by commas, or ``(none)``."""
    return ", ".join(names) or "(none)"
