# SPDX-License-Identifier: Apache-2.0

"""The bag door of the frame builder: a recorded episode as frames on a fixed grid."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from vla_core.episode import TELEOP
from vla_core.errors import BagError
from vla_core.frame_sources import Stream
from vla_core.frames import Frame, FrameBuilder, Missing, resolve_topic
from vla_core.profile import Profile
from vla_core.stamps import stamp_ns, tick_ns, time_ns, to_ns, to_s

from vla_recorder.bags.packet_numbers import PacketNumbers
from vla_recorder.bags.reader import EpisodeBag

EVENT_TOPIC = "episode/event"
"""Topic of the phases (vla_msgs/msg/EpisodeEvent), in the namespace of the robot."""

_GRACE_NS = to_ns(0.5)
"""How far a silent stream may hold up the others; less than what the frame builder remembers."""
_CLOCK_STEP_NS = to_ns(2.0)
"""A stamp that is farther than this from where its stream's stamps were is no jitter: a clock was set."""
_PAUSE_NS = to_ns(5.0)
"""When no message at all came for this long, the recording paused."""
_LONGEST_PAUSE_NS = to_ns(3600.0)
"""What comes later than this does not belong to the same demonstration; more likely, a clock was set."""

PAUSE = "recording: pause"
"""Reason for ticks without a frame: the recorder recorded nothing, because it waited for the operator or a stream."""


class BagFrames:
    """Iterates over the frames of one episode in bounded memory.

    The grid is ``t0 + i / fps``; ``t0`` is the first instant at which every stream has sent something. A tick is sampled
    as soon as all streams have passed it, so a message that arrived late still counts where its stamp says.

    The recorder's clock is the reference. A message whose stamp is suddenly seconds away from it is left out; where the
    recorder's clock itself jumps, the episode ends. Both are said in `warnings`.

    Attributes:
        builder: Builds the frames.
        t0_ns: First tick [ns], once iterated.
        first_ns: Stamp of the very first message [ns], once iterated.
    """

    def __init__(
        self,
        bag: EpisodeBag,
        profile: Profile,
        fps: float,
        *,
        actions: bool = True,
        references: frozenset[str] = frozenset(),
    ) -> None:
        """Prepare; reading starts with the iteration.

        Args:
            bag: The episode.
            profile: What its topics mean.
            fps: Frames per second.
            actions: Whether frames hold the recorded action; without, no command topic is needed.
            references: Cameras whose pictures are not decoded (see `vla_core.frames.FrameBuilder`).
        """
        self._bag = bag
        self._fps = fps
        self._namespace = bag.get("namespace", "/")
        self._phases: list[tuple[int, int]] = []
        self.builder = FrameBuilder(profile, actions=actions, namespace=self._namespace, references=references)
        self._streams: dict[str, list[Stream]] = {}
        for stream in self.builder.streams:
            self._streams.setdefault(resolve_topic(stream.topic, self._namespace), []).append(stream)
        self._numbers = {name: PacketNumbers() for name in references}
        self._packet_topics = {
            resolve_topic(camera.topic, self._namespace): camera.name
            for camera in profile.cameras
            if camera.name in references
        }
        self._clock = _Clock()
        self._index = -1
        self._pause_ticks = 0
        self.t0_ns = 0
        self.first_ns = 0

    def __iter__(self) -> Iterator[Frame | Missing]:
        """Yield the frame of every tick, or why there is none.

        Raises:
            BagError: Nothing can be read, or a stream never sent anything. A damaged bag ends where the damage begins.
        """
        keys = [stream.key for stream in self.builder.streams]
        lookahead = to_ns(self.builder.lookahead_s)
        newest: dict[str, int] = {}
        oldest: dict[str, int] = {}
        for key in self._pushed():
            if not key:
                yield from self._rest(newest)
                yield from self._pause(newest)
                continue
            stamp = self.builder.newest_ns(key)
            if stamp is None:
                continue
            newest[key] = stamp
            if self._index >= 0 and stamp < self._tick() + lookahead:
                continue  # most messages: no tick becomes due by them
            if self._index < 0:
                oldest.setdefault(key, stamp)
                if len(oldest) < len(keys):
                    continue
                self.first_ns, self.t0_ns = min(oldest.values()), max(oldest.values())
                self._index = 0
            first, last = min(newest.values()), max(newest.values())
            while (tick := self._tick() + lookahead) <= first or tick + _GRACE_NS <= last:
                yield self._sample()
        if self._index < 0:
            self._report_absent(set(keys) - set(newest))
        yield from self._rest(newest)

    def _tick(self) -> int:
        return tick_ns(self.t0_ns, self._index, self._fps)

    def _sample(self) -> Frame | Missing:
        tick = self._tick()
        self._index += 1
        return self.builder.sample(tick)

    def _rest(self, newest: dict[str, int]) -> Iterator[Frame | Missing]:
        """Yield what can be said of the ticks up to the newest message."""
        while self._index >= 0 and self._tick() <= max(newest.values()):
            yield self._sample()

    def _pause(self, newest: dict[str, int]) -> Iterator[Missing]:
        """Yield the ticks at which nothing was recorded."""
        stream, reason = PAUSE.split(": ")
        while self._index >= 0 and self._tick() + _GRACE_NS < max(newest.values()) + self._clock.pause_ns:
            seconds = to_s(self._tick() - self.t0_ns)
            self._index += 1
            self._pause_ticks += 1
            yield Missing(stream, reason, f"nothing was recorded {seconds:.3f} s after the first frame and later")

    @property
    def dropped(self) -> dict[str, int]:
        """Ticks without a frame, by ``"<stream>: <reason>"``."""
        return {**self.builder.dropped, **({PAUSE: self._pause_ticks} if self._pause_ticks else {})}

    @property
    def warnings(self) -> list[str]:
        """What was wrong with the clocks, and where the recording had to be cut; complete after the iteration."""
        return self._clock.warnings()

    def packet_number(self, camera: str, message: Any) -> int:
        """Return which message of its camera a reference is, from 0."""
        return self._numbers[camera].number(message)

    def phase_at(self, t_ns: int) -> int:
        """Return the phase of the episode at a tick that was yielded (constants of `vla_core.episode`).

        Before the first event it is that event's phase, and in a bag without events it is TELEOP.
        """
        if not self._phases:
            return TELEOP
        return self._phases[max(0, bisect_right(self._phases, t_ns, key=lambda event: event[0]) - 1)][1]

    def _pushed(self) -> Iterator[str]:
        """Push the messages of the bag; yield the key of every stream that got one, and nothing before a pause ends."""
        events = resolve_topic(EVENT_TOPIC, self._namespace)
        for topic, log_ns, message in self._bag.messages({*self._streams, events}):
            if topic == events:
                self._add_event(log_ns, message)
            if topic not in self._streams:
                continue
            if not self._clock.goes_on(log_ns):
                return
            if self._clock.pause_ns:
                yield ""
            if topic in self._packet_topics:
                self._numbers[self._packet_topics[topic]].push(message)
            for stream in self._streams[topic]:
                if self._clock.accepts(stream, log_ns, message):
                    self.builder.push(stream.key, log_ns, message)
                    yield stream.key

    def _add_event(self, log_ns: int, event: Any) -> None:
        began = time_ns(event.stamp) or log_ns
        self._phases.append((began, int(event.phase)))
        self._phases.sort(key=lambda item: item[0])

    def _report_absent(self, absent: set[str]) -> None:
        named = [
            f"{stream.key} ({topic}: {self._bag.counts.get(topic, 0)} messages)"
            for topic, streams in self._streams.items()
            for stream in streams
            if stream.key in absent
        ]
        damage = f" ({self._bag.damage})" if self._bag.damage else ""
        raise BagError(
            f"{self._bag.folder}: no frame can be built, because the bag has no usable message of {', '.join(named)}"
            f"{damage}. Was the driver or the operator running? Otherwise give the profile that fits with --profile"
        )


