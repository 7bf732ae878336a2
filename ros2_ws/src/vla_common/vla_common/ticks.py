# SPDX-License-Identifier: Apache-2.0

"""Control ticks: one loop for nodes on a real clock, on a simulated clock, or in lockstep with the cell.

A worker thread owns the loop; the node's executor spins in another thread::

    ticker = make_ticker(node, rate_hz=50.0, lockstep=parameters.lockstep)
    with ticker.attached():
        while running:
            t_ns = ticker.wait(timeout_s=1.0)
            ...

On a clock, `wait` returns the multiples of 1/rate on the node clock. In lockstep the cell publishes a `SimTick` after
each control period and stands still until every participant has answered it; `wait` answers the tick that it returned
last, so whatever happens between two calls (a service call, an inference) takes no simulated time. A tick is handed out
only after the node has noticed, on each watched topic, the newest message that the cell had published before the tick.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import cast

from rclpy.clock import JumpThreshold, ROSClock
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time
from vla_msgs.msg import SimTick, SimTickDone

from vla_common.qos import EVENT, LATCHED

LEAVE = 2**64 - 1
"""SimTickDone.number of a participant that leaves for good; the cell waits for it no longer."""

TICK_TOPIC = "sim/tick"
TICK_DONE_TOPIC = "sim/tick_done"

_NS = 1_000_000_000
_LONGEST_WAIT_S = 0.2  # how late an ended ROS context is seen


class Ticker(ABC):
    """Hands out control ticks to one worker thread."""

    @abstractmethod
    def watch(self, topic: str) -> None:
        """Make ticks wait for messages of the fully resolved `topic`; binding once the first one was noticed."""

    @abstractmethod
    def unwatch(self, topic: str) -> None:
        """Stop waiting for `topic`; no error if it was not watched."""

    @abstractmethod
    def notice(self, topic: str, stamp_ns: int) -> None:
        """Say that the message with this header stamp was received; from subscription callbacks, any thread."""

    @abstractmethod
    @contextmanager
    def attached(self) -> Iterator[None]:
        """While attached, ticks wait for `wait`; otherwise they are answered by themselves."""

    @abstractmethod
    def wait(self, timeout_s: float | None = None) -> int | None:
        """Release the tick returned last and block until the next one.

        Args:
            timeout_s: longest wait in wall seconds; None waits as long as ROS runs.

        Returns:
            The time of the tick on the node clock in nanoseconds, or None when `timeout_s` passed without one.

        Raises:
            ExternalShutdownException: the ROS context was shut down.
        """

    def wake(self) -> None:  # noqa: B027 - only a clock has something to do
        """Let `wait` return the present time now, between two ticks; from any thread. In lockstep nothing happens."""

    @property
    def between(self) -> bool:
        """Whether `wait` returned because of `wake`, so that its time is no tick."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Leave for good; the cell waits for this node no longer. Idempotent."""


