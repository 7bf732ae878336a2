# SPDX-License-Identifier: Apache-2.0

"""The cell's side of lockstep: who is missing is named, and time goes on when it answers."""

import random
import threading
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool
from vla_common.qos import EVENT
from vla_common.ticks import LEAVE
from vla_msgs.msg import SimTickDone
from vla_sim import lockstep
from vla_sim.lockstep import LockstepError, TickServer


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setattr(lockstep, "_REMIND_S", 0.1)
    context = Context()
    rclpy.init(context=context, domain_id=random.randint(1, 200))
    node = Node("cell", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def answer(node, name, number):
    publisher = node.create_publisher(SimTickDone, "sim/tick_done", EVENT)
    deadline = time.monotonic() + 5.0
    while not publisher.get_subscription_count():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    publisher.publish(SimTickDone(participant=name, number=number))


def test_nobody_to_wait_for(world):
    ticks = TickServer(world, ())
    ticks.exchange(0)
    assert ticks.number == 1


def test_a_participant_that_never_starts(world):
    ticks = TickServer(world, ("recorder", "operator"), timeout_s=0.1, startup_timeout_s=0.4)
    begin = time.monotonic()
    with pytest.raises(LockstepError, match=r"recorder, operator has not started \(tick 0, .*'participants'"):
        ticks.exchange(0)
    assert time.monotonic() - begin >= 0.4


def test_a_participant_that_stops_answering(world):
    ticks = TickServer(world, ("policy",), timeout_s=0.3, startup_timeout_s=9.0)
    threading.Timer(0.05, answer, (world, "policy", 0)).start()
    ticks.exchange(0)
    with pytest.raises(LockstepError, match=r"lockstep: policy does not answer \(tick 1,"):
        ticks.exchange(20_000_000)


def test_a_participant_that_leaves(world):
    ticks = TickServer(world, ("operator",))
    threading.Timer(0.05, answer, (world, "operator", LEAVE)).start()
    ticks.exchange(0)
    ticks.exchange(20_000_000)
    assert ticks.number == 2


def test_stop_ends_the_wait(world):
    ticks = TickServer(world, ("nobody",))
    threading.Timer(0.05, ticks.stop).start()
    ticks.exchange(0)


def test_subscribers_that_are_no_participants_hold_time_back(world, monkeypatch):
    ticks = TickServer(world, (), timeout_s=0.3)
    publisher = world.create_publisher(Bool, "js", QoSProfile(depth=10))
    waits = []
    monkeypatch.setattr(ticks, "_wait_for", waits.append)
    for count in range(1, 13):
        publisher.publish(Bool())
        ticks.published(publisher, count)
        ticks.wait_acknowledged()
    assert len(waits) == 2  # each time when more than half of the history is unacknowledged
