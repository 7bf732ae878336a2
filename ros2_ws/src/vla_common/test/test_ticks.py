# SPDX-License-Identifier: Apache-2.0

"""Ticks in lockstep (a scripted cell on the other side) and on clocks."""

import os
import random
import threading
import time
from itertools import pairwise

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from vla_common.qos import EVENT, LATCHED
from vla_common.ticks import LEAVE, ClockTicker, LockstepTicker, make_ticker
from vla_msgs.msg import SimTick, SimTickDone

MS = 1_000_000


def until(condition, timeout_s=10.0, what="condition"):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.002)


class World:
    """A participant and a scripted cell, both served by one executor thread."""

    def __init__(self):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 200))
        self.node = Node("worker", context=self.context)
        self.cell = Node("cell", context=self.context)
        self.answers = []
        self.pub = self.cell.create_publisher(SimTick, "sim/tick", LATCHED)
        self.cell.create_subscription(
            SimTickDone, "sim/tick_done", lambda m: self.answers.append((m.participant, m.number)), EVENT
        )
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.cell)
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def tick(self, number, t_ms, **stamps_ms):
        msg = SimTick(number=number)
        msg.stamp.nanosec = t_ms * MS
        msg.topics = [f"/{name}" for name in stamps_ms]
        msg.last_stamps = [Clock().clock for _ in stamps_ms]
        for stamp, value in zip(msg.last_stamps, stamps_ms.values(), strict=True):
            stamp.nanosec = value * MS
        self.pub.publish(msg)

    def answered(self, number):
        until(lambda: ("worker", number) in self.answers, what=f"answer {number}, got {self.answers}")

    def matched(self, ticker):
        until(lambda: ticker._done.get_subscription_count() and self.pub.get_subscription_count(), what="discovery")

    def close(self):
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        self.cell.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


def test_unattached_ticks_are_answered(world):
    ticker = make_ticker(world.node, lockstep=True)
    assert isinstance(ticker, LockstepTicker)
    world.matched(ticker)
    world.tick(0, 20)
    world.answered(0)


