# SPDX-License-Identifier: Apache-2.0

"""The episode that is open now: its phases, what it has written, and its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rclpy.serialization import serialize_message
from rclpy.time import Time
from vla_core.episode import (
    ARMED,
    IDLE,
    PHASES,
    SKILL_RESUME,
    TERMINATIONS,
    PhaseLog,
    PhaseMachine,
    skill_outcome,
)
from vla_core.errors import EpisodeError
from vla_msgs.msg import EpisodeEvent

from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import TopicInfo
from vla_recorder.capture.about import Identity, Settings, read_attachment
from vla_recorder.capture.session import Session, episode_name
from vla_recorder.capture.taps import WRITTEN_QOS, Tap, Taps, Waiting

_NS = 1_000_000_000
_AT_REST_NS = _NS // 2  # an older command may be of another time: the arm can have been moved since
_EVENT_TYPE = "vla_msgs/msg/EpisodeEvent"


def event_topic(name: str) -> TopicInfo:
    """Return the description of the topic on which phases travel."""
    return TopicInfo(name=name, type=_EVENT_TYPE, definition=full_definition(_EVENT_TYPE), qos=(WRITTEN_QOS,))


@dataclass(slots=True)
class OpenEpisode:
    """One episode between its start and its end; the caller holds the lock.

    Attributes:
        about: What was known of it at its start.
        writing: Messages go into the bag.
        paused: Why a stream holds recording up; empty while none does.
        first_ns: Log time of the first message that was written; 0 before.
        lost_before: Topic -> messages lost before the episode.
    """

    about: Identity
    session: Session
    events: TopicInfo
    phases: PhaseMachine = field(default_factory=PhaseMachine)
    log: PhaseLog = field(default_factory=PhaseLog)
    notes: str = ""
    added: dict[str, str] = field(default_factory=dict)
    writing: bool = False
    paused: str = ""
    first_ns: int = 0
    written_ns: int = 0
    last_driven: int = IDLE
    lost_before: dict[str, int] = field(default_factory=dict)
    _writing_since_ns: int = 0
    _announced: set[str] = field(default_factory=set)
    _deferred: list[tuple[EpisodeEvent, int]] = field(default_factory=list)

    def enter(self, phase: int, label: str, now_ns: int) -> EpisodeEvent:
        """Go to a phase and return its event, which is in the bag or will be once messages are.

        Raises:
            EpisodeError: The phase may not follow.
        """
        self.phases.to(phase)
        if self.phases.driven:
            self.last_driven = phase
        return self._event(phase, label, now_ns, paused=False)

    def check_skill(self, phase: int, skill: str) -> None:
        """Check that a skill goes on as the one that was interrupted.

        Raises:
            EpisodeError: It is another one.
        """
        before = self.added.get("skill_name", "")
        if phase == SKILL_RESUME and skill and before and skill != before:
            raise EpisodeError(
                f"skill '{skill}' cannot go on where '{before}' was interrupted: resume '{before}', or end the episode"
            )

    def mark_pause(self, now_ns: int, reason: str) -> EpisodeEvent:
        """Write down that recording pauses: what follows until the next event belongs to no phase."""
        self.paused = reason
        return self._event(ARMED, f"paused: {reason}", now_ns, paused=True)

    def mark_resume(self, now_ns: int) -> EpisodeEvent:
        """Write down that recording goes on in the phase that was interrupted."""
        self.paused = ""
        return self._event(self.phases.phase, "streams are back", now_ns, paused=False)

    def _event(self, phase: int, label: str, now_ns: int, *, paused: bool) -> EpisodeEvent:
        idle = phase == IDLE
        event = EpisodeEvent(
            stamp=Time(nanoseconds=now_ns).to_msg(),
            phase=phase,
            episode_uuid="" if idle else self.about.uuid,
            label=label,
            paused=paused,
        )
        if not idle:
            self.log.begin(PHASES[phase], now_ns, self.session.messages)
        if self.first_ns:
            # Written directly: it must be in the bag whatever becomes of a subscription to one's own topic.
            self.session.write(self.events.name, serialize_message(event), now_ns, now_ns)
        else:
            self._deferred.append((event, now_ns))
        return event

    def begin(self, taps: Taps, now_ns: int, preroll_ns: int) -> None:
        """Write from now on: the last moments of every stream first, so that the first frame can be built.

        Args:
            taps: All topics.
            now_ns: Node clock.
            preroll_ns: How far back the last moments reach [ns].
        """
        waiting = sorted(
            ((message, tap) for tap in taps for message in _recent(tap, now_ns, preroll_ns)),
            key=lambda entry: entry[0].log_ns,
        )
        if not self.first_ns:
            self.first_ns = waiting[0][0].log_ns if waiting else now_ns
            self.session.add_topic(self.events)
            for tap in taps:
                self._announce(taps, tap)
                for data in tap.latched:
                    self.session.write(tap.name, data, self.first_ns, self.first_ns)
            for event, _ in self._deferred:
                # With their true stamps, but received now: a bag does not begin with a long silence.
                self.session.write(self.events.name, serialize_message(event), self.first_ns, self.first_ns)
        for message, tap in waiting:
            self._announce(taps, tap)
            self.session.write(tap.name, message.data, message.log_ns, message.publish_ns)
        for tap in taps:
            tap.waiting.clear()
        self.writing = True
        self._writing_since_ns = now_ns

    def halt(self, now_ns: int) -> None:
        """Stop writing messages for now."""
        if self.writing:
            self.written_ns += now_ns - self._writing_since_ns
            self.writing = False

    def write(self, taps: Taps, tap: Tap, message: Waiting) -> None:
        """Write one message."""
        if tap.name not in self._announced:
            self._announce(taps, tap)
        self.session.write(tap.name, message.data, message.log_ns, message.publish_ns)

    def recorded_s(self, now_ns: int) -> float:
        """Return for how long messages were written [s]."""
        return (self.written_ns + (now_ns - self._writing_since_ns if self.writing else 0)) / _NS

    def lost(self, taps: Iterable[Tap]) -> dict[str, int]:
        """Return topic -> messages that were published but not received since the episode was opened."""
        lost = {tap.name: tap.lost - self.lost_before.get(tap.name, 0) for tap in taps}
        return {name: number for name, number in lost.items() if number > 0}

    def _announce(self, taps: Taps, tap: Tap) -> None:
        if tap.name not in self._announced:
            self._announced.add(tap.name)
            self.session.add_topic(taps.info(tap))

    def closing_data(
        self,
        settings: Settings,
        *,
        outcome: str,
        termination: int,
        now_ns: int,
        error: str,
        warnings: Iterable[str],
        lost: Mapping[str, int],
    ) -> dict[str, str]:
        """Return the metadata of the closed episode; the phases must have ended and all messages be written.

        Args:
            settings: Of the recorder.
            outcome: One of `OUTCOMES`.
            termination: TERMINATION constant.
            now_ns: Node clock.
            error: Why it ends, if it ends in error.
            warnings: What it lacks, in words.
            lost: Topic -> messages published but not received.
        """
        last = PHASES[self.last_driven] if self.last_driven != IDLE else ""
        segments = [
            {
                "phase": segment.phase,
                "start_ns": segment.start_ns,
                "end_ns": segment.end_ns,
                "start_s": round((segment.start_ns - self.first_ns) / _NS, 6),
                "end_s": round((segment.end_ns - self.first_ns) / _NS, 6),
                "messages": segment.messages,
            }
            for segment in self.log.segments
        ]
        counts = self.session.counts()
        extra = {
            "skill_outcome": skill_outcome(self.log.phases, last, TERMINATIONS[termination]),
            "error": error,
            "duration_s": f"{self.recorded_s(now_ns):.6f}",
            "first_ns": str(self.first_ns),
            "saved_at_ns": str(now_ns),
            "phase_segments": json.dumps(segments),
            "phase_counts": json.dumps(self.log.messages()),
            "phase_seconds": json.dumps({name: round(value, 6) for name, value in self.log.seconds().items()}),
            "topics": json.dumps({name: count.report() for name, count in counts.items()}),
            "lost": json.dumps(dict(lost)),
            "warnings": json.dumps(list(warnings), ensure_ascii=False),
        }
        return self.about.meta(
            settings,
            outcome=outcome,
            termination=TERMINATIONS[termination],
            notes=self.notes,
            extra={**extra, **self.added},
        )


def _recent(tap: Tap, now_ns: int, preroll_ns: int) -> list[Waiting]:
    """Return what a tap received lately; at least its last message, if that is not too old to be used."""
    recent = [message for message in tap.waiting if message.log_ns >= now_ns - preroll_ns]
    if not recent and tap.waiting and tap.plan.max_age_s is not None:
        last = tap.waiting[-1]
        recent = [last] if now_ns - last.log_ns <= tap.plan.max_age_s * _NS else []
    return recent


def last_commands(taps: Taps, topics: Iterable[str], now_ns: int) -> dict[str, bytes]:
    """Return the last message of each topic, where it is not older than half a second."""
    waiting = {topic: taps.taps[topic].waiting for topic in topics}
    return {
        topic: messages[-1].data
        for topic, messages in waiting.items()
        if messages and now_ns - messages[-1].log_ns <= _AT_REST_NS
    }


def start_episode(about: Identity, settings: Settings, events: TopicInfo, taps: Taps) -> OpenEpisode:
    """Open the bag of an episode and put the attachments into it.

    Raises:
        BagError: The disk refuses it, or an attachment cannot be read.
    """
    attachments = [read_attachment(path) for path in settings.attachments]
    notes = about.request.notes.strip()
    session = Session(
        settings.output_dir,
        episode_name(about.uuid),
        compression=settings.compression,
        queue_bytes=settings.queue_bytes,
        sync_period_s=settings.sync_period_s,
        custom_data=about.meta(settings, notes=notes),
    )
    for attachment in attachments:
        session.attach(*attachment)
    return OpenEpisode(
        about=about, session=session, events=events, notes=notes, lost_before={tap.name: tap.lost for tap in taps}
    )
