# SPDX-License-Identifier: Apache-2.0

"""Message types that can be turned into numbers. This is the only place that knows them.

A codec is chosen by the type name (``sensor_msgs/msg/JointState``); messages are duck-typed. A new message type is one
entry of `CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import CodecError, listing, nearest_name
from vla_core.fields import ArrayLayout, FieldReader, Layout, NamedLayout, PathLayout
from vla_core.images import decode_image
from vla_core.images_compressed import decode_compressed

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
FLOAT64_MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"
JOY = "sensor_msgs/msg/Joy"
STRING = "std_msgs/msg/String"
BOOL = "std_msgs/msg/Bool"

_XYZ = ("x", "y", "z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How one message type is read.

    Attributes:
        type: Full type name.
        header: Whether the message has a stamp of its own.
        layout: How single numbers are addressed; None for images and text.
        image: Decoder to an array, for images.
        video: Its images are packets of a video stream, which refer to earlier ones (see `vla_core.images_video`).
    """

    type: str
    header: bool
    layout: Layout | None = None
    image: Callable[[Any], NDArray[Any]] | None = None
    video: bool = False


def _named(groups: dict[str, str], names: str, points: bool = False) -> NamedLayout:
    return NamedLayout(names_attr=names, groups=groups, points=points)


_ALL_CODECS = (
    Codec(
        type=JOINT_STATE,
        header=True,
        layout=_named({"position": "position", "velocity": "velocity", "effort": "effort"}, "name"),
    ),
    Codec(
        type=JOINT_TRAJECTORY,
        header=True,
        layout=_named({"position": "positions", "velocity": "velocities", "effort": "effort"}, "joint_names", True),
    ),
    Codec(type=IMAGE, header=True, image=decode_image),
    Codec(type=COMPRESSED_IMAGE, header=True, image=decode_compressed),
    Codec(type=COMPRESSED_VIDEO, header=True, video=True),
    Codec(type=FFMPEG_PACKET, header=True, video=True),
    Codec(
        type=POSE_STAMPED,
        header=True,
        layout=PathLayout(
            tuple(f"pose.position.{axis}" for axis in _XYZ) + tuple(f"pose.orientation.{axis}" for axis in (*_XYZ, "w"))
        ),
    ),
    Codec(
        type=TWIST_STAMPED,
        header=True,
        layout=PathLayout(tuple(f"twist.{part}.{axis}" for part in ("linear", "angular") for axis in _XYZ)),
    ),
    Codec(type=FLOAT64_MULTI_ARRAY, header=False, layout=ArrayLayout(("data",))),
    Codec(type=JOY, header=True, layout=ArrayLayout(("axes", "buttons"))),
    Codec(type=STRING, header=False),
    Codec(type=BOOL, header=False, layout=PathLayout(("data",))),
)
CODECS: dict[str, Codec] = {codec.type: codec for codec in _ALL_CODECS}
VECTOR_TYPES = tuple(name for name, codec in CODECS.items() if codec.layout is not None)
VIDEO_TYPES = tuple(name for name, codec in CODECS.items() if codec.video)
IMAGE_TYPES = tuple(name for name, codec in CODECS.items() if codec.image is not None or codec.video)


def codec(type_name: str) -> Codec:
    """Return the codec of a message type.

    Raises:
        CodecError: the type is not known; the text lists those that are.
    """
    try:
        return CODECS[type_name]
    except KeyError:
        raise CodecError(
            f"no codec for message type '{type_name}'; known: {listing(CODECS)}{nearest_name(type_name, CODECS)}"
        ) from None


def reader(type_name: str, fields: Sequence[str], point: str = "last") -> FieldReader:
    """Return a reader of these fields in messages of this type.

    Args:
        type_name: Full type name.
        fields: Field paths (see `vla_core.fields`).
        point: For JointTrajectory: take the ``first`` or the ``last`` point.

    Raises:
        FieldError: a path does not fit the type.
        CodecError: the type is not known, or holds no numbers that can be addressed.
    """
    layout = codec(type_name).layout
    if layout is None:
        raise CodecError(f"{type_name} has no number fields; types that have: {listing(VECTOR_TYPES)}")
    return layout.bind(fields, point)


def decode(
    msg: Any, type_name: str, fields: Sequence[str] | None = None, point: str = "last"
) -> NDArray[Any] | str | bool:
    """Return the content of a message.

    Images give an array (see `vla_core.images.decode_image`), String a str, Bool a bool. All others give ``(k,)``
    float64: the wanted `fields`, or without them all numbers in the order of the message (JointState and
    JointTrajectory: the positions; PoseStamped: x y z and the quaternion x y z w; TwistStamped: linear, angular).

    Raises:
        CodecError: unknown type, or a message that does not hold what its type promises.
    """
    found = codec(type_name)
    if fields is not None:
        return reader(type_name, fields, point).read(msg)
    if found.image is not None:
        return found.image(msg)
    if type_name == STRING:
        return str(msg.data)
    if type_name == BOOL:
        return bool(msg.data)
    if found.video:
        raise CodecError(f"{type_name} is one packet of a video and needs those before it; use a FrameBuilder")
    if found.layout is None:
        raise CodecError(f"{type_name} has no decoder")
    values: NDArray[np.float64] = found.layout.everything(msg)
    return values
