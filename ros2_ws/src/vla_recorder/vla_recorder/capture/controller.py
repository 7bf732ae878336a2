# SPDX-License-Identifier: Apache-2.0

"""The episode state machine of the recorder: opens, feeds, pauses and closes episodes; knows no services or actions."""

from __future__ import annotations

import threading
import uuid as uuid_module
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rclpy.serialization import deserialize_message
from vla_core.episode import ARMED, IDLE, OUTCOMES, TERMINATIONS
from vla_core.errors import BagError, EpisodeError
from vla_core.profile import Profile
from vla_msgs.action import RecordEpisode
from vla_msgs.msg import EpisodeEvent, PolicyStatus

from vla_recorder.capture.about import (
    Closed,
    Identity,
    RecordError,
    Request,
    Settings,
    check_skill_outcome,
    checked_notes,
)
from vla_recorder.capture.audit import audit, unmoved
from vla_recorder.capture.clock_watch import ClockWatch
from vla_recorder.capture.disk import DiskBudget
from vla_recorder.capture.labels import DISCARDED, Shelf, joined
from vla_recorder.capture.live_audit import MISSING, AuditBoard, Problem, StreamAudit
from vla_recorder.capture.motion import MotionDetector
from vla_recorder.capture.open_episode import OpenEpisode, event_topic, last_commands, start_episode
from vla_recorder.capture.session import FINISH_TIMEOUT_S, SHUTDOWN_TIMEOUT_S
from vla_recorder.capture.taps import Tap, Taps, Waiting
from vla_recorder.capture.topic_plan import POLICY_STATUS

Result = RecordEpisode.Result
_NS = 1_000_000_000
_LONGEST_WAIT_NS = 10 * _NS  # what is older was not noted by the system clock
_FOREIGN_CLOCK_NS = _NS  # a stamp this far ahead of a simulated clock is of another clock


