# SPDX-License-Identifier: Apache-2.0

"""The cell's side of lockstep: publish a tick, wait until every participant has answered it.

The other side is `vla_common.ticks`. Time limits are wall time: simulated time stands still while waiting.
"""

import threading
import time
from dataclasses import dataclass

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from vla_common.qos import EVENT, LATCHED
from vla_common.ticks import LEAVE, TICK_DONE_TOPIC, TICK_TOPIC
from vla_msgs.msg import SimTick, SimTickDone

from vla_sim.errors import SimError
from vla_sim.facade.messages import to_time

_REMIND_S = 5.0  # between messages about a participant that does not answer
_SLOW_S = 1.0  # acknowledgements that take longer point at the transport's settings
_ACKNOWLEDGE_SLICE = Duration(seconds=0.2)  # how late the end of the program is seen
_REPEAT_S = 0.5  # a tick is published again for participants whose subscription or answer was not matched yet


class LockstepError(SimError):
    """A participant does not answer, or a subscriber does not acknowledge."""


@dataclass(slots=True)
class _Participant:
    answered: int = -1
    seen: bool = False


class TickServer:
    """Publishes ticks and collects the answers; `exchange` is called by the simulation thread only."""

    def __init__(
        self, node: Node, participants: tuple[str, ...], *, timeout_s: float = 60.0, startup_timeout_s: float = 300.0
    ) -> None:
        """Serve ticks.

        Args:
            node: the cell. Make the server last: in one round of the executor, commands that came before an answer are
                then served before it.
            participants: names that must answer each tick.
            timeout_s: wall seconds after which a silent participant is an error.
            startup_timeout_s: the same for its first answer.
        """
        self.number = 0
        self._node = node
        self._participants = participants
        self._timeout_s = timeout_s
        self._startup_timeout_s = startup_timeout_s
        self._stamps: dict[Publisher, int] = {}
        self._topics: list[str] = []  # in the order of _stamps
        self._unacknowledged: dict[Publisher, int] = {}
        self._stop = False
        self._condition = threading.Condition()
        self._waiting = {name: _Participant() for name in participants}
        self._strangers: set[str] = set()
        self._publisher = node.create_publisher(SimTick, TICK_TOPIC, LATCHED)
        self._subscription = node.create_subscription(SimTickDone, TICK_DONE_TOPIC, self._on_done, EVENT)

    def published(self, publisher: Publisher, stamp_ns: int) -> None:
        """A sensor message with this header stamp was published; it must reach everybody."""
        if publisher not in self._stamps:
            self._topics.append(str(publisher.topic_name))
        self._stamps[publisher] = stamp_ns
        self.sent(publisher)

    def sent(self, publisher: Publisher) -> None:
        """Any other message was published that no subscriber may lose, for example on `/clock`."""
        self._unacknowledged[publisher] = self._unacknowledged.get(publisher, 0) + 1

    def stop(self) -> None:
        """Make `exchange` return at once, now and later."""
        with self._condition:
            self._stop = True
            self._condition.notify_all()

    def exchange(self, t_ns: int) -> None:
        """Publish the tick of `t_ns` and wait for all answers.

        Raises:
            LockstepError: a participant was silent for too long.
        """
        tick = SimTick(stamp=to_time(t_ns), number=self.number)
        tick.topics = self._topics
        tick.last_stamps = [to_time(stamp) for stamp in self._stamps.values()]
        start = time.monotonic()
        repeat, remind = start + _REPEAT_S, start + _REMIND_S
        self._publisher.publish(tick)
        with self._condition:
            while (missing := self._missing()) and not self._stop:
                now = time.monotonic()
                if now >= remind:
                    remind += _REMIND_S
                    self._remind(missing, now - start)
                if now >= repeat:
                    repeat = now + _REPEAT_S
                    self._publisher.publish(tick)
                self._condition.wait(min(repeat, remind) - now)
        self.number += 1

    def wait_acknowledged(self) -> None:
        """Hold simulated time back for subscribers that are not participants and have not acknowledged what they got.

        Participants acknowledge by their answers. For the others the transport does, but only when its next heartbeat
        asks (every 20 ms with the transport profile of this workspace, every 3 s without), so publishers are let run
        ahead until half of their history is unacknowledged; nothing is ever pushed out of it unseen.

        Raises:
            LockstepError: a subscriber was silent for too long.
        """
        for publisher, count in self._unacknowledged.items():
            if count > publisher.qos_profile.depth // 2:
                self._wait_for(publisher)
                self._unacknowledged[publisher] = 0

    def _wait_for(self, publisher: Publisher) -> None:
        start = time.monotonic()
        remind = start + _REMIND_S
        while not publisher.wait_for_all_acked(_ACKNOWLEDGE_SLICE) and not self._stop:
            now = time.monotonic()
            if now >= remind:
                remind += _REMIND_S
                self._complain(
                    f"topic {publisher.topic_name}: a subscriber has not acknowledged its messages for "
                    f"{now - start:.0f} s; "
                    f"simulated time stands still. Is one of its {publisher.get_subscription_count()} subscribers "
                    "stopped?",
                    now - start > self._timeout_s,
                )
        if time.monotonic() - start > _SLOW_S and not self._stop:
            self._node.get_logger().warning(
                f"topic {publisher.topic_name}: acknowledgements took {time.monotonic() - start:.1f} s and slow the "
                "simulation "
                "down. Set FASTRTPS_DEFAULT_PROFILES_FILE to vla_bringup's config/fastdds_shm.xml, as its launch "
                "files do",
                once=True,
            )

    def _on_done(self, msg: SimTickDone) -> None:
        with self._condition:
            participant = self._waiting.get(msg.participant)
            if participant is None:
                if msg.participant not in self._strangers and msg.number != LEAVE:
                    self._strangers.add(msg.participant)
                    self._node.get_logger().warning(
                        f"node '{msg.participant}' answers ticks but is not in the parameter 'participants' "
                        f"({', '.join(self._participants) or 'empty'}); simulated time does not wait for it"
                    )
                return
            participant.seen = True
            if msg.number == LEAVE:
                del self._waiting[msg.participant]
                self._strangers.add(msg.participant)
            else:
                participant.answered = max(participant.answered, msg.number)
            self._condition.notify_all()

    def _missing(self) -> list[str]:
        return [name for name, participant in self._waiting.items() if participant.answered < self.number]

    def _remind(self, missing: list[str], waited_s: float) -> None:
        starting = [name for name in missing if not self._waiting[name].seen]
        limit = self._startup_timeout_s if len(starting) == len(missing) else self._timeout_s
        if waited_s <= limit and len(starting) == len(missing):  # a node that loads a model takes its time
            self._node.get_logger().info(f"waiting for {', '.join(starting)} to start ({waited_s:.0f} s)")
            return
        kind = "has not started" if starting else "does not answer"
        self._complain(
            f"lockstep: {', '.join(missing)} {kind} (tick {self.number}, {waited_s:.0f} s); simulated time stands "
            "still. "
            "Is the node running, with lockstep:=true and this name in the cell's parameter 'participants'?",
            waited_s > limit,
        )

    def _complain(self, text: str, fatal: bool) -> None:
        if fatal:
            raise LockstepError(text)
        self._node.get_logger().error(text)