def test_wait_holds_the_tick_until_the_next_call(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    with ticker.attached():
        world.tick(0, 20)
        assert ticker.wait(5.0) == 20 * MS
        assert world.answers == []
        assert ticker.wait(0.05) is None
        world.answered(0)
        world.tick(1, 40)
        assert ticker.wait(5.0) == 40 * MS
    world.answered(1)


def test_wait_outside_attached_is_an_error(world):
    with pytest.raises(RuntimeError, match=r"outside `with ticker\.attached"):
        LockstepTicker(world.node, 50.0).wait(0.1)


def test_watched_topics_hold_back_the_tick_once_they_were_noticed(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    ticker.watch("/js")
    with ticker.attached():
        world.tick(0, 20, js=20)  # nothing noticed yet: a message from before the subscription never comes
        assert ticker.wait(5.0) == 20 * MS
        ticker.notice("/js", 20 * MS)
        ticker.notice("/other", 20 * MS)
        world.tick(1, 40, js=40, other=40)
        assert ticker.wait(0.2) is None
        assert ticker.waiting_for() == ("/js",)
        ticker.notice("/js", 38 * MS)
        assert ticker.wait(0.05) is None
        ticker.notice("/js", 40 * MS)
        assert ticker.wait(5.0) == 40 * MS
        world.tick(2, 60, js=60)
        assert ticker.wait(0.05) is None
        ticker.unwatch("/js")
        assert ticker.wait(5.0) == 60 * MS


def two_publishers(world, number, t_ms):
    """A tick before which both publishers of a topic have sent at `t_ms`."""
    msg = SimTick(number=number, stamp=Time(nanoseconds=t_ms * MS).to_msg(), topics=["/js", "/js", "/js"])
    msg.last_stamps = [Time(nanoseconds=t * MS).to_msg() for t in (t_ms, 10, t_ms)]
    world.pub.publish(msg)


def test_all_publishers_of_a_topic_are_awaited(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    ticker.watch("/js")
    with ticker.attached():
        for _ in range(2):
            ticker.notice("/js", 18 * MS)
        two_publishers(world, 0, 20)
        ticker.notice("/js", 20 * MS)
        assert ticker.wait(0.2) is None
        ticker.notice("/js", 20 * MS)
        assert ticker.wait(5.0) == 20 * MS


def test_what_a_publisher_sent_before_it_was_met_is_not_awaited(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    ticker.watch("/js")
    with ticker.attached():
        for number, t_ms in enumerate((20, 40)):
            ticker.notice("/js", t_ms * MS)  # of one of two publishers; the other one has not met the subscription
            two_publishers(world, number, t_ms)
            assert ticker.wait(5.0) == t_ms * MS
        for _ in range(2):
            ticker.notice("/js", 60 * MS)
        two_publishers(world, 2, 80)
        ticker.notice("/js", 80 * MS)
        assert ticker.wait(0.2) is None
        assert ticker.waiting_for() == ("/js",)


def test_lower_rate_answers_the_ticks_between(world):
    ticker = LockstepTicker(world.node, 10.0)
    world.matched(ticker)
    seen = []
    with ticker.attached():
        for number in range(11):
            world.tick(number, 20 * number)
            if number % 5 == 0:
                seen.append(ticker.wait(5.0))
            else:
                assert ticker.wait(0.02) is None
                world.answered(number)
    assert seen == [0, 100 * MS, 200 * MS]


def test_repeated_tick_is_answered_again_but_handed_out_once(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    with ticker.attached():
        world.tick(0, 20)
        assert ticker.wait(5.0) == 20 * MS
        world.tick(0, 20)
        assert ticker.wait(0.1) is None
        world.answered(0)
        world.tick(0, 20)
        until(lambda: world.answers.count(("worker", 0)) >= 2)
        assert ticker.wait(0.05) is None


def test_close_leaves_and_ends_the_worker(world):
    ticker = LockstepTicker(world.node, 50.0)
    world.matched(ticker)
    ended = []

    def work():
        with ticker.attached():
            try:
                ticker.wait()
            except ExternalShutdownException:
                ended.append(True)

    worker = threading.Thread(target=work)
    worker.start()
    ticker.close()
    ticker.close()
    worker.join(timeout=5.0)
    assert ended == [True]
    world.answered(LEAVE)


@pytest.fixture
def clock_node(world):
    node = Node("clocked", context=world.context, parameter_overrides=[Parameter("use_sim_time", value=True)])
    clock = world.cell.create_publisher(Clock, "/clock", 10)
    world.executor.add_node(node)
    until(lambda: clock.get_subscription_count() > 0, what="clock subscription")

    def set_ms(t_ms):
        msg = Clock()
        msg.clock.sec, msg.clock.nanosec = divmod(t_ms * MS, 10**9)
        clock.publish(msg)
        until(lambda: node.get_clock().now().nanoseconds == t_ms * MS, what="clock")

    yield node, set_ms
    world.executor.remove_node(node)
    node.destroy_node()


def test_simulated_clock_gives_grid_points_and_skips_missed_ones(clock_node):
    node, set_ms = clock_node
    ticker = make_ticker(node, rate_hz=50.0)
    assert isinstance(ticker, ClockTicker)
    with ticker.attached():
        set_ms(1001)
        assert ticker.wait(0.05) is None
        set_ms(1020)
        assert ticker.wait(1.0) == 1020 * MS
        assert ticker.wait(0.05) is None
        set_ms(1099)
        assert ticker.wait(0.05) is None  # 1040, 1060 and 1080 are over
        set_ms(1100)
        assert ticker.wait(1.0) == 1100 * MS
        set_ms(30)  # the clock went back
        assert ticker.wait(0.05) is None
        set_ms(40)
        assert ticker.wait(1.0) == 40 * MS
    ticker.close()


def test_system_clock_rate(world):
    ticker = ClockTicker(world.node, 30.0)
    with ticker.attached():
        times = [ticker.wait(1.0) for _ in range(8)]
    gaps = {b - a for a, b in pairwise(times)}
    assert all(gap % 33_333_333 <= 8 for gap in gaps)
    assert min(gaps) in (33_333_333, 33_333_334)
    ticker.close()


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e6])
def test_bad_rate(world, rate):
    with pytest.raises(ValueError, match="must be above 0 and at most 10000"):
        ClockTicker(world.node, rate)


def test_a_clock_can_be_woken_between_two_ticks_and_goes_on_with_the_grid(world):
    ticker = ClockTicker(world.node, 0.2)
    with ticker.attached():
        ticker.wake()
        woken_ns = ticker.wait(timeout_s=4.0)
        assert ticker.between
        assert woken_ns % (5000 * MS), "the present time, off the grid"
        assert abs(world.node.get_clock().now().nanoseconds - woken_ns) < 2000 * MS
        assert ticker.wait(timeout_s=0.0) is None, "woken once only"
    fast = ClockTicker(world.node, 100.0)
    with fast.attached():
        first_ns = fast.wait(timeout_s=5.0)
        fast.wake()
        times = [fast.wait(timeout_s=5.0) for _ in range(4)]
        assert times == sorted(times)
        assert len({t for t in times if t % (10 * MS) == 0}) >= 3
        assert first_ns % (10 * MS) == 0
        assert not fast.between
    ticker.close()
    fast.close()


def test_in_lockstep_nothing_wakes(world):
    ticker = LockstepTicker(world.node, 50.0)
    with ticker.attached():
        ticker.wake()
        assert ticker.wait(timeout_s=0.05) is None
        assert not ticker.between
    ticker.close()
