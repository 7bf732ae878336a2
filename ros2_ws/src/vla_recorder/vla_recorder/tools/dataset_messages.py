# SPDX-License-Identifier: Apache-2.0

"""The inverse of frame building: rows of a dataset as the messages that a robot would have sent at the same instants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import yaml
from mcap_ros2._dynamic import serialize_dynamic
from numpy.typing import NDArray
from vla_core.actions import ActionMap
from vla_core.codecs import COMPRESSED_IMAGE, IMAGE, codec
from vla_core.errors import BagError
from vla_core.fields import ArrayLayout, NamedLayout
from vla_core.frames import ACTION_KEY, STATE_KEY
from vla_core.profile import Profile, parse_profile
from vla_core.stamps import split_ns
from vla_core.states import apply_scale, undo_scale

from vla_recorder.bags.source import Connection
from vla_recorder.bags.types import definition_of
from vla_recorder.bags.writer import TopicInfo

Array = NDArray[np.float64]
_SUFFIX = "/compressed"
RELIABLE = {
    "history": 1,
    "depth": 10,
    "reliability": 1,
    "durability": 2,
    "deadline": {"sec": 9223372036, "nsec": 854775807},
    "lifespan": {"sec": 9223372036, "nsec": 854775807},
    "liveliness": 1,
    "liveliness_lease_duration": {"sec": 9223372036, "nsec": 854775807},
    "avoid_ros_namespace_conventions": False,
}


def bag_profile(profile: Profile, fps: int, *, raw: bool) -> Profile:
    """Return the profile by which the written bag gives the same rows.

    Every topic has one message per row, stamped with the row's instant, and images have the size that they have in the
    dataset; so rates, ages and sizes differ from those of the robot, the mapping does not.

    Args:
        profile: Profile of the dataset.
        fps: Rows per second.
        raw: Images are ``sensor_msgs/msg/Image`` rather than JPEG.
    """
    tree = yaml.safe_load(profile.text)
    # Less than a period, so that a row that is missing in the dataset is not filled with the one before it; and a profile
    # must allow an age of one period of its rate.
    pace = {"rate_hz": 1.25 * fps, "max_age_s": 0.9 / fps}
    tree["fps"] = fps
    tree.pop("record_topics", None)
    for camera in profile.cameras:
        entry = tree["cameras"][camera.name]
        for key in ("resize", "info_topic"):
            entry.pop(key, None)
        plain = raw or camera.depth
        base = camera.topic.removesuffix(_SUFFIX).removesuffix("/compressedDepth")
        entry.update(pace, size=list(camera.frame_size), type=IMAGE if plain else COMPRESSED_IMAGE)
        entry["topic"] = base if plain else base + _SUFFIX
    for entry in tree.get("state", ()):
        if "topic" in entry:
            entry.update(pace)
    for entry in tree.get("action", ()):
        entry["record"].update(pace)
    return parse_profile(yaml.safe_dump(tree, sort_keys=False, width=120, allow_unicode=True), profile.source)


class Encoder:
    """Serializes messages of one type."""

    def __init__(self, topic: str, type_name: str) -> None:
        """Find the definition of the type.

        Raises:
            BagError: The type is not known on this machine.
        """
        text = definition_of(Connection(topic=topic, type=type_name))
        self.info = TopicInfo(name=topic, type=type_name, definition=text, qos=(RELIABLE,))
        self._encode: Callable[[Any], bytes] = serialize_dynamic(type_name, text)[type_name]

    def __call__(self, message: Mapping[str, Any]) -> bytes:
        """Return the CDR bytes of a message; fields that are left out are zero or empty."""
        return self._encode(message)


def header(t_ns: int, frame_id: str = "") -> dict[str, Any]:
    """Return a ``std_msgs/Header``."""
    sec, nanosec = split_ns(t_ns)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": frame_id}


@dataclass(slots=True)
class VectorTopic:
    """A topic with numbers: which fields it carries and their values.

    Attributes:
        topic: As the profile spells it.
        type: Message type.
        fields: Field path -> (N,) values in message units.
    """

    topic: str
    type: str
    fields: dict[str, Array] = field(default_factory=dict)

    def add(self, path: str, values: Array) -> None:
        """Take the values of one field.

        Raises:
            BagError: Two streams want different numbers in the same field.
        """
        known = self.fields.setdefault(path, values)
        if known is not values and not np.array_equal(known, values):
            raise BagError(
                f"topic {self.topic!r} would have to carry two different values of {path!r} at once, one of the state and "
                "one of the action; give a profile whose action is recorded on a topic of its own with --profile"
            )

    def message(self, row: int, t_ns: int) -> dict[str, Any]:
        """Return the message of a row. Numbers that nobody knows are NaN."""
        values = {path: float(column[row]) for path, column in self.fields.items()}
        found = codec(self.type)
        content = {"header": header(t_ns)} if found.header else {}
        if isinstance(found.layout, NamedLayout):
            return {**content, **_named(found.layout, values)}
        if isinstance(found.layout, ArrayLayout):
            return {**content, **_arrays(values)}
        return {**content, **_paths(values)}


def _named(layout: NamedLayout, values: Mapping[str, float]) -> dict[str, Any]:
    names = list(dict.fromkeys(path.partition(".")[2] for path in values))
    used = dict.fromkeys(path.partition(".")[0] for path in values)
    arrays = {layout.groups[group]: [values.get(f"{group}.{name}", math.nan) for name in names] for group in used}
    if layout.points:
        return {layout.names_attr: names, "points": [arrays]}
    return {layout.names_attr: names, **arrays}


def _arrays(values: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, dict[int, float]] = {}
    for path, value in values.items():
        name, _, index = path.replace("[", ".").rstrip("]").partition(".")
        found.setdefault(name, {})[int(index)] = value
    return {
        name: [entries.get(i, math.nan if name != "buttons" else 0) for i in range(max(entries) + 1)]
        for name, entries in found.items()
    }


def _paths(values: Mapping[str, float]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """All numbers of an episode as messages.

    Attributes:
        topics: Topics in the order of the profile.
        state_error: Largest difference of a state that is read back, in dataset units; 0 means exact in float32.
        action_error: The same of the action.
    """

    topics: tuple[VectorTopic, ...]
    state_error: float
    action_error: float


def vectors(profile: Profile, columns: Mapping[str, NDArray[Any]]) -> Vectors:
    """Turn states and actions into what the topics of a profile carry.

    Args:
        profile: What the numbers mean.
        columns: ``observation.state`` (N, n) and ``action`` (N, m).

    Raises:
        VlaError: The profile does not fit the columns, or its numbers do not lead back to joints.
    """
    states = np.asarray(columns[STATE_KEY], np.float32).reshape(len(columns[STATE_KEY]), -1)
    actions = np.asarray(columns[ACTION_KEY], np.float32).reshape(len(states), -1)
    for key, values, names in ((STATE_KEY, states, profile.state_names), (ACTION_KEY, actions, profile.action_names)):
        if values.shape[1] != len(names):
            raise BagError(
                f"{profile.source}: describes {len(names)} values of {key!r}, the dataset has {values.shape[1]}; give the "
                "profile that fits with --profile"
            )
    topics: dict[tuple[str, str], VectorTopic] = {}
    action_map = ActionMap(profile)
    measured = action_map.state.measured_values(states)
    again = np.empty_like(measured)
    place = 0
    for spec in profile.state:
        topic = topics.setdefault((spec.topic, spec.type), VectorTopic(spec.topic, spec.type))
        for path in spec.fields:
            column = undo_scale(spec.scale, measured[:, place])
            again[:, place] = apply_scale(spec.scale, column)
            topic.add(path, column)
            place += 1
    rows = [action_map.to_joint_targets(action[None], state) for action, state in zip(actions, states, strict=True)]
    for part in profile.action:
        targets = np.concatenate([row[part.name] for row in rows])
        topic = topics.setdefault(
            (part.record.topic, part.record.type), VectorTopic(part.record.topic, part.record.type)
        )
        for path, column in zip(part.record.fields, targets.T, strict=True):
            topic.add(path, column)
    back = np.concatenate([action_map.encode(row, state) for row, state in zip(rows, states, strict=True)])
    return Vectors(
        topics=tuple(topics.values()),
        state_error=_largest(action_map.state.encode(again).astype(np.float32), states),
        action_error=_largest(back, actions),
    )


def _largest(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0))


def image_message(image: NDArray[Any], t_ns: int, camera: str, jpeg_quality: int | None) -> dict[str, Any]:
    """Return a picture as a message.

    Args:
        image: (H, W, 3) uint8 RGB, or depth (H, W) uint16 [mm] or float32 [m].
        t_ns: Stamp.
        camera: Name of the camera; the frame of the image.
        jpeg_quality: Gives a CompressedImage of colour; None gives an Image.
    """
    top = header(t_ns, camera)
    if jpeg_quality is not None:
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not done:
            raise BagError(f"camera {camera!r}: a picture of {image.shape} cannot be stored as JPEG")
        return {"header": top, "format": "jpeg", "data": data.tobytes()}
    encoding = {"uint8": "rgb8", "uint16": "16UC1", "float32": "32FC1"}[image.dtype.name]
    pixels = np.ascontiguousarray(image)
    return {
        "header": top,
        "height": image.shape[0],
        "width": image.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels.strides[0],
        "data": pixels.tobytes(),
    }


def grid_ns(stamps: NDArray[np.int64], fps: int) -> Iterator[int]:
    """Yield instants of a grid that begins at the first stamp, so that a converter finds every row again.

    Raises:
        BagError: Two rows fall on the same instant.
    """
    first, last = int(stamps[0]), -1
    for stamp in stamps.tolist():
        number = round((stamp - first) * fps / 1_000_000_000)
        if number <= last:
            raise BagError(
                f"row at {stamp} ns lies on or before the instant of the row before; a dataset whose rows are not in the "
                "order of time cannot become a bag"
            )
        yield first + round(number * 1_000_000_000 / fps)
        last = number
