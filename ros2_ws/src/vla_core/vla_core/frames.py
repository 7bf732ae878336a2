# SPDX-License-Identifier: Apache-2.0

"""From messages to frames: the one path that training data and live observations share.

Feed every message with `FrameBuilder.push_topic`, then ask for frames on a fixed grid with `FrameBuilder.sample`. A frame
depends on the messages and the tick only. Nothing is invented: a value that is absent, older than its ``max_age_s``,
damaged or not finite makes the frame `Missing`, which is counted by stream and reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vla_core.actions import ActionMap
from vla_core.errors import FrameError, listing, nearest_name
from vla_core.fields import NONE
from vla_core.frame_sources import (
    ACTION_KEY,
    IMAGE_PREFIX,
    STATE_KEY,
    Entry,
    Missing,
    Source,
    Stream,
    camera_source,
    vector_source,
)
from vla_core.stamps import stamp_ns, to_s
from vla_core.sync import OK, Found, StreamStats

if TYPE_CHECKING:
    from vla_core.profile import Profile

__all__ = [
    "ACTION_KEY",
    "IMAGE_PREFIX",
    "STATE_KEY",
    "Frame",
    "FrameBuilder",
    "Missing",
    "Stream",
    "features",
    "resolve_topic",
    "skew_s",
]

# What became of a pushed message.
STORED = "stored"
IGNORED = "ignored"  # it carries none of the names that the stream reads
UNSTAMPED = "unstamped"  # the stream lives on header stamps and the sender set none
LATE = "late"  # older than anything that can still be asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        t_ns: The tick [ns].
        state: ``(n,)`` float32, in the order of ``profile.state_names``.
        state64: The same values before the cast to float32, for differences of states.
        joints: Name of each part of the action to its measured joints ``(k,)`` float64 [rad or m], where the state
            streams carry them; the same whatever the state space.
        images: Camera name to ``(H, W, 3)`` uint8 RGB; of depth cameras ``(H, W)`` uint16 [mm] or float32 [m], whichever
            the camera sends, with 0 where it has no reading. Read-only, because a message that serves two ticks gives the same
            array twice; copy before writing.
        action: ``(m,)`` float32 in the order of ``profile.action_names``, or None if not asked for.
        targets: Name of each part of the action to the joint targets ``(k,)`` float64 [rad or m] that `action` was made
            of; empty if not asked for.
        ages_s: Stream key to the age of its message at the tick [s]; negative where the message is newer than the tick
            (strategies nearest and interpolate). Of two interpolated messages, the age of the one farther away.
        references: Camera name to the chosen message itself, for the cameras that the builder was told not to decode;
            a message that serves two ticks is the same object twice.
    """

    t_ns: int
    state: NDArray[np.float32]
    state64: NDArray[np.float64]
    images: dict[str, NDArray[Any]]
    action: NDArray[np.float32] | None
    ages_s: dict[str, float]
    joints: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    targets: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    references: dict[str, Any] = field(default_factory=dict)


