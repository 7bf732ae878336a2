# SPDX-License-Identifier: Apache-2.0

"""The episode state machine of the recorder: opens, feeds and closes sessions; knows nothing of services or actions."""

from __future__ import annotations

import json
import threading
import uuid as uuid_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message
from rclpy.time import Time
from vla_core.episode import OUTCOMES, TERMINATIONS, EpisodeMeta, PhaseMachine
from vla_core.errors import BagError, VlaError
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, PolicyStatus

from vla_recorder.bags.message_definitions import full_definition
from vla_recorder.bags.writer import TopicInfo
from vla_recorder.capture.audit import audit
from vla_recorder.capture.session import Session, check_free_space, episode_name
from vla_recorder.capture.taps import WRITTEN_QOS, Tap, Taps, content
from vla_recorder.capture.topic_plan import POLICY_STATUS

Result = RecordEpisode.Result
_NS = 1_000_000_000
_EVENT_TYPE = "vla_msgs/msg/EpisodeEvent"


class RecordError(VlaError):
    """An episode cannot be opened or closed; `code` is an error code of RecordEpisode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the recorder was told at its start.

    Attributes:
        output_dir: Where episodes are kept.
        compression: ``none``, ``lz4`` or ``zstd``.
        queue_bytes: How much may wait for the disk [B].
        min_free_bytes: Free disk space below which nothing is recorded [B].
        sim_time: The node clock is simulated.
        robot: Name of the robot.
        profile: Full text of its profile.
        profile_sha256: Hash of that text.
        versions: Program or package -> version.
        extra: Further metadata of every episode.
    """

    output_dir: Path
    compression: str
    queue_bytes: int
    min_free_bytes: int
    sim_time: bool
    robot: str
    profile: str
    profile_sha256: str
    versions: Mapping[str, str]
    extra: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """An episode that has ended."""

    uuid: str
    termination: int
    outcome: int
    error_code: int
    error_msg: str
    path: Path | None
    messages: int
    duration_s: float
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Open:
    uuid: str
    task: str
    seed: int
    session: Session
    start_ns: int
    max_duration_s: float
    recorded_at: str
    phases: PhaseMachine = field(default_factory=PhaseMachine)
    baselines: dict[str, bytes] = field(default_factory=dict)


