# SPDX-License-Identifier: Apache-2.0

"""The bag door of the frame builder: a recorded episode as frames on a fixed grid."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from vla_core.episode import TELEOP
from vla_core.errors import BagError
from vla_core.frames import Frame, FrameBuilder, Missing, resolve_topic
from vla_core.profile import Profile
from vla_core.stamps import tick_ns, time_ns, to_ns

from vla_recorder.bags.reader import EpisodeBag

EVENT_TOPIC = "episode/event"
"""Topic of the phases (vla_msgs/msg/EpisodeEvent), in the namespace of the robot."""

_GRACE_NS = to_ns(0.5)
"""How far a silent stream may hold up the others; less than what the frame builder remembers."""


class BagFrames:
    """Iterates over the frames of one episode in bounded memory.

    The grid is ``t0 + i / fps``; ``t0`` is the first instant at which every stream has sent something. A tick is sampled
    as soon as all streams have passed it, so a message that arrived late still counts where its stamp says.
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
        self.t0_ns = 0
        self.first_ns = 0

    def __iter__(self) -> Iterator[Frame | Missing]:
        """Yield the frame of every tick, or why there is none.

        Raises:
            BagError: A stream never sent anything. A damaged bag ends where the damage begins.
        """
        keys = [stream.key for stream in self.builder.streams]
        topics = {resolve_topic(topic, self._namespace) for topic in self.builder.topics}
        events = resolve_topic(EVENT_TOPIC, self._namespace)
        lookahead = to_ns(self.builder.lookahead_s)
        newest: dict[str, int] = {}
        oldest: dict[str, int] = {}
        index = -1
        for topic, log_ns, message in self._bag.messages(topics | {events}):
            if topic == events:
                self._add_event(log_ns, message)
                continue
            self.builder.push_topic(topic, log_ns, message)
            newest = {key: stamp for key in keys if (stamp := self.builder.newest_ns(key)) is not None}
            if index < 0:
                oldest = {**newest, **oldest}
                if len(oldest) < len(keys):
                    continue
                self.first_ns, self.t0_ns = min(oldest.values()), max(oldest.values())
                index = 0
            first, last = min(newest.values()), max(newest.values())
            while (tick := tick_ns(self.t0_ns, index, self._fps) + lookahead) <= first or tick + _GRACE_NS <= last:
                yield self.builder.sample(tick - lookahead)
                index += 1
        if index < 0:
            self._report_absent(set(keys) - set(newest))
        while (tick := tick_ns(self.t0_ns, index, self._fps)) <= max(newest.values()):
            yield self.builder.sample(tick)
            index += 1

    def phase_at(self, t_ns: int) -> int:
        """Return the phase of the episode at a tick that was yielded (constants of `vla_core.episode`).

        Before the first event it is that event's phase, and in a bag without events it is TELEOP.
        """
        if not self._phases:
            return TELEOP
        return self._phases[max(0, bisect_right(self._phases, t_ns, key=lambda event: event[0]) - 1)][1]

    def _add_event(self, log_ns: int, event: Any) -> None:
        began = time_ns(event.stamp) or log_ns
        self._phases.append((began, int(event.phase)))
        self._phases.sort(key=lambda item: item[0])

    def _report_absent(self, absent: set[str]) -> None:
        named = [
            f"{stream.key} ({resolve_topic(stream.topic, self._namespace)}: "
            f"{self._bag.counts.get(resolve_topic(stream.topic, self._namespace), 0)} messages)"
            for stream in self.builder.streams
            if stream.key in absent
        ]
        damage = f" ({self._bag.damage})" if self._bag.damage else ""
        raise BagError(
            f"{self._bag.folder}: no frame can be built, because the bag has no usable message of {', '.join(named)}"
            f"{damage}. Was the driver or the operator running? Otherwise give the profile that fits with --profile"
        )