class _Grid:
    """The multiples of 1/rate in nanoseconds, without drift for rates such as 30 Hz."""

    def __init__(self, rate_hz: float) -> None:
        if not 0.0 < rate_hz <= 10_000.0:
            raise ValueError(f"tick rate {rate_hz} Hz: must be above 0 and at most 10000")
        self._rate = Fraction(rate_hz).limit_denominator(10_000)

    def index(self, t_ns: int) -> int:
        """Number of the last grid point at or before `t_ns`."""
        return int(t_ns * self._rate / _NS)

    def time(self, index: int) -> int:
        """Time of grid point `index`, rounded up so that `index(time(i)) == i`."""
        return -int(-(index * _NS) // self._rate)


_Seen = tuple[int, int]  # newest header stamp, how many messages had it (a topic may have several publishers)


def _after(seen: _Seen | None, stamp_ns: int) -> _Seen:
    """What was seen of a topic after a further message."""
    if seen is None or stamp_ns > seen[0]:
        return stamp_ns, 1
    return (stamp_ns, seen[1] + 1) if stamp_ns == seen[0] else seen


class ClockTicker(Ticker):
    """Ticks at the multiples of 1/rate on the node clock (system time, or `/clock` with use_sim_time)."""

    def __init__(self, node: Node, rate_hz: float) -> None:
        self._node = node
        self._clock = cast(ROSClock, node.get_clock())
        self._grid = _Grid(rate_hz)
        self._last: int | None = None
        self._changed = threading.Event()
        self._woken = threading.Event()
        self._between = False
        threshold = JumpThreshold(
            min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump = self._clock.create_jump_callback(threshold, post_callback=lambda _: self._changed.set())

    def watch(self, topic: str) -> None:
        """Nothing to wait for on a clock."""

    def unwatch(self, topic: str) -> None:
        """Nothing to wait for on a clock."""

    def notice(self, topic: str, stamp_ns: int) -> None:
        """Nothing to wait for on a clock."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attaching starts the grid anew at the present time."""
        self._last = None
        self._woken.clear()
        yield

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Block until the next grid point; points that have passed meanwhile are skipped, never caught up."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        target = self._next(self._clock.now().nanoseconds)
        while True:
            self._changed.clear()
            now = self._clock.now().nanoseconds
            if (
                self._last is not None and now < self._last
            ):  # the clock went back: a bag was restarted, a simulation reset
                self._last = None
                target = self._next(now)
            self._between = now < target and self._woken.is_set()
            if now >= target:
                self._last = target
                return target
            if self._between:
                self._woken.clear()
                return now
            if not self._node.context.ok():
                raise ExternalShutdownException
            left = _LONGEST_WAIT_S if deadline is None else min(_LONGEST_WAIT_S, deadline - time.monotonic())
            if left <= 0.0:
                return None
            if not self._clock.ros_time_is_active:
                left = min(left, (target - now) / _NS)
            self._changed.wait(left)

    def wake(self) -> None:
        """See `Ticker.wake`; where a tick is due, that is returned first."""
        self._woken.set()
        self._changed.set()

    @property
    def between(self) -> bool:
        """See `Ticker.between`."""
        return self._between

    def _next(self, now: int) -> int:
        index = self._grid.index(now)
        if self._grid.time(index) < now:
            index += 1
        if self._last is not None and self._grid.time(index) <= self._last <= now:
            index = self._grid.index(self._last) + 1
        return self._grid.time(index)

    def close(self) -> None:
        """Take the callback off the clock."""
        self._jump.unregister()


class LockstepTicker(Ticker):
    """Ticks of the simulated cell; the cell's time stands still between two calls of `wait`."""

    def __init__(self, node: Node, rate_hz: float, participant: str | None = None) -> None:
        self._node = node
        self._participant = participant or node.get_name()
        self._grid = _Grid(rate_hz)
        self._condition = threading.Condition()
        self._watched: dict[str, _Seen | None] = {}
        self._met: dict[str, int] = {}  # publishers of a topic that were heard: most messages noticed with one stamp
        self._incoming: tuple[int, int, dict[str, _Seen]] | None = None  # number, t_ns, what to wait for per topic
        self._ready: tuple[int, int] | None = None
        self._held: int | None = None
        self._answered: int | None = None
        self._last_index: int | None = None
        self._attached = False
        self._closed = False
        self._done = node.create_publisher(SimTickDone, TICK_DONE_TOPIC, EVENT)
        self._subscription = node.create_subscription(SimTick, TICK_TOPIC, self._on_tick, LATCHED)

    def watch(self, topic: str) -> None:
        """See `Ticker.watch`: a message from before the subscription matched would never come, so none is awaited."""
        with self._condition:
            self._watched.setdefault(topic, None)

    def unwatch(self, topic: str) -> None:
        """See `Ticker.unwatch`."""
        with self._condition:
            self._watched.pop(topic, None)
            self._met.pop(topic, None)
            self._offer()

    def notice(self, topic: str, stamp_ns: int) -> None:
        """See `Ticker.notice`."""
        with self._condition:
            if topic in self._watched:
                seen = _after(self._watched[topic], stamp_ns)
                self._watched[topic] = seen
                self._met[topic] = max(self._met.get(topic, 0), seen[1])
                if self._incoming is not None:
                    self._offer()

    def waiting_for(self) -> tuple[str, ...]:
        """Topics whose newest message has not been noticed yet; for error messages."""
        with self._condition:
            return self._missing()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """See `Ticker.attached`; on leaving, a tick that is held is answered."""
        with self._condition:
            if self._attached:
                raise RuntimeError("this ticker is attached already; one worker thread owns it")
            self._attached = True
            self._last_index = None
        try:
            yield
        finally:
            with self._condition:
                self._attached = False
                self._release()
                if self._ready is not None:
                    self._answer(self._ready[0])
                    self._ready = None
                self._offer()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """See `Ticker.wait`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            if not self._attached:
                raise RuntimeError("wait() is called outside `with ticker.attached()`")
            self._release()
            while self._ready is None:
                if self._closed or not self._node.context.ok():
                    raise ExternalShutdownException
                left = _LONGEST_WAIT_S if deadline is None else min(_LONGEST_WAIT_S, deadline - time.monotonic())
                if left <= 0.0:
                    return None
                self._condition.wait(left)
            number, t_ns = self._ready
            self._ready = None
            self._held = number
            return t_ns

    def close(self) -> None:
        """See `Ticker.close`; a worker that is still in `wait` gets ExternalShutdownException."""
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.notify_all()
            if self._node.context.ok():
                self._done.publish(SimTickDone(participant=self._participant, number=LEAVE))

    def _on_tick(self, msg: SimTick) -> None:
        newest: dict[str, _Seen] = {}
        for topic, stamp in zip(msg.topics, msg.last_stamps, strict=True):
            newest[topic] = _after(newest.get(topic), Time.from_msg(stamp).nanoseconds)
        t_ns = Time.from_msg(msg.stamp).nanoseconds
        with self._condition:
            if self._closed:
                return
            if msg.number == self._answered:  # the cell asks again: the answer came before its subscription matched
                self._answer(msg.number)
                return
            in_work = self._ready[0] if self._ready else self._held
            if msg.number == in_work:
                return
            if self._answered is not None and msg.number < self._answered:  # another cell was started
                self._last_index = None
            self._incoming = (msg.number, t_ns, newest)
            self._offer()

    def _missing(self) -> tuple[str, ...]:
        if self._incoming is None:
            return ()
        newest = self._incoming[2]
        return tuple(
            topic
            for topic, seen in self._watched.items()
            if seen is not None and topic in newest and self._behind(topic, seen, newest[topic])
        )

    def _behind(self, topic: str, seen: _Seen, newest: _Seen) -> bool:
        """Whether a newer message must come.

        A new subscription meets the publishers of a topic one after the other, and what one has sent before that never
        comes: a publisher is awaited from the moment on at which it was heard.
        """
        stamp, count = newest
        return seen < (stamp, min(count, self._met[topic]))

    def _offer(self) -> None:
        """Hand the incoming tick to the worker, or answer it, once nothing is missing any more."""
        if self._incoming is None or self._missing():
            return
        number, t_ns, _ = self._incoming
        self._incoming = None
        index = self._grid.index(t_ns)
        if not self._attached or (self._last_index is not None and index <= self._last_index):
            self._answer(number)
            return
        self._last_index = index
        self._ready = (number, t_ns)
        self._condition.notify_all()

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._answer(held)

    def _answer(self, number: int) -> None:
        self._answered = number
        if self._node.context.ok():
            self._done.publish(SimTickDone(participant=self._participant, number=number))


def make_ticker(node: Node, rate_hz: float = 50.0, lockstep: bool = False) -> Ticker:
    """A ticker for `node`: of the simulated cell if `lockstep`, else of the node clock.

    Args:
        node: its name is the participant's name in lockstep.
        rate_hz: ticks per second of the node clock. In lockstep, ticks of the cell that are more frequent are answered
            without being handed out; the cell's own rate is the upper limit.
        lockstep: as the cell's parameter `clock_mode: lockstep`.
    """
    return LockstepTicker(node, rate_hz) if lockstep else ClockTicker(node, rate_hz)