class _Clock:
    """Watches the clocks of a recording: that of the recorder, and the stamps of every stream against it."""

    def __init__(self) -> None:
        self.pause_ns = 0
        self._newest_ns: int | None = None
        self._offsets: dict[str, int] = {}
        self._strange: dict[str, list[int]] = {}
        self._cut = ""

    def goes_on(self, log_ns: int) -> bool:
        """Return whether the recorder's clock went on as a clock does; `pause_ns` says if nothing came for long."""
        before = self._newest_ns
        self.pause_ns = 0 if before is None or log_ns - before <= _PAUSE_NS else log_ns - before
        self._newest_ns = log_ns if before is None else max(before, log_ns)
        if before is None or -_CLOCK_STEP_NS <= log_ns - before <= _LONGEST_PAUSE_NS:
            return True
        step = to_s(log_ns - before)
        how = f"jumped back by {-step:.3f} s" if step < 0 else f"jumped ahead by {step:.3f} s"
        self._cut = f"the recorder's clock {how} at {to_s(before):.3f} s; what follows is left out"
        return False

    def accepts(self, stream: Stream, log_ns: int, message: Any) -> bool:
        """Return whether the stamp of a message goes with the recorder's clock, or at least with its predecessors."""
        if stream.stamp != "header":
            return True
        stamp = stamp_ns(message)
        if stamp == 0:
            return True  # the frame builder counts it as unstamped
        offset = stamp - log_ns
        known = self._offsets.get(stream.key)
        # A whole recording may be stamped by another clock; what must not be is a jump away from the recorder's.
        if known is not None and abs(offset) > _CLOCK_STEP_NS and abs(offset - known) > _CLOCK_STEP_NS:
            self._strange.setdefault(stream.key, []).append(offset)
            return False
        self._offsets[stream.key] = offset
        return True

    def warnings(self) -> list[str]:
        """Return what was left out, and why."""
        found = [
            f"{key}: {len(offsets)} messages are left out, because their stamps jumped to {to_s(offsets[0]):+.3f} s from "
            "when they were received. Was the clock of the sender set, or did its driver restart?"
            for key, offsets in self._strange.items()
        ]
        return [*found, self._cut] if self._cut else found