class FrameBuilder:
    """Builds frames for one profile. Pushing and sampling may happen in different threads.

    Args:
        profile: The robot profile.
        actions: Whether frames hold the action (training data) or not (live observation).
        namespace: Namespace that the robot's relative topics live in, when messages are pushed by resolved names.
        warn: Called once per stream whose messages come without a stamp; the standard logger by default.
        references: Cameras whose pictures are not decoded; frames hold the chosen message instead.

    Raises:
        FrameError: a reference names no camera of the profile.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        actions: bool,
        namespace: str = "/",
        warn: Callable[[str], None] | None = None,
        references: frozenset[str] = frozenset(),
    ) -> None:
        for name in sorted(references.difference(profile.camera_names)):
            raise FrameError(
                f"no camera '{name}' to leave undecoded; cameras: {listing(profile.camera_names)}"
                f"{nearest_name(name, profile.camera_names)}"
            )
        self.profile = profile
        self._references = references
        self._warn = warn or logging.getLogger(__name__).warning
        self._map = ActionMap(profile)
        self._lock = Lock()
        self._dropped: Counter[str] = Counter()
        self._cameras = [
            (camera.name, camera_source(camera, decoded=camera.name not in references)) for camera in profile.cameras
        ]
        self._state = [vector_source(f"{STATE_KEY}.{i}", spec, spec.scale) for i, spec in enumerate(profile.state)]
        self._action = (
            [(spec.name, vector_source(f"{ACTION_KEY}.{spec.name}", spec.record, None)) for spec in profile.action]
            if actions
            else []
        )
        ordered = [source for _, source in self._cameras] + self._state + [source for _, source in self._action]
        self._sources = {source.stream.key: source for source in ordered}
        self.streams = tuple(source.stream for source in ordered)
        self.topics = {stream.topic: stream.type for stream in self.streams}
        self.lookahead_s = max((stream.lookahead_s for stream in self.streams), default=0.0)
        self._by_topic: dict[str, list[Source]] = {}
        for source in ordered:
            for name in {source.stream.topic, resolve_topic(source.stream.topic, namespace)}:
                self._by_topic.setdefault(name, []).append(source)

    @property
    def dropped(self) -> dict[str, int]:
        """Frames that could not be built, by ``"<stream>: <reason>"``."""
        return dict(self._dropped)

    def push(self, key: str, receive_ns: int, msg: Any) -> str:
        """Give a message to one stream. Decoding is left for later, so this takes microseconds.

        Args:
            key: Key of the stream.
            receive_ns: When it was received [ns], on the clock that the ticks are on.
            msg: The message.

        Returns:
            stored, ignored, unstamped or late.
        """
        try:
            source = self._sources[key]
        except KeyError:
            raise FrameError(
                f"no stream '{key}'; streams: {listing(self._sources)}{nearest_name(key, self._sources)}"
            ) from None
        return self._push(source, receive_ns, msg)

    def push_topic(self, topic: str, receive_ns: int, msg: Any) -> tuple[str, ...]:
        """Give a message to every stream of a topic; the topic may be spelt as in the profile or fully resolved.

        Returns:
            What became of it in each stream, in the order of `streams`.
        """
        try:
            sources = self._by_topic[topic]
        except KeyError:
            raise FrameError(
                f"no stream reads topic '{topic}'; topics: {listing(self.topics)}{nearest_name(topic, self.topics)}"
            ) from None
        return tuple([self._push(source, receive_ns, msg) for source in sources])

    def reads_topic(self, topic: str) -> bool:
        """Return whether a topic, as in the profile or fully resolved, feeds a stream."""
        return topic in self._by_topic

    def _push(self, source: Source, receive_ns: int, msg: Any) -> str:
        if source.carries is not None:
            try:
                carried = source.carries(msg)
            except AttributeError as error:
                raise FrameError(
                    f"{source.stream.key}: a {type(msg).__name__} came on {source.stream.topic}, which is no "
                    f"{source.stream.type}: {error}; correct the type in the robot profile"
                ) from None
            if carried == NONE:
                source.ignored += 1
                source.last_ignored = msg
                return IGNORED
        t_ns = receive_ns
        if source.by_header:
            t_ns = stamp_ns(msg)
            if t_ns == 0:
                self._unstamped(source)
                return UNSTAMPED
        with self._lock:
            return STORED if source.push(t_ns, msg) else LATE

    def _unstamped(self, source: Source) -> None:
        source.unstamped += 1
        if source.unstamped == 1:
            self._warn(
                f"{source.stream.key}: messages on {source.stream.topic} have no header stamp and are dropped; "
                "let the driver stamp them, or set 'stamp: receive' for the stream in the robot profile"
            )

    def clear(self) -> None:
        """Forget all messages, as after a jump of the clock. Counts stay."""
        with self._lock:
            for source in self._sources.values():
                source.clear()

    def newest_ns(self, key: str) -> int | None:
        """Return the stamp of the newest message of a stream, None before the first."""
        with self._lock:
            return self._sources[key].buffer.newest_ns

    def sample(self, t_ns: int, *, images: bool = True) -> Frame | Missing:
        """Return the frame of a tick, or why there is none.

        Every message with a stamp up to the tick plus `lookahead_s` must have been pushed before.

        Args:
            t_ns: The tick [ns].
            images: Whether pictures are decoded. Without them the frame has none; the cameras must have sent all the same.
        """
        with self._lock:
            found = {key: source.buffer.find(t_ns) for key, source in self._sources.items()}
        missing = next((self._absent(key, found[key]) for key in found if found[key].status != OK), None)
        result = missing or self._build(t_ns, found, images=images)
        if isinstance(result, Missing):
            self._dropped[f"{result.stream}: {result.reason}"] += 1
        return result

    def _absent(self, key: str, found: Found[Entry]) -> Missing:
        source = self._sources[key]
        stream = source.stream
        if source.buffer.newest_ns is None and (why := source.why_silent()):
            return Missing(key, found.status, f"{key}: {why}")
        if found.item is None:
            around = "around" if stream.lookahead_s else "at or before"
            text = f"{key}: no message {around} this tick on {stream.topic}"
        else:
            text = f"{key}: no message for {abs(to_s(found.age_ns)):.3g} s on {stream.topic} (limit {stream.max_age_s:g} s)"
        return Missing(key, found.status, f"{text}. Is its publisher running? Try: ros2 topic hz {stream.topic}")

    def _build(self, t_ns: int, found: dict[str, Found[Entry]], *, images: bool) -> Frame | Missing:
        values: dict[str, NDArray[Any]] = {}
        undecoded = {IMAGE_PREFIX + name for name in (self._references if images else self.profile.camera_names)}
        for key, source in self._sources.items():
            if key in undecoded:
                continue
            value = source.pick(found[key])
            if isinstance(value, Missing):
                return value
            values[key] = value
        measured = np.concatenate([values[source.stream.key] for source in self._state])
        state64 = self._map.state.encode(measured[None])[0]
        state = state64.astype(np.float32)
        targets = {name: values[source.stream.key] for name, source in self._action}
        action = None
        if targets:
            action = self._map.encode({name: value[None] for name, value in targets.items()}, state)[0]
        return Frame(
            t_ns=t_ns,
            state=state,
            state64=state64,
            joints=self._map.measured_joints(measured),
            targets=targets,
            images={name: values[key] for name, _ in self._cameras if (key := IMAGE_PREFIX + name) in values},
            action=action,
            ages_s={key: to_s(answer.age_ns) for key, answer in found.items()},
            references={
                name: answer.msg
                for name in self.profile.camera_names
                if name in self._references and (answer := found[IMAGE_PREFIX + name].item)
            },
        )

    def stats(self) -> dict[str, StreamStats]:
        """Return the counts of every stream."""
        with self._lock:
            return {key: source.buffer.stats() for key, source in self._sources.items()}

    def skipped(self) -> dict[str, dict[str, int]]:
        """Return, by stream, how many messages were ignored (other names) and unstamped."""
        return {key: {IGNORED: source.ignored, UNSTAMPED: source.unstamped} for key, source in self._sources.items()}


def skew_s(frame: Frame) -> float:
    """Return how far apart in time the observations of a frame are [s]: newest minus oldest message stamp."""
    ages = [age for key, age in frame.ages_s.items() if key.startswith((STATE_KEY, IMAGE_PREFIX))]
    return max(ages) - min(ages)


def resolve_topic(topic: str, namespace: str = "/") -> str:
    """Return the full name of a topic: relative ones live in the namespace, absolute ones stay."""
    return topic if topic.startswith("/") else f"/{namespace.strip('/')}/{topic}".replace("//", "/")


def features(profile: Profile) -> dict[str, dict[str, Any]]:
    """Return the features of a LeRobot v3 dataset: ``dtype``, ``shape`` and ``names`` of each.

    Depth cameras have one channel and the mark by which LeRobot knows them, ``info: {is_depth_map: True}``.
    """
    found: dict[str, dict[str, Any]] = {
        STATE_KEY: {"dtype": "float32", "shape": (len(profile.state_names),), "names": list(profile.state_names)}
    }
    for camera in profile.cameras:
        feature: dict[str, Any] = {
            "dtype": "video",
            "shape": (*camera.frame_size, 1 if camera.depth else 3),
            "names": ["height", "width", "channels"],
        }
        if camera.depth:
            feature["info"] = {"is_depth_map": True}
        found[IMAGE_PREFIX + camera.name] = feature
    found[ACTION_KEY] = {
        "dtype": "float32",
        "shape": (len(profile.action_names),),
        "names": list(profile.action_names),
    }
    return found