class Controller:
    """Thread-safe; every method may be called from the executor or from the main thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        event_topic_name: str,
        now_ns: Callable[[], int],
        publish_event: Callable[[EpisodeEvent], None],
        on_closed: Callable[[Closed], None],
    ) -> None:
        """Prepare; `taps` and `observe` must be set before the first episode.

        Args:
            settings: See `Settings`.
            event_topic_name: Fully resolved name of the phase topic.
            now_ns: Node clock.
            publish_event: Publishes a phase change.
            on_closed: Told of every episode that ends.
        """
        self.taps: Taps
        self.shelf = Shelf(settings.output_dir)
        self.disk = DiskBudget(settings.output_dir, settings.min_free_bytes)
        self.board = AuditBoard({})
        self._profile: Profile
        self._motion: MotionDetector
        self._settings = settings
        self._event_topic = event_topic(event_topic_name)
        self._now_ns = now_ns
        self._publish_event = publish_event
        self._on_closed = on_closed
        self._lock = threading.RLock()
        self._open: OpenEpisode | None = None
        self._policy_drives = False
        self._clock = ClockWatch()

    @property
    def recording(self) -> bool:
        """Whether an episode is open."""
        return self._open is not None

    @property
    def saved(self) -> int:
        """Episodes that were saved and not discarded."""
        return self.shelf.kept

    def observe(self, profile: Profile, motion: MotionDetector, audits: Mapping[str, StreamAudit]) -> None:
        """Set the profile that the next episodes are recorded with, and what watches its streams."""
        with self._lock:
            self._profile, self._motion, self.board = profile, motion, AuditBoard(audits)

    def snapshot(self) -> dict[str, Any]:
        """Return what the open episode is like; {} while none is open."""
        with self._lock:
            episode = self._open
            if episode is None:
                return {}
            now = self._now_ns()
            return {
                "phase": ARMED if episode.paused else episode.phases.phase,
                "uuid": episode.about.uuid,
                "task": episode.about.request.task,
                "operator": episode.about.request.operator,
                "notes": episode.notes,
                "folder": str(episode.session.folder),
                "elapsed": (now - episode.about.start_ns) / _NS,
                "recorded": episode.recorded_s(now),
                "messages": episode.session.messages,
                "bytes": episode.session.payload_bytes,
                "writing": episode.writing,
                "paused": episode.paused,
                "dropped": sum(episode.lost(self.taps).values()) + sum(episode.session.dropped.values()),
            }

    def problems(self) -> list[Problem]:
        """Return what is wrong with the profile's streams now."""
        with self._lock:
            phases = None if self._open is None else self._open.phases
            armed = phases is not None and phases.phase == ARMED
            return self.board.problems(self._now_ns(), commands=phases is not None and phases.driven, armed=armed)

    def open(self, request: Request) -> str:
        """Open an episode and return its uuid. Nothing is written before the first motion.

        Raises:
            RecordError: An episode is open, a stream is missing or slow, or the disk refuses.
        """
        with self._lock:
            if self._open is not None:
                raise RecordError(
                    Result.ALREADY_RECORDING,
                    f"episode {self._open.about.uuid} is being recorded; stop or discard it before starting another",
                )
            self._refuse_bad_streams()
            uuid = str(uuid_module.uuid4())
            try:
                self.disk.check_start(request.max_duration_s)
            except BagError as error:
                raise RecordError(Result.DISK_SPACE, str(error)) from error
            try:
                episode = self._make(uuid, request)
            except BagError as error:
                raise RecordError(Result.CANNOT_WRITE, str(error)) from error
            self._open = episode
            self._motion.reset(last_commands(self.taps, self._motion.topics, episode.about.start_ns))
            self.board.begin()
            self._publish_event(episode.enter(ARMED, "episode opened", episode.about.start_ns))
            if self._settings.from_start:
                episode.begin(self.taps, episode.about.start_ns, 0)
            return uuid

    def _refuse_bad_streams(self) -> None:
        refused = [problem.text for problem in self.problems() if self._policy(problem) == "refuse"]
        if refused:
            raise RecordError(
                Result.MISSING_TOPIC, "; ".join(refused) + ". Is the driver running? Check with `ros2 topic hz <topic>`"
            )

    def _policy(self, problem: Problem) -> str:
        if self.board.streams[problem.topic].plan.role == "command":
            return "warn"
        return self._settings.on_missing if problem.kind == MISSING else self._settings.on_slow

    def _make(self, uuid: str, request: Request) -> OpenEpisode:
        return start_episode(
            Identity(
                uuid=uuid,
                request=request,
                profile=self._profile,
                start_ns=self._now_ns(),
                recorded_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            ),
            self._settings,
            self._event_topic,
            self.taps,
        )

    def receive(self, tap: Tap, data: bytes, stamp_ns: int, received_ns: int = 0) -> None:
        """Take one message from a subscription.

        Args:
            tap: Its topic.
            data: CDR bytes.
            stamp_ns: Header stamp; 0 if it has none.
            received_ns: When the middleware received it, in system time; 0 if it does not tell.
        """
        log_ns = self._now_ns()
        if not self._settings.sim_time:
            # The executor serves a message a little after it has arrived.
            log_ns = received_ns if 0 < log_ns - received_ns < _LONGEST_WAIT_NS else log_ns
        elif log_ns < stamp_ns < log_ns + _FOREIGN_CLOCK_NS:
            # On a simulated clock the message of an instant may arrive before the clock shows that instant.
            log_ns = stamp_ns
        tap.last_ns = log_ns
        self.board.look(log_ns)
        self.board.tick(tap.name, log_ns, stamp_ns)
        if tap.plan.topic == POLICY_STATUS:
            self._policy_drives = deserialize_message(data, PolicyStatus).state == PolicyStatus.RUNNING
        message = Waiting(log_ns, stamp_ns or log_ns, data)
        with self._lock:
            episode = self._open
            if episode is not None and episode.writing:
                episode.write(self.taps, tap, message)
            else:
                tap.hold(message, self._window_ns(tap))
            if episode is not None and episode.phases.phase == ARMED:
                self._watch_motion(episode, tap, message)

    def _window_ns(self, tap: Tap) -> int:
        return max(self._settings.preroll_ns, int((tap.plan.max_age_s or 0.0) * _NS))

    def _watch_motion(self, episode: OpenEpisode, tap: Tap, message: Waiting) -> None:
        moving = self._motion.moved(tap.name, message.data)
        if moving:
            phase = episode.phases.on_motion(policy=self._policy_drives)
            self._enter(episode, phase, f"motion of {moving}", message.log_ns)

    def _enter(self, episode: OpenEpisode, phase: int, label: str, now_ns: int) -> None:
        """Go to a phase; messages are written in every phase in which somebody drives."""
        if episode.phases.allows(phase) and phase not in (IDLE, ARMED) and not episode.paused and not episode.writing:
            episode.begin(self.taps, now_ns, self._settings.preroll_ns)
        event = episode.enter(phase, label, now_ns)
        if phase == ARMED and not self._settings.from_start:
            episode.halt(now_ns)
        if phase == ARMED:
            self._motion.reset({})
        self._publish_event(event)

    def set_phase(self, phase: int, label: str, skill: str = "") -> int:
        """Go to a phase on behalf of whoever drives; returns the phase.

        Args:
            phase: EpisodeEvent constant; IDLE is refused, stopping is a service of its own.
            label: What caused it.
            skill: Name of the skill; stored with the episode.

        Raises:
            RecordError: No episode is open.
            EpisodeError: The phase may not follow the current one, or another skill is to be resumed.
        """
        with self._lock:
            episode = self._require_open()
            if phase == IDLE:
                raise EpisodeError("IDLE is no phase to set: stop or discard the episode instead")
            episode.check_skill(phase, skill)
            if phase != episode.phases.phase:
                self._enter(episode, phase, label, self._now_ns())
            if skill:
                episode.added["skill_name"] = skill
            return episode.phases.phase

    def annotate(self, notes: str, extra: Mapping[str, str]) -> str:
        """Write something down about the open episode, or the last one; returns its uuid.

        Raises:
            EpisodeError: There is no episode, or a key is not allowed.
            BagError: The disk refuses it.
        """
        with self._lock:
            checked = checked_notes(extra)
            if self._open is None:
                return self.shelf.annotate(notes, checked).uuid
            self._open.notes = joined(self._open.notes, notes)
            self._open.added.update(checked)
            return self._open.about.uuid

    def guard(self) -> None:
        """Pause, resume or close the open episode as streams, disk and time demand; call it a few times a second."""
        with self._lock:
            episode, now = self._open, self._now_ns()
            set_back = self._clock.look(now)
            self.board.look(now)
            if episode is None:
                return
            if episode.session.error:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_ERROR)
                return
            reason = set_back or self.disk.problem()
            if reason:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_ERROR, reason)
                return
            if 0 < episode.about.request.max_duration_s <= (now - episode.about.start_ns) / _NS:
                self.close(Result.OUTCOME_UNKNOWN, Result.TERMINATION_TIMEOUT)
                return
            self._follow_streams(episode, now)

    def _follow_streams(self, episode: OpenEpisode, now_ns: int) -> None:
        reason = "; ".join(problem.text for problem in self.problems() if self._policy(problem) == "pause")
        if reason and not episode.paused and episode.writing:
            episode.halt(now_ns)
            self._publish_event(episode.mark_pause(now_ns, reason))
        elif not reason and episode.paused:
            if episode.phases.driven or self._settings.from_start:
                episode.begin(self.taps, now_ns, self._settings.preroll_ns)
            self._publish_event(episode.mark_resume(now_ns))

    def close(
        self, outcome: int, termination: int, reason: str = "", *, skill_outcome: str = "", notes: str = ""
    ) -> Closed:
        """Close and keep the open episode; one in which nobody moved is not kept, because it holds nothing.

        Args:
            outcome: OUTCOME constant.
            termination: TERMINATION constant; what the disk says may turn it into an error.
            reason: Why it ends, if it ends in error.
            skill_outcome: What became of the skill; empty: derived from the phases.
            notes: Added to the episode's notes.

        Raises:
            RecordError: No episode is open.
            EpisodeError: The outcome is unknown.
        """
        with self._lock:
            episode = self._require_open()
            if not 0 <= outcome < len(OUTCOMES):
                raise EpisodeError(f"outcome {outcome} is not one of 0 to {len(OUTCOMES) - 1} ({', '.join(OUTCOMES)})")
            if skill_outcome:
                check_skill_outcome(skill_outcome)
                episode.added["skill_outcome"] = skill_outcome
            episode.notes = joined(episode.notes, notes)
            closed = self._finish(episode, outcome, termination, reason)
        self._on_closed(closed)
        return closed

    def discard(self) -> Closed:
        """Close the open episode and put it aside; `shelf.undo` brings it back.

        Raises:
            RecordError: No episode is open.
        """
        with self._lock:
            episode = self._require_open()
            closed = self._finish(episode, Result.OUTCOME_UNKNOWN, Result.TERMINATION_DISCARDED, "")
            if closed.path is not None and not closed.error_msg:
                try:
                    self.shelf.label(closed.uuid, DISCARDED)
                except (BagError, EpisodeError) as error:
                    closed = replace(closed, error_code=Result.CANNOT_WRITE, error_msg=str(error))
            closed = replace(closed, path=None, messages=0)
        self._on_closed(closed)
        return closed

    def _finish(self, episode: OpenEpisode, outcome: int, termination: int, reason: str) -> Closed:
        now = self._now_ns()
        lost = episode.lost(self.taps)
        episode.halt(now)
        episode.paused = ""
        self._publish_event(episode.enter(IDLE, TERMINATIONS[termination], now))
        episode.log.end(now, episode.session.messages)
        self._open = None
        session, about = episode.session, episode.about
        path, warnings = None, () if episode.first_ns else unmoved(self._motion.topics)
        try:
            if not episode.first_ns and not session.error:
                session.discard()
            else:
                shutdown = termination == Result.TERMINATION_SHUTDOWN
                session.drain(SHUTDOWN_TIMEOUT_S if shutdown else FINISH_TIMEOUT_S)
                reason = reason or session.error
                termination = Result.TERMINATION_ERROR if reason else termination
                warnings = (*audit([(tap.plan, tap.name) for tap in self.taps], session.counts(), lost), *warnings)
                path = session.finish(
                    episode.closing_data(
                        self._settings,
                        outcome=OUTCOMES[outcome],
                        termination=termination,
                        now_ns=now,
                        error=reason,
                        warnings=warnings,
                        lost=lost,
                    )
                )
                self.disk.learn(session.payload_bytes, path)
                self.shelf.add(about.uuid, path, OUTCOMES[outcome], TERMINATIONS[termination], episode.notes)
        except BagError as error:
            termination, reason = Result.TERMINATION_ERROR, str(error)
            path = path or session.folder
        return Closed(
            uuid=about.uuid,
            termination=termination,
            outcome=outcome,
            error_code=Result.CANNOT_WRITE if reason else Result.NONE,
            error_msg=reason,
            path=path,
            messages=session.messages,
            duration_s=(now - about.start_ns) / _NS,
            warnings=warnings,
        )

    def _require_open(self) -> OpenEpisode:
        if self._open is None:
            raise RecordError(Result.NONE, "no episode is open; start one first")
        return self._open