class Controller:
    """Thread-safe; every method may be called from the executor or from the main thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        event_topic: str,
        now_ns: Callable[[], int],
        publish_event: Callable[[EpisodeEvent], None],
        on_closed: Callable[[Closed], None],
    ) -> None:
        """Prepare; `taps` must be set before the first episode.

        Args:
            settings: See `Settings`.
            event_topic: Fully resolved name of the phase topic.
            now_ns: Node clock.
            publish_event: Publishes a phase change.
            on_closed: Told of every episode that ends.
        """
        self.taps: Taps
        self._settings = settings
        self._event = TopicInfo(
            name=event_topic, type=_EVENT_TYPE, definition=full_definition(_EVENT_TYPE), qos=(WRITTEN_QOS,)
        )
        self._now_ns = now_ns
        self._publish_event = publish_event
        self._on_closed = on_closed
        self._lock = threading.RLock()
        self._open: _Open | None = None
        self._policy_drives = False
        self.saved = 0

    @property
    def recording(self) -> bool:
        """Whether an episode is open."""
        return self._open is not None

    def snapshot(self) -> dict[str, Any]:
        """Return phase, uuid, task, folder, elapsed time [s], messages and bytes of the open episode; {} while idle."""
        with self._lock:
            if self._open is None:
                return {}
            return {
                "phase": self._open.phases.phase,
                "uuid": self._open.uuid,
                "task": self._open.task,
                "folder": str(self._open.session.folder),
                "elapsed": (self._now_ns() - self._open.start_ns) / _NS,
                "messages": self._open.session.messages,
                "bytes": self._open.session.payload_bytes,
            }

    def open(self, task: str, seed: int, max_duration_s: float) -> str:
        """Open an episode and return its uuid.

        Raises:
            RecordError: An episode is open, an observation topic is silent, or the disk refuses.
        """
        with self._lock:
            if self._open is not None:
                raise RecordError(
                    Result.ALREADY_RECORDING,
                    f"episode {self._open.uuid} is being recorded; stop or discard it before starting another",
                )
            silent = self.taps.silent_observations(self._now_ns())
            if silent:
                raise RecordError(
                    Result.MISSING_TOPIC,
                    "; ".join(silent) + ". Is the driver running? Check with `ros2 topic hz <topic>`",
                )
            uuid = str(uuid_module.uuid4())
            try:
                check_free_space(self._settings.output_dir, self._settings.min_free_bytes)
                session = Session(
                    self._settings.output_dir,
                    episode_name(uuid),
                    compression=self._settings.compression,
                    queue_bytes=self._settings.queue_bytes,
                )
            except BagError as error:
                raise RecordError(Result.CANNOT_WRITE, str(error)) from error
            self._open = _Open(
                uuid=uuid,
                task=task,
                seed=seed,
                session=session,
                start_ns=self._now_ns(),
                max_duration_s=max_duration_s,
                recorded_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            )
            session.add_topic(self._event)
            for tap in self.taps.taps.values():
                session.add_topic(self.taps.info(tap))
                for data in tap.latched:
                    session.write(tap.name, data, self._open.start_ns, self._open.start_ns)
            self._change_phase(EpisodeEvent.ARMED, "episode opened")
            return uuid

    def receive(self, tap: Tap, data: bytes, stamp_ns: int) -> None:
        """Take one message from a subscription."""
        now = self._now_ns()
        # On a simulated clock the message of an instant may arrive before the clock shows that instant.
        log_ns = max(now, stamp_ns) if self._settings.sim_time else now
        tap.last_ns = log_ns
        if tap.plan.topic == POLICY_STATUS:
            self._policy_drives = deserialize_message(data, PolicyStatus).state == PolicyStatus.RUNNING
        episode = self._open
        if episode is None:
            return
        with self._lock:
            if self._open is not episode:
                return
            episode.session.write(tap.name, data, log_ns, stamp_ns or log_ns)
            if tap.plan.role == "command" and episode.phases.phase == EpisodeEvent.ARMED:
                self._watch_motion(episode, tap, data)

    def guard(self) -> None:
        """Close the open episode if its time is up or the disk fails; call it a few times a second."""
        with self._lock:
            if self._open is None:
                return
            elapsed = (self._now_ns() - self._open.start_ns) / _NS
            if self._open.session.error:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_ERROR)
                return
            try:
                check_free_space(self._settings.output_dir, self._settings.min_free_bytes)
            except BagError as error:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_ERROR, str(error))
                return
            if 0 < self._open.max_duration_s <= elapsed:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_TIMEOUT)

    def close(self, outcome: int, termination: int, reason: str = "") -> Closed:
        """Close and keep the open episode.

        Args:
            outcome: OUTCOME constant.
            termination: TERMINATION constant; what the disk says may turn it into an error.
            reason: Why it ends, if it ends in error.

        Raises:
            RecordError: No episode is open.
        """
        with self._lock:
            episode = self._require_open()
            self._change_phase(EpisodeEvent.IDLE, TERMINATIONS[termination])
            self._open = None
            duration = (self._now_ns() - episode.start_ns) / _NS
            episode.session.drain()
            reason = reason or episode.session.error
            termination = Result.TERMINATION_ERROR if reason else termination
            warnings = audit([(tap.plan, tap.name) for tap in self.taps.taps.values()], episode.session.counts())
            path: Path | None = None
            try:
                path = episode.session.finish(
                    self._custom_data(episode, outcome, termination, duration, reason, warnings)
                )
                self.saved += 1
            except BagError as error:
                termination, reason = Result.TERMINATION_ERROR, str(error)
            closed = Closed(
                uuid=episode.uuid,
                termination=termination,
                outcome=outcome,
                error_code=Result.CANNOT_WRITE if reason else Result.NONE,
                error_msg=reason,
                path=path or episode.session.folder,
                messages=episode.session.messages,
                duration_s=duration,
                warnings=warnings,
            )
        self._on_closed(closed)
        return closed

    def discard(self) -> Closed:
        """Close the open episode and delete what it wrote.

        Raises:
            RecordError: No episode is open.
        """
        with self._lock:
            episode = self._require_open()
            self._change_phase(EpisodeEvent.IDLE, "discarded")
            self._open = None
            reason = ""
            try:
                episode.session.discard()
            except BagError as error:
                reason = str(error)
            closed = Closed(
                uuid=episode.uuid,
                termination=Result.TERMINATION_DISCARDED,
                outcome=Result.OUTCOME_UNKNOWN,
                error_code=Result.CANNOT_WRITE if reason else Result.NONE,
                error_msg=reason,
                path=None,
                messages=0,
                duration_s=(self._now_ns() - episode.start_ns) / _NS,
            )
        self._on_closed(closed)
        return closed

    def _require_open(self) -> _Open:
        if self._open is None:
            raise RecordError(Result.NONE, "no episode is open; start one first")
        return self._open

    def _watch_motion(self, episode: _Open, tap: Tap, data: bytes) -> None:
        """Somebody drives as soon as a command topic says anything but what it said first."""
        now = content(data, tap.stamped)
        if episode.baselines.setdefault(tap.name, now) != now:
            phase = EpisodeEvent.POLICY if self._policy_drives else EpisodeEvent.TELEOP
            self._change_phase(phase, f"motion on {tap.name}")

    def _change_phase(self, phase: int, label: str) -> None:
        episode = self._require_open()
        episode.phases.to(phase)
        now = self._now_ns()
        idle = phase == EpisodeEvent.IDLE
        event = EpisodeEvent(
            stamp=Time(nanoseconds=now).to_msg(), phase=phase, episode_uuid="" if idle else episode.uuid, label=label
        )
        # Written directly: it must be in the bag whatever becomes of a subscription to one's own topic.
        episode.session.write(self._event.name, serialize_message(event), now, now)
        self._publish_event(event)

    def _custom_data(
        self,
        episode: _Open,
        outcome: int,
        termination: int,
        duration_s: float,
        reason: str,
        warnings: tuple[str, ...],
    ) -> dict[str, str]:
        topics = {name: count.report() for name, count in episode.session.counts().items()}
        return EpisodeMeta(
            episode_uuid=episode.uuid,
            task=episode.task,
            outcome=OUTCOMES[outcome],
            termination=TERMINATIONS[termination],
            seed=episode.seed or None,
            robot=self._settings.robot,
            profile=self._settings.profile,
            profile_sha256=self._settings.profile_sha256,
            versions=self._settings.versions,
            extra={
                "error": reason,
                "start_ns": str(episode.start_ns),
                "recorded_at": episode.recorded_at,
                "duration_s": f"{duration_s:.6f}",
                "topics": json.dumps(topics),
                "warnings": json.dumps(list(warnings), ensure_ascii=False),
                **self._settings.extra,
            },
        ).to_dict()
