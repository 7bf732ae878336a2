# SPDX-License-Identifier: Apache-2.0

import os
import random
import threading

import pytest
import rclpy
from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.waitable import NumberOfEntities, Waitable
from std_msgs.msg import Bool, Int32
from vla_common.executor import BatchExecutor, ExecutorThread


@pytest.fixture
def node():
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context = Context()
    rclpy.init(context=context, domain_id=random.randint(1, 200))
    node = Node("n", context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_waiting_messages_are_served_together_and_in_order(node):
    executor = BatchExecutor(context=node.context)
    executor.add_node(node)
    seen = []
    node.create_subscription(Int32, "fast", lambda msg: seen.append(msg.data), QoSProfile(depth=200))
    node.create_subscription(Bool, "slow", lambda msg, info: seen.append(info["source_timestamp"] > 0), 10)
    fast, slow = node.create_publisher(Int32, "fast", QoSProfile(depth=200)), node.create_publisher(Bool, "slow", 10)
    for number in range(150):
        fast.publish(Int32(data=number))
    slow.publish(Bool())
    calls = 0
    while len(seen) < 151 and calls < 50:
        executor.spin_once(timeout_sec=0.5)
        calls += 1
    assert [value for value in seen if value is not True] == list(range(150))
    assert seen.index(True) <= 130  # the slow topic does not wait for all of the fast one
    assert calls < 20
    executor.shutdown()


def test_gathered_messages_cost_one_wait_and_none_is_lost(node):
    seen = []
    node.create_subscription(Int32, "fast", lambda msg: seen.append(msg.data), QoSProfile(depth=200))
    fast = node.create_publisher(Int32, "fast", QoSProfile(depth=200))
    waits = {}
    for gather_s in (0.0, 0.05):
        executor = BatchExecutor(gather_s=gather_s, context=node.context)
        executor.add_node(node)
        stop = threading.Event()

        def publish(ended=stop):
            for number in range(100):
                fast.publish(Int32(data=number))
                ended.wait(0.002)
            ended.set()

        seen.clear()
        thread = threading.Thread(target=publish)
        thread.start()
        waits[gather_s] = 0
        while len(seen) < 100 and waits[gather_s] < 1000:
            executor.spin_once(timeout_sec=1.0)
            waits[gather_s] += 1
        thread.join()
        assert seen == list(range(100))
        executor.shutdown()
        executor.remove_node(node)
    assert waits[0.05] < 30 < waits[0.0]


def test_an_error_in_a_callback_reaches_the_caller(node):
    executor = BatchExecutor(context=node.context)
    executor.add_node(node)
    node.create_subscription(Bool, "t", lambda msg: 1 / 0, 10)
    node.create_publisher(Bool, "t", 10).publish(Bool())

    def spin():
        for _ in range(20):
            executor.spin_once(timeout_sec=0.5)

    with pytest.raises(ZeroDivisionError):
        spin()
    executor.shutdown()


class Destroyed(Waitable):
    """Something that is destroyed by another thread after the executor has looked at it."""

    def __init__(self):
        super().__init__(MutuallyExclusiveCallbackGroup())
        self.looked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_num_entities(self):
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set):
        self.looked += 1
        if self.looked == 1:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def is_ready(self, wait_set):
        return False


def test_what_another_thread_destroys_does_not_end_it(node):
    executor, seen, gone = BatchExecutor(context=node.context), [], Destroyed()
    executor.add_node(node)
    node.create_subscription(Int32, "fast", lambda msg: seen.append(msg.data), 10)
    publisher = node.create_publisher(Int32, "fast", 10)
    node.add_waitable(gone)
    publisher.publish(Int32(data=7))
    for _ in range(50):
        executor.spin_once(timeout_sec=0.5)
        if seen:
            break
    assert seen == [7]
    assert gone.looked > 1
    node.remove_waitable(gone)
    executor.shutdown()


class Held(BatchExecutor):
    """Stops between the look at what is ready and its execution."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.ready, self.go_on = threading.Event(), threading.Event()

    def _make_handler(self, *args):
        self.ready.set()
        self.go_on.wait(10.0)
        return super()._make_handler(*args)


def test_the_end_waits_for_what_is_about_to_be_executed(node):
    """With rclpy's own shutdown alone it finds no guard condition any more and raises in its thread."""
    executor, ended, served, errors = Held(context=node.context), threading.Event(), [], []
    executor.add_node(node)
    node.create_subscription(Int32, "numbers", lambda msg: served.append(msg.data), 10)
    node.create_publisher(Int32, "numbers", 10).publish(Int32(data=7))

    def spin():
        try:
            executor.serve(ended)
        except Exception as error:  # noqa: BLE001  (border of a thread)
            errors.append(error)

    thread = threading.Thread(target=spin)
    thread.start()
    assert executor.ready.wait(10.0)
    executor.end(ended)
    executor.go_on.set()
    thread.join(10.0)
    assert not thread.is_alive()
    executor.shutdown(timeout_sec=0.0)
    assert (served, errors) == ([7], [])


def test_a_thread_serves_until_it_is_closed_and_waits_for_the_callback(node):
    begun, finish, served = threading.Event(), threading.Event(), []

    def callback(message):
        begun.set()
        finish.wait(10.0)
        served.append(message.data)

    node.create_subscription(Int32, "numbers", callback, 10)
    thread = ExecutorThread(node, context=node.context, name="served")
    assert "served" in [each.name for each in threading.enumerate()]
    node.create_publisher(Int32, "numbers", 10).publish(Int32(data=7))
    assert begun.wait(10.0)
    threading.Timer(0.2, finish.set).start()
    thread.close(10.0)
    assert served == [7]
    assert "served" not in [each.name for each in threading.enumerate()]


def test_a_thread_ends_quietly_when_ros_is_shut_down(node, capfd):
    ExecutorThread(node, context=node.context, name="served")
    spinning = next(each for each in threading.enumerate() if each.name == "served")
    rclpy.try_shutdown(context=node.context)
    spinning.join(10.0)
    assert not spinning.is_alive()
    assert "Traceback" not in capfd.readouterr().err
